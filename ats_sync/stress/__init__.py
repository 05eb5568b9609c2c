"""The stress test: the manager on the simulated exchange, with random faults and every answer checked."""

from __future__ import annotations

from .faults import FAULTS
from .options import Options
from .report import Report
from .run import run_stress

__all__ = ["FAULTS", "Options", "Report", "run_stress"]
