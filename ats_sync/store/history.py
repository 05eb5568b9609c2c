"""The closed candles of one series, as small as they can be kept with nothing lost.

Each row's text as an object of its own would cost a third more, and hundreds of thousands of them.
"""

from __future__ import annotations

from collections.abc import Sequence

_BETWEEN = b"],["
_MOST_LOOSE = 64


class History:
    """Rows as text, oldest first: the older ones in one piece, the newest few by themselves.

    Not thread-safe: the series that owns it holds its lock.
    """

    __slots__ = ("_count", "_loose", "_packed", "_start")

    def __init__(self) -> None:
        self._packed = b""
        self._start = 0  # where the oldest row that counts begins in the piece
        self._count = 0  # rows in the piece from there on
        self._loose: list[bytes] = []

    def __len__(self) -> int:
        return self._count + len(self._loose)

    @property
    def size(self) -> int:
        """Bytes held."""
        return len(self._packed) + sum(map(len, self._loose))

    def replace(self, texts: Sequence[bytes]) -> None:
        """Hold these rows and no others."""
        self._packed, self._start, self._count = _BETWEEN.join(texts), 0, len(texts)
        self._loose = []

    def append(self, text: bytes) -> None:
        self._loose.append(text)
        if len(self._loose) > _MOST_LOOSE:
            self.replace(self.texts())

    def drop_oldest(self, count: int) -> None:
        """Forget the ``count`` oldest rows."""
        if count >= self._count:
            del self._loose[: count - self._count]
            self._packed, self._start, self._count = b"", 0, 0
            return
        for _ in range(count):
            self._start = self._packed.index(_BETWEEN, self._start) + len(_BETWEEN)
        self._count -= count
        if self._start > len(self._packed) // 8:
            self._packed, self._start = self._packed[self._start :], 0

    def first(self) -> bytes:
        """The oldest row (IndexError where there is none)."""
        if self._count:
            return self._packed[self._start :].split(_BETWEEN, 1)[0]
        return self._loose[0]

    def last(self) -> bytes:
        """The newest row (IndexError where there is none)."""
        if self._loose:
            return self._loose[-1]
        if not self._count:
            raise IndexError("there is no closed candle")
        return (
            self._packed[max(self._start, self._packed.rfind(_BETWEEN) + len(_BETWEEN)) :]
            if self._count > 1
            else (self._packed[self._start :])
        )

    def texts(self) -> list[bytes]:
        """All rows, oldest first."""
        packed = self._packed[self._start :].split(_BETWEEN) if self._count else []
        return packed + self._loose

    def newest(self, count: int) -> list[bytes]:
        """At most ``count`` of the newest rows, oldest first."""
        loose = len(self._loose)
        if count <= loose:
            return self._loose[loose - count :]
        if count >= len(self):
            return self.texts()
        return self._packed.rsplit(_BETWEEN, count - loose)[1:] + self._loose
