"""The log of REST requests, and the counts made from it."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

from .limits import HostLimits
from .literals import Host
from .stats import HostStats, RequestRecord

_RETENTION = 100_000


@dataclass(slots=True)
class LoggedRequest:
    """One request; its status is filled in with its answer."""

    time: int
    host: Host
    path: str
    params: dict[str, str]
    weight: int
    used_weight: int
    waited: int | None
    number: int
    status: int = 0

    def record(self) -> RequestRecord:
        """Return the request as the control ``request_log`` shows it."""
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


class HostRequests:
    """The requests of one host, counted."""

    def __init__(self, limits: HostLimits) -> None:
        self.limits = limits
        self.by_path: Counter[str] = Counter()
        self.during_retry_after = 0
        self._refused_at = 0
        self._refused_until = 0

    def refuse(self, now: int, until: int) -> None:
        """Note that a 429 or 418 sent at ``now`` asks the client to wait until ``until``."""
        if now >= self._refused_until:
            self._refused_at = now
        self._refused_until = max(self._refused_until, until)

    def arrive(self, now: int, path: str) -> int | None:
        """Count one request; return how long ago (ms) the Retry-After that still applies was sent, or None."""
        self.by_path[path] += 1
        if now >= self._refused_until:
            return None
        self.during_retry_after += 1
        return now - self._refused_at

    def forget_refusals(self) -> None:
        """End every Retry-After that still applies."""
        self._refused_until = 0

    def stats(self, now: int) -> HostStats:
        """Return this host's entry in the statistics."""
        limits = self.limits
        return HostStats(
            requests=self.by_path.total(),
            requests_by_path=dict(self.by_path),
            used_weight=limits.weight.add(now, 0),
            max_weight=limits.max_used,
            weight_by_minute=dict(limits.used_by_minute),
            refused_429=limits.refused[429],
            refused_418=limits.refused[418],
            during_retry_after=self.during_retry_after,
            while_banned=limits.sent_while_banned,
            banned_until=limits.banned_until,
        )


class RequestLog:
    """Every request of both hosts, the newest 100,000 in full."""

    def __init__(self, hosts: dict[Host, HostRequests]) -> None:
        self.hosts = hosts
        self._entries: deque[LoggedRequest] = deque(maxlen=_RETENTION)
        self._arrived = 0

    def arrive(self, now: int, host: Host, path: str, params: dict[str, str], weight: int) -> LoggedRequest:
        """Log one request, before its weight is counted."""
        waited = self.hosts[host].arrive(now, path)
        entry = LoggedRequest(now, host, path, params, weight, 0, waited, self._arrived)
        self._arrived += 1
        self._entries.append(entry)
        return entry

    def since(self, time: int, most: int) -> list[RequestRecord]:
        """Return the newest ``most`` requests that arrived at exchange time ``time`` or later, oldest first."""
        found: list[RequestRecord] = []
        for entry in reversed(self._entries):
            if entry.time < time or len(found) >= most:
                break
            found.append(entry.record())
        found.reverse()
        return found
