"""Virtual time: a heap of events, and the machine's clocks as the process sees them."""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable

Action = Callable[[], None]


class Timeline:
    """Events in the order of true time (ms since the epoch); those of one instant in the order in which they were
    scheduled."""

    def __init__(self, start: int) -> None:
        self.start = start
        self.now = start
        self._heap: list[tuple[int, int, Action]] = []
        self._number = itertools.count()

    def at(self, time: int, action: Action) -> None:
        heapq.heappush(self._heap, (max(time, self.now), next(self._number), action))

    def after(self, delay: int, action: Action) -> None:
        self.at(self.now + delay, action)

    def run_until(self, end: int, done: Callable[[], bool] = lambda: False) -> None:
        """Let everything happen up to ``end``, or until ``done()``."""
        heap = self._heap
        while heap and heap[0][0] <= end:
            if done():
                return
            self.now, _, action = heapq.heappop(heap)
            action()
        if not done():
            self.now = max(self.now, end)

    def __len__(self) -> int:
        return len(self._heap)


class MachineClocks:
    """The raw clocks of the machine: the wall clock may be set, the steady one may stand still."""

    def __init__(self, line: Timeline, *, wall_error: float = 0.0) -> None:
        self._line = line
        self.wall_error = wall_error
        self.stood_still = 0.0

    def wall(self) -> float:
        return self._line.now / 1000.0 + self.wall_error

    def steady(self) -> float:
        return 5000.0 + (self._line.now - self._line.start) / 1000.0 - self.stood_still

    def moment_of(self, steady: float) -> int:
        """Return the true time (ms) at which a timer for ``steady`` goes off."""
        ahead = steady - self.steady()
        return self._line.now + (math.ceil(ahead * 1000.0) if ahead > 0 else 0)
