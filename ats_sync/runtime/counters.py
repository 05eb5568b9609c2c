"""Counts of requests and reads, and what was last repaired or refused."""

from __future__ import annotations

import threading
from collections import Counter

from ..feeds import Cause, Key
from ..venue.endpoints import Host


class Counters:
    """Counts that several threads increment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._requests: Counter[Cause] = Counter()
        self.hits = 0
        self.misses = 0
        self._repairs = 0
        self._repaired: Key | None = None
        self._limited: dict[Host, str] = {}

    def request(self, cause: Cause) -> None:
        with self._lock:
            self._requests[cause] += 1

    def hit(self) -> None:
        with self._lock:
            self.hits += 1

    def miss(self) -> None:
        with self._lock:
            self.misses += 1

    def repaired(self, key: Key) -> None:
        """Note that REST has answered a repair of a series."""
        with self._lock:
            self._repairs += 1
            self._repaired = key

    def repairs(self) -> tuple[int, Key | None]:
        """Return the number of repairs that REST has answered, and the series of the newest."""
        with self._lock:
            return self._repairs, self._repaired

    def limited(self, host: Host, reason: str) -> None:
        """Note why a host is to be left alone for a while."""
        with self._lock:
            self._limited[host] = reason

    def limits(self) -> dict[Host, str]:
        """Return what each host said when it last refused requests for their rate."""
        with self._lock:
            return dict(self._limited)

    def requests(self) -> dict[str, int]:
        """Return the number of requests sent by cause, every cause included."""
        with self._lock:
            return {cause.value: self._requests[cause] for cause in Cause}
