"""The promises under random schedules in which events are lost, late or doubled, and streams die alone.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

from hypothesis import given, settings

from ..virtual.schedules import FAST, event_faults, schedules
from ..virtual.world import Schedule, run


@settings(FAST, max_examples=100)
@given(schedules(event_faults))
def test_the_promises_hold(schedule: Schedule) -> None:
    run(schedule)
