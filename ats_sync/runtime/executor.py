"""Executes one request of a dispatcher: sends it, and merges its answer into the store."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any, Protocol

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget
from ..engine.dispatch import Dispatcher, Done, Retry, Send
from ..engine.moment import moment
from ..errors import AtsSyncError, NotRunning, RateLimited, RequestError, RequestTimeout
from ..feeds import Cause, Key
from ..logs import RateLimitedLogger
from ..store.market import MarketStore
from ..store.series import Copied
from ..transport.answer import Answer
from ..venue.listings import ExchangeInfo
from ..venue.responses import used_weight
from .counters import Counters

if TYPE_CHECKING:
    from ..transport.rest import RestClient

log = RateLimitedLogger(logging.getLogger(__name__))


class Grants(Protocol):
    """The account of an address's requests, which other processes share. Its methods may wait for I/O."""

    def take(self, send: Send) -> float | None:
        """Return None where a request may be sent now, and count it; else from when on (steady) it may."""

    def ended(self, send: Send, outcome: Answer | AtsSyncError) -> None:
        """Note how a request ended that :meth:`take` had let pass."""


class Elsewhere(Protocol):
    """Another process that requests the same. Its method may wait for I/O."""

    def copied(self, key: Key) -> Copied | None:
        """Return how it has a series now; None where there is no such process, or it lacks the series."""


class RequestExecutor:
    """Executes requests on the calling threads, which share it; the budget's lock guards the dispatchers."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        grants: Grants | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._grants = grants
        self._elsewhere = elsewhere
        self._store = store
        self._budget = budget
        self._counters = counters
        self._lock = budget.shared()
        # Guards the memory that decoding takes, many times that of what is kept: of the answers of a warm-up one is
        # decoded at a time. Side by side they would take as long. Taken before the lock of a series.
        self._decoding = threading.Lock()

    def execute(self, client: RestClient, dispatcher: Dispatcher, send: Send) -> Done | Retry:
        """Send a request, wait for its answer and merge it; return what the dispatcher decides. What another process
        has requested lately is taken from there."""
        if (spared := self._spare(dispatcher, send)) is not None:
            return spared
        request = send.request
        outcome: Answer | AtsSyncError
        try:
            if self._grants is not None and (until := self._grants.take(send)) is not None:
                with self._lock:
                    return dispatcher.refused(send, until, moment(self._clock))
            self.sending(send)
            outcome = client.get(
                request.url(self._config),
                dict(request.params),
                headers=dict(request.headers),
                timeout=send.timeout,
            )
        except AtsSyncError as error:
            outcome = error
        except Exception as failure:
            log.exception("request", "a request failed unexpectedly: %s", request)
            outcome = RequestError(f"{request.path}: {failure!r}")
            outcome.__cause__ = failure
        except BaseException:
            # Ctrl-C on a caller's thread: the request may have been sent.
            with self._lock:
                dispatcher.failed(send, RequestTimeout(f"{request.path}: interrupted"), moment(self._clock))
            raise
        return self.delivered(dispatcher, send, outcome)

    def _spare(self, dispatcher: Dispatcher, send: Send) -> Done | None:
        """Settle a request with what another process has requested; None where it must be sent."""
        fetch = send.fetch
        if self._elsewhere is None or fetch.since is None:
            return None
        try:
            copied = self._elsewhere.copied(fetch.key)
            if copied is None or dispatcher.closed:
                return None
            with self._decoding:
                value = self._store.merge_copied(fetch.key, send.request, copied, fetch.since)
        except Exception:
            log.exception("copy", "what another process has of %s could not be used; it is requested", fetch.key)
            return None
        if value is None:
            return None
        with self._lock:
            return dispatcher.spared(send, value, moment(self._clock))

    def sending(self, send: Send) -> None:
        """Note that a request is being sent."""
        send.lead = self._clock.lead()
        self._counters.request(send.fetch.cause)

    def delivered(self, dispatcher: Dispatcher, send: Send, outcome: Answer | AtsSyncError) -> Done | Retry:
        """Merge the outcome of a request; return what the dispatcher decides."""
        if self._grants is not None:
            self._grants.ended(send, outcome)  # Others must know of a 429 before this process does anything else.
        fetch, error = send.fetch, outcome
        status = outcome.status if isinstance(outcome, (Answer, RequestError)) else None
        self._counters.outcome(fetch.request.host, fetch.cause, status)
        if isinstance(outcome, RateLimited):
            host = fetch.request.host
            self._counters.limited(host, str(outcome))
            log.warning(f"limit of {host}", "%s; nothing is sent to the %s host until then", outcome, host.value)
        elif isinstance(outcome, Answer):
            try:
                value = self._merge(dispatcher, send, outcome)
            except AtsSyncError as failure:
                error = failure
            except Exception as failure:
                log.exception("answer", "an answer could not be merged: %s", fetch.request)
                error = RequestError(f"{fetch.request.path}: {failure!r}")
                error.__cause__ = failure
            else:
                if fetch.cause is Cause.REPAIR:
                    self._counters.repaired(fetch.key)
                with self._lock:
                    return dispatcher.done(send, value, moment(self._clock))
        assert isinstance(error, AtsSyncError)
        with self._lock:
            return dispatcher.failed(send, error, moment(self._clock))

    def _merge(self, dispatcher: Dispatcher, send: Send, answer: Answer) -> Any:
        fetch, clock = send.fetch, self._clock
        requested_at = clock.earliest_ms() - int((clock.now() - answer.sent_at) * 1000)
        with self._lock:
            dispatcher.answered(send, used_weight(answer.headers), answer.sent_at, moment(clock))
            if dispatcher.closed:
                # A thread of a stopped manager that wakes up late must not change the store.
                raise NotRunning("closed before the answer came")
        with self._decoding:
            value = self._store.merge(fetch.key, send.request, answer.body, requested_at, fetch.link)
            if fetch.cause is Cause.WARM_UP and self._config.decode_ahead:
                series = self._store.series.get(fetch.key)
                if series is not None:
                    series.decode_ahead()
        feed = fetch.feed
        if feed is not None and feed.sets_clock:
            self._learn_time(send, value, answer)
        elif feed is not None and feed.lists_contracts:
            self._learn_limit(send, value)
        return value

    def _learn_time(self, send: Send, server_ms: int, answer: Answer) -> None:
        # The exchange wrote its time somewhere between sending and receiving.
        now, server_time = self._clock.now(), server_ms / 1000.0
        slept = max(0.0, self._clock.lead() - send.lead)
        self._clock.set_exchange(server_time + now - answer.received_at, server_time + now - answer.sent_at + slept)

    def _learn_limit(self, send: Send, info: ExchangeInfo) -> None:
        if info.weight_limit is not None:
            with self._lock:
                self._budget.set_limit(send.request.host, info.weight_limit)
