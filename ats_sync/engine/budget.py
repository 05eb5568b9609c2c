"""The request budget: how much may be sent to the exchange, and when.

A request counts from when it is sent until a window's length after its answer (when it arrived in between is unknown),
so that no minute, wherever it begins, holds more than our share. A request without an answer may arrive later still and
counts for longer. The weight that other programs on the same address have used is taken from the exchange's count and
stands until the minute of that count is over.

Candles have the highest value: requests that can wait leave room for repairing all candles at once, reads for those
that need a repair now. Audits are cheap and would always find room before expensive requests, so they have a small
share of their own.
"""

from __future__ import annotations

import bisect
from enum import Enum
from typing import Any, NamedTuple

from ..config import Config
from ..feeds import Cause
from ..venue.endpoints import (
    AGG_TRADES_PATH,
    DEPTH_PATH,
    FUNDING_LIMIT,
    KLINES_PATH,
    OPEN_INTEREST_LIMIT,
    OTHER_LIMIT,
    WEIGHT_WINDOW,
    Bucket,
    Host,
    Request,
)
from .guarded import Guarded
from .moment import Moment

_MINUTE = 60_000
COUNT_BORDER = 2_000
"""A request answered this long (ms) before the end of a minute may be counted on either side of it."""
_SURELY = 250  # One sent so long (ms) after the start of a minute, by our clock, is counted in that minute.
ARRIVES_WITHIN = 30.0
"""A request without an answer reaches the exchange within this long (seconds), or never."""
_UNRESERVED = frozenset({Cause.READ, Cause.REPAIR, Cause.PROBE})


class Usage(NamedTuple):
    """The usage of a bucket in its window."""

    requests: int
    """Requests of this process."""
    cost: int
    """The cost of this process and, as far as known, of others on this address."""
    allowed: int
    """The share of the limit that this process may use."""
    limit: int
    """The exchange's limit."""


class Tier(Enum):
    """A class of requests that may use the same part of the limit. A waiting tier delays no other."""

    FIRST = "repairs and probes"
    READ = "reads"
    USUAL = "warm-up, polls"
    AUDIT = "audits of candles"
    PATIENT = "trades, full books to come"


_TIERS = tuple(Tier)
_LEAVING_ROOM = frozenset({Tier.AUDIT, Tier.PATIENT})
AUDIT_SHARE = 0.1
"""The most that audits of candles may use, as a share of our share."""
PARTIAL_BOOK = 2
"""The weight of the 20-level snapshot that ``start()`` awaits; deeper books are fetched on demand."""


class _Spent(NamedTuple):
    steady: float
    """When it was sent; after the answer, when that arrived; without an answer, the latest it can arrive."""
    exchange: int
    """The same in exchange time (ms)."""
    cost: int
    under_way: bool


