"""The life-cycle of a request without I/O: who waits for it, when it is sent, and what follows its outcome.

Driven by the request threads, by the callers' threads while no manager runs, and by the tests on virtual time.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..config import Config
from ..errors import AtsSyncError, ConnectionFailed, NotRunning, RateLimited, RequestError, RequestTimeout
from ..feeds import Cause
from ..venue.endpoints import Request
from .budget import Budget
from .jobs import LEAST_TIME, Fetch, Job, JobQueue, PendingRead
from .moment import Moment

READ_ATTEMPTS, OTHER_ATTEMPTS = 3, 2
MOST_AT_ONCE = 32
"""So many requests are under way at once where the limit has no room for all that waits: more would use a minute up
before the first answers show that the exchange's count has restarted with it."""
LEAST_TIMEOUT = 0.05
BACK_OFF, LONGEST_BACK_OFF, JITTER = 0.2, 2.0, 0.2
"""Seconds before the second attempt, doubled before each further one up to the second value, and the most jitter."""


@dataclass(eq=False, slots=True)
class Send:
    """A fetch to be sent now, once; its weight is spent."""

    job: Job
    fetch: Fetch
    deadline: float
    """From when on (steady) nobody waits for it."""
    timeout: float
    """The most seconds it may take."""
    request: Request[Any]
    """What to send: the fetch's request, or a cheaper form of it."""
    under_way: bool = True
    """Whether its outcome is unknown."""
    lead: float = 0.0
    """How far (seconds) the wall clock was ahead of the steady one when it was sent; set by the sender."""
    grant: str = ""
    """The number under which an account that other processes share has counted it; set by the sender."""


class Retry(NamedTuple):
    """The request will be sent again, at ``at`` (steady) at the earliest."""

    at: float
    error: AtsSyncError


class Done(NamedTuple):
    """The request is settled: its outcome for the engine, and the readers to wake."""

    fetch: Fetch
    error: AtsSyncError | None
    readers: list[PendingRead]


