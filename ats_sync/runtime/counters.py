"""Counts of requests, reads and connections, and what was last repaired or refused."""

from __future__ import annotations

import threading
from collections import Counter
from typing import NamedTuple

from ..feeds import Cause, Key, Kind
from ..venue.endpoints import Host

STALE, UNAVAILABLE = "stale", "unavailable"
"""How a read fails: with data that is too old, or without any."""
ENDINGS = ("closed", "broken", "silent", "not connected", "given up", "failed", "planned")
"""How connections end: closed by the exchange, broken without a word, silent for too long, never made, given up by the
engine, by a fault of ours, or as planned."""


class Traffic(NamedTuple):
    """What has come on connections."""

    frames: int = 0
    received_bytes: int = 0
    lags: tuple[int, ...] = ()
    """How many receives had a lag within each of ``LAG_BOUNDS``, and beyond the last."""
    lag_sum: float = 0.0

    def plus(self, other: Traffic) -> Traffic:
        """Return both together."""
        longer, shorter = sorted((self.lags, other.lags), key=len, reverse=True)
        lags = tuple(a + b for a, b in zip(longer, shorter or (0,) * len(longer), strict=True))
        return Traffic(
            self.frames + other.frames, self.received_bytes + other.received_bytes, lags, self.lag_sum + other.lag_sum
        )


class Counters:
    """Counts that several threads increment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._requests: Counter[Cause] = Counter()
        self._outcomes: Counter[tuple[Host, Cause, str]] = Counter()
        self._hits = dict.fromkeys(Kind, 0)
        self._misses = dict.fromkeys(Kind, 0)
        self._errors: Counter[tuple[Kind, str]] = Counter()
        self._traffic: dict[str, Traffic] = {}
        self._endings: Counter[tuple[str, str]] = Counter()
        self._repairs = 0
        self._repaired: Key | None = None
        self._limited: dict[Host, str] = {}

    def request(self, cause: Cause) -> None:
        with self._lock:
            self._requests[cause] += 1

    def outcome(self, host: Host, cause: Cause, status: int | None) -> None:
        """Note how a request ended: the HTTP status, None where no answer came."""
        with self._lock:
            self._outcomes[host, cause, "none" if status is None else str(status)] += 1

    def outcomes(self) -> dict[tuple[Host, Cause, str], int]:
        """Return the number of requests that have ended, by host, cause and status."""
        with self._lock:
            return dict(self._outcomes)

    def hit(self, kind: Kind) -> None:
        with self._lock:
            self._hits[kind] += 1

    def miss(self, kind: Kind) -> None:
        with self._lock:
            self._misses[kind] += 1

    @property
    def hits(self) -> int:
        """The number of reads that memory has answered."""
        return sum(self._hits.values())

    @property
    def misses(self) -> int:
        """The number of reads that went to REST."""
        return sum(self._misses.values())

    def reads(self) -> dict[Kind, tuple[int, int]]:
        """Return for each kind how many reads memory has answered, and how many went to REST."""
        with self._lock:
            return {kind: (hits, self._misses[kind]) for kind, hits in self._hits.items()}

    def read_failed(self, kind: Kind, *, stale: bool) -> None:
        """Note that a read has raised an error; ``stale``: with data that is too old."""
        with self._lock:
            self._errors[kind, STALE if stale else UNAVAILABLE] += 1

    def read_errors(self) -> dict[tuple[Kind, str], int]:
        """Return the number of reads that neither memory nor REST could answer, by kind and error."""
        with self._lock:
            return dict(self._errors)

    def stream_ended(self, route: str, traffic: Traffic, how: str) -> None:
        """Note what came on a connection that has ended, and how it did; "" where the manager was closed."""
        with self._lock:
            self._traffic[route] = self._traffic.get(route, Traffic()).plus(traffic)
            if how:
                self._endings[route, how] += 1

    def streams_ended(self) -> tuple[dict[str, Traffic], dict[tuple[str, str], int]]:
        """Return what came on connections that have ended, by route, and how many did, by route and how."""
        with self._lock:
            return dict(self._traffic), dict(self._endings)

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
