"""Time: the machine's clocks, the exchange's clock as far as we know it, and waiting.

Everything that needs time takes a :class:`Clock`, so tests can drive it.
"""

from __future__ import annotations

import threading
import time
from typing import Protocol

_DISAGREEMENT = 1.0
_UNSURE = 900.0
_DRIFT = 2e-4
"""How fast (seconds a second) this machine's clocks may run away from the exchange's."""
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

    The exchange's time is an interval. An answer of ``/time`` was written between sending and receiving, which bounds
    it on both sides; an event cannot arrive before it was made, which bounds it from below, and so may narrow what a
    slow request path leaves open. Successive intervals are intersected.

    Ages and deadlines count from the late end (:meth:`exchange`), so nothing looks younger than it is; what must not
    be believed too early counts from the early end (:meth:`earliest_ms`). Each end moves with the clock that keeps it
    on its safe side: a wall clock set back or a steady clock that stood still makes nothing look younger. Where the
    two clocks' advances disagree by more than a second, nothing is *proven* until the next answer.
    """

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source: TimeSource = source if source is not None else SystemTime()
        self.wall = self._source.wall
        self.now = self._source.steady
        # One tuple, replaced whole, so that readers need no lock: (latest s, wall s, steady s, earliest s).
        self._anchor = (self.wall(), self.wall(), self.now(), self.wall())
        self._lock = threading.Lock()  # guards the replacement of _anchor against a lost update
        self.synchronised = False
        self._doubted = False

    def after_fork(self) -> None:
        """In a child process: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def exchange(self) -> float:
        """The exchange's time now, epoch seconds; where it is not known exactly, the latest it may be."""
        latest, wall, steady, _ = self._anchor
        by_wall = self.wall() - wall
        by_steady = self.now() - steady
        return latest + (by_wall if by_wall > by_steady else by_steady)

    def exchange_ms(self) -> int:
        """:meth:`exchange` in milliseconds."""
        return int(self.exchange() * 1000)

    def earliest_ms(self) -> int:
        """What the exchange's time is at least: for what must not be believed too early. Before ``/time`` has
        answered, or while it is in doubt, well behind what this machine's clock says."""
        margin = 0.0 if self.synchronised and not self._doubted else _UNSURE
        return int((self._earliest() - margin) * 1000)

    def _earliest(self) -> float:
        _, wall, steady, earliest = self._anchor
        advance = max(0.0, min(self.wall() - wall, self.now() - steady))
        return earliest + advance * (1.0 - _DRIFT)

    def _latest(self) -> float:
        """As :meth:`exchange`, with what the clocks may have drifted apart since the anchor."""
        return self.exchange() + _DRIFT * max(0.0, self.now() - self._anchor[2])

    def uncertainty(self) -> float:
        """How far apart (seconds) the latest and the earliest are that the exchange's time may be now."""
        return max(0.0, self.exchange() - self._earliest())

    def proven(self) -> bool:
        """Whether both clocks agree on how long ago the anchor was, and no event contradicts it."""
        _, wall, steady, _ = self._anchor
        return not self._doubted and abs((self.wall() - wall) - (self.now() - steady)) <= _DISAGREEMENT

    def doubt(self) -> None:
        """Something contradicts what we think the exchange's time is; the next answer of ``/time`` settles it."""
        self._doubted = True

    def offset(self) -> float:
        """Exchange time minus this machine's wall clock, seconds."""
        return self.exchange() - self.wall()

    def lead(self) -> float:
        """How far the wall clock is ahead of the steady one, seconds: it grows while the machine sleeps, where the
        steady clock stands still in that."""
        return self.wall() - self.now()

    def set_exchange(self, earliest: float, latest: float | None = None) -> None:
        """Take an answer of ``/time``: the exchange's time is now between the two (``latest`` None: the first).

        A slow answer says little: where it agrees with what was known before, both count, else the answer alone.
        """
        latest = earliest if latest is None else latest
        with self._lock:
            if self.synchronised and not self._doubted:
                known_earliest, known_latest = self._earliest(), self._latest()
                if max(earliest, known_earliest) <= min(latest, known_latest):
                    earliest, latest = max(earliest, known_earliest), min(latest, known_latest)
            self._anchor = (latest, self.wall(), self.now(), earliest)
            self._doubted = False
            self.synchronised = True

    def saw_event(self, event_ms: int) -> None:
        """An event bears this time, so the exchange's clock is at least there."""
        event = event_ms / 1000.0
        if event <= self._earliest():
            return
        if event - self.exchange() > _BELIEVED:
            # One wrong event must not make everything look old.
            self._doubted = True
            return
        with self._lock:
            latest = self._latest()
            if event > latest:
                self._anchor = (event, self.wall(), self.now(), event)
            elif event > self._earliest() and self.synchronised and self.proven():
                # While the clocks disagree, a new anchor would hide it.
                self._anchor = (latest, self.wall(), self.now(), event)

    def to_wall(self, steady: float) -> float:
        """A moment of :meth:`now` as epoch seconds of this machine's wall clock."""
        return self.wall() + (steady - self.now())

    @staticmethod
    def wait(event: threading.Event, timeout: float | None) -> bool:
        """Wait for ``event`` at most ``timeout`` seconds; whether it was set."""
        return event.wait(timeout)
