"""When and by what the newest closed candles of a series became final."""

from __future__ import annotations

from array import array
from bisect import bisect_left
from enum import Enum
from typing import NamedTuple


class Source(str, Enum):
    """By what a candle became final."""

    STREAM = "stream"
    """The exchange's own final event."""
    REST = "rest"
    """An answer that was requested at least 5 s after the close."""
    FLAT = "flat"
    """No event: the first trade of a later candle follows the last one of an earlier candle, so there was none."""


SOURCES = tuple(Source)


class Closing(NamedTuple):
    """How one candle became final."""

    at: int
    """Exchange time (ms) at which that was known here."""
    source: Source


class Closings:
    """At most ``most`` of them, the newest. Not thread-safe: the series that owns it holds its lock.

    Two numbers a candle, which the garbage collector does not see.
    """

    __slots__ = ("_noted", "_opened")

    def __init__(self) -> None:
        self._opened = array("q")
        self._noted = array("q")

    def __len__(self) -> int:
        return len(self._opened)

    def note(self, opened: int, closing: Closing, most: int) -> None:
        """Note how the candle that opened at ``opened`` became final; one that is not newer than the last changes
        nothing."""
        if self._opened and opened <= self._opened[-1]:
            return
        self._opened.append(opened)
        self._noted.append(closing.at * len(SOURCES) + SOURCES.index(closing.source))
        if len(self._opened) > most + most // 4 + 1:
            del self._opened[:-most], self._noted[:-most]

    def text(self, most: int) -> bytes:
        """Return the newest of them, as :meth:`of` reads them."""
        return self._opened[-most:].tobytes() + self._noted[-most:].tobytes()

    @classmethod
    def of(cls, text: bytes) -> Closings:
        """Return what :meth:`text` wrote."""
        closings, half = cls(), len(text) // 2
        closings._opened.frombytes(text[:half])
        closings._noted.frombytes(text[half:])
        return closings

    def first(self) -> int:
        """Return the open time (ms) of the first one noted, 0 where there is none."""
        return self._opened[0] if self._opened else 0

    def get(self, opened: int) -> Closing | None:
        """Return how a candle became final, None where that was before the series was followed."""
        place = bisect_left(self._opened, opened)
        if place == len(self._opened) or self._opened[place] != opened:
            return None
        at, source = divmod(self._noted[place], len(SOURCES))
        return Closing(at, SOURCES[source])
