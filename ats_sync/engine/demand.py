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
"""When a dropped series had last been read counts for so long (seconds): who scans every hour is recognised."""
SWEEP_EVERY = 60.0


class _Asked(NamedTuple):
    last: float
    distance: float


class Demand:
    """Remembers when each series was read, and names those that nobody asked for in a while."""

    def __init__(self) -> None:
        self._swept = 0.0  # only looked at by the engine, under its own lock
        self._lock = threading.Lock()  # guards everything below: readers mark what they read
        self._asked: dict[Key, _Asked] = {}
        self._dropped: dict[Key, float] = {}
        """When those that were dropped had last been read."""

    def asked(self, key: Key, now: float) -> bool:
        """The series is read at ``now`` (steady); whether that is the first time."""
        with self._lock:
            before = self._asked.get(key)
            if before is None:
                last = self._dropped.pop(key, now)
                self._asked[key] = _Asked(now, now - last)
                return True
            distance = now - before.last
            if distance >= SAME_SCAN:
                usual = distance if not before.distance else 0.7 * before.distance + 0.3 * distance
                self._asked[key] = _Asked(now, usual)
            return False

    def due(self) -> float:
        return self._swept + SWEEP_EVERY

    def expired(self, now: float) -> list[Key]:
        """The series that nobody asked for in a while; they count as dropped from now on."""
        if now < self.due():
            return []
        self._swept = now
        with self._lock:
            gone = [
                key
                for key, asked in self._asked.items()
                if now - asked.last > max(LEAST_KEPT, KEPT_PERIODS * asked.distance)
            ]
            for key in gone:
                self._dropped[key] = self._asked.pop(key).last
            for key in [key for key, last in self._dropped.items() if now - last > REMEMBERED]:
                del self._dropped[key]
        return gone

    def forget(self, keys: Iterable[Key]) -> None:
        """These series are kept for another reason."""
        with self._lock:
            for key in keys:
                self._asked.pop(key, None)

    def __contains__(self, key: Key) -> bool:
        """Whether the series is followed because it was read."""
        with self._lock:
            return key in self._asked
