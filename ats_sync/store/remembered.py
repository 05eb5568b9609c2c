"""Closed candles as numbers, remembered for those who read the same series again.

They are kept as columns of eight bytes an item, which the garbage collector does not visit. Rows of strings are
decoded at each read: remembered they would be five times as large as their text.
"""

from __future__ import annotations

from array import array
from operator import itemgetter
from typing import Any, TypeAlias

from ..venue.klines import Row, packed_float_rows

CODES = "qdddddqdqddd"
"""The items of a row as ``array`` has them: open time, close time and number of trades are whole numbers."""
ALIKE = (0, 6, 11)
"""The items that are the same in many series: the times, and the one that means nothing."""
ITEM = 8
"""Bytes of an item of any column."""
MOST_ALIKE = 64
SPARE = 32
"""Rows remembered beyond the most that were ever read at once: the history of a young contract grows."""

Column: TypeAlias = "array[Any]"

Alike: TypeAlias = tuple[bytes, ...]
_alike: dict[tuple[int, bytes], tuple[Alike, tuple[list[Any], ...]]] = {}


def _shared(packed: Alike) -> tuple[Alike, tuple[list[Any], ...]]:
    """Return the columns :data:`ALIKE` as bytes and as numbers: the same objects for all series in which they are the
    same. Making the numbers again for each read would take longer than all the rest."""
    opened = packed[0]
    place = (len(opened), opened[:ITEM])
    known = _alike.get(place)
    if known is None or known[0] != packed:
        if len(_alike) >= MOST_ALIKE:
            _alike.clear()
        numbers = [array(CODES[each], column).tolist() for each, column in zip(ALIKE, packed, strict=True)]
        known = _alike[place] = packed, tuple(numbers)
    return known


class FloatColumns:
    """The newest rows of one series as twelve columns. Rows that are read once are not remembered: that takes as long
    as decoding them, and three quarters of the memory of their text.

    Not thread-safe, but for ``decode``, ``columns`` and ``rows``: the series that owns it holds its lock.
    """

    __slots__ = ("_columns", "_count", "_most", "_read")

    def __init__(self) -> None:
        self._columns: tuple[bytes, ...] | None = None
        self._count = 0
        self._most = 0  # rows that were ever read at once
        self._read = False

    def take(self, count: int) -> list[Column] | None:
        """Return the newest ``count`` rows as columns, the caller's own; None where they are not remembered."""
        if count > self._most:
            self._most = count
        if self._columns is None or self._count < count:
            return None
        newest = itemgetter(slice((self._count - count) * ITEM, None))
        return list(map(array, CODES, map(newest, self._columns)))

    @staticmethod
    def decode(text: bytes) -> list[Row]:
        """Return the rows of a text with ``],[`` between them, the caller's own."""
        return packed_float_rows(text)

    @staticmethod
    def columns(rows: list[Row]) -> list[Column]:
        """Return rows as columns."""
        return list(map(array, CODES, zip(*rows, strict=True))) if rows else [array(code) for code in CODES]

    def pack(self, rows: list[Row]) -> list[Column] | None:
        """Return rows that were not remembered as columns; None where they are not to be remembered."""
        if not self._read:
            self._read = True
            return None
        return self.columns(rows)

    def put(self, columns: list[Column]) -> None:
        """Remember these rows and no others."""
        self._read = True
        self._keep([column.tobytes() for column in columns])
        self._count = len(columns[0])

    def _keep(self, columns: list[bytes]) -> None:
        alike, _ = _shared(tuple([columns[place] for place in ALIKE]))
        for place, column in zip(ALIKE, alike, strict=True):
            columns[place] = column
        self._columns = tuple(columns)

    def closed(self, text: bytes) -> None:
        """Add the row of a candle that has closed; drop the oldest rows where they are more than anybody reads."""
        if self._columns is not None:
            added = self.columns(self.decode(text))
            surplus = max(0, self._count + 1 - self._most - SPARE)
            kept = slice(surplus * ITEM, None)
            self._keep([column[kept] + one.tobytes() for column, one in zip(self._columns, added, strict=True)])
            self._count += 1 - surplus

    def keep(self, depth: int) -> None:
        """Forget all but the newest ``depth`` rows."""
        surplus = self._count - depth
        if self._columns is not None and surplus > 0:
            self._keep([column[surplus * ITEM :] for column in self._columns])
            self._count = depth

    def forget(self) -> None:
        """Forget all rows."""
        self._columns, self._count = None, 0

    @property
    def size(self) -> int:
        """Bytes in use."""
        return sum(map(len, self._columns or ()))

    @staticmethod
    def rows(picked: list[Column]) -> list[Row]:
        """Return columns as rows, the caller's own."""
        t, o, h, low, c, v, end, q, n, tb, tq, zero = picked
        if not t:
            return []
        opened, closed, ignored = _shared((t.tobytes(), end.tobytes(), zero.tobytes()))[1]
        return list(map(list, zip(opened, o, h, low, c, v, closed, q, n, tb, tq, ignored, strict=True)))
