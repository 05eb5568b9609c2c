"""How much may be asked of the exchange, and when.

A request is counted when it is sent, in a window that slides, so that no minute, wherever it is cut,
holds more than the share. What other programs on the same address have used is learnt from the
exchange's own count and stands until that count's minute is over.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from ..config import Config
from ..feeds import Cause
from ..venue.endpoints import FUNDING_LIMIT, OPEN_INTEREST_LIMIT, OTHER_LIMIT, WEIGHT_WINDOW, Bucket, Host, Request
from .moment import Moment

_MINUTE = 60_000
_BORDER = 2_000  # A request sent this long (ms) before a minute's turn may be counted on either side of it.
_UNRESERVED = frozenset({Cause.READ, Cause.REPAIR, Cause.PROBE})


class Usage(NamedTuple):
    """What a bucket has used in its window."""

    requests: int
    """Those of this process."""
    cost: int
    """Of this process and, as far as it is known, of others on this address."""
    allowed: int
    """The share of the limit that this process keeps to."""


class Window:
    """Costs of the last ``seconds``, at most ``limit`` in all."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._spent: deque[tuple[float, int, int]] = deque()  # (steady, exchange ms, cost)
        self._used = 0
        self._foreign = 0
        self._foreign_until = 0.0

    def used(self, now: float) -> int:
        """What counts against the limit now: our own and, as far as known, others'."""
        while self._spent and self._spent[0][0] <= now - self.seconds:
            self._used -= self._spent.popleft()[2]
        if now >= self._foreign_until:
            self._foreign = 0
        return self._used + self._foreign

    def requests(self, now: float) -> int:
        """How many requests of our own are in the window."""
        self.used(now)
        return len(self._spent)

    def spend(self, at: Moment, cost: int) -> None:
        self._spent.append((at.steady, at.exchange, cost))
        self._used += cost

    def free_at(self, now: float, cost: int, share: float) -> float:
        """The moment (steady) from which ``cost`` fits into ``share`` of the limit; ``now`` if it does."""
        surplus = self.used(now) + cost - int(self.limit * share)
        if surplus <= 0:
            return now
        moments = [(spent_at + self.seconds, spent) for spent_at, _, spent in self._spent]
        if self._foreign:
            moments.append((self._foreign_until, self._foreign))
        for moment, freed in sorted(moments):
            surplus -= freed
            if surplus <= 0:
                return max(moment, now)
        return now + self.seconds  # A cost above the whole share; it can only ever go alone.

    def count_of_exchange(self, used: int, at: Moment) -> None:
        """The exchange says ``used`` has been spent in its current minute."""
        self.used(at.steady)
        minute_began = at.exchange - at.exchange % _MINUTE
        own = sum(cost for _, exchange, cost in self._spent if exchange >= minute_began - _BORDER)
        self._foreign = max(0, used - own)
        self._foreign_until = at.steady + (minute_began + _MINUTE - at.exchange) / 1000.0


class Budget:
    """Every bucket's window, and which hosts said to wait."""

    def __init__(self, config: Config) -> None:
        self.share = config.weight_share
        self.reserve = config.repair_share
        self.windows = {
            Bucket.FUTURES: Window(config.futures_weight_limit, WEIGHT_WINDOW),
            Bucket.SPOT: Window(config.spot_weight_limit, WEIGHT_WINDOW),
            Bucket.OPEN_INTEREST: Window(*OPEN_INTEREST_LIMIT),
            Bucket.FUNDING: Window(*FUNDING_LIMIT),
            Bucket.OTHER: Window(*OTHER_LIMIT),
        }
        self._blocked: dict[Host, float] = {}
        self.most_used = dict.fromkeys(Bucket, 0)

    def free_at(self, request: Request, cause: Cause, now: float) -> float:
        """The earliest moment (steady) at which ``request`` may be sent, ``now`` when it may at once."""
        share = self.share if cause in _UNRESERVED else self.share - self.reserve
        free = self.windows[request.bucket].free_at(now, request.weight, share)
        return max(free, self._blocked.get(request.host, now))

    def spend(self, request: Request, at: Moment) -> None:
        """Count a request as sent."""
        window = self.windows[request.bucket]
        window.spend(at, request.weight)
        self.most_used[request.bucket] = max(self.most_used[request.bucket], window.used(at.steady))

    def usage(self, bucket: Bucket, now: float) -> Usage:
        """How a bucket stands at ``now`` (steady)."""
        window = self.windows[bucket]
        return Usage(window.requests(now), window.used(now), int(window.limit * self.share))

    def answered(self, request: Request, used: int | None, at: Moment) -> None:
        """An answer came; ``used`` is its used-weight header."""
        weighed = request.bucket in (Bucket.FUTURES, Bucket.SPOT)
        if used is not None and request.used_weight_is_true and weighed:
            self.windows[request.bucket].count_of_exchange(used, at)

    def block(self, host: Host, until: float) -> None:
        """The host said to wait until this moment (steady)."""
        self._blocked[host] = max(until, self._blocked.get(host, until))

    def blocked_until(self, host: Host, now: float) -> float | None:
        """The moment (steady) until which nothing may be sent to the host, None when it may."""
        until = self._blocked.get(host)
        return until if until is not None and until > now else None

    def set_limit(self, host: Host, weight: int) -> None:
        """The exchange told its limit a minute."""
        self.windows[Bucket.FUTURES if host is Host.FUTURES else Bucket.SPOT].limit = weight
