from __future__ import annotations

import pytest

from ats_sync.engine.lateness import LATE_FOR, REPLACE_AGAIN, Lateness
from ats_sync.engine.moment import Moment
from ats_sync.store.link import Link

BEGAN = 1_795_219_200_000


class Route:
    """A route whose connections lag by ``lag`` seconds; a second passes at a time."""

    def __init__(self, lag: float) -> None:
        self.lag = lag
        self.steady = 100.0
        self.lateness = Lateness()
        self.replaced: list[float] = []
        self.clock_answers = True
        self.proven = True
        self.uncertain = 0
        self._connect()

    def _connect(self) -> None:
        self.link = Link(1, "market", self.exchange() / 1000.0)

    def exchange(self) -> int:
        return BEGAN + round(self.steady * 1000)

    def run(self, seconds: int) -> None:
        for _ in range(seconds):
            self.steady += 1.0
            at = Moment(self.steady, self.exchange(), self.proven, self.uncertain)
            self.link.watermark = self.exchange() / 1000.0 - self.lag
            if self.clock_answers:
                self.lateness.clock_confirmed(at)
            if self.lateness.judge(self.link, at):
                self.replaced.append(self.steady)
                self._connect()


@pytest.mark.parametrize("lag", [3.0, 8.0])
def test_a_connection_that_lags_and_does_not_catch_up_is_replaced(lag: float) -> None:
    route = Route(lag)
    route.run(round(LATE_FOR) + 2)
    assert len(route.replaced) == 1


def test_a_connection_that_is_on_time_is_not_replaced() -> None:
    route = Route(2.0)
    route.run(600)
    assert not route.replaced


def test_a_backlog_that_drains_is_left_to_drain() -> None:
    route = Route(20.0)
    while route.lag > 2.0:
        route.run(4)
        route.lag *= 0.8
    assert not route.replaced


@pytest.mark.parametrize("fault", ["no answer", "doubt", "slow way"])
def test_nothing_is_replaced_as_long_as_our_clock_may_be_the_cause(fault: str) -> None:
    route = Route(4.0)
    route.clock_answers = fault != "no answer"
    route.proven = fault != "doubt"
    route.uncertain = 3_000 if fault == "slow way" else 0
    route.run(600)
    assert not route.replaced
    route.clock_answers, route.proven, route.uncertain = True, True, 0
    route.run(round(LATE_FOR) + 2)
    assert len(route.replaced) == 1


def test_where_the_exchange_itself_lags_there_is_no_storm() -> None:
    route = Route(6.0)
    route.run(3_600)
    assert 2 <= len(route.replaced) <= 7
    pauses = [b - a for a, b in zip(route.replaced, route.replaced[1:], strict=False)]
    assert pauses == sorted(pauses)
    assert pauses[0] >= REPLACE_AGAIN
    route.lag = 0.1
    route.run(7_200)
    route.lag = 6.0
    before = len(route.replaced)
    route.run(round(LATE_FOR) + 2)
    assert len(route.replaced) == before + 1, "what is over no longer counts"
