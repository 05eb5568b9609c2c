"""Random schedules of faults between collectors, readers, their shared store and the exchange."""

from __future__ import annotations

from .options import SharedOptions
from .report import SharedReport
from .schedule import run_shared_stress

__all__ = ["SharedOptions", "SharedReport", "run_shared_stress"]
