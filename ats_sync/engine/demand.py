"""What is followed because it was read, and for how long."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from ..feeds import Key

LEAST_KEPT = 1800.0
"""Nothing is dropped sooner (seconds) after its last read."""
KEPT_PERIODS = 3.0
"""Otherwise a series is kept for so many times the usual distance of its reads."""
SAME_SCAN = 1.0
"""Reads closer together than this (seconds) belong to one scan."""
REMEMBERED = 86_400.0
"""When a dropped series had last been read counts for so long (seconds): hourly scanners are recognised by it."""
SWEEP_EVERY = 60.0


class _Reads(NamedTuple):
    last: float
    distance: float


class Demand:
    """Remembers when each series was read, and names those that nobody has read for a while."""

    def __init__(self) -> None:
        self._swept = 0.0  # only looked at by the engine, under its own lock
        self._lock = threading.Lock()  # guards everything below: readers mark what they read
        self._reads: dict[Key, _Reads] = {}
        self._dropped: dict[Key, float] = {}
        """When those that were dropped had last been read."""

    def touch(self, key: Key, now: float) -> bool:
        """Note a read at ``now`` (steady); return whether it is the first one of the series."""
        with self._lock:
            before = self._reads.get(key)
            if before is None:
                last = self._dropped.pop(key, now)
                self._reads[key] = _Reads(now, now - last)
                return True
            distance = now - before.last
            if distance >= SAME_SCAN:
                usual = distance if not before.distance else 0.7 * before.distance + 0.3 * distance
                self._reads[key] = _Reads(now, usual)
            return False

    def due(self) -> float:
        return self._swept + SWEEP_EVERY

    def expired(self, now: float) -> list[Key]:
        """Return the series that nobody has read for a while; they count as dropped from now on."""
        if now < self.due():
            return []
        self._swept = now
        with self._lock:
            gone = [
                key
                for key, reads in self._reads.items()
                if now - reads.last > max(LEAST_KEPT, KEPT_PERIODS * reads.distance)
            ]
            for key in gone:
                self._dropped[key] = self._reads.pop(key).last
            for key in [key for key, last in self._dropped.items() if now - last > REMEMBERED]:
                del self._dropped[key]
        return gone

    def forget(self, keys: Iterable[Key]) -> None:
        """These series are kept for another reason."""
        with self._lock:
            for key in keys:
                self._reads.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        """Return whether the series is followed because it was read."""
        with self._lock:
            return key in self._reads
