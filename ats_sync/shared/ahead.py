"""What a process reads one after the other: one round trip brings what it will read next, too.

Whoever scans reads the same series of each symbol in turn, and the symbols in the same order. What has followed a read
once is brought along with it the next time, and answers as many reads of a moment later as there were; so are the next
symbols, as many as are read within that moment. What nobody then read is left out until it has followed again. So a
loop over one series makes a round trip each time, and a scan one for several symbols.
"""

from __future__ import annotations

import threading
from collections.abc import Collection

from ..feeds import Key

WINDOW = 0.1
"""Seconds within which a read follows another, and for which what was brought answers one."""
MOST = 16
"""The most reads of a symbol that what is brought answers, beside the one with which it begins."""
MOST_SYMBOLS = 8
"""The most symbols that one round trip brings."""
SPARE = 2.0
"""How many times as long as the symbol before each may take to be read in time."""

_Read = tuple[Key, int]
"""A read of a series, and how many of it the thread has made before, since it began to read the symbol."""


class _Symbol:
    """How a symbol is read."""

    __slots__ = ("begins", "following", "next", "rows")

    def __init__(self, begins: Key, rows: int) -> None:
        self.begins, self.rows = begins, rows
        """The series with which it began the last time, and how many rows of it."""
        self.following: dict[_Read, int] = {}
        """The reads that follow, and how many rows they are of."""
        self.next = ""
        """The symbol that was read after it."""

    def reads(self) -> dict[_Read, int]:
        """Return all reads of it, and how many rows they are of."""
        first = self.begins, 0
        return {**self.following, first: max(self.rows, self.following.get(first, 0))}


class _Here(threading.local):
    """Where a thread is."""

    symbol = ""
    read_at = float("-inf")
    begun_at = float("-inf")
    """When it began to read the symbol."""
    begins = False
    """Whether the newest read began to."""
    pace = float("inf")
    """How long (seconds) it was with the symbol before."""

    def __init__(self) -> None:
        self.counts: dict[Key, int] = {}
        """How often it has read what of the symbol."""
        self.brings: list[str] = []
        """The symbols of which it brings something."""


class ReadAhead:
    """What is read of each symbol, and of which one after it. Any thread may call any method; ``now`` is steady time
    (s)."""

    def __init__(self) -> None:
        self._here = _Here()
        self._lock = threading.Lock()  # guards everything below
        self._symbols: dict[str, _Symbol] = {}
        self._brought: dict[tuple[str, _Read], float] = {}  # until when each read of a symbol is answered

    def takes(self, key: Key, rows: int, now: float) -> bool:
        """Note a read of so many rows; return whether its series was brought a moment ago, for this read."""
        here = self._here
        before, recent = here.symbol, now - here.read_at < WINDOW
        symbol = key.symbol or before
        here.begins = not (symbol and symbol == before and recent)
        if here.begins:
            here.pace = now - here.begun_at if before and recent else float("inf")
            here.begun_at, here.counts = now, {}
        read = key, here.counts.get(key, 0)
        here.counts[key] = read[1] + 1
        here.symbol, here.read_at = symbol, now
        with self._lock:
            known = self._symbols.get(symbol)
            if known is None:
                known = self._symbols[symbol] = _Symbol(key, rows)  # which begins with this read
            if here.begins:
                known.begins, known.rows = key, rows
                if before and recent:
                    self._symbols[before].next = symbol
            elif read in known.following or len(known.following) < MOST:
                known.following[read] = max(rows, known.following.get(read, 0))
            until = self._brought.pop((symbol, read), 0.0)
            if here.begins and 0.0 < until <= now:
                self._drop(symbol)  # too late for all of it
            return until > now

    def along(self, key: Key) -> dict[Key, int]:
        """Return what to bring with a series that this thread has not found, and how many rows of each are read."""
        here = self._here
        here.brings = []
        if not here.begins or not here.symbol:
            return {}
        most = min(MOST_SYMBOLS, int(WINDOW / (SPARE * here.pace)) if here.pace > 0 else MOST_SYMBOLS)
        found: dict[Key, int] = {}
        with self._lock:
            symbol = here.symbol
            while True:
                here.brings.append(symbol)
                known = self._symbols[symbol]
                self._forget_unread(symbol, known)
                for (each, _), rows in known.reads().items():
                    if each != key:
                        found[each] = max(rows, found.get(each, 0))
                after = known.next
                if len(here.brings) >= most or not after or after in here.brings:
                    return found
                if (after, (self._symbols[after].begins, 0)) in self._brought:
                    known.next = ""  # it was brought, and nobody began to read it
                    self._drop(after)
                    return found
                symbol = after

    def brought(self, keys: Collection[Key], now: float) -> None:
        """Note what was brought for the read with which this thread has begun, its own series included."""
        here = self._here
        with self._lock:
            for symbol in here.brings:
                counts = here.counts if symbol == here.symbol else {}
                for read in self._symbols[symbol].reads():
                    if read[0] in keys and read[1] >= counts.get(read[0], 0):
                        self._brought[symbol, read] = now + WINDOW

    def _drop(self, symbol: str) -> None:
        """Let no read of a symbol be answered by what was brought. The caller holds the lock."""
        assert self._lock.locked()
        for read in self._symbols[symbol].reads():
            self._brought.pop((symbol, read), None)

    def _forget_unread(self, symbol: str, known: _Symbol) -> None:
        """Forget the reads of a symbol that what was brought was for, and that nobody has made. The caller holds the
        lock."""
        assert self._lock.locked()
        for read in [read for read in known.following if (symbol, read) in self._brought]:
            del known.following[read], self._brought[symbol, read]
