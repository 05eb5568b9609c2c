"""Time: the machine's clocks, the exchange's clock as far as we know it, and waiting.

Everything that needs time takes a :class:`Clock`, so tests can drive it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

_DISAGREEMENT = 1.0
_UNSURE = 900.0
_BELIEVED = 1.0
"""How far (seconds) an event may correct the clock by itself; more than that is settled by ``/time``."""


class TimeSource(Protocol):
    """The raw clocks, in seconds. ``steady`` never goes backwards and, where the system can tell,
    counts the time the machine slept."""

    def wall(self) -> float: ...

    def steady(self) -> float: ...


class SystemTime:
    """The machine's own clocks."""

    wall = staticmethod(time.time)
    if hasattr(time, "CLOCK_BOOTTIME"):

        @staticmethod
        def steady() -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        steady = staticmethod(time.monotonic)


class Clock:
    """Local time for durations and deadlines, exchange time for ages.

    Exchange time is the last anchor (an answer of ``/time``, or an event that carried a later time
    than we thought it was) plus the larger of the two clocks' advance since: a wall clock set back
    or a steady clock that stood still can not make anything look younger. Where the two advances
    disagree by more than a second, nothing is *proven* until the next anchor.
    """

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source: TimeSource = source if source is not None else SystemTime()
        self.wall = self._source.wall
        self.now = self._source.steady
        # One tuple, replaced whole, so that readers need no lock: (exchange s, wall s, steady s).
        self._anchor = (self.wall(), self.wall(), self.now())
        self._lock = threading.Lock()  # guards the replacement of _anchor against a lost update
        self.synchronised = False
        self._doubted = False

    def after_fork(self) -> None:
        """In a child process: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def exchange(self) -> float:
        """The exchange's time now, epoch seconds."""
        exchange, wall, steady = self._anchor
        by_wall = self.wall() - wall
        by_steady = self.now() - steady
        return exchange + (by_wall if by_wall > by_steady else by_steady)

    def exchange_ms(self) -> int:
        """The exchange's time now, epoch milliseconds."""
        return int(self.exchange() * 1000)

    def earliest_ms(self) -> int:
        """What the exchange's time is at least: for what must not be believed too early. Before ``/time`` has
        answered, or while it is in doubt, well behind what this machine's clock says."""
        exchange, wall, steady = self._anchor
        advance = min(self.wall() - wall, self.now() - steady)
        margin = 0.0 if self.synchronised and not self._doubted else _UNSURE
        return int((exchange + max(0.0, advance) - margin) * 1000)

    def proven(self) -> bool:
        """Whether both clocks agree on how long ago the anchor was, and no event contradicts it."""
        _, wall, steady = self._anchor
        return not self._doubted and abs((self.wall() - wall) - (self.now() - steady)) <= _DISAGREEMENT

    def doubt(self) -> None:
        """Something contradicts what we think the exchange's time is; the next answer of ``/time`` settles it."""
        self._doubted = True

    def offset(self) -> float:
        """Exchange time minus this machine's wall clock, seconds."""
        return self.exchange() - self.wall()

    def set_exchange(self, earliest: float, latest: float | None = None) -> None:
        """Anchor to an answer of ``/time``: the exchange's time is now between the two (``latest`` None: the first).

        A slow answer says little. Where it agrees with what was thought before, that is kept; else the middle counts.
        """
        latest = earliest if latest is None else latest
        with self._lock:
            exchange = self.exchange()
            if not (self.synchronised and earliest <= exchange <= latest):
                exchange = (earliest + latest) / 2
            self._anchor = (exchange, self.wall(), self.now())
            self._doubted = False
            self.synchronised = True

    def saw_event(self, event_ms: int) -> None:
        """An event bears this time, so the exchange's clock is at least there."""
        event = event_ms / 1000.0
        ahead = event - self.exchange()
        if ahead <= 0:
            return
        if ahead > _BELIEVED:
            # One wrong event must not make everything look old.
            self._doubted = True
            return
        with self._lock:
            if event > self.exchange():
                self._anchor = (event, self.wall(), self.now())

    def to_wall(self, steady: float) -> float:
        """A moment of :meth:`now` as epoch seconds of this machine's wall clock."""
        return self.wall() + (steady - self.now())

    @staticmethod
    def wait(event: threading.Event, timeout: float | None) -> bool:
        """Wait for ``event`` at most ``timeout`` seconds; whether it was set."""
        return event.wait(timeout)
