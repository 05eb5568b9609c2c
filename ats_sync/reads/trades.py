"""Reads of trades and of forced orders."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..engine.freshness import tightened, within
from ..errors import RequestError
from ..feeds import FEEDS, Key, Kind
from ..store.tape import TradeColumns
from ..store.trades import TradeRing
from ..venue import endpoints
from ..venue.payload import DecodeError
from ..venue.trades import Trade
from ..venue.values import Liquidation
from .routing import Routing

T = TypeVar("T")


class TradeReads:
    """Aggregated trades without a hole; the forced orders that were seen."""

    def __init__(self, route: Routing) -> None:
        self._route = route
        self._clock = route.clock
        self._store = route.store
        self._counters = route.counters

    def rows(self, symbol: str, limit: int, *, max_age: float | None) -> list[Trade]:
        """The newest ``limit`` aggregated trades, oldest first, ids without a hole."""
        return self._read(symbol, limit, max_age, TradeRing.read)

    def columns(self, symbol: str, limit: int, *, max_age: float | None) -> TradeColumns | list[Trade]:
        """As :meth:`rows`, in numbers where they are answered from memory."""
        return self._read(symbol, limit, max_age, TradeRing.columns)

    def _read(
        self, symbol: str, limit: int, max_age: float | None, read: Callable[[TradeRing, int], T]
    ) -> T | list[Trade]:
        self._route.check_delisted(symbol)
        feed = FEEDS[Kind.TRADES]
        key = Key(Kind.TRADES, symbol)
        ring = self._store.trades.get(symbol)
        if ring is not None:
            exchange = self._clock.exchange()
            standing = ring.standing()
            silence = tightened(feed.silence or 0.0, max_age)
            doubt = self._route.stream_doubt(standing.link, standing.suspected, exchange, silence)
            if not self._route.streams and ring.answered:
                polled = exchange - ring.answered / 1000.0
                doubt = "" if within(polled, feed.bound_polled, max_age) else doubt
            if not doubt and max_age != 0 and (standing.rows >= limit or standing.complete):
                try:
                    found = read(ring, limit)
                except DecodeError as error:
                    self._store.count_dropped(f"a trade that could not be decoded: {error}")
                else:
                    self._counters.hit()
                    return found
        # They weigh the same; as many as the ring wants, so that its own request is this one.
        wanted = limit if ring is None else max(limit, ring.capacity)
        asked = min(wanted, endpoints.AGG_TRADES_MOST)
        try:
            answer: list[Trade] = self._route.fetch(key, endpoints.agg_trades(symbol, asked), asked)
        except RequestError as error:
            if ring is None:
                self._route.fail(error, key)
            age = self._clock.exchange() - ring.standing().event / 1000.0
            try:
                data = ring.read(limit)
            except DecodeError:
                data = []
            self._route.fail(error, key, age=age, bound=feed.silence or 0.0, data=data or None)
        return answer[-limit:]

    def liquidations(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """Forced orders seen since the start, oldest first."""
        return self._store.liquidations.read(symbol, limit)
