"""What full order books need besides their snapshots: a rest after too many holes, room for the price to move."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ..feeds import Key
from ..store.depth import DepthBook
from ..store.market import MarketStore
from .moment import Moment

LOOK_EVERY = 1.0
HOLES_MOST = 3
HOLES_WITHIN = 300.0
SUSPENDED_FOR = 300.0
"""How long a book whose stream leaves out too much is served by REST."""
WIDENED_EVERY = 30.0
"""A snapshot for the sake of more levels is asked for no more often than this (seconds) ..."""
WIDENED_IN_NEED = 8.0
"""... or than this, where the next step of the price may leave too few for those who ask."""
READ_WITHIN = 60.0
"""And only for a book that was read not longer ago than this."""


@dataclass(slots=True)
class _Record:
    """What happened to one book."""

    book: DepthBook
    holes: deque[float] = field(default_factory=lambda: deque(maxlen=HOLES_MOST + 1))
    counted: int = 0
    suspended_until: float = 0.0
    widened: float = -WIDENED_EVERY


class DepthCare:
    """Watches the books of a store; whoever owns it asks for the snapshots."""

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self._records: dict[str, _Record] = {}
        self._due = 0.0

    def due(self) -> float | None:
        """When (steady) :meth:`look` has something to do next."""
        return self._due if self._store.depths else None

    def holed(self, symbol: str, at: Moment) -> bool:
        """Something may be missing in a book; whether it is suspended (now, or was before)."""
        book = self._store.depths.get(symbol)
        if book is None:
            return False
        record = self._record(symbol, book)
        new = book.holes - record.counted
        record.counted = book.holes
        record.holes.extend([at.steady] * new)
        while record.holes and record.holes[0] <= at.steady - HOLES_WITHIN:
            record.holes.popleft()
        if len(record.holes) > HOLES_MOST and not book.suspended:
            record.suspended_until = at.steady + SUSPENDED_FOR
            book.suspend(
                f"suspended: its stream left something out {len(record.holes)} times within "
                f"{HOLES_WITHIN / 60:.0f} minutes; REST answers"
            )
        return bool(book.suspended)

    def look(self, at: Moment) -> list[Key]:
        """The books that need a snapshot now: those whose rest is over, and those with too few levels left."""
        if at.steady < self._due:
            return []
        self._due = at.steady + LOOK_EVERY
        books = self._store.depths
        for gone in self._records.keys() - books.keys():
            del self._records[gone]
        needing: list[Key] = []
        for symbol, book in books.items():
            record = self._record(symbol, book)
            if book.suspended:
                if at.steady >= record.suspended_until:
                    record.holes.clear()
                    book.resume()
                    needing.append(book.key)
            elif (
                book.last_read is not None
                and at.steady - book.last_read <= READ_WITHIN
                and at.steady - record.widened >= _patience(book)
                and book.live()
                and not ample(book)
            ):
                record.widened = at.steady
                needing.append(book.key)
        return needing

    def _record(self, symbol: str, book: DepthBook) -> _Record:
        record = self._records.get(symbol)
        if record is None or record.book is not book:
            record = self._records[symbol] = _Record(book)
        return record


def _patience(book: DepthBook) -> float:
    in_need = not enough(book) and book.snapshot_limit() >= 2 * book.wanted
    return WIDENED_IN_NEED if in_need else WIDENED_EVERY


def enough(book: DepthBook) -> bool:
    """Whether a book has the levels that are asked of it, and some to lose where its snapshot can have more."""
    return book.covers(min(book.snapshot_limit(), book.wanted + book.wanted // 2))


def ample(book: DepthBook) -> bool:
    """Whether a book has at least half of what a new snapshot would have, where that is more than enough."""
    return enough(book) and book.covers(max(book.wanted, book.snapshot_limit() // 2))
