"""The stress test: the manager on the embedded exchange, faults at random, every answer checked against the truth."""

from __future__ import annotations

from .faults import names
from .options import Options
from .report import Report
from .run import run_stress

__all__ = ["Options", "Report", "names", "run_stress"]
