"""Rows kept as JSON text, packed back to back, so that reading is a slice.

Text takes a fifth of the memory of decoded rows and costs the garbage collector nothing. If each row were an object of
its own, they would take a quarter more, and every full garbage collection would visit all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PAGE = 64
"""Rows in one page; appending a row leaves the other pages alone."""
BETWEEN_OBJECTS = b"\0"
"""Separates JSON objects in memory: no JSON contains it."""


class PackedRows:
    """The texts of rows, oldest first; no text is empty or contains ``between``.

    Full pages are one piece each. The rows after them are another piece, the tail; what is appended waits beside it
    until the tail is read or becomes a page.

    ``between`` separates two rows in memory, ``shown`` in their JSON array: the same unless it is given. ``shorter``
    are pairs of a piece of text and its replacement, which must leave a row JSON: they are applied before rows are
    packed.

    Not thread-safe: the series that owns it holds its lock.
    """

    __slots__ = ("_between", "_loose", "_pages", "_shorter", "_shown", "_tail", "_tail_rows", "skipped")

    def __init__(
        self,
        between: bytes,
        texts: Iterable[bytes] = (),
        *,
        shown: bytes | None = None,
        shorter: Sequence[tuple[bytes, bytes]] = (),
    ) -> None:
        self._between = between
        self._shown = between if shown is None else shown
        self._shorter = shorter
        self._pages: list[bytes] = []
        self.skipped = 0
        """How many rows of the first page are dropped, but not cut off yet."""
        self._tail, self._tail_rows = b"", 0
        self._loose: list[bytes] = []
        self.replace(texts)

    def __len__(self) -> int:
        return len(self._pages) * PAGE - self.skipped + self._tail_rows + len(self._loose)

    @property
    def size(self) -> int:
        """Bytes of text in memory."""
        return sum(map(len, self._pages)) + len(self._tail) + sum(map(len, self._loose))

    def pages(self) -> list[bytes]:
        """Return the full pages. Each stays the same object; the list must not be changed."""
        return self._pages

    def tail(self) -> bytes:
        """Return the rows after the full pages as one piece, the same object until another row is appended."""
        if loose := self._loose:
            added = self._shortened(self._between.join(loose))
            self._tail = self._tail + self._between + added if self._tail else added
            self._tail_rows += len(loose)
            loose.clear()
        return self._tail

    def restore(self, pages: Iterable[bytes], skipped: int, tail: bytes) -> None:
        """Take over what :meth:`pages`, ``skipped`` and :meth:`tail` were elsewhere."""
        self._pages, self.skipped = list(pages), skipped
        self._tail, self._tail_rows = tail, tail.count(self._between) + 1 if tail else 0
        self._loose.clear()

    def replace(self, texts: Iterable[bytes]) -> None:
        """Keep these rows and no others."""
        texts = list(texts)
        full = len(texts) - len(texts) % PAGE
        self._pages = [self._packed(texts[start : start + PAGE]) for start in range(0, full, PAGE)]
        self.skipped = 0
        self._tail, self._tail_rows = self._packed(texts[full:]), len(texts) - full
        self._loose.clear()

    def append(self, text: bytes) -> None:
        """Add the row that follows the newest one."""
        loose = self._loose
        loose.append(text)
        if len(loose) + self._tail_rows == PAGE:
            self._pages.append(self.tail())
            self._tail, self._tail_rows = b"", 0

    def drop_oldest(self, count: int) -> None:
        """Drop the ``count`` oldest rows."""
        pages, self.skipped = divmod(self.skipped + count, PAGE)
        if pages >= len(self._pages):
            gone = (pages - len(self._pages)) * PAGE + self.skipped
            left = tail.split(self._between)[gone:] if (tail := self.tail()) else []
            self._tail, self._tail_rows = self._between.join(left), len(left)
            pages, self.skipped = len(self._pages), 0
        del self._pages[:pages]

    def _packed(self, texts: Iterable[bytes]) -> bytes:
        return self._shortened(self._between.join(texts))

    def _shortened(self, text: bytes) -> bytes:
        for piece, replacement in self._shorter:
            text = text.replace(piece, replacement)
        return text

    # --- reading ---------------------------------------------------------------------------------

    def first(self) -> bytes:
        """Return the oldest row. Raises IndexError where there is none."""
        return self.row(0)

    def last(self) -> bytes:
        """Return the newest row, which may not be shortened yet. Raises IndexError where there is none."""
        return self._loose[-1] if self._loose else (self._tail or self._pages[-1]).rpartition(self._between)[2]

    def row(self, index: int) -> bytes:
        """Return the row at ``index``, counted from the oldest. Raises IndexError where there is none."""
        page, place = divmod(self.skipped + index, PAGE)
        if page > len(self._pages) or (page == len(self._pages) and place >= self._tail_rows + len(self._loose)):
            raise IndexError(f"there is no row {index}")
        piece = self._pages[page] if page < len(self._pages) else self.tail()
        return piece.split(self._between, place + 1)[place]

    def slice(self, count: int) -> bytes:
        """Return the newest ``count`` rows (or as many as there are) as they stand in their JSON array."""
        piece = self._newest(count)
        return piece if self._shown is self._between else piece.replace(self._between, self._shown)

    def newest(self, count: int) -> list[bytes]:
        """Return the newest ``count`` rows (or as many as there are), each as its text, oldest first."""
        piece = self._newest(count)
        return piece.split(self._between) if piece else []

    def texts(self) -> list[bytes]:
        """Return all rows, each as its text, oldest first."""
        return self.newest(len(self))

    def _newest(self, count: int) -> bytes:
        """Return the newest ``count`` rows (or as many as there are) as one piece."""
        if count <= 0:
            return b""
        tail, between = self.tail(), self._between
        packed = min(count, len(self)) - self._tail_rows
        if packed < 0:
            return between.join(tail.rsplit(between, count)[1:])
        if not packed:
            return tail
        pages = -(-packed // PAGE)
        pieces = self._pages[len(self._pages) - pages :]
        if surplus := pages * PAGE - packed:
            pieces[0] = pieces[0].split(between, surplus)[-1]
        if tail:
            pieces.append(tail)
        return between.join(pieces)


def packed_objects(texts: Iterable[bytes] = (), shorter: Sequence[tuple[bytes, bytes]] = ()) -> PackedRows:
    """Return rows that are JSON objects."""
    return PackedRows(BETWEEN_OBJECTS, texts, shown=b",", shorter=shorter)
