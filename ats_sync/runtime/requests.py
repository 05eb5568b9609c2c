"""The request threads: they execute the requests of the dispatcher, start when needed and end when idle."""

from __future__ import annotations

import itertools
import logging
import random
import threading
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from ..clock import Clock
from ..conditions import Condition
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.dispatch import Dispatcher, Done, Send
from ..engine.jobs import Fetch
from ..engine.moment import moment
from ..errors import AtsSyncError, ThreadUnavailable
from ..store.market import MarketStore
from ..venue.endpoints import Bucket
from .counters import Counters
from .executor import Elsewhere, Grants, RequestExecutor

if TYPE_CHECKING:
    from ..transport.rest import RestClient

log = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds after which an idle worker ends."""


class Requests(Protocol):
    """Fetches for a waiting reader."""

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Return the decoded answer. Raises :class:`~ats_sync.errors.RequestError`."""

    def usage(self, bucket: Bucket) -> Usage:
        """Return what a bucket has used in its window."""


class RequestThreads:
    """Serves the fetches of the engine and of readers from one queue, as the budget allows."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        done: Callable[[Fetch, AtsSyncError | None], None],
        grants: Grants | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        # (Not at the top: a process that reads from a shared store does without REST and all that it imports.)
        from ..transport.rest import RestClient

        self._client = partial(RestClient, config, clock)
        self._config = config
        self._clock = clock
        self._done = done
        self._lock = budget.shared()  # guards the dispatcher and the workers too
        self._changed = Condition(self._lock)
        self._dispatcher = Dispatcher(config, budget, clock.to_wall, random.Random())
        self._budget = budget
        self._workers: dict[threading.Thread, RestClient] = {}
        self._idle = 0
        self._refused: Exception | None = None  # why the last thread could not be started; None once one was
        self._numbers = itertools.count(1)
        self._executor = RequestExecutor(config, clock, store, budget, counters, grants, elsewhere)

    def submit(self, fetch: Fetch) -> None:
        """Queue a fetch of the engine; a request thread will call ``done``."""
        with self._lock:
            self._dispatcher.submit(fetch)
            self._ensure_worker()

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Return the decoded answer for a reader, within ``timeout`` seconds. Equal fetches share one request."""
        dispatcher = self._dispatcher
        settled = threading.Event()
        with self._lock:
            reader = dispatcher.ask(fetch, self._clock.now() + timeout, moment(self._clock), settled.set)
            self._ensure_worker()
            if self._refused is not None and not self._workers:
                dispatcher.withdraw(reader)
                raise ThreadUnavailable(f"no thread could be started to fetch {fetch.request.path}: {self._refused}")
        if not settled.wait(timeout):
            with self._lock:
                if not reader.settled:
                    raise dispatcher.gave_up(reader, moment(self._clock))
        if reader.error is not None:
            raise reader.error
        return reader.value

    def _ensure_worker(self) -> None:
        """Wake an idle worker, or start one, to serve the queue. The caller holds the lock.

        A worker that takes a job calls this for the next one, so that there are never more workers than the budget has
        work for.
        """
        assert self._lock.locked()
        if self._dispatcher.closed:
            return
        if not self._idle and len(self._workers) < self._config.max_rest_threads:
            name = f"ats-rest-{next(self._numbers)}"
            client = self._client()
            worker = threading.Thread(target=self._work, args=(client,), name=name, daemon=True)
            self._workers[worker] = client
            self._idle += 1
            try:
                worker.start()
            except RuntimeError as failure:
                # The queue keeps its jobs: a running worker takes them, or the next call starts one.
                del self._workers[worker]
                self._idle -= 1
                client.close()
                if self._refused is None:
                    log.warning("a request thread could not be started: %s; another attempt follows", failure)
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
        """Wait for a request to send and return it, or None when this worker is to end. The caller counts as idle."""
        with self._changed:
            idle_since = self._clock.now()
            while not self._dispatcher.closed:
                at = moment(self._clock)
                found = self._dispatcher.next(at)
                if isinstance(found, Send):
                    self._idle -= 1
                    if self._dispatcher.waiting():
                        self._ensure_worker()
                    return found
                patience = idle_since + IDLE - at.steady
                if patience <= 0 and (found is None or self._idle > 1):
                    break
                wait = patience if patience > 0 else IDLE
                self._changed.wait(min(wait, found - at.steady) if found is not None else wait)
            self._idle -= 1
            return None

    def _serve(self, client: RestClient, send: Send) -> None:
        outcome = self._executor.execute(client, self._dispatcher, send)
        with self._lock:
            self._idle += 1
        if not isinstance(outcome, Done):
            return
        for reader in outcome.readers:
            reader.wake()
        try:
            self._done(outcome.fetch, outcome.error)
        except Exception:
            # The thread must go on, since it counts as idle.
            log.exception("the outcome of %s could not be reported", outcome.fetch.request)

    def stop(self) -> list[threading.Thread]:
        """Stop all workers, also inside a request, and wake all waiting readers; return the threads to join."""
        with self._lock:
            workers = dict(self._workers)
            readers = self._dispatcher.close()
            self._changed.notify_all()
        for reader in readers:
            reader.wake()
        for client in workers.values():
            client.scope.shutdown()
        return list(workers)

    def lacks_threads(self) -> bool:
        """Return whether the last attempt to start a thread failed."""
        with self._lock:
            return self._refused is not None

    def workers(self) -> int:
        with self._lock:
            return len(self._workers)

    def candles(self, count: int, lacking: int) -> None:
        """Set how many kline series there are and how many need a repair, for which the budget keeps room."""
        with self._lock:
            self._budget.candles(count, lacking)
            if self._refused is not None and len(self._dispatcher):
                self._ensure_worker()
            self._changed.notify()

    def audit_every(self) -> float:
        """Return how often (seconds) each kline series is compared with REST."""
        with self._lock:
            return self._budget.audit_every()

    def usage(self, bucket: Bucket) -> Usage:
        """Return what a bucket has used in its window."""
        with self._lock:
            return self._budget.usage(bucket, moment(self._clock))

    def waiting(self) -> int:
        """Return the number of fetches that are queued or in flight."""
        with self._lock:
            return len(self._dispatcher)
