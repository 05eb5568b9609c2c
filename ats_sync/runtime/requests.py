"""The request threads: a queue by priority, workers that come when needed and retire when idle."""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.jobs import Fetch, Job, JobQueue
from ..errors import AtsSyncError, NotRunning, RateLimited, RequestError, RequestTimeout, ThreadUnavailable
from ..feeds import Cause
from ..store.market import MarketStore
from ..transport.rest import RestClient
from ..venue.endpoints import Bucket
from .counters import Counters
from .courier import Courier, moment

log = logging.getLogger(__name__)

IDLE = 10.0
"""Seconds after which a worker without work retires."""
READ_ATTEMPTS, OTHER_ATTEMPTS = 3, 2


class Requests(Protocol):
    """Somebody who fetches for a reader that waits."""

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """What was decoded from the answer. Raises :class:`~ats_sync.errors.RequestError`."""

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""


class _Ticket:
    """A reader's claim on the answer of a job."""

    __slots__ = ("error", "ready", "value")

    def __init__(self) -> None:
        self.ready = threading.Event()
        self.value: Any = None
        self.error: AtsSyncError | None = None


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
        self._stop = threading.Event()
        self._lock = budget.shared()  # guards the queue and the list of workers, too
        self._changed = threading.Condition(self._lock)
        self._queue = JobQueue(budget)
        self._budget = budget
        self._workers: dict[threading.Thread, RestClient] = {}
        self._idle = 0
        self._refused: Exception | None = None  # why the last thread could not be started, until one is
        self._numbers = itertools.count(1)
        self.courier = Courier(config, clock, store, budget, counters, self._lock, self._stop)

    def submit(self, fetch: Fetch) -> None:
        """Put the engine's fetch in line; ``done`` will be called on a request thread."""
        with self._lock:
            if self._stop.is_set():
                return
            job, _ = self._queue.add(fetch)
            job.for_engine = True
            self._staff()

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Fetch for a reader, at most ``timeout`` seconds. All who ask for the same share one request."""
        deadline = self._clock.now() + timeout
        ticket = _Ticket()
        with self._lock:
            if self._stop.is_set():
                raise NotRunning("the manager is closed")
            free = self._budget.free_at(fetch.request, fetch.cause, self._clock.now())
        if free > deadline:
            raise self.courier.too_late(fetch, free)
        with self._lock:
            job, _ = self._queue.add(fetch)
            job.tickets.append(ticket)
            job.deadline = max(job.deadline or deadline, deadline)
            self._staff()
            if self._refused is not None and not self._workers:
                job.tickets.remove(ticket)
                if not job.tickets and not job.for_engine:
                    self._queue.cancel(job)
                raise ThreadUnavailable(f"no thread could be started to fetch {fetch.request.path}: {self._refused}")
        held_up: float | None = None
        if not ticket.ready.wait(timeout):
            with self._lock:
                now = self._clock.now()
                free = self._budget.free_at(fetch.request, fetch.cause, now)
                if not job.running and (free > now or self._idle > 0):
                    # Somebody could have sent it; the budget, or those before it in line, did not let him.
                    held_up = free
                if ticket in job.tickets:
                    job.tickets.remove(ticket)
                if not job.tickets and not job.for_engine:
                    self._queue.cancel(job)
        if ticket.error is not None:
            raise ticket.error
        if not ticket.ready.is_set():
            if held_up is not None:
                raise self.courier.too_late(fetch, held_up)
            raise RequestTimeout(f"{fetch.request.path} was not answered within {timeout:g} s")
        return ticket.value

    def _staff(self) -> None:
        """See to it that somebody looks at what is in line. The lock is held.

        Who finds a job calls the next one: so there are no more workers than the budget has work for.
        """
        assert self._lock.locked()
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
            while (job := self._next()) is not None:
                self._serve(client, job)
        finally:
            client.close()
            with self._lock:
                self._workers.pop(threading.current_thread(), None)
                self._changed.notify_all()

    def _next(self) -> Job | None:
        """The next job, already paid for; None when it is time to go. Counts the caller as idle meanwhile."""
        with self._changed:
            idle_since = self._clock.now()
            while not self._stop.is_set():
                at = moment(self._clock)
                found = self._queue.pop(at)
                if isinstance(found, Job):
                    self._idle -= 1
                    if len(self._queue) > len(self._workers) - self._idle:
                        self._staff()
                    return found
                patience = idle_since + IDLE - at.steady
                if patience <= 0 and (found is None or self._idle > 1):
                    break
                wait = patience if patience > 0 else IDLE
                self._changed.wait(min(wait, found - at.steady) if found is not None else wait)
            self._idle -= 1
            return None

    def _serve(self, client: RestClient, job: Job) -> None:
        fetch = job.fetch
        value: Any = None
        error: AtsSyncError | None = None
        try:
            deadline = self._clock.now() + self._config.request_timeout
            if job.deadline is not None:
                # The engine wants the answer also when the readers have given up.
                deadline = max(deadline, job.deadline) if job.for_engine else job.deadline
            value = self.courier.carry(
                client,
                fetch,
                deadline=deadline,
                attempts=READ_ATTEMPTS if fetch.cause is Cause.READ else OTHER_ATTEMPTS,
                paid=True,
                merge=lambda: not self._stop.is_set(),
            )
        except RateLimited as limited:
            error = limited
            with self._lock:
                free = self._budget.free_at(fetch.request, job.payer, self._clock.now())
                if (job.deadline is None or free < job.deadline) and not self._stop.is_set():
                    # Still in time, or nobody waits: it goes back in line until the host may be asked.
                    self._idle += 1
                    self._queue.again(job)
                    return
        except AtsSyncError as failure:
            error = failure
        except Exception as failure:
            log.exception("a request thread failed on %s", fetch.request)
            error = RequestError(f"{fetch.request.path}: {failure!r}")
        with self._lock:
            self._idle += 1
            self._queue.done(job)
            tickets, job.tickets = job.tickets, []
        for ticket in tickets:
            assert isinstance(ticket, _Ticket)
            ticket.value, ticket.error = value, error
            ticket.ready.set()
        self._done(fetch, error)

    def stop(self) -> list[threading.Thread]:
        """Tell everybody to end, also in the middle of a request; the threads to join. Waiting readers are released."""
        self._stop.set()
        with self._lock:
            workers = dict(self._workers)
            jobs = self._queue.clear()
            self._changed.notify_all()
        for job in jobs:
            for ticket in job.tickets:
                assert isinstance(ticket, _Ticket)
                ticket.error = NotRunning("the manager was closed while this was waiting")
                ticket.ready.set()
        for client in workers.values():
            client.guard.shutdown()
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
            if self._refused is not None and len(self._queue):
                self._staff()
            self._changed.notify()

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        with self._lock:
            return self._budget.usage(bucket, self._clock.now())

    def waiting(self) -> int:
        """Fetches that are in line or under way."""
        with self._lock:
            return len(self._queue)
