"""What the collector's thread looks at before it writes."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from ats_sync.shared.copies import LINKS_EVERY
from ats_sync.shared.publish import STATE_EVERY, STILL_EVERY, Condition, FeedPublisher
from ats_sync.store.trades import TradeSeries

from ..store.contract import LINK


class Collector:
    """A publisher whose clock stands still, and how often it has looked at the state of the manager."""

    def __init__(self) -> None:
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
        keeper: Any = SimpleNamespace(lease=SimpleNamespace(label="host:1"))
        unused: Any = None
        self.publisher = FeedPublisher(
            unused, keeper, clock, store, condition=self._look, demand=lambda key, rows: None
        )

    def _look(self) -> Condition:
        self.looks += 1
        return self.state

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
