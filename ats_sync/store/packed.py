"""Rows kept as JSON text, packed back to back: those of REST so that a slice can be read, those of streams as small as
possible.

Text is a fifth of the size of decoded rows, and costs the garbage collector nothing. Each text as an object of its own
would cost a quarter more, and every full garbage collection would visit all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PAGE = 64
"""Rows joined into one page; appending to a page does not touch the others."""


class _Paged:
    """Texts, oldest first: full pages, and the newest by themselves until they fill a page."""

    __slots__ = ("_loose", "_pages", "skipped")

    def __init__(self) -> None:
        self._pages: list[bytes] = []
        self.skipped = 0
        """How many of the first page's texts are dropped, though not yet cut off."""
        self._loose: list[bytes] = []

    def __len__(self) -> int:
        return len(self._pages) * PAGE - self.skipped + len(self._loose)

    def pages(self) -> list[bytes]:
        """Return the full pages: each stays the same object."""
        return self._pages.copy()

    def restore(self, pages: Iterable[bytes], skipped: int, loose: Iterable[bytes]) -> None:
        """Have these pages, without the first ``skipped`` texts, and after them these texts."""
        self._pages, self.skipped, self._loose = list(pages), skipped, list(loose)

    def drop_oldest(self, count: int) -> None:
        """Forget the ``count`` oldest."""
        pages, self.skipped = divmod(self.skipped + count, PAGE)
        if pages >= len(self._pages):
            del self._loose[: (pages - len(self._pages)) * PAGE + self.skipped]
            pages, self.skipped = len(self._pages), 0
        del self._pages[:pages]


