"""The newest rows of a kline series as they were at one moment, decoded on the reader's time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

from ..venue.intervals import next_open
from ..venue.klines import Row, flat_text, float_row, string_rows
from .pending import Candle
from .remembered import Column, FloatColumns, Memo

if TYPE_CHECKING:
    from .klines import KlineSeries

T = TypeVar("T")

LEAST_REMEMBERED = 20
"""Fewer closed rows than this are decoded at each read, and not remembered."""
SPARE = 2
"""Rows remembered beyond those requested: while a candle is open, a read takes one closed row less than after."""


class KlineSnapshot(Generic[T]):
    """Made under the series' lock; what it does needs none.

    ``picked`` are the ``closed`` newest closed rows as ``memo`` remembers them, None where it does not; then ``text``
    is theirs, and that of a few more. ``chain`` are the candles beyond, and ``missing`` is how many candles have no
    event yet though their time has come, from ``beyond`` on, flat at the close of ``last`` or of the chain.
    """

    __slots__ = (
        "_beyond",
        "_chain",
        "_closed",
        "_exact",
        "_last",
        "_limit",
        "_memo",
        "_missing",
        "_picked",
        "_series",
        "_text",
        "_version",
    )

    def __init__(
        self,
        series: KlineSeries,
        memo: Memo[T],
        exact: bool,
        limit: int,
        closed: int,
        picked: T | None,
        text: bytes,
        chain: list[Candle],
        beyond: int,
        missing: int,
        last: bytes,
        version: int,
    ) -> None:
        self._series = series
        self._memo = memo
        self._exact = exact
        self._limit = limit
        self._closed = closed
        self._picked = picked
        self._text = text
        self._chain = chain
        self._beyond = beyond
        self._missing = missing
        self._last = last
        self._version = version

    def rows(self) -> list[Row]:
        """Return the rows, the caller's own. Raises :class:`~ats_sync.venue.payload.DecodeError` where the open candle
        turns out to be unusable."""
        memo = self._memo
        if len(self._chain) == 1 and not self._missing and self._picked is not None:
            # One open candle and remembered rows: what nearly every read takes.
            _, _, row, floats = self._series.decoded(self._chain[0])
            rows = memo.rows(self._picked)
            rows.append(row.copy() if self._exact else floats.copy())
            return rows
        tail = self._tail()
        rows = memo.rows(self._picked) if self._picked is not None else self._decoded()
        rows += tail if self._exact else map(float_row, tail)
        return rows

    def columns(self) -> list[Column]:
        """Return the rows as twelve columns, the caller's own: 64-bit whole numbers at 0, 6 and 8, doubles elsewhere.
        Raises as :meth:`rows`."""
        tail = self._tail()
        columns = self._picked if self._picked is not None else FloatColumns.columns(self._decoded())
        if self._exact or not isinstance(columns, list):
            raise TypeError("columns are cut from floats")
        for row in map(float_row, tail):
            for column, item in zip(columns, row, strict=True):
                column.append(item)
        return columns

    def _tail(self) -> list[Row]:
        """Return the rows beyond the closed ones, as strings."""
        series = self._series
        tail: list[Row] = []
        previous, beyond = self._last, self._beyond
        for candle in self._chain:
            _, previous, row, _ = series.decoded(candle)
            tail.append(row.copy())
        for _ in range(self._missing):
            after = next_open(series.interval, beyond)
            previous = flat_text(beyond, after - 1, previous)
            tail += string_rows((previous,))
            beyond = after
        return tail[-self._limit :]

    def _decoded(self) -> list[Row]:
        """Return the closed rows, decoded."""
        memo = self._memo
        rows = memo.decode(self._text)
        if self._closed >= LEAST_REMEMBERED and (packed := memo.pack(rows)) is not None:
            self._series.remember(memo, packed, self._version)
        return rows[len(rows) - self._closed :]


class KlineText:
    """The text of the newest rows at one moment. Made under the series' lock; calling it needs none.

    ``closed`` is the text of the closed rows; the rest is as in :class:`KlineSnapshot`.
    """

    __slots__ = ("_beyond", "_chain", "_closed", "_last", "_limit", "_missing", "_series")

    def __init__(
        self,
        series: KlineSeries,
        limit: int,
        closed: bytes,
        chain: list[Candle],
        beyond: int,
        missing: int,
        last: bytes,
    ) -> None:
        self._series = series
        self._limit = limit
        self._closed = closed
        self._chain = chain
        self._beyond = beyond
        self._missing = missing
        self._last = last

    def json(self) -> bytes:
        """Return the rows as REST writes them, oldest first. Raises :class:`~ats_sync.venue.payload.DecodeError` where
        the open candle turns out to be unusable."""
        series = self._series
        tail: list[bytes] = []
        previous, beyond = self._last, self._beyond
        for candle in self._chain:
            previous = series.decoded(candle)[1]
            tail.append(previous)
        for _ in range(self._missing):
            after = next_open(series.interval, beyond)
            previous = flat_text(beyond, after - 1, previous)
            tail.append(previous)
            beyond = after
        rows = [self._closed, *tail[-self._limit :]] if self._closed else tail[-self._limit :]
        return b"[[" + b"],[".join(rows) + b"]]" if rows else b"[]"
