"""Who waits for what, what is sent next, and what becomes of it: the life of a request, without I/O.

Driven by the request threads, by the callers' own threads where no manager runs, and by the tests on virtual time.
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
from .jobs import LEAST_TIME, Fetch, Job, JobQueue, Ticket
from .moment import Moment

READ_ATTEMPTS, OTHER_ATTEMPTS = 3, 2
LEAST_TIMEOUT = 0.05
BACK_OFF, LONGEST_BACK_OFF, JITTER = 0.2, 2.0, 0.2
"""Seconds before the second attempt, twice as many before each further one, and what chance adds."""


@dataclass(eq=False, slots=True)
class Send:
    """A fetch to be sent now, once; it is paid for."""

    job: Job
    fetch: Fetch
    deadline: float
    """The moment (steady) from which on nobody waits for it."""
    timeout: float
    """Seconds it may take."""
    under_way: bool = True
    """Whether neither its answer nor its failure is known."""
    lead: float = 0.0
    """How far (seconds) the wall clock was ahead of the steady one when it was sent; set by whoever sends it."""


class Again(NamedTuple):
    """It will be sent again, at ``at`` (steady) at the earliest."""

    at: float
    error: AtsSyncError


class Done(NamedTuple):
    """It is over: what the engine is to learn, and the readers to wake."""

    fetch: Fetch
    error: AtsSyncError | None
    tickets: list[Ticket]


class Dispatcher:
    """Hands out what is to be sent, and takes what came of it. Not thread-safe: used under the lock of its budget.

    ``to_wall`` converts a moment of the steady clock to this machine's wall clock. ``once``: nothing is sent a second
    time, whatever came of the first.
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
        """Handed out and not over yet."""
        self.closed = False
        self._config = config
        self._budget = budget
        self._to_wall = to_wall
        self._rng = rng
        self._once = once
        self._pauses: list[tuple[float, int, Job]] = []
        self._count = itertools.count()
        self._held_up = False  # whether the budget let nothing be sent when next() was last called

    def __len__(self) -> int:
        """Fetches that are in line, pausing or under way."""
        return len(self.queue)

    def waiting(self) -> int:
        """Fetches that nobody carries at the moment: in line, or pausing before the next attempt."""
        return len(self.queue) - self.under_way

    # --- who wants what -------------------------------------------------------------------------------

    def submit(self, fetch: Fetch) -> None:
        """Put the engine's fetch in line."""
        assert self._budget.guarded()
        if not self.closed:
            self.queue.add(fetch)[0].for_engine = True

    def ask(self, fetch: Fetch, deadline: float, at: Moment, wake: Callable[[], None] = lambda: None) -> Ticket:
        """Put a reader's fetch in line. All who ask for the same share one request.

        Raises :class:`~ats_sync.errors.RateLimited` at once where it could not be sent before ``deadline`` (steady).
        """
        assert self._budget.guarded()
        if self.closed:
            raise NotRunning("the manager is closed")
        free = self._budget.free_at(fetch.request, fetch.cause, at.steady)
        if free > deadline:
            raise self._too_late(fetch.request, free, at)
        job, _ = self.queue.add(fetch)
        ticket = Ticket(job, deadline, deadline - at.steady, wake)
        job.tickets.append(ticket)
        job.deadline = deadline if job.deadline is None else max(job.deadline, deadline)
        return ticket

    def withdraw(self, ticket: Ticket) -> None:
        """Forget a reader; what nobody else wants is not sent."""
        assert self._budget.guarded()
        job = ticket.job
        if ticket in job.tickets:
            job.tickets.remove(ticket)
        if not job.tickets and not job.for_engine:
            self.queue.cancel(job)

    def gave_up(self, ticket: Ticket, at: Moment) -> AtsSyncError:
        """Withdraw a reader whose time is up; return the error that says what it was waiting for."""
        assert self._budget.guarded()
        job = ticket.job
        request = job.fetch.request
        free = self._budget.free_at(request, job.payer, at.steady)
        # What could have been sent waited for the budget, or for those before it that did.
        held_up = not job.running and (free > at.steady or self._held_up)
        self.withdraw(ticket)
        if held_up:
            error: AtsSyncError = self._too_late(request, free, at)
        else:
            error = RequestTimeout(f"{request.path} was not answered within {ticket.patience:g} s")
        error.__cause__ = job.error
        return error

    # --- what is sent ---------------------------------------------------------------------------------

    def next(self, at: Moment) -> Send | float | None:
        """What to send now; else the moment (steady) to ask again; None while there is nothing to wait for."""
        assert self._budget.guarded()
        while self._pauses and self._pauses[0][0] <= at.steady:
            job = heapq.heappop(self._pauses)[2]
            if job.for_engine or job.tickets:
                self.queue.again(job)
            else:
                self.queue.done(job)
        found = self.queue.pop(at)
        if isinstance(found, Job):
            self._held_up = False
            return self._hand_out(found, at)
        self._held_up = found is not None
        if not self._pauses:
            return found
        resumed = self._pauses[0][0]
        return resumed if found is None else min(found, resumed)

    def _hand_out(self, job: Job, at: Moment) -> Send:
        limit = self._config.request_timeout
        if job.attempts and self._deadline(job) - at.steady < LEAST_TIME:
            job.attempts = 0  # It stood so long in line that it starts over.
        if not job.attempts:
            job.began = at.steady
        job.attempts += 1
        self.under_way += 1
        deadline = self._deadline(job)
        return Send(job, job.fetch, deadline, max(LEAST_TIMEOUT, min(deadline - at.steady, limit)))

    def _deadline(self, job: Job) -> float:
        own = job.began + self._config.request_timeout
        if job.deadline is None:
            return own
        # The engine wants the answer also when the readers have given up.
        return max(own, job.deadline) if job.for_engine else job.deadline

    # --- what came of it ------------------------------------------------------------------------------

    def answered(self, send: Send, used: int | None, sent_at: float, at: Moment) -> None:
        """An answer is there, to what was sent at ``sent_at`` (steady); ``used`` is its used-weight header.

        To be followed by :meth:`done`, or by :meth:`failed` if it is of no use, which is final.
        """
        self._ended(send, at)
        self._budget.answered(send.fetch.request, used, at, sent_at)

    def done(self, send: Send, value: Any, at: Moment) -> Done:
        """It was answered with ``value``."""
        if send.under_way:
            self._ended(send, at)
        return self._settle(send, value, None)

    def failed(self, send: Send, error: AtsSyncError, at: Moment) -> Done | Again:
        """It came to nothing. Decides whether it is sent again."""
        again = None
        if send.under_way:
            unsent = isinstance(error, ConnectionFailed) and error.unsent
            self._ended(send, at, unsent=unsent, lost=isinstance(error, RequestTimeout) and not unsent)
            if isinstance(error, RateLimited):
                self._budget.block(send.fetch.request.host, error.retry_at - self._to_wall(0.0))
            if not self._once and not self.closed:
                again = self._again(send, error, at)
        if again is None:
            return self._settle(send, None, error)
        self.under_way -= 1
        send.job.error = error
        return Again(again, error)

    def _again(self, send: Send, error: AtsSyncError, at: Moment) -> float | None:
        """The moment (steady) of the next attempt, for which it is put in line; None for no other."""
        job, fetch = send.job, send.fetch
        if isinstance(error, RateLimited):
            free = self._budget.free_at(fetch.request, job.payer, at.steady)
            if job.deadline is not None and free >= job.deadline:
                return None
            # Still in time, or nobody waits: it goes back in line until the host may be asked.
            job.attempts = 0
            self.queue.again(job)
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

    def _ended(self, send: Send, at: Moment, *, unsent: bool = False, lost: bool = False) -> None:
        assert send.under_way
        send.under_way = False
        self._budget.ended(send.fetch.request, at, unsent=unsent, lost=lost)

    def _settle(self, send: Send, value: Any, error: AtsSyncError | None) -> Done:
        assert self._budget.guarded()
        self.under_way -= 1
        self.queue.done(send.job)
        return Done(send.fetch, error, _settled(send.job, value, error))

    def close(self) -> list[Ticket]:
        """Send nothing any more. Returns the readers who waited, to be woken."""
        assert self._budget.guarded()
        self.closed = True
        self._pauses.clear()
        closed = NotRunning("the manager was closed while this was waiting")
        return [ticket for job in self.queue.clear() for ticket in _settled(job, None, closed)]

    def _too_late(self, request: Request, free: float, at: Moment) -> RateLimited:
        """The error for a request that may only be sent at ``free`` (steady), after its deadline."""
        host = request.host
        why = (
            f"the exchange told this address to wait (HTTP 429 or 418 from the {host.value} host)"
            if self._budget.blocked_until(host, at.steady) is not None
            else f"the budget of {request.bucket.value} is used up"
        )
        return RateLimited(
            f"{request.path} cannot be asked in time: {why}; again in {max(0.0, free - at.steady):.0f} s",
            retry_at=self._to_wall(free),
        )


def _settled(job: Job, value: Any, error: AtsSyncError | None) -> list[Ticket]:
    tickets, job.tickets = job.tickets, []
    for ticket in tickets:
        ticket.settle(value, error)
    return tickets
