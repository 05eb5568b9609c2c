"""Request limits of one host: weight per minute, request buckets, 429, 418 and bans.

Pure: the caller passes the time.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

MINUTE = 60_000
FIVE_MINUTES = 5 * MINUTE
LONGEST_BAN = 3 * 24 * 3600.0


class Bucket:
    """A count that restarts with every window of exchange time (windows are aligned to the epoch)."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.used = 0
        self._index = -1

    def add(self, now: int, amount: int) -> int:
        """Count ``amount`` in the window of ``now``; return the count of that window."""
        index = now // self.window
        if index != self._index:
            self._index = index
            self.used = 0
        self.used += amount
        return self.used

    def ends(self, now: int) -> int:
        """Return when the window of ``now`` ends, ms."""
        return (now // self.window + 1) * self.window


class SlidingBucket:
    """A count of the last ``window`` ms, which is not how the real exchange counts."""

    def __init__(self, limit: int, window: int) -> None:
        self.limit = limit
        self.window = window
        self.used = 0
        self._counted: deque[tuple[int, int]] = deque()

    def add(self, now: int, amount: int) -> int:
        """Count ``amount`` now; return the count of the window that ends now."""
        if amount:
            self._counted.append((now, amount))
            self.used += amount
        while self._counted and self._counted[0][0] <= now - self.window:
            self.used -= self._counted.popleft()[1]
        return self.used

    def ends(self, now: int) -> int:
        """Return when everything that counts now has left the window, ms."""
        return now + self.window


@dataclass(frozen=True)
class Refusal:
    """A refused request: 429 (slow down) or 418 (banned) until ``until`` (exchange ms)."""

    status: int
    until: int
    limit: int
    per_minute: bool = True

    def retry_after(self, now: int) -> int:
        """Return the whole seconds to wait, at least 1."""
        return max(1, math.ceil((self.until - now) / 1000))


class HostLimits:
    """What one address has used of one host, and how the host reacts.

    Exceeding the weight or a bucket is answered with 429 until that window ends. Requests that are sent nevertheless
    are forgiven ``patience`` times, then the address is banned; every further ban, and every ``patience`` requests sent
    during a ban, make the next one twice as long.

    ``sliding``: the weight is that of the last 60 s. ``report_lag``: how old (ms) the count in answers is.
    """

    def __init__(
        self,
        weight_limit: int,
        buckets: dict[str, int],
        *,
        ban_seconds: float,
        patience: int,
        sliding: bool = False,
        report_lag: int = 0,
    ) -> None:
        self.weight: Bucket | SlidingBucket = (SlidingBucket if sliding else Bucket)(weight_limit, MINUTE)
        self.report_lag = report_lag
        self._sliding = sliding
        self._spent: deque[tuple[int, int]] = deque()  # as far back as a report may look
        self.buckets = {name: Bucket(limit, FIVE_MINUTES) for name, limit in buckets.items()}
        self.ban_seconds = ban_seconds
        self.patience = patience
        self.used_by_minute: deque[tuple[int, int]] = deque(maxlen=24 * 60)
        self.max_used = 0
        self.refused = {429: 0, 418: 0}
        self.sent_while_banned = 0
        self.banned_until = 0
        self._wait_until: dict[str, int] = {}
        self._offences = 0
        self._bans = 0

    def admit(self, now: int, weight: int, bucket: str | None = None) -> Refusal | None:
        """Count one request; return its refusal, or None if it passes."""
        if now < self.banned_until:
            self.sent_while_banned += 1
            self._offences += 1
            if self._offences > self.patience:
                self.ban(now)
            return self._refuse(418, self.banned_until)
        self.spend(now, weight)
        counted = self.buckets.get(bucket) if bucket is not None else None
        if counted is not None:
            counted.add(now, 1)
        for name, over in (("", self.weight), (bucket or "", counted)):
            if over is None or over.used <= over.limit:
                continue
            if now >= self._wait_until.get(name, 0):
                self._wait_until[name] = over.ends(now)
                self._offences = 0
                return self._refuse(429, over.ends(now), over.limit, name == "")
            self._offences += 1
            if self._offences > self.patience:
                self.ban(now)
                return self._refuse(418, self.banned_until)
            return self._refuse(429, over.ends(now), over.limit, name == "")
        return None

    def spend(self, now: int, weight: int) -> int:
        """Count ``weight`` in this minute without a request; return the weight used in this minute."""
        used = self.weight.add(now, weight)
        if self.report_lag:
            self._spent.append((now, weight))
            while self._spent[0][0] < now - self.report_lag - MINUTE:
                self._spent.popleft()
        minute = now - now % MINUTE
        if self.used_by_minute and self.used_by_minute[-1][0] == minute:
            self.used_by_minute[-1] = (minute, used)
        elif used:
            self.used_by_minute.append((minute, used))
        self.max_used = max(self.max_used, used)
        return used

    def reported(self, now: int) -> int:
        """Return the used weight that an answer reports now."""
        if not self.report_lag:
            return self.weight.add(now, 0)
        until = now - self.report_lag
        since = until - MINUTE + 1 if self._sliding else until - until % MINUTE
        return sum(weight for time, weight in self._spent if since <= time <= until)

    def ban(self, now: int, seconds: float | None = None) -> int:
        """Ban the address from now on, for ``seconds`` (None: longer with each ban); return the end, ms."""
        if seconds is None:
            seconds = min(LONGEST_BAN, self.ban_seconds * 2**self._bans)
            self._bans = min(self._bans + 1, 40)
        self._offences = 0
        self.banned_until = now + math.ceil(seconds * 1000)
        return self.banned_until

    def pardon(self) -> None:
        """Forget bans and offences; used weight remains used."""
        self.banned_until = 0
        self._wait_until.clear()
        self._offences = self._bans = 0

    def _refuse(self, status: int, until: int, limit: int = 0, per_minute: bool = True) -> Refusal:
        self.refused[status] += 1
        return Refusal(status, until, limit, per_minute)
