"""Which series are due to be written: each once a minute at most, spread over the minute. Pure: time is an argument."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from ..feeds import Key

EVERY = 60
"""Seconds between two writes of one series, at least."""


class WriteSchedule:
    """Each series has its second of the minute."""

    def __init__(self, now: float) -> None:
        self._until = int(now)

    def due(self, keys: Iterable[Key], now: float) -> list[Key]:
        """Return those whose second has come since the last call (``now`` in seconds, steady)."""
        before, self._until = self._until, max(self._until, int(now))
        passed = self._until - before
        if passed >= EVERY:
            return list(keys)
        seconds = {second % EVERY for second in range(before + 1, self._until + 1)}
        return [key for key in keys if second_of(key) in seconds]


def second_of(key: Key) -> int:
    """Return the second of the minute in which a series is written, the same in every process."""
    return zlib.crc32(str(key).encode()) % EVERY
