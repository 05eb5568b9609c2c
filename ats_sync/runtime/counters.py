"""Counts of requests and reads."""

from __future__ import annotations

import threading
from collections import Counter

from ..feeds import Cause


class Counters:
    """Counts that several threads increment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._requests: Counter[Cause] = Counter()
        self.hits = 0
        self.misses = 0

    def request(self, cause: Cause) -> None:
        with self._lock:
            self._requests[cause] += 1

    def hit(self) -> None:
        with self._lock:
            self.hits += 1

    def miss(self) -> None:
        with self._lock:
            self.misses += 1

    def requests(self) -> dict[str, int]:
        """Return the number of requests sent by cause, every cause included."""
        with self._lock:
            return {cause.value: self._requests[cause] for cause in Cause}
