"""Attempts to connect: how many the exchange allows, and how long to wait after a failure."""

from __future__ import annotations

import random
from collections import deque

from ..config import Config
from ..venue.endpoints import CONNECTION_ATTEMPT_LIMIT

_MAX_DOUBLINGS = 16


class Attempts:
    """The recent attempts of all connections. Two thirds of the exchange's limit are used, since other programs on this
    address connect too."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._recent: deque[float] = deque(maxlen=CONNECTION_ATTEMPT_LIMIT[0])

    def add(self, now: float) -> None:
        """Count an attempt at ``now`` (steady)."""
        self._recent.append(now)

    def free_at(self, now: float) -> float:
        """Return from when on (steady) another attempt is allowed, ``now`` if it is at once."""
        most, seconds = CONNECTION_ATTEMPT_LIMIT
        allowed = most * 2 // 3
        recent = [attempt for attempt in self._recent if attempt > now - seconds]
        return now if len(recent) < allowed else recent[-allowed] + seconds

    def back_off(self, failures: int) -> float:
        """Return the seconds to wait, with jitter, after so many failures in a row."""
        config = self._config
        delay = min(config.reconnect_max, config.reconnect_min * 2.0 ** min(failures, _MAX_DOUBLINGS))
        return delay * self._rng.uniform(0.5, 1.0)
