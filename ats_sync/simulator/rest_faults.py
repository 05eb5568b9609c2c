"""REST failures on demand."""

from __future__ import annotations

import time
from dataclasses import dataclass

from .literals import Host, RestFaultKind

CODES = {
    -1000: "An unknown error occurred while processing the request.",
    -1001: "Internal error; unable to process your request. Please try again.",
    -1007: "Timeout waiting for response from backend server. Send status unknown; execution status unknown.",
    -1008: "Request throttled by system-level protection. Reduce-only/close-position orders are exempt.",
}


@dataclass
class RestFault:
    """One rule; the first one that matches a request decides."""

    kind: RestFaultKind
    path: str | None
    host: Host | None
    left: int | None
    until: float | None
    """Monotonic seconds."""
    retry_after: float
    delay: float
    code: int
    status: int | None

    def fits(self, host: Host, path: str, now: float) -> bool:
        """Return whether the rule applies to a request that arrives at ``now``."""
        if self.over(now):
            return False
        return (self.host is None or self.host == host) and (self.path is None or self.path == path)

    def over(self, now: float) -> bool:
        """Return whether the rule is used up."""
        return self.left == 0 or (self.until is not None and now >= self.until)


class RestFaults:
    """The rules in force."""

    def __init__(self) -> None:
        self._rules: list[RestFault] = []

    def add(
        self,
        kind: RestFaultKind,
        *,
        path: str | None,
        host: Host | None,
        count: int | None,
        seconds: float | None,
        retry_after: float,
        delay: float,
        code: int,
        status: int | None,
    ) -> None:
        """Add a rule after those in force."""
        if count is not None and count < 1:
            raise ValueError("count must be at least 1")
        until = None if seconds is None else time.monotonic() + seconds
        self._rules.append(RestFault(kind, path, host, count, until, retry_after, delay, code, status))

    def take(self, host: Host, path: str) -> RestFault | None:
        """Return the fault of one request, or None; the fault is counted."""
        if not self._rules:
            return None
        now = time.monotonic()
        self._rules = [rule for rule in self._rules if not rule.over(now)]
        for rule in self._rules:
            if rule.fits(host, path, now):
                if rule.left is not None:
                    rule.left -= 1
                return rule
        return None

    def clear(self) -> None:
        """Drop all rules."""
        self._rules.clear()

    def active(self) -> list[str]:
        """Return the rules in words."""
        now = time.monotonic()
        return [f"rest {rule.kind} {rule.path or '*'}" for rule in self._rules if not rule.over(now)]