class PackedRows(_Paged):
    """Row texts without their outer brackets, oldest first.

    ``between`` is what stands between two rows in their JSON array, such as ``],[``. No text may contain it.
    Full pages are one piece each; the newest rows wait one by one until they fill a page.

    Not thread-safe: the series that owns it holds its lock.
    """

    __slots__ = ("_between",)

    def __init__(self, between: bytes, texts: Iterable[bytes] = ()) -> None:
        super().__init__()
        self._between = between
        self.replace(texts)

    @property
    def size(self) -> int:
        """Bytes of text in memory."""
        return sum(map(len, self._pages)) + sum(map(len, self._loose))

    def replace(self, texts: Iterable[bytes]) -> None:
        """Keep these rows and no others."""
        texts = list(texts)
        full = len(texts) - len(texts) % PAGE
        self._pages = [self._between.join(texts[start : start + PAGE]) for start in range(0, full, PAGE)]
        self.skipped = 0
        self._loose = texts[full:]

    def loose(self) -> bytes:
        """Return the rows after the full pages as one piece."""
        return self._between.join(self._loose)

    def restore_joined(self, pages: Iterable[bytes], skipped: int, loose: bytes) -> None:
        """As :meth:`restore`, of what :meth:`pages` and :meth:`loose` return."""
        self.restore(pages, skipped, loose.split(self._between) if loose else ())

    def append(self, text: bytes) -> None:
        """Add the row that follows the newest one."""
        loose = self._loose
        loose.append(text)
        if len(loose) == PAGE:
            self._pages.append(self._between.join(loose))
            loose.clear()

    def first(self) -> bytes:
        """Return the oldest row. Raises IndexError where there is none."""
        if self._pages:
            return self._pages[0].split(self._between, self.skipped + 1)[self.skipped]
        return self._loose[0]

    def last(self) -> bytes:
        """Return the newest row. Raises IndexError where there is none."""
        if self._loose:
            return self._loose[-1]
        return self._pages[-1].rsplit(self._between, 1)[-1]

    def row(self, index: int) -> bytes:
        """Return the row at ``index``, counted from the oldest. Raises IndexError where there is none."""
        page, place = divmod(self.skipped + index, PAGE)
        if page < len(self._pages):
            return self._pages[page].split(self._between, place + 1)[place]
        return self._loose[self.skipped + index - len(self._pages) * PAGE]

    def slice(self, count: int) -> bytes:
        """Return the newest ``count`` rows (or as many as there are) as one piece, with ``between`` between them."""
        loose = self._loose
        if count <= len(loose):
            return self._between.join(loose[len(loose) - count :])
        packed = min(count, len(self)) - len(loose)
        pages = -(-packed // PAGE)
        pieces = self._pages[len(self._pages) - pages :]
        if surplus := pages * PAGE - packed:
            pieces[0] = pieces[0].split(self._between, surplus)[-1]
        return self._between.join(pieces + loose)

    def newest(self, count: int) -> list[bytes]:
        """Return the newest ``count`` rows (or as many as there are), each as its text, oldest first."""
        count = min(count, len(self))
        return self.slice(count).split(self._between) if count else []

    def texts(self) -> list[bytes]:
        """Return all rows, each as its text, oldest first."""
        return self.newest(len(self))


_BETWEEN = b"\0"  # no JSON holds it
_NOTHING = b"null"


class Pages(_Paged):
    """JSON texts, oldest first: the older ones in pages, the newest few by themselves. One that holds a zero byte is no
    JSON and becomes ``null``. ``shorter`` are pieces and what pages have instead; JSON must stay JSON by that.

    Not thread-safe: the series that owns it holds its lock.
    """

    __slots__ = ("_joined", "_shorter")

    def __init__(self, texts: Iterable[bytes] = (), shorter: Sequence[tuple[bytes, bytes]] = ()) -> None:
        super().__init__()
        self._shorter = shorter
        self._joined: tuple[int, bytes, bytes] = 0, b"", b""  # of so many, the first of which is this: their piece
        for text in texts:
            self.append(text)

    def append(self, text: bytes) -> None:
        loose = self._loose
        loose.append(text if _BETWEEN not in text else _NOTHING)
        if len(loose) == PAGE:
            self._pages.append(self._shortened(_BETWEEN.join(loose)))
            loose.clear()

    def _shortened(self, text: bytes) -> bytes:
        for piece, instead in self._shorter:
            text = text.replace(piece, instead)
        return text

    def json(self, count: int) -> bytes:
        """Return the newest ``count`` (or as many as there are) as they stand in a JSON array, all shortened."""
        loose = self._loose
        if count <= len(loose):
            return self._shortened(b",".join(loose[len(loose) - count :]))
        packed = min(count, len(self)) - len(loose)
        pages = -(-packed // PAGE)
        pieces = self._pages[len(self._pages) - pages :]
        if surplus := pages * PAGE - packed:
            pieces[0] = pieces[0].split(_BETWEEN, surplus)[-1]
        if loose:
            pieces.append(self._shortened(b",".join(loose)))
        return _BETWEEN.join(pieces).replace(_BETWEEN, b",")

    def joined(self) -> tuple[list[bytes], int, bytes]:
        """Return the full pages (each stays the same object; the list is not to be changed), how many texts of the
        first one do not count, and the texts after them as one piece."""
        loose = self._loose
        count, first, piece = self._joined
        # As long as the first is the same, others have only been added.
        if not count or count > len(loose) or loose[0] is not first or first is _NOTHING:
            piece = _BETWEEN.join(loose)
        elif count < len(loose):
            piece = _BETWEEN.join((piece, *loose[count:]))
        self._joined = (len(loose), loose[0], piece) if loose else (0, b"", b"")
        return self._pages, self.skipped, piece

    def restore_joined(self, pages: Iterable[bytes], skipped: int, loose: bytes) -> None:
        """As :meth:`restore`, of what :meth:`joined` returned."""
        self.restore(pages, skipped, loose.split(_BETWEEN) if loose else ())

    def newest(self, count: int) -> list[bytes]:
        """Return at most ``count`` of the newest, oldest first."""
        loose = self._loose
        if count <= len(loose):
            return loose[len(loose) - count :]
        packed = min(count, len(self)) - len(loose)
        if not packed:
            return loose.copy()
        pages = -(-packed // PAGE)
        texts = _BETWEEN.join(self._pages[len(self._pages) - pages :]).split(_BETWEEN)
        return texts[len(texts) - packed :] + loose

    def all(self) -> list[bytes]:
        """Return all of them, oldest first."""
        return self.newest(len(self))
