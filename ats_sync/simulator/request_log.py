"""The log of REST requests and what is counted from it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from .limits import HostLimits
from .stats import HostStats, RequestRecord

_KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One request; its status is filled in when it is answered."""

    time: int
    host: str
    path: str
    params: dict[str, str]
    weight: int
    used_weight: int
    waited: int | None
    number: int
    status: int = 0

    def record(self) -> RequestRecord:
        """As it is handed out."""
        return RequestRecord(
            self.time,
            self.host,
            self.path,
            self.params,
            self.status,
            self.weight,
            self.used_weight,
            self.waited,
            self.number,
        )


class HostJournal:
    """Counts of one host."""

    def __init__(self, limits: HostLimits) -> None:
        self.limits = limits
        self.by_path: Counter[str] = Counter()
        self.while_told_to_wait = 0
        self._told_at = 0
        self._told_until = 0

    def told_to_wait(self, now: int, until: int) -> None:
        """A 429 or 418 is being sent at ``now``."""
        if now >= self._told_until:
            self._told_at = now
        self._told_until = max(self._told_until, until)

    def arrive(self, now: int, path: str) -> int | None:
        """Count one request; how long ago it had been told to wait, if it still was to."""
        self.by_path[path] += 1
        if now >= self._told_until:
            return None
        self.while_told_to_wait += 1
        return now - self._told_at

    def forget_waits(self) -> None:
        """Nobody is to wait any more."""
        self._told_until = 0

    def stats(self, now: int) -> HostStats:
        """Its part of the statistics."""
        limits = self.limits
        return HostStats(
            requests=self.by_path.total(),
            requests_by_path=dict(self.by_path),
            used_weight=limits.weight.add(now, 0),
            max_weight=limits.max_used,
            weight_by_minute=dict(limits.used_by_minute),
            refused_429=limits.refused[429],
            refused_418=limits.refused[418],
            while_told_to_wait=self.while_told_to_wait,
            while_banned=limits.sent_while_banned,
            banned_until=limits.banned_until,
        )


class Journal:
    """Every request of both hosts, the newest 100,000 in full."""

    def __init__(self, hosts: dict[str, HostJournal]) -> None:
        self.hosts = hosts
        self._entries: deque[Entry] = deque(maxlen=_KEPT)
        self._arrived = 0

    def arrive(self, now: int, host: str, path: str, params: dict[str, str], weight: int) -> Entry:
        """Log one request (before its weight is counted)."""
        waited = self.hosts[host].arrive(now, path)
        entry = Entry(now, host, path, params, weight, 0, waited, self._arrived)
        self._arrived += 1
        self._entries.append(entry)
        return entry

    def since(self, time: int, most: int) -> list[RequestRecord]:
        """The requests that arrived at exchange time ``time`` or later, oldest first, the newest ``most``."""
        found: list[RequestRecord] = []
        for entry in reversed(self._entries):
            if entry.time < time or len(found) >= most:
                break
            found.append(entry.record())
        found.reverse()
        return found
