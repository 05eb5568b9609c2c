"""The newest rows of a kline series as they were at one moment, decoded on the reader's time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..venue.intervals import candles_between, next_open, open_time
from ..venue.klines import Row, flat_text, float_row, packed_string_rows, string_rows
from .closed import ClosedCandles
from .pending import MOST_PENDING, Candle
from .remembered import Column, FloatColumns

if TYPE_CHECKING:
    from .klines import KlineSeries

LEAST_REMEMBERED = 20
"""Fewer closed rows than this are decoded at each read, and not remembered."""
SPARE = 2
"""Rows remembered beyond those requested: while a candle is open, a read takes one closed row less than after."""


def extent(rows: ClosedCandles, chain: Sequence[Candle], limit: int, now: int | None) -> tuple[int, int, int]:
    """Return the open time (ms) after the newest of these candles, how many provisional rows follow from there on until
    exchange time ``now`` (ms; None for none), and how many closed rows are among the newest ``limit``."""
    beyond = next_open(rows.interval, chain[-1].opened) if chain else rows.following
    missing = 0
    if now is not None and now >= beyond > 0 and (chain or rows):
        current = open_time(rows.interval, now, known_open=beyond)
        missing = min(candles_between(rows.interval, beyond, current), MOST_PENDING)
    return beyond, missing, min(len(rows), max(0, limit - len(chain) - missing))


class KlineSnapshot:
    """The newest rows at one moment. It is made under the series' lock; its methods need none.

    ``closed`` of the closed ``rows`` are among the newest ``limit``. ``chain`` are the candles beyond them. From
    ``beyond`` on, ``missing`` candles have no event yet though their time has come: they are flat at the close before.
    """

    __slots__ = (
        "_beyond",
        "_chain",
        "_closed",
        "_exact",
        "_floats",
        "_last",
        "_limit",
        "_missing",
        "_picked",
        "_series",
        "_text",
        "_version",
    )

    def __init__(
        self,
        series: KlineSeries,
        rows: ClosedCandles,
        limit: int,
        exact: bool,
        chain: list[Candle],
        beyond: int,
        missing: int,
        closed: int,
    ) -> None:
        self._series = series
        self._limit = limit
        self._exact = exact
        self._chain = chain
        self._beyond = beyond
        self._missing = missing
        self._closed = closed
        self._floats = floats = rows.floats
        if exact:
            self._picked, self._text = None, rows.slice(closed)
        else:
            self._picked = picked = floats.take(closed)
            self._text = rows.slice(closed + SPARE) if picked is None and closed else b""
        self._last = rows.last() if missing and not chain else b""
        self._version = rows.version

    def rows(self) -> list[Row]:
        """Return the rows, the caller's own. Raises :class:`~ats_sync.venue.payload.DecodeError` where the open candle
        turns out to be unusable."""
        if len(self._chain) == 1 and not self._missing and self._picked is not None:
            # One open candle and remembered numbers: what nearly every read takes.
            floats = self._series.decoded(self._chain[0])[3]
            rows = FloatColumns.rows(self._picked)
            rows.append(floats.copy())
            return rows
        tail = self._tail()
        if self._exact:
            return packed_string_rows(self._text) + tail
        rows = FloatColumns.rows(self._picked) if self._picked is not None else self._decoded()
        rows += map(float_row, tail)
        return rows

    def columns(self) -> list[Column]:
        """Return the rows as twelve columns, the caller's own: 64-bit whole numbers at 0, 6 and 8, doubles elsewhere.
        Raises as :meth:`rows`."""
        if self._exact:
            raise TypeError("columns are cut from floats")
        tail = self._tail()
        columns = self._picked if self._picked is not None else FloatColumns.columns(self._decoded())
        for row in map(float_row, tail):
            for column, item in zip(columns, row, strict=True):
                column.append(item)
        return columns

    def _tail(self) -> list[Row]:
        """Return the rows beyond the closed ones, as strings."""
        series = self._series
        tail: list[Row] = []
        previous = self._last
        for candle in self._chain:
            _, previous, row, _ = series.decoded(candle)
            tail.append(row.copy())
        if self._missing:
            tail += string_rows(_flats(series.interval, self._beyond, self._missing, previous))
        return tail[-self._limit :]

    def _decoded(self) -> list[Row]:
        """Decode the closed rows, and remember them where they are read again; return them as floats."""
        floats = self._floats
        rows = floats.decode(self._text)
        if self._closed >= LEAST_REMEMBERED and (columns := floats.pack(rows)) is not None:
            self._series.remember(columns, self._version)
        return rows[len(rows) - self._closed :]


class KlineText:
    """The text of the newest rows at one moment; the parameters are those of :class:`KlineSnapshot`."""

    __slots__ = ("_beyond", "_chain", "_closed", "_last", "_limit", "_missing", "_series")

    def __init__(
        self,
        series: KlineSeries,
        rows: ClosedCandles,
        limit: int,
        chain: list[Candle],
        beyond: int,
        missing: int,
        closed: int,
    ) -> None:
        self._series = series
        self._limit = limit
        self._chain = chain
        self._beyond = beyond
        self._missing = missing
        self._closed = rows.slice(closed) if closed else b""
        self._last = rows.last() if missing and not chain else b""

    def json(self) -> bytes:
        """Return the rows as REST writes them, oldest first. Raises :class:`~ats_sync.venue.payload.DecodeError` where
        the open candle turns out to be unusable."""
        series = self._series
        tail = [series.decoded(candle)[1] for candle in self._chain]
        if self._missing:
            tail += _flats(series.interval, self._beyond, self._missing, tail[-1] if tail else self._last)
        rows = [self._closed, *tail[-self._limit :]] if self._closed else tail[-self._limit :]
        return b"[[" + b"],[".join(rows) + b"]]" if rows else b"[]"


def _flats(interval: str, opened: int, count: int, previous: bytes) -> list[bytes]:
    """Return the texts of so many candles without trades from the one that opened at ``opened`` on, after the row
    ``previous``."""
    texts: list[bytes] = []
    for _ in range(count):
        after = next_open(interval, opened)
        previous = flat_text(opened, after - 1, previous)
        texts.append(previous)
        opened = after
    return texts
