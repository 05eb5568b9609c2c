"""The promises under random schedules in which everything breaks at once.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

from hypothesis import given, settings

from ..virtual.schedules import FAST, any_fault, schedules
from ..virtual.world import Schedule, run


@settings(FAST, max_examples=120)
@given(schedules(any_fault, most=6, tight=True))
def test_the_promises_hold(schedule: Schedule) -> None:
    run(schedule)
