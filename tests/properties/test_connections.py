"""What it costs when a connection ends as announced."""

from __future__ import annotations

import pytest

from ..virtual.faults import Shutdown
from ..virtual.world import Schedule, run

WARM = 5_000


@pytest.mark.parametrize("route", ["market", "public", ""])
def test_an_announced_shutdown_costs_nothing_where_there_is_time_to_leave(route: str) -> None:
    world = run(Schedule(faults=(Shutdown(20_000, 10_000, route),)))
    assert world.exchange.counts["connects"] == (4 if not route else 3)
    assert world.exchange.counts["shutdowns"] == 0, "the client had left before that"
    assert [each for each in world.not_fresh if each[0] > WARM] == []


def test_a_client_that_does_not_leave_after_the_announcement_is_cut_off() -> None:
    world = run(Schedule(faults=(Shutdown(20_000, 1_000, "market"),)))
    assert world.exchange.counts["shutdowns"] == 1
