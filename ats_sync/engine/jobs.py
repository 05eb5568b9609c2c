"""The queue of requests: by cause, then in order, as the budget allows."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AtsSyncError
from ..feeds import FEEDS, PRIORITY, Cause, Feed, Key
from ..store.link import Link
from ..venue.endpoints import Bucket, Request
from .budget import Budget, Tier
from .moment import Moment

LEAST_TIME = 0.1
"""The least time (seconds) a request needs; with less left it is not sent."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request that a series needs."""

    key: Key
    request: Request[Any]
    cause: Cause
    link: Link | None = None
    """The connection that delivered the stream before the request was made, if any."""
    epoch: int = 0
    """The number of that subscription."""
    order: int = 0
    """Among fetches of one cause the smaller is sent first."""
    since: int | None = None
    """From when on (exchange ms) what another process has requested serves as well; None: nothing does."""

    @property
    def identity(self) -> tuple[Key, Request[Any]]:
        """Return what is equal for fetches that one answer serves."""
        return self.key, self.request

    @property
    def feed(self) -> Feed | None:
        """Return the policy of its kind, None where the answer belongs to no series."""
        return FEEDS.get(self.key.kind)


@dataclass(eq=False, slots=True)
class Job:
    """A fetch from when it is queued until it is settled."""

    fetch: Fetch
    priority: tuple[int, int]
    charged_to: Cause
    """The cause whose part of the limit pays for it: of all that joined it, the one with the best tier."""
    cancelled: bool = False
    running: bool = False
    """Whether it has left the queue, to be sent or to pause."""
    for_engine: bool = False
    """Whether it is sent even if no reader waits for it."""
    deadline: float | None = None
    """When (steady) the last waiting reader gives up."""
    readers: list[PendingRead] = field(default_factory=list)
    """The waiting readers."""
    joined: list[Fetch] = field(default_factory=list)
    """Fetches that joined while it was running; they count when it is queued again."""
    request: Request[Any] = field(init=False)
    """What was sent last: its fetch's request, or a cheaper form of it."""
    attempts: int = 0
    """How often it was sent since ``began`` (steady)."""
    began: float = 0.0
    error: AtsSyncError | None = None
    """Why its last attempt failed."""

    def __post_init__(self) -> None:
        self.request = self.fetch.request


class PendingRead:
    """A read that waits for the answer of a job. ``timeout`` (seconds) led to ``deadline`` (steady). Whoever settles it
    calls ``wake`` after releasing the lock.

    Not a ``concurrent.futures.Future``: it is settled under the lock, wakes the reader after it, and needs no threads.
    """

    __slots__ = ("deadline", "error", "job", "settled", "timeout", "value", "wake")

    def __init__(self, job: Job, deadline: float, timeout: float, wake: Callable[[], None]) -> None:
        self.job = job
        self.deadline = deadline
        self.timeout = timeout
        self.wake = wake
        self.settled = False
        self.value: Any = None
        self.error: AtsSyncError | None = None

    def settle(self, value: Any, error: AtsSyncError | None) -> None:
        self.value, self.error, self.settled = value, error, True


_AT_ONCE = (Cause.PROBE, Cause.READ)
_Entry = tuple[tuple[int, int], int, Job, int]
"""The priority of a job when it was queued, its number, the job, and its cost."""


