"""How much may be asked of the exchange, and when.

A request is counted from when it is sent until a window's length after its answer (when it arrived in
between is not known), so that no minute, wherever it is cut, holds more than the share. One that was never
answered may arrive later still, and is counted for longer. What other programs on the same address have used is
learnt from the exchange's own count and stands until that count's minute is over.

The candles are worth most: what can wait leaves room for repairing all of them at once, reads for those
that need it at the moment. Audits are cheap and would always find room before what is dear, so they have a
small part of their own.
"""

from __future__ import annotations

import bisect
from enum import Enum
from typing import NamedTuple

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
_BORDER = 2_000  # A request answered this long (ms) before a minute's turn may be counted on either side of it.
_SURELY = 250  # One sent so long (ms) after a minute's turn, as we know the time, is counted in that minute.
_ARRIVES_WITHIN = 30.0  # One that was given up unanswered reaches the exchange within this long (seconds), or never.
_UNRESERVED = frozenset({Cause.READ, Cause.REPAIR, Cause.PROBE})


class Usage(NamedTuple):
    """What a bucket has used in its window."""

    requests: int
    """Those of this process."""
    cost: int
    """Of this process and, as far as it is known, of others on this address."""
    allowed: int
    """The share of the limit that this process keeps to."""


class Tier(Enum):
    """Requests for which the same part of the limit is open. What one tier has to wait for holds up no other."""

    FIRST = "repairs and probes"
    READ = "reads"
    USUAL = "warm-up, polls"
    AUDIT = "audits of candles"
    PATIENT = "trades, full books to come"


_TIERS = tuple(Tier)
_LEAVING_ROOM = frozenset({Tier.AUDIT, Tier.PATIENT})
AUDIT_SHARE = 0.1
"""The part of what we may use that audits of candles may use at most."""
PARTIAL_BOOK = 2
"""What the 20 levels weigh that ``start()`` waits for; who waits for more levels asks by himself."""


class _Spent(NamedTuple):
    steady: float
    """When it was sent; once it has been answered, that; the latest it can arrive where it never was."""
    exchange: int
    """The same as exchange time (ms)."""
    cost: int
    under_way: bool


class Window:
    """Costs of the last ``seconds``, at most ``limit`` in all."""

    def __init__(self, limit: int, seconds: float) -> None:
        self.limit = limit
        self.seconds = seconds
        self._spent: list[_Spent] = []  # ordered by their steady time
        self._used = 0
        self._foreign = 0
        self._foreign_minute = 0
        self._foreign_until = 0.0

    def used(self, now: float) -> int:
        """What counts against the limit now: our own and, as far as known, others'."""
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
        """How many requests of our own are in the window."""
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
        """A request of this cost is under way no longer; ``unsent``: it never was; ``lost``: no answer came."""
        # Among those of one cost it makes no difference which of them it was.
        for index in range(len(self._spent) - 1, -1, -1):
            spent = self._spent[index]
            if spent.cost == cost and spent.under_way:
                del self._spent[index]
                if unsent:
                    self._used -= cost
                else:
                    late = _ARRIVES_WITHIN if lost else 0.0
                    self._insert(_Spent(at.steady + late, at.exchange + round(late * 1000), cost, False))
                return

    def free_at(self, now: float, cost: int, share: float, kept: int = 0) -> float:
        """The moment (steady) from which ``cost`` fits into ``share`` of the limit, less what is ``kept`` for
        others; ``now`` if it does."""
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
        """The exchange says ``used`` has been spent in the minute in which it got a request sent at ``sent`` (ms)."""
        self.used(at.steady)
        minute_began = at.exchange - at.exchange % _MINUTE
        if sent - at.uncertain < minute_began + _SURELY:
            return  # It may be the count of the minute before.
        own = sum(spent.cost for spent in self._spent if spent.under_way or spent.exchange >= minute_began - _BORDER)
        foreign = max(0, used - own)
        # Answers overtake each other: within one minute the count only grows.
        same = minute_began == self._foreign_minute
        self._foreign = max(self._foreign, foreign) if same else foreign
        self._foreign_minute = minute_began
        self._foreign_until = at.steady + (minute_began + _MINUTE - at.exchange + at.uncertain) / 1000.0


def _steady(spent: _Spent) -> float:
    return spent.steady


