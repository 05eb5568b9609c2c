"""Candles: from memory, else the rows since the last final one, else all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from ..arguments import check_limit
from ..clock import Reading
from ..feeds import Key, Kind
from ..reads import Query, Reads
from ..store.klines import KlineSeries, newest_klines
from ..store.remembered import Column
from ..store.series import SeriesState
from ..store.snapshot import KlineSnapshot
from ..venue.endpoints import KLINES_MOST
from ..venue.intervals import check_interval
from ..venue.klines import Row, float_rows, string_rows, text_open_time
from ..venue.payload import DecodeError
from ..venue.symbols import check_symbol


@lru_cache(maxsize=8192)
def klines_key(symbol: str, interval: str) -> Key:
    """Return the key of a contract's candles, both parts checked. (Remembered: the checks are as long as the cheapest
    reads.) Raises :class:`~ats_sync.errors.InvalidSymbol` and :class:`~ats_sync.errors.InvalidInterval`."""
    return Key(Kind.KLINES, check_symbol(symbol), check_interval(interval))


class Klines(Query[list[Row]]):
    """The newest rows of candles, the caller's own: the strings of REST if ``exact``, else floats."""

    __slots__ = ("exact",)

    def __init__(self, key: Key, limit: int, max_age: float | None, *, exact: bool) -> None:
        super().__init__(key, limit, max_age)
        self.exact = exact

    def look(self, series: KlineSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Row]]]:
        # No row is made up before its time has surely come.
        state, snapshot = series.look(self.limit, int(time.exchange * 1000), time.earliest_ms, self.exact)
        return state, snapshot.rows

    def fetch(self, series: KlineSeries | None, reads: Reads) -> list[Row]:
        if series is not None and (rows := self._with_tail(series, reads)) is not None:
            return rows
        texts = reads.fetch(self.key, newest_klines(self.key, self.limit))[-self.limit :]
        return string_rows(texts) if self.exact else float_rows(texts)

    def _with_tail(self, series: KlineSeries, reads: Reads) -> list[Row] | None:
        """Return the rows after asking for those since the last final one; None where memory does not reach back far
        enough, or did not take the answer."""
        clock = reads.clock
        tail = series.tail_limit(clock.exchange_ms())
        state = series.state(clock.exchange_ms())
        if tail is None or tail >= self.limit or not (state.rows >= self.limit or state.complete):
            return None
        answers, in_order = series.answers, clock.proven()
        texts = reads.fetch(self.key, series.newest_rows(tail))
        if series.answers == answers:
            # It was not merged here: what the series has is as old as before, or another contract's.
            return None
        state = series.state(clock.exchange_ms())
        if not texts or not (state.rows >= self.limit or state.complete):
            return None
        try:
            # No row is made up by a clock that is in doubt.
            rows = series.rows(self.limit, clock.earliest_ms() if clock.proven() else None, exact=self.exact)
        except DecodeError as error:
            reads.store.count_dropped(f"{self.key.kind.value} that could not be decoded: {error}")
            return None
        if not rows or rows[-1][0] < text_open_time(texts[-1]):
            return None
        if state.doubt or not (in_order and clock.proven()):
            # What memory has of these candles contradicts the answer, or nobody can say which of the two is newer
            # while the time is in doubt. Memory may be older; the answer is REST's own.
            answered = string_rows(texts) if self.exact else float_rows(texts)
            rows = [row for row in rows if row[0] < answered[0][0]] + answered
        return rows[-self.limit :]

    def known(self, series: KlineSeries) -> list[Row] | None:
        try:
            return series.rows(self.limit, None, exact=self.exact) or None
        except DecodeError:
            return None


@lru_cache(maxsize=8192)
def newest_in_floats(symbol: str, interval: str, limit: int) -> Klines:
    """Return the query for the newest candles of a contract in floats, its arguments checked. (Remembered, so that a
    warm read is made of few calls: nothing changes a query.) Errors as of :func:`klines_key`, and
    :class:`~ats_sync.errors.InvalidArgument`."""
    limit = check_limit(limit, KLINES_MOST)
    return Klines(klines_key(symbol, interval), limit, None, exact=False)


class KlineColumns(Query[list[Column] | list[Row]]):
    """As :class:`Klines` in floats; twelve columns where they are answered from memory."""

    __slots__ = ("_rows",)

    def __init__(self, key: Key, limit: int, max_age: float | None) -> None:
        super().__init__(key, limit, max_age)
        self._rows = Klines(key, limit, max_age, exact=False)

    def look(self, series: KlineSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Column]]]:
        snapshot: KlineSnapshot
        state, snapshot = series.look(self.limit, int(time.exchange * 1000), time.earliest_ms, False)
        return state, snapshot.columns

    def fetch(self, series: KlineSeries | None, reads: Reads) -> list[Row]:
        return self._rows.fetch(series, reads)

    def known(self, series: KlineSeries) -> list[Row] | None:
        return self._rows.known(series)
