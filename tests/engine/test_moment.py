"""How long the engine waits until a time of the exchange has come."""

from __future__ import annotations

import pytest

from ats_sync.engine.moment import IN_DOUBT, LOOK_AGAIN_AFTER, Moment


@pytest.mark.parametrize(("until", "wait"), [(1_000, 0.0), (9_800, 0.0), (10_000, 0.2), (70_000, 60.2)])
def test_it_waits_until_a_time_has_surely_come(until: int, wait: float) -> None:
    assert Moment(5.0, 10_000, uncertain=200).wait(until) == wait


def test_a_doubtful_time_does_not_make_it_wait_for_minutes() -> None:
    """The wall clock was set forward by ten minutes: it is only known that the time has changed by at most that."""
    assert Moment(5.0, 610_000, uncertain=600_000).wait(620_000) == LOOK_AGAIN_AFTER
    assert Moment(5.0, 610_000, uncertain=600_000).wait(10_500) == 0.5
    assert Moment(5.0, 10_000, uncertain=IN_DOUBT).wait(40_000) == 35.0
