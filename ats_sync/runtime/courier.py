"""Sending one fetch: budget, request, retries, and the merge of its answer."""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable
from typing import Any

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget
from ..engine.jobs import Fetch
from ..engine.moment import Moment
from ..errors import ConnectionFailed, NotRunning, RateLimited, RequestTimeout
from ..feeds import Kind
from ..logs import Sparing
from ..store.absorb import absorb
from ..store.market import MarketStore
from ..transport.rest import Answer, RestClient, retrying
from .counters import Counters

log = Sparing(logging.getLogger(__name__))


def moment(clock: Clock) -> Moment:
    """Now, as the engine is told it."""
    return Moment(clock.now(), clock.exchange_ms(), clock.proven(), math.ceil(clock.uncertainty() * 1000))


class Courier:
    """Carries fetches out on whichever thread calls. Shared by all of them; ``lock`` guards the budget."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        lock: threading.Lock,
        stop: threading.Event,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._budget = budget
        self._counters = counters
        self._lock = lock
        self._stop = stop

    def carry(
        self,
        client: RestClient,
        fetch: Fetch,
        *,
        deadline: float,
        attempts: int,
        paid: bool,
        merge: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Send, wait, merge; what was decoded. ``paid``: the first attempt is in the budget already.

        ``merge`` is asked just before the answer is merged: a stopped manager's thread that wakes up late
        must not touch the store any more. Raises a :class:`~ats_sync.errors.RequestError`.
        """
        unpaid = not paid
        lead = 0.0  # of the wall clock over the steady one when the request was sent

        def attempt() -> Answer:
            nonlocal unpaid, lead
            if unpaid:
                self._pay(fetch, deadline)
            unpaid = True
            self._counters.request(fetch.cause)
            left = deadline - self._clock.now()
            lead = self._clock.lead()
            unsent = lost = False
            try:
                return client.get(
                    fetch.request.url(self._config),
                    dict(fetch.request.params),
                    headers=dict(fetch.request.headers),
                    timeout=max(0.05, min(left, self._config.request_timeout)),
                )
            except ConnectionFailed as failure:
                unsent = failure.unsent
                raise
            except RequestTimeout:
                lost = True
                raise
            finally:
                with self._lock:
                    self._budget.ended(fetch.request, moment(self._clock), unsent=unsent, lost=lost)

        try:
            answer = retrying(attempt, deadline=deadline, clock=self._clock, stop=self._stop, attempts=attempts)
        except RateLimited as error:
            with self._lock:
                until = self._clock.now() + error.retry_at - self._clock.wall()
                self._budget.block(fetch.request.host, until)
            log.warning("rate limited", "%s; nothing is sent to the %s host before", error, fetch.request.host.value)
            raise
        received = self._clock.now()
        asked = self._clock.earliest_ms() - int((received - answer.sent_at) * 1000)
        with self._lock:
            self._budget.answered(fetch.request, _used_weight(answer), moment(self._clock), answer.sent_at)
        if not merge():
            raise NotRunning("closed before the answer came")
        value = absorb(
            self._store,
            fetch.key,
            answer.body,
            asked=asked,
            limit=fetch.limit,
            link=fetch.link,
            from_id=fetch.from_id,
        )
        self._learn(fetch, value, answer, lead)
        return value

    def _pay(self, fetch: Fetch, deadline: float) -> None:
        while True:
            with self._lock:
                at = moment(self._clock)
                free = self._budget.free_at(fetch.request, fetch.cause, at.steady)
                if free <= at.steady:
                    self._budget.spend(fetch.request, at, fetch.cause)
                    return
            if free > deadline:
                raise self.too_late(fetch, free)
            if self._clock.wait(self._stop, free - at.steady):
                raise NotRunning("closed while waiting for budget")

    def too_late(self, fetch: Fetch, free: float) -> RateLimited:
        """The error for a request that may only be sent at ``free`` (steady), after its deadline."""
        host = fetch.request.host
        with self._lock:
            blocked = self._budget.blocked_until(host, self._clock.now())
        why = (
            f"the exchange told this address to wait (HTTP 429 or 418 from the {host.value} host)"
            if blocked is not None
            else f"the budget of {fetch.request.bucket.value} is used up"
        )
        wait = max(0.0, free - self._clock.now())
        return RateLimited(
            f"{fetch.request.path} cannot be asked in time: {why}; again in {wait:.0f} s",
            retry_at=self._clock.to_wall(free),
        )

    def _learn(self, fetch: Fetch, value: Any, answer: Answer, lead: float) -> None:
        if fetch.key.kind is Kind.CLOCK:
            # The exchange wrote its time somewhere between sending and receiving.
            now, told = self._clock.now(), value / 1000.0
            slept = max(0.0, self._clock.lead() - lead)
            self._clock.set_exchange(told + now - answer.received_at, told + now - answer.sent_at + slept)
        elif fetch.key.kind is Kind.LISTINGS and value.weight_limit is not None:
            with self._lock:
                self._budget.set_limit(fetch.request.host, value.weight_limit)


def _used_weight(answer: Answer) -> int | None:
    text = answer.headers.get("X-MBX-USED-WEIGHT-1M", "")
    return int(text) if text.isdigit() else None
