"""The request budget: how much may be sent to the exchange, and when.

What counts is in :mod:`ats_sync.engine.window`: our own requests of the last minute, until the exchange's own count
shows that a new minute has begun.

Candles have the highest value: requests that can wait leave room for repairing all candles at once, reads for those
that need a repair now. Audits are cheap and would always find room before expensive requests, so they have a small
share of their own.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, NamedTuple

from ..config import Config
from ..feeds import CANDLES_AUDITED_EVERY, Cause
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
from .prices import DepthPrice, may_be_cheaper
from .window import Window

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
_WEIGHED = {Host.FUTURES: Bucket.FUTURES, Host.SPOT: Bucket.SPOT}
_LEAST_WAIT = 0.05
_URGENT = frozenset({Tier.FIRST, Tier.READ})
_LEAVING_ROOM = frozenset({Tier.AUDIT, Tier.PATIENT})
AUDIT_SHARE = 0.1
"""The most that audits of candles may use, as a share of our share: where there are many series, each is audited less
often."""
AUDIT_WEIGHT = 1
PARTIAL_BOOK = 2
"""The weight of the 20-level snapshot that ``start()`` awaits; deeper books are fetched on demand."""


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
        self._futures = self.windows[Bucket.FUTURES]
        self._audits = Window(config.futures_weight_limit, WEIGHT_WINDOW)
        self.depth_price = DepthPrice()
        self._blocked: dict[Host, float] = {}
        # Refusals of an account that other processes share: until when (steady), for what costs and more.
        self._refused: dict[tuple[Bucket, Tier], tuple[float, int]] = {}
        self._candles = self._lacking = 0
        self.most_used = dict.fromkeys(Bucket, 0)

    def free_at(self, request: Request[Any], cause: Cause, at: Moment, waiting: int = 1) -> float:
        """Return when (steady) ``request`` may be sent at the earliest, ``at.steady`` if at once; ``waiting`` is how
        many such requests there are."""
        assert self.guarded()
        window, now, weight = self.windows[request.bucket], at.steady, request.weight
        allowed, shrinks = self._allowed(request, cause, at)
        tier = self.tier(request, cause)
        patient = 0 if tier in _URGENT else weight * waiting
        free = window.free_at(at, weight, allowed, int(window.limit * self.share), patient=patient)
        missing = window.used(at) + weight - allowed
        if shrinks and missing > 0:
            # More of what is kept is let go with every moment, so it may fit sooner.
            free = min(free, now + max(_LEAST_WAIT, missing / shrinks))
        if tier is Tier.AUDIT:
            free = max(free, self._audits.free_at(at, weight, self._audit_share()))
        if self._refused:
            until, least = self._refused.get((request.bucket, tier), (now, 0))
            if request.weight >= least:
                free = max(free, until)
        return max(free, self._blocked.get(request.host, now))

    def has_room(self, bucket: Bucket, cost: int, at: Moment) -> bool:
        """Return whether so much may be used of a bucket at once, without what is reserved for reads and repairs."""
        assert self.guarded()
        window = self.windows[bucket]
        return window.used(at) + cost <= int(window.limit * self._share())

    def _share(self, cause: Cause | None = None) -> float:
        """Return the part of a limit that requests for a cause may use; for none, without the reserve."""
        return self.share if cause in _UNRESERVED else self.share - self.reserve

    def form_of(self, request: Request[Any], at: Moment) -> Request[Any]:
        """Return what to send for a request: itself, or what answers it for less."""
        assert self.guarded()
        return self.depth_price.form_of(request, self._futures, at)

    def refuse(self, request: Request[Any], cause: Cause, until: float) -> None:
        """Let nothing as heavy as ``request``, of its bucket and tier, be sent before ``until`` (steady)."""
        assert self.guarded()
        self._refused[request.bucket, self.tier(request, cause)] = (until, request.weight)

    def allowance(self, request: Request[Any], cause: Cause) -> int:
        """Return how much of its bucket may be used, ``request`` included, when it is sent."""
        assert self.guarded()
        window = self.windows[request.bucket]
        return int(window.limit * self._share(cause)) - self._kept(request, cause, window)

    def _allowed(self, request: Request[Any], cause: Cause, at: Moment) -> tuple[int, float]:
        """Return the same at this moment, and by how much it grows in a second.

        What is kept for the repair of candles is kept for the rest of the minute: where the exchange's count restarts
        with the next one, a repair that finds no room waits no longer than until then, and what was not used is lost.
        """
        allowed = self.allowance(request, cause)
        if self.tier(request, cause) not in _LEAVING_ROOM:
            return allowed, 0.0
        window = self.windows[request.bucket]
        left = window.left(at)
        kept = self._kept(request, cause, window)
        if left is None or not kept:
            return allowed, 0.0
        return allowed + int(kept * (1.0 - min(1.0, left / WEIGHT_WINDOW))), kept / WEIGHT_WINDOW

    def alone_at(self, request: Request[Any], cause: Cause, now: float, fraction: float) -> float:
        """Return from when on (steady) a request whose cost is spent already may be sent, if this process is to use no
        more than ``fraction`` of its share; ``now`` if at once."""
        assert self.guarded()
        return self.windows[request.bucket].own_free_at(now, self._share(cause) * fraction)

    def own(self, bucket: Bucket, now: float) -> int:
        """Return what this process itself has used of a bucket in its window."""
        assert self.guarded()
        return self.windows[bucket].own(now)

    def candles(self, count: int, lacking: int) -> None:
        """Set how many kline series are followed, and how many of them need a repair now, each by one request."""
        assert self.guarded()
        self._candles, self._lacking = count, lacking

    def audit_every(self) -> float:
        """Return how often (seconds) each kline series is compared with REST: as often as is meant, or as the share of
        audits allows."""
        assert self.guarded()
        return max(CANDLES_AUDITED_EVERY, WEIGHT_WINDOW * self._candles * AUDIT_WEIGHT / max(1, self._audit_share()))

    def _audit_share(self) -> int:
        """Return how much audits of candles may use of a minute's limit."""
        return int(self._audits.limit * self.share * AUDIT_SHARE)

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
        window.spend(at, request.weight, self._allowed(request, cause, at)[0])
        self.depth_price.sent(request, self._futures, at)
        if self.tier(request, cause) is Tier.AUDIT:
            self._audits.spend(at, request.weight)
            self._audits.ended(at, request.weight, unsent=False, lost=False)
        self.most_used[request.bucket] = max(self.most_used[request.bucket], window.used(at))

    def usage(self, bucket: Bucket, at: Moment) -> Usage:
        """Return the usage of a bucket now."""
        assert self.guarded()
        window = self.windows[bucket]
        return Usage(window.requests(at.steady), window.used(at), int(window.limit * self.share), window.limit)

    def ended(
        self, request: Request[Any], at: Moment, *, unsent: bool = False, lost: bool = False, counted: bool = True
    ) -> None:
        """A request has ended; ``unsent``: it never reached the exchange and costs nothing; ``lost``: it had no answer
        and may still arrive; ``counted``: its answer shows that the exchange has counted it, for that much."""
        assert self.guarded()
        counted = counted and not may_be_cheaper(request)
        self.windows[request.bucket].ended(at, request.weight, unsent=unsent, lost=lost, counted=counted)

    def answered(self, request: Request[Any], used: int | None, at: Moment, sent_at: float) -> None:
        """Note the answer to a request sent at ``sent_at`` (steady), with the used weight that it reports."""
        assert self.guarded()
        if not request.used_weight_is_true or request.bucket not in _WEIGHED.values():
            return
        window = self.windows[request.bucket]
        if used is None:
            self._unreported(request.bucket, at.steady)
        else:
            if window is self._futures:
                self.depth_price.reported(request, used, window, at, sent_at)
            window.reported(used, at, sent_at)

    def block(self, host: Host, until: float) -> None:
        """Send nothing to a host until this moment (steady)."""
        assert self.guarded()
        self._blocked[host] = max(until, self._blocked.get(host, until))
        if (bucket := _WEIGHED.get(host)) is not None:
            self._unreported(bucket, until)

    def _unreported(self, bucket: Bucket, until: float) -> None:
        """Forget what the exchange has reported of a bucket and its prices; these are looked at again some time after
        ``until`` (steady)."""
        self.windows[bucket].unreported()
        if bucket is Bucket.FUTURES:
            self.depth_price.withdraw(until)

    def blocked_until(self, host: Host, now: float) -> float | None:
        """Return until when (steady) nothing may be sent to the host, None if it may be."""
        until = self._blocked.get(host)
        return until if until is not None and until > now else None

    def set_limit(self, host: Host, weight: int) -> None:
        """Set the limit a minute, as the exchange states it."""
        self.windows[Bucket.FUTURES if host is Host.FUTURES else Bucket.SPOT].limit = weight
        if host is Host.FUTURES:
            self._audits.limit = weight
