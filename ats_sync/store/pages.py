"""Many small texts, as small as they can be kept in memory.

Each as an object of its own would cost a quarter more, and every full garbage collection would visit all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PAGE = 64
"""Texts joined into one."""
_BETWEEN = b"\0"  # no JSON holds it
_NOTHING = b"null"


class Pages:
    """JSON texts, oldest first: the older ones in pages, the newest few by themselves. One that holds a zero byte is no
    JSON and becomes ``null``. What is ``needless`` is left out of the pages; it must be such that JSON stays JSON.

    Not thread-safe: the series that owns it holds its lock.
    """

    __slots__ = ("_loose", "_needless", "_pages", "_skipped")

    def __init__(self, texts: Iterable[bytes] = (), needless: Sequence[bytes] = ()) -> None:
        self._needless = needless
        self._pages: list[bytes] = []
        self._skipped = 0  # the oldest texts of the first page, which count no more
        self._loose: list[bytes] = []
        for text in texts:
            self.append(text)

    def __len__(self) -> int:
        return len(self._pages) * PAGE - self._skipped + len(self._loose)

    def append(self, text: bytes) -> None:
        loose = self._loose
        loose.append(text if _BETWEEN not in text else _NOTHING)
        if len(loose) == PAGE:
            page = _BETWEEN.join(loose)
            for each in self._needless:
                page = page.replace(each, b"")
            self._pages.append(page)
            loose.clear()

    def drop_oldest(self, count: int) -> None:
        """Forget the ``count`` oldest."""
        pages, self._skipped = divmod(self._skipped + count, PAGE)
        if pages >= len(self._pages):
            del self._loose[: (pages - len(self._pages)) * PAGE + self._skipped]
            pages, self._skipped = len(self._pages), 0
        del self._pages[:pages]

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
