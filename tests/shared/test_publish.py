"""What the collector's thread looks at before it writes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from ats_sync.shared.copies import LINKS_EVERY
from ats_sync.shared.publish import ABLE_EVERY, COMPLETE_WITHIN, STATE_EVERY, STILL_EVERY, Condition, FeedPublisher
from ats_sync.store.trades import TradeSeries

from ..store.contract import LINK


class Collector:
    """A publisher whose clock stands still, and how often it has looked at the state of the manager."""

    def __init__(self, **options: Any) -> None:
        self.now = 100.0
        self.state = Condition("live", "every series is fresh")
        self.looks = 0
        self.series = TradeSeries("BTCUSDT", 100)
        store: Any = SimpleNamespace(
            series={self.series.key: self.series},
            watched_until=math.inf,
            listings=SimpleNamespace(get=lambda: None),
            boards={},
            delisted={},
            renewed={},
        )
        clock: Any = SimpleNamespace(now=lambda: self.now, synchronised=True, proven=lambda: True)
        self.takes_over = 0
        keeper: Any = SimpleNamespace(lease=SimpleNamespace(label="host:1"), take_over=self._takes_over)
        unused: Any = None
        self.publisher = FeedPublisher(
            unused,
            keeper,
            clock,
            store,
            exchange=(),
            condition=self._look,
            demand=lambda key, rows: None,
            **options,
        )

    def _look(self) -> Condition:
        self.looks += 1
        return self.state

    def _takes_over(self) -> None:
        self.takes_over += 1

    def stand_by(self, after: float) -> None:
        self.now += after
        self.publisher._look_whether_able(self.now)

    def flush(self, after: float) -> str:
        self.now += after
        for _ in range(LINKS_EVERY):
            self.publisher._copies.changes()
        return self.publisher._feed().state


def test_the_state_of_a_live_manager_is_looked_at_seldom() -> None:
    collector = Collector()
    collector.flush(0.0)
    collector.flush(STILL_EVERY - 0.1)
    assert collector.looks == 1
    collector.flush(0.2)
    assert collector.looks == 2


def test_the_state_is_looked_at_soon_where_a_connection_has_changed_or_it_was_not_live() -> None:
    collector = Collector()
    collector.flush(0.0)
    collector.series.go_live(LINK)
    collector.state = Condition("degraded", "a stream is silent")
    assert collector.flush(STATE_EVERY + 0.1) == "degraded"
    assert collector.looks == 2
    collector.state = Condition("live", "every series is fresh")
    assert collector.flush(STATE_EVERY - 0.1) == "degraded"
    assert collector.flush(0.2) == "live"


def test_a_publisher_that_is_to_take_over_does_so_once_when_every_series_is_fresh() -> None:
    fresh: list[bool] = []
    collector = Collector(complete=lambda: bool(fresh), take_over=True)
    collector.state = Condition("starting", "")
    collector.stand_by(0.0)
    fresh.append(True)
    collector.stand_by(ABLE_EVERY)
    assert collector.takes_over == 0  # a start that has not succeeded
    fresh.clear()
    collector.state = Condition("live", "")
    for _ in range(10):
        collector.stand_by(ABLE_EVERY)
    assert collector.takes_over == 0
    fresh.append(True)
    for _ in range(10):
        collector.stand_by(ABLE_EVERY)
    assert collector.takes_over == 1


def test_a_series_that_is_never_fresh_does_not_keep_it_from_taking_over_for_ever() -> None:
    collector = Collector(complete=lambda: False, take_over=True)
    collector.stand_by(0.0)
    collector.stand_by(COMPLETE_WITHIN - 1.0)
    assert collector.takes_over == 0
    collector.stand_by(1.1)
    assert collector.takes_over == 1
