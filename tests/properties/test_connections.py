"""The promises under schedules in which connections break.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.faults import Shutdown
from ..virtual.schedules import CONNECTION_KINDS, fixed
from ..virtual.world import Schedule, run


@pytest.mark.parametrize("number", range(4))
def test_the_promises_hold(number: int) -> None:
    run(fixed("connections", number, CONNECTION_KINDS))


@pytest.mark.parametrize("number", [2, 4, 7, 10])
def test_the_promises_hold_where_shutdowns_are_announced(number: int) -> None:
    run(fixed("shutdown", number, ("shutdown", "cut", "half open")))


WARM = 5_000


@pytest.mark.parametrize("route", ["market", "public", ""])
def test_an_announced_shutdown_costs_nothing_where_there_is_time_to_leave(route: str) -> None:
    world = run(Schedule(faults=(Shutdown(20_000, 10_000, route),)))
    assert world.exchange.counts["connects"] == (4 if not route else 3)
    assert world.exchange.counts["shutdowns"] == 0, "the client had left before"
    assert [each for each in world.not_fresh if each[0] > WARM] == []


def test_who_does_not_leave_after_the_announcement_is_cut_off() -> None:
    world = run(Schedule(faults=(Shutdown(20_000, 1_000, "market"),)))
    assert world.exchange.counts["shutdowns"] == 1