class Window:
    """The costs of the last ``seconds``, at most ``limit`` in all."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._spent: list[_Spent] = []  # ordered by their steady time
        self._used = 0
        self._foreign = 0
        self._foreign_minute = 0
        self._foreign_until = 0.0

    def used(self, now: float) -> int:
        """Return the cost that counts against the limit now: our own and, as far as known, that of others."""
        over = 0
        while over < len(self._spent) and self._spent[over].steady <= now - self.seconds:
            self._used -= self._spent[over].cost
            over += 1
        if over:
            del self._spent[:over]
        if now >= self._foreign_until:
            self._foreign = 0
        return self._used + self._foreign

    def requests(self, now: float) -> int:
        """Return the number of our own requests in the window."""
        self.used(now)
        return len(self._spent)

    def spend(self, at: Moment, cost: int) -> None:
        self._insert(_Spent(at.steady, at.exchange, cost, True))
        self._used += cost

    def _insert(self, spent: _Spent) -> None:
        if self._spent and spent.steady < self._spent[-1].steady:
            bisect.insort(self._spent, spent, key=_steady)
        else:
            self._spent.append(spent)

    def ended(self, at: Moment, cost: int, *, unsent: bool, lost: bool) -> None:
        """A request of this cost has ended; ``unsent``: it was never sent; ``lost``: it had no answer."""
        # Requests of one cost are interchangeable.
        for index in range(len(self._spent) - 1, -1, -1):
            spent = self._spent[index]
            if spent.cost == cost and spent.under_way:
                del self._spent[index]
                if unsent:
                    self._used -= cost
                else:
                    late = ARRIVES_WITHIN if lost else 0.0
                    self._insert(_Spent(at.steady + late, at.exchange + round(late * 1000), cost, False))
                return

    def free_at(self, now: float, cost: int, share: float, kept: int = 0) -> float:
        """Return from when on (steady) ``cost`` fits into ``share`` of the limit less ``kept`` for others; ``now`` if
        at once."""
        surplus = self.used(now) + cost - (int(self.limit * share) - kept)
        if surplus <= 0:
            return now
        moments = [(spent.steady + self.seconds, spent.cost) for spent in self._spent]
        if self._foreign:
            moments.append((self._foreign_until, self._foreign))
        for moment, freed in sorted(moments):
            surplus -= freed
            if surplus <= 0:
                return max(moment, now)
        return moments[-1][0] if moments else now

    def count_of_exchange(self, used: int, at: Moment, sent: int) -> None:
        """Note the weight ``used`` that the exchange reports for the minute of a request sent at ``sent`` (ms)."""
        self.used(at.steady)
        minute_began = minute_of_count(at, sent)
        if minute_began is None:
            return
        own = sum(
            spent.cost for spent in self._spent if spent.under_way or spent.exchange >= minute_began - COUNT_BORDER
        )
        foreign = max(0, used - own)
        # Answers arrive out of order, and within one minute the count only grows.
        same = minute_began == self._foreign_minute
        self._foreign = max(self._foreign, foreign) if same else foreign
        self._foreign_minute = minute_began
        self._foreign_until = at.steady + (minute_began + _MINUTE - at.exchange + at.uncertain) / 1000.0

    def own_free_at(self, now: float, share: float) -> float:
        """Return from when on (steady) our own costs alone, those of now included, fit into ``share`` of the limit."""
        self.used(now)
        surplus = self._used - int(self.limit * share)
        freed_at = now
        for spent in self._spent:
            if surplus <= 0:
                break
            surplus -= spent.cost
            freed_at = spent.steady + self.seconds
        return max(freed_at, now)

    def own(self, now: float) -> int:
        """Return our own costs that count now."""
        self.used(now)
        return self._used


def minute_of_count(at: Moment, sent: int) -> int | None:
    """Return when (exchange, ms) the minute began whose count is reported at ``at`` by the answer to a request sent at
    ``sent`` (ms); None where it may be the count of the previous minute."""
    began = at.exchange - at.exchange % _MINUTE
    return None if sent - at.uncertain < began + _SURELY else began


def _steady(spent: _Spent) -> float:
    return spent.steady


class Budget(Guarded):
    """The window of every bucket, and the hosts that have rate-limited us.

    Not thread-safe: its lock is :attr:`guard`.
    """

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
        self._audits = Window(config.futures_weight_limit, WEIGHT_WINDOW)
        self._blocked: dict[Host, float] = {}
        # Refusals of an account that other processes share: until when (steady), for what costs and more.
        self._refused: dict[tuple[Bucket, Tier], tuple[float, int]] = {}
        self._candles = self._lacking = 0
        self.most_used = dict.fromkeys(Bucket, 0)

    def free_at(self, request: Request[Any], cause: Cause, now: float) -> float:
        """Return when (steady) ``request`` may be sent at the earliest, ``now`` if at once."""
        assert self.guarded()
        share = self.share if cause in _UNRESERVED else self.share - self.reserve
        window = self.windows[request.bucket]
        free = window.free_at(now, request.weight, share, self._kept(request, cause, window))
        if self.tier(request, cause) is Tier.AUDIT:
            free = max(free, self._audits.free_at(now, request.weight, self.share * AUDIT_SHARE))
        if self._refused:
            until, least = self._refused.get((request.bucket, self.tier(request, cause)), (now, 0))
            if request.weight >= least:
                free = max(free, until)
        return max(free, self._blocked.get(request.host, now))

    def refuse(self, request: Request[Any], cause: Cause, until: float) -> None:
        """Let nothing as heavy as ``request``, of its bucket and tier, be sent before ``until`` (steady)."""
        assert self.guarded()
        self._refused[request.bucket, self.tier(request, cause)] = (until, request.weight)

    def allowance(self, request: Request[Any], cause: Cause) -> int:
        """Return how much of its bucket may be used, ``request`` included, when it is sent."""
        assert self.guarded()
        share = self.share if cause in _UNRESERVED else self.share - self.reserve
        window = self.windows[request.bucket]
        return int(window.limit * share) - self._kept(request, cause, window)

    def alone_at(self, request: Request[Any], cause: Cause, now: float, fraction: float) -> float:
        """Return from when on (steady) a request whose cost is spent already may be sent, if this process is to use no
        more than ``fraction`` of its share; ``now`` if at once."""
        assert self.guarded()
        share = self.share if cause in _UNRESERVED else self.share - self.reserve
        return self.windows[request.bucket].own_free_at(now, share * fraction)

    def own(self, bucket: Bucket, now: float) -> int:
        """Return what this process itself has used of a bucket in its window."""
        assert self.guarded()
        return self.windows[bucket].own(now)

    def candles(self, count: int, lacking: int) -> None:
        """Set how many kline series are followed, and how many of them need a repair now, each by one request."""
        assert self.guarded()
        self._candles, self._lacking = count, lacking

    @property
    def lacking(self) -> int:
        """How many kline series need a repair now."""
        return self._lacking

    def _kept(self, request: Request[Any], cause: Cause, window: Window) -> int:
        """Return the weight that a request must leave for the repair of candles; at most half of our share."""
        if request.bucket is not Bucket.FUTURES:
            return 0
        tier = self.tier(request, cause)
        allowed = int(window.limit * self.share)
        if tier is Tier.READ:
            # The need of a repair is not known at once, so a little is always kept for it.
            kept = max(self._lacking, min(self._candles, allowed // 10))
        else:
            kept = self._candles if tier in _LEAVING_ROOM else 0
        return min(kept, allowed // 2)

    def better_tier(self, request: Request[Any], cause: Cause, other: Cause) -> bool:
        """Return whether ``request`` may use more of the limit for ``cause`` than for ``other``."""
        return self.rank(request, cause) < self.rank(request, other)

    def rank(self, request: Request[Any], cause: Cause) -> int:
        """Return the place of a request's tier; a better tier has a smaller one."""
        return _TIERS.index(self.tier(request, cause))

    @staticmethod
    def tier(request: Request[Any], cause: Cause) -> Tier:
        """Return the tier of a request."""
        if cause is Cause.READ:
            return Tier.READ
        if cause is Cause.AUDIT and request.path == KLINES_PATH:
            return Tier.AUDIT
        if request.path == AGG_TRADES_PATH or (cause is Cause.AUDIT and request.path == DEPTH_PATH):
            return Tier.PATIENT
        if cause is Cause.WARM_UP and request.path == DEPTH_PATH and request.weight > PARTIAL_BOOK:
            return Tier.PATIENT
        return Tier.FIRST if cause in _UNRESERVED else Tier.USUAL

    def spend(self, request: Request[Any], at: Moment, cause: Cause) -> None:
        """Count a request as sent."""
        assert self.guarded()
        window = self.windows[request.bucket]
        window.spend(at, request.weight)
        if self.tier(request, cause) is Tier.AUDIT:
            self._audits.spend(at, request.weight)
        self.most_used[request.bucket] = max(self.most_used[request.bucket], window.used(at.steady))

    def usage(self, bucket: Bucket, now: float) -> Usage:
        """Return the usage of a bucket at ``now`` (steady)."""
        assert self.guarded()
        window = self.windows[bucket]
        return Usage(window.requests(now), window.used(now), int(window.limit * self.share), window.limit)

    def ended(self, request: Request[Any], at: Moment, *, unsent: bool = False, lost: bool = False) -> None:
        """A request has ended; ``unsent``: it never reached the exchange and costs nothing; ``lost``: it had no answer
        and may still arrive."""
        assert self.guarded()
        self.windows[request.bucket].ended(at, request.weight, unsent=unsent, lost=lost)

    def answered(self, request: Request[Any], used: int | None, at: Moment, sent_at: float) -> None:
        """Note the answer to a request sent at ``sent_at`` (steady), with the used weight that it reports."""
        assert self.guarded()
        weighed = request.bucket in (Bucket.FUTURES, Bucket.SPOT)
        if used is not None and request.used_weight_is_true and weighed:
            sent = at.exchange - round((at.steady - sent_at) * 1000)
            self.windows[request.bucket].count_of_exchange(used, at, sent)

    def block(self, host: Host, until: float) -> None:
        """Send nothing to a host until this moment (steady)."""
        assert self.guarded()
        self._blocked[host] = max(until, self._blocked.get(host, until))

    def blocked_until(self, host: Host, now: float) -> float | None:
        """Return until when (steady) nothing may be sent to the host, None if it may be."""
        until = self._blocked.get(host)
        return until if until is not None and until > now else None

    def set_limit(self, host: Host, weight: int) -> None:
        """Set the limit a minute, as the exchange states it."""
        self.windows[Bucket.FUTURES if host is Host.FUTURES else Bucket.SPOT].limit = weight
        if host is Host.FUTURES:
            self._audits.limit = weight
