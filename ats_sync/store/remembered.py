"""Decoded closed candles, remembered for those who read the same series again.

Floats are kept as columns of eight bytes an item, which no garbage collection looks at. Strings have no such form:
whole rows are kept, which are five times as large as their text, and so only as many as a budget for all series
allows.
"""

from __future__ import annotations

import threading
from array import array
from operator import itemgetter
from typing import Any, Protocol, TypeAlias, TypeVar

from ..venue.klines import Row, packed_float_rows, packed_string_rows

CODES = "qdddddqdqddd"
"""The items of a row as ``array`` has them: open time, close time and number of trades are whole numbers."""
ALIKE = (0, 6, 11)
"""The items that many series have alike: the times, and the one to be ignored."""
ITEM = 8
"""Bytes of an item of any column."""
ROW_BYTES = 800
"""About what a row of strings takes, its place in the list included."""
READ_MORE_OFTEN = 3
"""Rows make room for others that were missed so many times since they were read themselves."""

MOST_ALIKE = 64

ExactRow = Any
"""A list as it was built, a tuple where it is remembered."""
Column: TypeAlias = "array[Any]"


T = TypeVar("T")


class Memo(Protocol[T]):
    """Decoded closed rows of one series. Used under its lock, but for ``decode``, ``pack`` and ``rows``."""

    def take(self, count: int) -> T | None:
        """Return the newest ``count`` rows, the caller's own; None where they are not remembered."""

    def decode(self, text: bytes) -> list[Row]:
        """Return the rows of a text with ``],[`` between them, the caller's own."""

    def pack(self, rows: list[Row]) -> T | None:
        """Return rows that were not remembered in the form in which they are, None where they are not to be."""

    def put(self, packed: T) -> None:
        """Remember these and no others."""

    def rows(self, picked: T) -> list[Row]:
        """Return what was remembered as rows of the caller's own."""


Alike: TypeAlias = tuple[bytes, ...]
_alike: dict[tuple[int, bytes], tuple[Alike, tuple[list[Any], ...]]] = {}


def _shared(packed: Alike) -> tuple[Alike, tuple[list[Any], ...]]:
    """Return the columns :data:`ALIKE` as bytes and as numbers, which many series have alike, as the same objects for
    all of them. To make the numbers again for each read takes longer than all the rest."""
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
    """The newest rows as twelve columns. Those that are read once are not remembered: that takes as long as decoding
    them, and three quarters of the room of their text."""

    __slots__ = ("_columns", "_count", "_read")

    def __init__(self) -> None:
        self._columns: tuple[bytes, ...] | None = None
        self._count = 0
        self._read = False

    def take(self, count: int) -> list[Column] | None:
        if self._columns is None or self._count < count:
            return None
        newest = itemgetter(slice((self._count - count) * ITEM, None))
        return list(map(array, CODES, map(newest, self._columns)))

    @staticmethod
    def decode(text: bytes) -> list[Row]:
        return packed_float_rows(text)

    @staticmethod
    def columns(rows: list[Row]) -> list[Column]:
        """Return rows as columns."""
        return list(map(array, CODES, zip(*rows, strict=True))) if rows else [array(code) for code in CODES]

    def pack(self, rows: list[Row]) -> list[Column] | None:
        if not self._read:
            self._read = True
            return None
        return self.columns(rows)

    def put(self, packed: list[Column]) -> None:
        self._read = True
        self._keep([column.tobytes() for column in packed])
        self._count = len(packed[0])

    def _keep(self, columns: list[bytes]) -> None:
        alike, _ = _shared(tuple([columns[place] for place in ALIKE]))
        for place, column in zip(ALIKE, alike, strict=True):
            columns[place] = column
        self._columns = tuple(columns)

    def closed(self, text: bytes) -> None:
        """One more candle has closed."""
        if self._columns is not None:
            added = self.columns(self.decode(text))
            self._keep([column + one.tobytes() for column, one in zip(self._columns, added, strict=True)])
            self._count += 1

    def keep(self, depth: int) -> None:
        """Forget all but the newest ``depth`` rows."""
        surplus = self._count - depth
        if self._columns is not None and surplus > 0:
            self._keep([column[surplus * ITEM :] for column in self._columns])
            self._count = depth

    def forget(self) -> None:
        self._columns, self._count = None, 0

    def release(self) -> None:
        """Forget them as if they had never been read."""
        self.forget()
        self._read = False

    @property
    def size(self) -> int:
        """Bytes in use."""
        return sum(map(len, self._columns or ()))

    @staticmethod
    def rows(picked: list[Column]) -> list[Row]:
        t, o, h, low, c, v, end, q, n, tb, tq, zero = picked
        if not t:
            return []
        opened, closed, ignored = _shared((t.tobytes(), end.tobytes(), zero.tobytes()))[1]
        return list(map(list, zip(opened, o, h, low, c, v, closed, q, n, tb, tq, ignored, strict=True)))