class Dispatcher:
    """Hands out the requests to send and takes their outcomes. Not thread-safe: used under the lock of its budget.

    ``to_wall`` converts steady time to this machine's wall clock. ``once``: nothing is retried.
    """

    def __init__(
        self,
        config: Config,
        budget: Budget,
        to_wall: Callable[[float], float],
        rng: random.Random,
        *,
        once: bool = False,
    ) -> None:
        self.queue = JobQueue(budget)
        self.under_way = 0
        """Requests that are handed out and not settled."""
        self.closed = False
        self._config = config
        self._budget = budget
        self._to_wall = to_wall
        self._rng = rng
        self._once = once
        self._pauses: list[tuple[float, int, Job]] = []
        self._count = itertools.count()
        self._delayed = False  # whether the budget let nothing be sent since something was

    def __len__(self) -> int:
        """Return the number of fetches that are queued, pausing or in flight."""
        return len(self.queue)

    def waiting(self) -> int:
        """Return the number of fetches that are queued, or pausing before their next attempt."""
        return len(self.queue) - self.under_way

    # --- submissions ----------------------------------------------------------------------------------

    def submit(self, fetch: Fetch) -> None:
        """Queue a fetch of the engine."""
        assert self._budget.guarded()
        if not self.closed:
            self.queue.add(fetch).for_engine = True

    def ask(self, fetch: Fetch, deadline: float, at: Moment, wake: Callable[[], None] = lambda: None) -> PendingRead:
        """Queue a fetch of a reader. Equal fetches share one request.

        Raises :class:`~ats_sync.errors.RateLimited` at once where it could not be sent before ``deadline`` (steady).
        """
        assert self._budget.guarded()
        if self.closed:
            raise NotRunning("the manager is closed")
        free = self._budget.free_at(fetch.request, fetch.cause, at)
        if free > max(deadline, at.steady):  # (a deadline that has passed is no reason to blame the budget)
            raise self._too_late(fetch.request, free, at)
        job = self.queue.add(fetch)
        reader = PendingRead(job, deadline, max(0.0, deadline - at.steady), wake)
        job.readers.append(reader)
        job.deadline = deadline if job.deadline is None else max(job.deadline, deadline)
        return reader

    def withdraw(self, reader: PendingRead) -> None:
        """Remove a reader; a request that nothing else needs is not sent."""
        assert self._budget.guarded()
        job = reader.job
        if reader in job.readers:
            job.readers.remove(reader)
        if not job.readers and not job.for_engine:
            self.queue.cancel(job)

    def gave_up(self, reader: PendingRead, at: Moment) -> AtsSyncError:
        """Remove a reader whose deadline has passed; return the error that says what it waited for."""
        assert self._budget.guarded()
        job = reader.job
        request = job.fetch.request
        free = self._budget.free_at(request, job.charged_to, at)
        # A request that could have been sent waited for the budget, or behind requests that did.
        waited_for_budget = not job.running and (free > at.steady or self._delayed)
        self.withdraw(reader)
        if waited_for_budget:
            error: AtsSyncError = self._too_late(request, free, at)
        else:
            error = RequestTimeout(f"{request.path} was not answered within {reader.timeout:g} s")
        error.__cause__ = job.error
        return error

    # --- sending --------------------------------------------------------------------------------------

    def next(self, at: Moment) -> Send | float | None:
        """Return the request to send now; else when (steady) to call again; None without a request."""
        assert self._budget.guarded()
        while self._pauses and self._pauses[0][0] <= at.steady:
            job = heapq.heappop(self._pauses)[2]
            if job.for_engine or job.readers:
                self.queue.requeue(job)
            else:
                self.queue.done(job)
        found = self.queue.pop(at, crowded=self.under_way >= MOST_AT_ONCE)
        if isinstance(found, Job):
            self._delayed = False
            return self._hand_out(found, at)
        if found is not None:
            self._delayed = True  # also for a request that is dropped next, since it is too late to send it
        if not self._pauses:
            return found
        resumed = self._pauses[0][0]
        return resumed if found is None else min(found, resumed)

    def _hand_out(self, job: Job, at: Moment) -> Send:
        limit = self._config.request_timeout
        if job.attempts and self._deadline(job) - at.steady < LEAST_TIME:
            job.attempts = 0  # It was queued so long that its attempts start over.
        if not job.attempts:
            job.began = at.steady
        job.attempts += 1
        self.under_way += 1
        deadline = self._deadline(job)
        return Send(job, job.fetch, deadline, max(LEAST_TIMEOUT, min(deadline - at.steady, limit)), job.request)

    def _deadline(self, job: Job) -> float:
        own = job.began + self._config.request_timeout
        if job.deadline is None:
            return own
        # The engine needs the answer also when the readers have given up.
        return max(own, job.deadline) if job.for_engine else job.deadline

    # --- outcomes -------------------------------------------------------------------------------------

    def answered(self, send: Send, used: int | None, sent_at: float, at: Moment) -> None:
        """Note the answer to a request that was sent at ``sent_at`` (steady); ``used`` is the used weight it reports.

        Call :meth:`done` afterwards, or :meth:`failed`, then final, if the answer is unusable.
        """
        self._ended(send, at)
        self._budget.answered(send.request, used, at, sent_at)

    def done(self, send: Send, value: Any, at: Moment) -> Done:
        """Settle a request with the decoded answer ``value``."""
        if send.under_way:
            self._ended(send, at)
        return self._settle(send, value, None)

    def failed(self, send: Send, error: AtsSyncError, at: Moment) -> Done | Retry:
        """Settle a failed request, or retry it."""
        again = None
        if send.under_way:
            unsent = isinstance(error, ConnectionFailed) and error.unsent
            lost = isinstance(error, RequestTimeout)
            self._ended(send, at, unsent=unsent, lost=lost, counted=False)
            if isinstance(error, RateLimited):
                self._budget.block(send.request.host, error.retry_at - self._to_wall(0.0))
            if not self._once and not self.closed:
                again = self._next_attempt(send, error, at)
        if again is None:
            return self._settle(send, None, error)
        self.under_way -= 1
        send.job.error = error
        return Retry(again, error)

    def refused(self, send: Send, until: float, at: Moment) -> Done | Retry:
        """Take back a request that was not sent: an account that other processes share has no room for it before
        ``until`` (steady). It is queued again, unless every reader will have given up by then."""
        self._ended(send, at, unsent=True)
        job = send.job
        request = send.request
        self._budget.refuse(request, job.charged_to, until)
        if self.closed:
            return self._settle(send, None, NotRunning("closed before it was sent"))
        if not job.for_engine and job.deadline is not None and until >= job.deadline:
            return self._settle(send, None, self._too_late(request, until, at))
        job.attempts -= 1
        self.under_way -= 1
        self.queue.requeue(job)
        return Retry(until, self._too_late(request, until, at))

    def spared(self, send: Send, value: Any, at: Moment) -> Done | None:
        """Settle a request that was not sent, since another process has the answer ``value``; None where a reader has
        joined it, who gets an answer that is requested now."""
        if send.job.readers:
            return None
        self._ended(send, at, unsent=True)
        return self._settle(send, value, None)

    def _next_attempt(self, send: Send, error: AtsSyncError, at: Moment) -> float | None:
        """Queue the next attempt and return when (steady) it is due; None if there is none."""
        job, fetch = send.job, send.fetch
        if isinstance(error, RateLimited):
            free = self._budget.free_at(fetch.request, job.charged_to, at)
            if job.deadline is not None and free >= job.deadline:
                return None
            # In time for the readers, or none waits: it is queued again until the host accepts requests.
            job.attempts = 0
            self.queue.requeue(job)
            return free
        attempts = READ_ATTEMPTS if fetch.cause is Cause.READ else OTHER_ATTEMPTS
        if not (isinstance(error, RequestError) and error.retryable) or job.attempts >= attempts:
            return None
        back_off = min(LONGEST_BACK_OFF, BACK_OFF * 2.0 ** (job.attempts - 1))
        resumed: float = at.steady + back_off + JITTER * self._rng.random()
        if resumed >= self._deadline(job):
            return None
        heapq.heappush(self._pauses, (resumed, next(self._count), job))
        return resumed

    def _ended(self, send: Send, at: Moment, *, unsent: bool = False, lost: bool = False, counted: bool = True) -> None:
        assert send.under_way
        send.under_way = False
        self._budget.ended(send.request, at, unsent=unsent, lost=lost, counted=counted)

    def _settle(self, send: Send, value: Any, error: AtsSyncError | None) -> Done:
        assert self._budget.guarded()
        self.under_way -= 1
        self.queue.done(send.job)
        return Done(send.fetch, error, _settled(send.job, value, error))

    def close(self) -> list[PendingRead]:
        """Stop sending; return the readers to wake."""
        assert self._budget.guarded()
        self.closed = True
        self._pauses.clear()
        closed = NotRunning("the manager was closed while this was waiting")
        return [reader for job in self.queue.clear() for reader in _settled(job, None, closed)]

    def _too_late(self, request: Request[Any], free: float, at: Moment) -> RateLimited:
        """Return the error for a request that may be sent only at ``free`` (steady), after its deadline."""
        host = request.host
        why = (
            f"the exchange has rate-limited this address (HTTP 429 or 418 from the {host.value} host)"
            if self._budget.blocked_until(host, at.steady) is not None
            else f"the budget of {request.bucket.value} is used up"
        )
        return RateLimited(
            f"{request.path} cannot be sent in time: {why}; retry in {max(0.0, free - at.steady):.0f} s",
            retry_at=self._to_wall(free),
        )


def _settled(job: Job, value: Any, error: AtsSyncError | None) -> list[PendingRead]:
    readers, job.readers = job.readers, []
    for reader in readers:
        reader.settle(value, error)
    return readers