class JobQueue:
    """Keeps jobs by priority, one per identity: a second fetch joins the first and may raise its priority.

    Not thread-safe: used under the lock of its budget.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        # One heap for each part of each limit, so that a job that must wait for its part delays no other.
        self._heaps: dict[tuple[Bucket, Tier], list[_Entry]] = {
            (bucket, tier): [] for bucket in Bucket for tier in Tier
        }
        self._costs = dict.fromkeys(Bucket, 0)  # of everything in the heaps
        self._jobs: dict[object, Job] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, fetch: Fetch) -> Job:
        """Queue a fetch; return its job, which may serve another fetch already."""
        assert self.budget.guarded()
        priority = (PRIORITY[fetch.cause], fetch.order)
        job = self._jobs.get(fetch.identity)
        if job is None:
            job = self._jobs[fetch.identity] = Job(fetch, priority, fetch.cause)
            self._push(job)
            return job
        if job.running:
            job.joined.append(fetch)
        elif self._join(job, fetch):
            self._push(job)
        return job

    def _join(self, job: Job, fetch: Fetch) -> bool:
        """Let a queued job serve another fetch too; return whether that changes its place."""
        # The job is not sent yet, so the connection and subscription of the new fetch hold for its answer too.
        priority = (PRIORITY[fetch.cause], fetch.order)
        hurried = priority < job.priority
        base = fetch if hurried else job.fetch
        latest = fetch if fetch.link is not None else job.fetch
        job.fetch = replace(base, link=latest.link, epoch=latest.epoch)
        better_tier = self.budget.better_tier(fetch.request, fetch.cause, job.charged_to)
        if better_tier:
            job.charged_to = fetch.cause
        if hurried:
            job.priority = priority
        return hurried or better_tier

    def _push(self, job: Job) -> None:
        request = job.fetch.request
        heap = self._heaps[request.bucket, self.budget.tier(request, job.charged_to)]
        heapq.heappush(heap, (job.priority, next(self._count), job, request.weight))
        self._costs[request.bucket] += request.weight

    def _take(self, heap: list[_Entry]) -> Job:
        _, _, job, cost = heapq.heappop(heap)
        self._costs[job.fetch.request.bucket] -= cost
        return job

    def fits(self, at: Moment) -> bool:
        """Return whether the budget has room for everything that waits, so that all of it may be sent now."""
        return all(not cost or self.budget.has_room(bucket, cost, at) for bucket, cost in self._costs.items())

    def pop(self, at: Moment, *, crowded: bool = False) -> Job | float | None:
        """Return the job to send now, its cost already spent; else when (steady) to call again; None without a job.

        ``crowded``: so much is under way that one more is only sent for a reader, as a probe, or where all that waits
        fits.
        """
        assert self.budget.guarded()
        best: list[_Entry] | None = None
        form: Request[Any] | None = None
        wait: float | None = None
        for heap in self._heaps.values():
            while heap and self._outdated(heap[0][0], heap[0][2], at.steady):
                self._take(heap)
            if not heap:
                continue
            job = heap[0][2]
            request = self.budget.form_of(job.fetch.request, at)
            free = self.budget.free_at(request, job.charged_to, at, len(heap))
            if free > at.steady:
                wait = free if wait is None else min(wait, free)
            elif best is None or heap[0][:2] < best[0][:2]:
                best, form = heap, request
        if best is None or form is None:
            return wait
        if crowded and best[0][2].fetch.cause not in _AT_ONCE and not self.fits(at):
            return None
        job = self._take(best)  # (It may also be in the heap of an earlier tier.)
        job.running = True
        job.request = form
        self.budget.spend(form, at, job.charged_to)
        return job

    def _outdated(self, priority: tuple[int, int], job: Job, now: float) -> bool:
        """Return whether an entry is obsolete: its job is taken, cancelled, or has moved up."""
        if job.cancelled or job.running or priority != job.priority:
            return True
        if not job.for_engine and job.deadline is not None and job.deadline - now < LEAST_TIME:
            self.cancel(job)  # every reader will have given up before the answer
            return True
        link = job.fetch.link
        if link is not None and not link.up and job.fetch.cause is not Cause.READ and not job.readers:
            # It was to complete a stream that has ended; the engine fetches again after the reconnect.
            self.cancel(job)
            return True
        return False

    def done(self, job: Job) -> None:
        """Remove a job that is settled."""
        assert self.budget.guarded()
        if self._jobs.get(job.fetch.identity) is job:
            del self._jobs[job.fetch.identity]

    def requeue(self, job: Job) -> None:
        """Queue a job that ran again, with the fetches that joined it meanwhile."""
        assert self.budget.guarded()
        job.running = False
        joined, job.joined = job.joined, []
        for fetch in joined:
            self._join(job, fetch)
        self._push(job)

    def cancel(self, job: Job) -> None:
        """Cancel a job that is needed no longer, unless it runs."""
        assert self.budget.guarded()
        if not job.running:
            job.cancelled = True
            self.done(job)

    def clear(self) -> list[Job]:
        """Remove and return all jobs."""
        assert self.budget.guarded()
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancelled = True
        self._jobs.clear()
        for heap in self._heaps.values():
            heap.clear()
        self._costs = dict.fromkeys(Bucket, 0)
        return jobs