class ExactRows:
    """The newest rows as REST writes them, where the budget has room."""

    __slots__ = ("_budget", "_rows", "missed", "used")

    def __init__(self, budget: RowBudget) -> None:
        self._budget = budget
        self._rows: list[ExactRow] | None = None
        self.used = 0
        """The turn of the budget at which they were last read."""
        self.missed: tuple[int, ...] = ()
        """The last turns at which they were not there."""

    def take(self, count: int) -> list[ExactRow] | None:
        rows = self._rows
        if rows is None or len(rows) < count:
            return None
        self.used = self._budget.turn
        return rows[len(rows) - count :]

    @staticmethod
    def decode(text: bytes) -> list[Row]:
        return packed_string_rows(text)

    @staticmethod
    def pack(rows: list[Row]) -> list[ExactRow] | None:
        return rows

    def put(self, packed: list[ExactRow]) -> None:
        if self._budget.admit(self, len(packed)):
            # Tuples: the rows that were decoded belong to the reader.
            self._rows = list(map(tuple, packed))

    def closed(self, text: bytes) -> None:
        """One more candle has closed."""
        rows = self._rows
        if rows is not None:
            rows.extend(map(tuple, self.decode(text)))
            # What is remembered stays as large as it was admitted.
            del rows[0]

    def keep(self, depth: int) -> None:
        """Forget all but the newest ``depth`` rows."""
        rows = self._rows
        if rows is not None:
            del rows[: max(0, len(rows) - depth)]

    def release(self) -> None:
        """Forget them, and let others have the room."""
        self._budget.release(self)

    def forget(self) -> None:
        """Forget them; also called by the budget, when others need the room."""
        self._rows = None

    @property
    def size(self) -> int:
        """Bytes in use, about."""
        return ROW_BYTES * len(self._rows or ())

    @staticmethod
    def rows(picked: list[ExactRow]) -> list[Row]:
        return list(map(list, picked))


class RowBudget:
    """How many rows of strings may be remembered for all series together.

    Those that came first stay as long as others are not read more often: a scan goes round more series than fit, and if
    the newest took the place of the oldest, none would ever be found again.
    """

    def __init__(self, most_bytes: int) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._room = most_bytes // ROW_BYTES
        self._admitted: dict[ExactRows, int] = {}
        self.turn = 0

    def admit(self, rows: ExactRows, count: int) -> bool:
        """Return whether ``rows`` may hold ``count`` rows from now on."""
        with self._lock:
            self.turn += 1
            rows.used = self.turn
            rows.missed = (*rows.missed, self.turn)[-READ_MORE_OFTEN:]
            since = rows.missed[0] if len(rows.missed) == READ_MORE_OFTEN else 0
            own = self._admitted.pop(rows, 0)
            self._room += own
            while self._room < count and self._admitted:
                oldest = next(iter(self._admitted))
                size = self._admitted.pop(oldest)
                if oldest.used >= since:
                    # To the end of the line, so that the next look falls on another.
                    self._admitted[oldest] = size
                    break
                oldest.forget()
                self._room += size
            if self._room < count:
                rows.forget()
                return False
            self._room -= count
            self._admitted[rows] = count
            return True

    def release(self, rows: ExactRows) -> None:
        """Let others have the room of ``rows``."""
        with self._lock:
            self._room += self._admitted.pop(rows, 0)
            rows.forget()
