"""The manager under test: it records where each read was answered from, and its clock can be disturbed."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from ..clock import Clock, SystemTime
from ..config import Config
from ..feeds import Kind
from ..manager import DataManager
from ..runtime.counters import Counters


class ReadSources(Counters):
    """Counts that also record how each reading thread's own reads were answered."""

    def __init__(self) -> None:
        super().__init__()
        self._own = threading.local()

    def hit(self, kind: Kind) -> None:
        super().hit(kind)
        self._own.rest = False

    def miss(self, kind: Kind) -> None:
        super().miss(kind)
        self._own.rest = True

    def by_rest(self) -> bool:
        """Return whether this thread's last read went past memory."""
        return bool(getattr(self._own, "rest", True))


class DisturbedTime:
    """The machine's clocks, with a wall clock that can jump and a monotonic one that can stop."""

    def __init__(self) -> None:
        self._source = SystemTime()
        self._lock = threading.Lock()  # guards everything below
        self._wall = 0.0
        self._lost = 0.0
        self._stopped: float | None = None

    def wall(self) -> float:
        return self._source.wall() + self._wall

    def steady(self) -> float:
        stopped = self._stopped
        return stopped if stopped is not None else self._source.steady() - self._lost

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back."""
        with self._lock:
            self._wall += seconds

    def hold(self) -> None:
        """Stop the monotonic clock, as on a system where it does not count sleep."""
        with self._lock:
            if self._stopped is None:
                self._stopped = self._source.steady() - self._lost

    def release(self) -> None:
        """Let the monotonic clock continue from where it stopped."""
        with self._lock:
            if self._stopped is not None:
                self._lost = self._source.steady() - self._stopped
                self._stopped = None


class MeasuredManager(DataManager):
    """A manager whose reads can be distinguished."""

    def __init__(self, symbols: Iterable[str], intervals: Iterable[str], config: Config, time: DisturbedTime) -> None:
        super().__init__(symbols, intervals, config=config, clock=Clock(time))
        self.sources = self._life.counters = ReadSources()
        with self._life.lock:
            self._life.reset()
