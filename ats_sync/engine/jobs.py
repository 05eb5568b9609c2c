"""Which request goes next: by cause, then in order, as far as the budget lets it."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import AtsSyncError
from ..feeds import PRIORITY, Cause, Key
from ..store.link import Link
from ..venue.endpoints import Bucket, Request
from .budget import Budget, Tier
from .moment import Moment

LEAST_TIME = 0.1
"""Seconds that a request needs at least: with less left it is not worth its weight."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request for the sake of a series."""

    key: Key
    request: Request
    cause: Cause
    limit: int = 0
    """Rows asked for."""
    link: Link | None = None
    """The living subscription there was before the request was made, if any."""
    epoch: int = 0
    """Which of its subscriptions that was."""
    order: int = 0
    """Among equals of one cause the smaller goes first."""

    @property
    def identity(self) -> tuple[Key, Request]:
        """Fetches of one identity want the same answer."""
        return self.key, self.request

    @property
    def from_id(self) -> int | None:
        """The trade from which on it asks, None where it does not say."""
        return next((int(value) for name, value in self.request.params if name == "fromId"), None)


@dataclass(eq=False, slots=True)
class Job:
    """A fetch from when it is put in line until it is over."""

    fetch: Fetch
    priority: tuple[int, int]
    payer: Cause
    """The cause whose part of the limits it is paid from: of all who want it, the one for whom most is open."""
    cancelled: bool = False
    running: bool = False
    """Whether it was taken out of line, to be sent or to pause."""
    for_engine: bool = False
    """Whether it is to be sent even if no reader waits for it."""
    deadline: float | None = None
    """The moment (steady) at which the last waiting reader gives up."""
    tickets: list[Ticket] = field(default_factory=list)
    """The waiting readers."""
    joined: list[Fetch] = field(default_factory=list)
    """What came to it while it was running: counts when it goes back in line."""
    attempts: int = 0
    """How often it was sent since ``began`` (steady)."""
    began: float = 0.0
    error: AtsSyncError | None = None
    """Why its last attempt failed."""


class Ticket:
    """A reader's claim on the answer of a job. ``wake`` is called by whoever settles it, when no lock is held."""

    __slots__ = ("deadline", "error", "job", "patience", "settled", "value", "wake")

    def __init__(self, job: Job, deadline: float, patience: float, wake: Callable[[], None]) -> None:
        self.job = job
        self.deadline = deadline
        self.patience = patience
        self.wake = wake
        self.settled = False
        self.value: Any = None
        self.error: AtsSyncError | None = None

    def settle(self, value: Any, error: AtsSyncError | None) -> None:
        self.value, self.error, self.settled = value, error, True


class JobQueue:
    """Jobs by priority. One job an identity: a second fetch of it joins the first and may hurry it.

    Not thread-safe: used under the lock of its budget."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        # Apart, so that a job which must wait for its part of a limit holds up none that need not.
        self._heaps: dict[tuple[Bucket, Tier], list[tuple[tuple[int, int], int, Job]]] = {
            (bucket, tier): [] for bucket in Bucket for tier in Tier
        }
        self._jobs: dict[object, Job] = {}
        self._count = itertools.count()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, fetch: Fetch) -> tuple[Job, bool]:
        """Put a fetch in line. Returns its job and whether that was made for it."""
        assert self.budget.guarded()
        priority = (PRIORITY[fetch.cause], fetch.order)
        job = self._jobs.get(fetch.identity)
        if job is None:
            job = self._jobs[fetch.identity] = Job(fetch, priority, fetch.cause)
            self._push(job)
            return job, True
        if job.running:
            job.joined.append(fetch)
        elif self._join(job, fetch):
            self._push(job)
        return job, False

    def _join(self, job: Job, fetch: Fetch) -> bool:
        """Let a job that is in line serve another fetch, too. Returns whether that changes its place."""
        # Not sent yet, so what the newcomer knows holds for the answer too.
        priority = (PRIORITY[fetch.cause], fetch.order)
        hurried = priority < job.priority
        base = fetch if hurried else job.fetch
        latest = fetch if fetch.link is not None else job.fetch
        job.fetch = replace(base, link=latest.link, epoch=latest.epoch)
        richer = self.budget.richer(fetch.request, fetch.cause, job.payer)
        if richer:
            job.payer = fetch.cause
        if hurried:
            job.priority = priority
        return hurried or richer

    def _push(self, job: Job) -> None:
        heapq.heappush(self._heap_of(job), (job.priority, next(self._count), job))

    def _heap_of(self, job: Job) -> list[tuple[tuple[int, int], int, Job]]:
        request = job.fetch.request
        return self._heaps[request.bucket, self.budget.tier(request, job.payer)]

    def pop(self, at: Moment) -> Job | float | None:
        """The job to send now, its cost already spent; else the moment to ask again; None for no job."""
        assert self.budget.guarded()
        best: list[tuple[tuple[int, int], int, Job]] | None = None
        wait: float | None = None
        for heap in self._heaps.values():
            while heap and self._outdated(*heap[0], at.steady):
                heapq.heappop(heap)
            if not heap:
                continue
            job = heap[0][2]
            free = self.budget.free_at(job.fetch.request, job.payer, at.steady)
            if free > at.steady:
                wait = free if wait is None else min(wait, free)
            elif best is None or heap[0][:2] < best[0][:2]:
                best = heap
        if best is None:
            return wait
        job = heapq.heappop(best)[2]  # (It may stand in another line too, whoever pays for it now.)
        job.running = True
        self.budget.spend(job.fetch.request, at, job.payer)
        return job

    def _outdated(self, priority: tuple[int, int], _: int, job: Job, now: float) -> bool:
        """Whether a place in line counts no longer: taken, given up, or bettered."""
        if job.cancelled or job.running or priority != job.priority:
            return True
        if not job.for_engine and job.deadline is not None and job.deadline - now < LEAST_TIME:
            self.cancel(job)  # whoever waits for it will have given up before it is answered
            return True
        link = job.fetch.link
        if link is not None and not link.up and job.fetch.cause is not Cause.READ and not job.tickets:
            # It was to complete a stream that is gone; the engine asks again when it is back.
            self.cancel(job)
            return True
        return False

    def done(self, job: Job) -> None:
        """The job has been answered, or has failed for good."""
        assert self.budget.guarded()
        if self._jobs.get(job.fetch.identity) is job:
            del self._jobs[job.fetch.identity]

    def again(self, job: Job) -> None:
        """Put a job that ran back in line, to be sent again; whoever came to it meanwhile counts now."""
        assert self.budget.guarded()
        job.running = False
        joined, job.joined = job.joined, []
        for fetch in joined:
            self._join(job, fetch)
        self._push(job)

    def cancel(self, job: Job) -> None:
        """Nobody wants it any more."""
        assert self.budget.guarded()
        if not job.running:
            job.cancelled = True
            self.done(job)

    def clear(self) -> list[Job]:
        """Take every waiting job out."""
        assert self.budget.guarded()
        jobs = list(self._jobs.values())
        for job in jobs:
            job.cancelled = True
        self._jobs.clear()
        for heap in self._heaps.values():
            heap.clear()
        return jobs
