"""Making a schedule that breaks a promise as small as possible, by leaving out what it does not need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ..virtual.world import Schedule

PLAIN = Schedule()
SETTINGS = (
    *("reads", "connection_max_age", "wall_error", "audit_every", "weight_limit", "full_book", "counting"),
    *("report_lag", "derive"),
)
LEAST = 50


def shrunk(schedule: Schedule, breaks: Callable[[Schedule], bool], *, most: int = 200) -> Schedule:
    """Return the smallest schedule found in at most ``most`` trials that still ``breaks``."""
    trials = 0
    smaller = True
    while smaller:
        smaller = False
        for candidate in _simpler(schedule):
            trials += 1
            if trials > most:
                return schedule
            if breaks(candidate):
                schedule = candidate
                smaller = True
                break
    return schedule


def _simpler(schedule: Schedule) -> Iterator[Schedule]:
    faults, reads = schedule.faults, schedule.reads
    if len(faults) > 3:
        half = len(faults) // 2
        yield replace(schedule, faults=faults[:half])
        yield replace(schedule, faults=faults[half:])
    for index in range(len(faults)):
        yield replace(schedule, faults=faults[:index] + faults[index + 1 :])
    for name in SETTINGS:
        plain = getattr(PLAIN, name)
        if getattr(schedule, name) != plain:
            yield replace(schedule, **{name: plain})
    for index in range(len(reads)):
        yield replace(schedule, reads=reads[:index] + reads[index + 1 :])
    for index, fault in enumerate(faults):
        lasts = getattr(fault, "lasts", 0)
        if lasts >= 2 * LEAST:
            shorter = replace(fault, lasts=lasts // 2 // LEAST * LEAST)  # type: ignore[call-arg]
            yield replace(schedule, faults=(*faults[:index], shorter, *faults[index + 1 :]))
