"""A client that always has more to send, and an exchange that counts in one way or another, on virtual time."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from ats_sync.engine.budget import Budget
from ats_sync.engine.moment import Moment
from ats_sync.feeds import Cause
from ats_sync.venue.endpoints import Bucket, Host, Request

MINUTE = 60_000
MIDNIGHT = 1_795_219_200_000


def of(cost: int) -> Request:
    return Request(Host.FUTURES, "/x", weight=cost, bucket=Bucket.FUTURES)


class Count:
    """What an exchange has counted. ``window``: "clock", "sliding", or by how much (ms) its minutes begin after the
    clock's."""

    def __init__(self, window: str | int) -> None:
        self.window = window
        self.costs: list[tuple[int, int]] = []

    def add(self, now: int, cost: int) -> None:
        self.costs.append((now, cost))

    def at(self, now: int) -> int:
        since = self.began(now)
        return sum(cost for time, cost in self.costs if since <= time <= now)

    def began(self, now: int) -> int:
        if self.window == "sliding":
            return now - MINUTE + 1
        offset = self.window if isinstance(self.window, int) else 0
        return (now - offset) // MINUTE * MINUTE + offset

    def most(self) -> int:
        """Return the most that it ever counted."""
        return max((self.at(time) for time, _ in self.costs), default=0)


@dataclass
class Scene:
    """Times are ms."""

    budget: Budget
    window: str | int = "clock"
    rng: random.Random = field(default_factory=lambda: random.Random(0))
    start: int = MIDNIGHT
    threads: int = 8
    costs: tuple[int, ...] = (1, 2, 5, 20)
    causes: tuple[Cause, ...] = (Cause.READ, Cause.REPAIR, Cause.WARM_UP, Cause.POLL)
    clock_error: int = 0
    """How far the client's idea of the exchange's time is ahead."""
    uncertain: int = 0
    lag: int = 0
    """How old the count is that an answer reports."""
    reports: Callable[[int], bool] = lambda now: True
    """Whether an answer of this moment reports one."""
    lost: float = 0.0
    """The share of requests that are never answered; half of them arrive, some late."""
    refused: float = 0.0
    """The share that is refused, and counts all the same; such an answer is not looked at."""
    one_way: tuple[int, int] = (5, 90)
    waiting: int = 1_000
    """How many more it has."""
    wants: Callable[[int], bool] = lambda now: True
    """Whether the client has something to send."""

    def __post_init__(self) -> None:
        self.now = self.start
        self.own, self.all = Count(self.window), Count(self.window)
        self.sent: list[tuple[int, int]] = []
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._under_way = 0
        self._next_look = 0

    def moment(self) -> Moment:
        return Moment(5_000.0 + (self.now - self.start) / 1000.0, self.now + self.clock_error, True, self.uncertain)

    def do_at(self, time: int, what: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(time, self.now), next(self._numbers), what))

    def others(self, time: int, cost: int) -> None:
        """Have another program on the same address send requests."""
        self.do_at(time, lambda: self.all.add(self.now, cost))

    def run(self, seconds: float) -> Scene:
        end = self.start + int(seconds * 1000)
        self.do_at(self.now, self._send_all)
        while self._heap and self._heap[0][0] <= end:
            self.now, _, what = heapq.heappop(self._heap)
            what()
        return self

    def _send_all(self) -> None:
        while self._under_way < self.threads:
            if not self.wants(self.now):
                self._look_again(100)
                return
            request, cause = of(self.rng.choice(self.costs)), self.rng.choice(self.causes)
            at = self.moment()
            free = self.budget.free_at(request, cause, at, waiting=self.waiting)
            if free > at.steady:
                self._look_again(min(300, max(1, math.ceil((free - at.steady) * 1000))))  # perhaps for another one
                return
            self._send(request, cause, at)

    def _look_again(self, wait: int) -> None:
        if self._next_look <= self.now:
            self._next_look = self.now + wait
            self.do_at(self._next_look, self._send_all)

    def _send(self, request: Request, cause: Cause, at: Moment) -> None:
        self.budget.spend(request, at, cause)
        self._under_way += 1
        self.sent.append((self.now, request.weight))
        up, down = self.rng.randrange(*self.one_way), self.rng.randrange(*self.one_way)
        fate = self.rng.random()
        if fate < self.lost:
            if self.rng.random() < 0.5:
                self.do_at(self.now + self.rng.choice((up, 9_000, 25_000)), lambda: self._arrives(request))
            self.do_at(self.now + 10_000, lambda: self._ended(request, lost=True))
            return
        looked_at = fate >= self.lost + self.refused

        def arrives() -> None:
            self._arrives(request)
            count = self.all.at(self.now - self.lag) if self.reports(self.now) else None
            self.do_at(self.now + down, lambda: answered(count))

        def answered(count: int | None) -> None:
            self._ended(request)
            if looked_at:
                self.budget.answered(request, count, self.moment(), at.steady)

        self.do_at(self.now + up, arrives)

    def _arrives(self, request: Request) -> None:
        self.own.add(self.now, request.weight)
        self.all.add(self.now, request.weight)

    def _ended(self, request: Request, *, lost: bool = False) -> None:
        self._under_way -= 1
        self.budget.ended(request, self.moment(), lost=lost)
        self.do_at(self.now, self._send_all)


def most_in_a_minute(costs: list[tuple[int, int]]) -> int:
    """Return the most within any 60 s."""
    count = Count("sliding")
    count.costs = costs
    return count.most()
