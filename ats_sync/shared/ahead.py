"""What a process reads one after the other: one round trip brings what it will read next, too.

Whoever scans reads the same series of each symbol in turn. What has followed a read once is brought along with it the
next time, and answers as many reads of a moment later as there were; what nobody then read is left out until it has
followed again. So a loop over one series makes a round trip each time, and a scan one for each symbol.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from ..feeds import Key

WINDOW = 0.1
"""Seconds within which a read follows another, and for which what was brought answers one."""
MOST = 16
"""The most reads that what is brought answers."""

_Read = tuple[Key, int]
"""A read of a series, and how many of it this thread has made before, since it began to read the symbol."""


class ReadAhead:
    """What is read of each symbol. Any thread may call any method; ``now`` is steady time (s)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below but _here
        self._following: dict[str, dict[_Read, int]] = {}
        self._brought: dict[_Read, float] = {}  # until when each is answered
        # Of each thread: the symbol it reads, when it last did, whether it began to, and how often it has read what.
        self._here = threading.local()

    def takes(self, key: Key, rows: int, now: float) -> bool:
        """Note a read of so many rows; return whether its series was brought a moment ago, for this read."""
        here = self._here
        symbol, at = getattr(here, "last", ("", float("-inf")))
        own = key.symbol or symbol
        follows = bool(own) and own == symbol and now - at < WINDOW
        if not follows:
            here.counts = {}
        before = here.counts.get(key, 0)
        here.counts[key] = before + 1
        read = key, before
        with self._lock:
            if follows:
                following = self._following.setdefault(own, {})
                if read in following or len(following) < MOST:
                    following[read] = max(rows, following.get(read, 0))
            found = self._brought.pop(read, now) > now
        here.last = own, now
        here.begins = not follows
        return found

    def along(self, key: Key) -> dict[Key, int]:
        """Return what to bring with a series that this thread has not found, and how many rows of each are read."""
        here = self._here
        if not here.begins:
            return {}
        symbol, _ = here.last
        with self._lock:
            following = self._following.get(symbol)
            if not following:
                return {}
            for read in [read for read in following if read in self._brought]:
                del following[read], self._brought[read]  # nobody has made it
            found: dict[Key, int] = {}
            for (each, _), rows in following.items():
                if each != key:
                    found[each] = max(rows, found.get(each, 0))
            return found

    def brought(self, keys: Collection[Key], now: float) -> None:
        """Note what was brought for the read that this thread has begun with, its own series included."""
        here = self._here
        if not here.begins:
            return
        symbol, _ = here.last
        with self._lock:
            for read in self._following.get(symbol, ()):
                key, before = read
                if key in keys and before >= here.counts.get(key, 0):
                    self._brought[read] = now + WINDOW
