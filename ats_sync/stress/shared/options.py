"""The options of a run of schedules, and the bounds that must be kept."""

from __future__ import annotations

from dataclasses import dataclass

INTERVALS = ("1m", "1h")
HEALED_WITHIN = 30.0
"""Seconds after the last fault within which every reader must be served from the store again. (Generous: the machine
runs seven more processes. The report has the slowest.)"""
SCARCE_LIMIT, SCARCE_HEALED_WITHIN = 700, 90.0
"""Some schedules have a limit that collectors use up; they then wait for the end of the minute."""


@dataclass(frozen=True)
class SharedOptions:
    """The options. Times are seconds."""

    seconds: float = 60.0
    """Schedules are started for this long."""
    schedules: int | None = None
    """Run this many schedules instead."""
    seed: int = 1
    """The seed of the first schedule; each further one uses the next number."""
    symbols: int = 3
    faults_for: float = 10.0
    """How long faults are made in one schedule."""
    only: tuple[str, ...] = ()
    """Names of faults to choose from; empty: all."""
