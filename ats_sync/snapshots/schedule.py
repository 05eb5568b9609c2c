"""When each series is due to be written: at most once a minute, spread over the minute. Pure: time is an argument."""

from __future__ import annotations

import zlib
from collections.abc import Iterable

from ..feeds import Key

EVERY = 60
"""Minimum time in seconds between two writes of one series."""


class WriteSchedule:
    """Assigns each series a second of the minute."""

    def __init__(self, now: float) -> None:
        self._until = int(now)

    def due(self, keys: Iterable[Key], now: float) -> list[Key]:
        """Return the series whose second has come since the last call (``now``: monotonic seconds)."""
        before, self._until = self._until, max(self._until, int(now))
        passed = self._until - before
        if passed >= EVERY:
            return list(keys)
        seconds = {second % EVERY for second in range(before + 1, self._until + 1)}
        return [key for key in keys if second_of(key) in seconds]


def second_of(key: Key) -> int:
    """Return the second of the minute in which a series is written, the same in every process."""
    return zlib.crc32(str(key).encode()) % EVERY