class Budget(Guarded):
    """Every bucket's window, and which hosts said to wait. Not thread-safe: its lock is :attr:`guard`."""

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
        self._candles = self._lacking = 0
        self.most_used = dict.fromkeys(Bucket, 0)

    def free_at(self, request: Request, cause: Cause, now: float) -> float:
        """The earliest moment (steady) at which ``request`` may be sent, ``now`` when it may at once."""
        assert self.guarded()
        share = self.share if cause in _UNRESERVED else self.share - self.reserve
        window = self.windows[request.bucket]
        free = window.free_at(now, request.weight, share, self._kept(request, cause, window))
        if self.tier(request, cause) is Tier.AUDIT:
            free = max(free, self._audits.free_at(now, request.weight, self.share * AUDIT_SHARE))
        return max(free, self._blocked.get(request.host, now))

    def candles(self, count: int, lacking: int) -> None:
        """So many kline series are followed, and so many of them must be repaired now, each by a request."""
        assert self.guarded()
        self._candles, self._lacking = count, lacking

    def _kept(self, request: Request, cause: Cause, window: Window) -> int:
        """What a request must leave for the repair of candles; at most half of what we may use."""
        if request.bucket is not Bucket.FUTURES:
            return 0
        tier = self.tier(request, cause)
        allowed = int(window.limit * self.share)
        if tier is Tier.READ:
            # What needs a repair is not known at once, so a little is kept for it at all times.
            wanted = max(self._lacking, min(self._candles, allowed // 10))
        else:
            wanted = self._candles if tier in _LEAVING_ROOM else 0
        return min(wanted, allowed // 2)

    def better_tier(self, request: Request, cause: Cause, other: Cause) -> bool:
        """Whether more of the limit is open to ``request`` for ``cause`` than for ``other``."""
        return _TIERS.index(self.tier(request, cause)) < _TIERS.index(self.tier(request, other))

    @staticmethod
    def tier(request: Request, cause: Cause) -> Tier:
        """Which part of the limit is open to a request."""
        if cause is Cause.READ:
            return Tier.READ
        if cause is Cause.AUDIT and request.path == KLINES_PATH:
            return Tier.AUDIT
        if request.path == AGG_TRADES_PATH or (cause is Cause.AUDIT and request.path == DEPTH_PATH):
            return Tier.PATIENT
        if cause is Cause.WARM_UP and request.path == DEPTH_PATH and request.weight > PARTIAL_BOOK:
            return Tier.PATIENT
        return Tier.FIRST if cause in _UNRESERVED else Tier.USUAL

    def spend(self, request: Request, at: Moment, cause: Cause) -> None:
        """Count a request as sent."""
        assert self.guarded()
        window = self.windows[request.bucket]
        window.spend(at, request.weight)
        if self.tier(request, cause) is Tier.AUDIT:
            self._audits.spend(at, request.weight)
        self.most_used[request.bucket] = max(self.most_used[request.bucket], window.used(at.steady))

    def usage(self, bucket: Bucket, now: float) -> Usage:
        """How a bucket stands at ``now`` (steady)."""
        assert self.guarded()
        window = self.windows[bucket]
        return Usage(window.requests(now), window.used(now), int(window.limit * self.share))

    def ended(self, request: Request, at: Moment, *, unsent: bool = False, lost: bool = False) -> None:
        """A request is under way no longer; ``unsent``: it never reached the exchange, and costs nothing; ``lost``: no
        answer came, so it may still arrive."""
        assert self.guarded()
        self.windows[request.bucket].ended(at, request.weight, unsent=unsent, lost=lost)

    def answered(self, request: Request, used: int | None, at: Moment, sent_at: float) -> None:
        """An answer came to what was sent at ``sent_at`` (steady); ``used`` is its used-weight header."""
        assert self.guarded()
        weighed = request.bucket in (Bucket.FUTURES, Bucket.SPOT)
        if used is not None and request.used_weight_is_true and weighed:
            sent = at.exchange - round((at.steady - sent_at) * 1000)
            self.windows[request.bucket].count_of_exchange(used, at, sent)

    def block(self, host: Host, until: float) -> None:
        """The host said to wait until this moment (steady)."""
        assert self.guarded()
        self._blocked[host] = max(until, self._blocked.get(host, until))

    def blocked_until(self, host: Host, now: float) -> float | None:
        """The moment (steady) until which nothing may be sent to the host, None when it may."""
        until = self._blocked.get(host)
        return until if until is not None and until > now else None

    def set_limit(self, host: Host, weight: int) -> None:
        """The exchange told its limit a minute."""
        self.windows[Bucket.FUTURES if host is Host.FUTURES else Bucket.SPOT].limit = weight
        if host is Host.FUTURES:
            self._audits.limit = weight
