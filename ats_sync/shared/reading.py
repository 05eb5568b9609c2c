"""The reads of a reader: those of everybody, from what one round trip brings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..clock import Clock
from ..config import Config
from ..feeds import FEEDS, Feed, Key, Kind
from ..reads import Query, Reads, reads_memory_only
from ..runtime.counters import Counters
from ..runtime.requests import Requests
from ..store.series import SeriesState
from .replica import Replica

T = TypeVar("T")
U = TypeVar("U")


class SharedReads(Reads):
    """The reads of one replica."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        replica: Replica,
        requests: Requests,
        counters: Counters,
        *,
        patience: float | None = None,
        show: Callable[[], None] = lambda: None,
    ) -> None:
        """``show()`` has this process seen by others; it may wait for the store."""
        super().__init__(config, clock, replica, requests, counters, streams=True, patience=patience)
        self._replica = replica
        self._show = show

    def read(self, query: Query[T], shape: Callable[[T], U]) -> U:
        key = query.shown()
        if query.max_age != 0 and not self._bring(key, query.limit, exactly=query.max_age is not None):
            return self.read_by_rest(query, shape)  # nothing in memory may be judged
        return super().read(query, shape)

    def _bring(self, key: Key, rows: int, *, exactly: bool) -> bool:
        """Bring what a read looks at up to date; return whether it may be judged. ``exactly``: to this moment."""
        replica = self._replica
        feed = FEEDS.get(key.kind)
        if feed is None or not feed.copied:
            return False
        if reads_memory_only():
            return replica.has_prefetched([key])  # a round trip is a wait
        self._show()
        if key == replica.tickers.key:
            return replica.pull_tickers()
        keys = feed.pulled(key)
        if len(keys) > 1:
            return replica.pull(keys)  # a look that follows nothing
        return replica.pull(keys, rows) if exactly else replica.bring(keys[0], rows)

    def disbelief(self, feed: Feed, state: SeriesState) -> str:
        return self._replica.sources.why or super().disbelief(feed, state)

    def check_listed(self, symbol: str) -> None:
        self._replica.pull([self._replica.listings.key, Key(Kind.CONTRACTS, symbol)])
        super().check_listed(symbol)
