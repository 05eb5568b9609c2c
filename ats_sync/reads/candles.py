"""Reads of candles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from ..engine.freshness import tightened
from ..engine.plans import klines_request, tail_limit
from ..errors import RequestError
from ..feeds import FEEDS, Key, Kind
from ..store.cut import Cut
from ..store.klines import KlineSeries
from ..store.remembered import Column
from ..venue.klines import Row, float_rows, string_rows, text_open_time
from ..venue.payload import DecodeError
from .routing import Routing

T = TypeVar("T")


class CandleReads:
    """Candles of perpetuals and of spot pairs."""

    def __init__(self, route: Routing) -> None:
        self._route = route
        self._clock = route.clock
        self._store = route.store
        self._counters = route.counters

    def rows(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        max_age: float | None,
        exact: bool,
        kind: Kind = Kind.KLINES,
    ) -> list[Row]:
        """The newest ``limit`` rows, the caller's own; with ``exact`` the strings of REST, else floats.

        ``kind``: of the perpetual, or of the spot pair of the same name.
        """
        return self._read(symbol, interval, limit, max_age, exact, kind, Cut.rows)

    def columns(self, symbol: str, interval: str, limit: int, *, max_age: float | None) -> list[Column] | list[Row]:
        """As :meth:`rows` in floats; twelve columns where they are answered from memory."""
        return self._read(symbol, interval, limit, max_age, False, Kind.KLINES, Cut.columns)

    def _read(
        self,
        symbol: str,
        interval: str,
        limit: int,
        max_age: float | None,
        exact: bool,
        kind: Kind,
        take: Callable[[Cut[Any]], T],
    ) -> T | list[Row]:
        if kind is Kind.KLINES:
            self._route.check_delisted(symbol)
        key = Key(kind, symbol, interval)
        series = self._store.candles(key)
        if series is None:
            if symbol in self._store.symbols:
                self._route.wanted(key)
            return self._by_rest(key, limit, exact)
        silence = tightened(FEEDS[Kind.KLINES].silence or 0.0, max_age)
        exchange = self._clock.exchange()
        # No row is made up before its time has surely come.
        standing, cut = series.look(limit, int(exchange * 1000), exact=exact, surely=self._clock.earliest_ms())
        doubt = self._route.stream_doubt(standing.link, standing.suspected, exchange, silence) or standing.doubt
        enough = standing.rows >= limit or standing.complete
        if not doubt and enough and max_age != 0:
            try:
                rows = take(cut)
            except DecodeError as error:
                self._store.count_dropped(f"a candle that could not be decoded: {error}")
            else:
                self._counters.hit()
                return rows
        return self._refreshed(series, limit, exact, enough=enough)

    def _refreshed(self, series: KlineSeries, limit: int, exact: bool, *, enough: bool) -> list[Row]:
        """The rows after asking REST for those since the last final one (for all, where memory lacks depth)."""
        tail = tail_limit(series.following(), series.interval, self._clock.exchange_ms())
        if not enough or tail is None or tail >= limit:
            return self._by_rest(series.key, limit, exact, series)
        try:
            texts: list[bytes] = self._route.fetch(series.key, klines_request(series.key, tail), tail)
            standing = series.standing(self._clock.exchange_ms())
            if texts and (standing.rows >= limit or standing.complete):
                # No row is made up by a clock that is in doubt.
                rows = series.rows(limit, self._clock.earliest_ms() if self._clock.proven() else None, exact=exact)
                newest = text_open_time(texts[-1])
                if rows and rows[-1][0] >= newest:
                    return rows
        except RequestError as error:
            self._give_up(series, limit, exact, error)
        except DecodeError as error:
            self._store.count_dropped(f"a candle that could not be decoded: {error}")
        return self._by_rest(series.key, limit, exact, series)

    def _by_rest(self, key: Key, limit: int, exact: bool, series: KlineSeries | None = None) -> list[Row]:
        try:
            texts: list[bytes] = self._route.fetch(key, klines_request(key, limit), limit)
        except RequestError as error:
            if series is not None:
                self._give_up(series, limit, exact, error)
            self._route.fail(error, key)
        rows = texts[-limit:]
        return string_rows(rows) if exact else float_rows(rows)

    def _give_up(self, series: KlineSeries, limit: int, exact: bool, error: RequestError) -> NoReturn:
        exchange = self._clock.exchange()
        standing = series.standing(int(exchange * 1000))
        data: list[Row] | None = None
        if standing.rows:
            try:
                data = series.rows(limit, None, exact=exact)
            except DecodeError:
                data = None
        age = exchange - standing.event / 1000.0
        self._route.fail(error, series.key, age=age, bound=FEEDS[Kind.KLINES].silence or 0.0, data=data)
