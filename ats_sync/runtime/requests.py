"""The request threads: they carry out what the dispatcher hands out, come when needed and retire when idle."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.dispatch import Dispatcher, Done, Send
from ..engine.jobs import Fetch
from ..errors import AtsSyncError, ThreadUnavailable
from ..store.market import MarketStore
from ..transport.rest import RestClient
from ..venue.endpoints import Bucket
from .counters import Counters
from .courier import Courier, moment

log = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds after which a worker without work retires."""


class Requests(Protocol):
    """Somebody who fetches for a reader that waits."""

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """What was decoded from the answer. Raises :class:`~ats_sync.errors.RequestError`."""

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""


class RequestThreads:
    """Serves the engine's fetches and the readers' from one queue, as far as the budget lets it."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        done: Callable[[Fetch, AtsSyncError | None], None],
    ) -> None:
        self._config = config
        self._clock = clock
        self._done = done
        self._lock = budget.shared()  # guards the dispatcher and the list of workers, too
        self._changed = threading.Condition(self._lock)
        self._dispatcher = Dispatcher(config, budget, clock.to_wall, random.Random())
        self._budget = budget
        self._workers: dict[threading.Thread, RestClient] = {}
        self._idle = 0
        self._refused: Exception | None = None  # why the last thread could not be started, until one is
        self._numbers = itertools.count(1)
        self._courier = Courier(config, clock, store, budget, counters)

    def submit(self, fetch: Fetch) -> None:
        """Put the engine's fetch in line; ``done`` will be called on a request thread."""
        with self._lock:
            self._dispatcher.submit(fetch)
            self._staff()

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Fetch for a reader, at most ``timeout`` seconds. All who ask for the same share one request."""
        dispatcher = self._dispatcher
        settled = threading.Event()
        with self._lock:
            ticket = dispatcher.ask(fetch, self._clock.now() + timeout, moment(self._clock), settled.set)
            self._staff()
            if self._refused is not None and not self._workers:
                dispatcher.withdraw(ticket)
                raise ThreadUnavailable(f"no thread could be started to fetch {fetch.request.path}: {self._refused}")
        if not settled.wait(timeout):
            with self._lock:
                if not ticket.settled:
                    raise dispatcher.gave_up(ticket, moment(self._clock))
        if ticket.error is not None:
            raise ticket.error
        return ticket.value

    def _staff(self) -> None:
        """See to it that somebody looks at what is in line. The lock is held.

        Who finds a job calls the next one: so there are no more workers than the budget has work for.
        """
        assert self._lock.locked()
        if self._dispatcher.closed:
            return
        if not self._idle and len(self._workers) < self._config.max_rest_threads:
            name = f"ats-rest-{next(self._numbers)}"
            client = RestClient(self._config, self._clock)
            worker = threading.Thread(target=self._work, args=(client,), name=name, daemon=True)
            self._workers[worker] = client
            self._idle += 1
            try:
                worker.start()
            except RuntimeError as failure:
                # What is in line stays there: the workers there are take it, or the next call starts one.
                del self._workers[worker]
                self._idle -= 1
                client.close()
                if self._refused is None:
                    log.warning("a request thread could not be started: %s; it is tried again", failure)
                self._refused = failure
            else:
                self._refused = None
        self._changed.notify()

    def _work(self, client: RestClient) -> None:
        try:
            while (send := self._next()) is not None:
                self._serve(client, send)
        finally:
            client.close()
            with self._lock:
                self._workers.pop(threading.current_thread(), None)
                self._changed.notify_all()

    def _next(self) -> Send | None:
        """What to send now; None when it is time to go. Counts the caller as idle meanwhile."""
        with self._changed:
            idle_since = self._clock.now()
            while not self._dispatcher.closed:
                at = moment(self._clock)
                found = self._dispatcher.next(at)
                if isinstance(found, Send):
                    self._idle -= 1
                    if self._dispatcher.waiting():
                        self._staff()
                    return found
                patience = idle_since + IDLE - at.steady
                if patience <= 0 and (found is None or self._idle > 1):
                    break
                wait = patience if patience > 0 else IDLE
                self._changed.wait(min(wait, found - at.steady) if found is not None else wait)
            self._idle -= 1
            return None

    def _serve(self, client: RestClient, send: Send) -> None:
        outcome = self._courier.carry(client, self._dispatcher, send)
        with self._lock:
            self._idle += 1
        if not isinstance(outcome, Done):
            return
        for ticket in outcome.tickets:
            ticket.wake()
        try:
            self._done(outcome.fetch, outcome.error)
        except Exception:
            # The thread must live on: it counts as idle.
            log.exception("the outcome of %s could not be passed on", outcome.fetch.request)

    def stop(self) -> list[threading.Thread]:
        """Tell everybody to end, also in the middle of a request; the threads to join. Waiting readers are released."""
        with self._lock:
            workers = dict(self._workers)
            tickets = self._dispatcher.close()
            self._changed.notify_all()
        for ticket in tickets:
            ticket.wake()
        for client in workers.values():
            client.scope.shutdown()
        return list(workers)

    def lacks_threads(self) -> bool:
        """Return whether a thread could not be started, and has not been since."""
        with self._lock:
            return self._refused is not None

    def workers(self) -> int:
        with self._lock:
            return len(self._workers)

    def candles(self, count: int, lacking: int) -> None:
        """How many kline series there are, and how many need a repair: the budget keeps room for it."""
        with self._lock:
            self._budget.candles(count, lacking)
            if self._refused is not None and len(self._dispatcher):
                self._staff()
            self._changed.notify()

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        with self._lock:
            return self._budget.usage(bucket, self._clock.now())

    def waiting(self) -> int:
        """Fetches that are in line or under way."""
        with self._lock:
            return len(self._dispatcher)
