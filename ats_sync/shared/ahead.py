"""What a process reads one after the other: one round trip brings what it will read next, too.

Whoever scans reads the same series of each symbol in turn. What has followed a read once is brought along with it the
next time, and answers one read of a moment later; what nobody then read is left out until it has followed again. So
a loop over one series makes a round trip each time, and a scan one for each symbol.
"""

from __future__ import annotations

import threading

from ..feeds import Key

WINDOW = 0.1
"""Seconds within which a read follows another, and for which what was brought answers one."""
MOST = 16
"""The most series that are brought along."""


class ReadAhead:
    """What is read of each symbol. Any thread may call any method; ``now`` is steady time (s)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below but _here
        self._following: dict[str, dict[Key, int]] = {}
        self._brought: dict[Key, float] = {}  # until when each answers a read
        self._here = threading.local()  # of each thread: the symbol it reads, when it last did, whether it began to

    def takes(self, key: Key, rows: int, now: float) -> bool:
        """Note a read of so many rows; return whether its series was brought a moment ago, for this one read."""
        here = self._here
        symbol, at = getattr(here, "last", ("", float("-inf")))
        own = key.symbol or symbol
        follows = bool(own) and own == symbol and now - at < WINDOW
        with self._lock:
            if follows:
                following = self._following.setdefault(own, {})
                if key in following or len(following) < MOST:
                    following[key] = max(rows, following.get(key, 0))
            found = self._brought.pop(key, now) > now
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
            for each in [each for each in following if each in self._brought]:
                del following[each], self._brought[each]  # nobody has read it
            return {each: rows for each, rows in following.items() if each != key}

    def brought(self, keys: list[Key], now: float) -> None:
        """Note what was brought along."""
        with self._lock:
            self._brought.update(dict.fromkeys(keys, now + WINDOW))
