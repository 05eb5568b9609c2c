"""Time: the clocks of this machine, the estimated clock of the exchange, and waiting.

Everything that needs time takes a :class:`Clock`, so that tests can drive it.
"""

from __future__ import annotations

import threading
import time
from typing import NamedTuple, Protocol

_DISAGREEMENT = 1.0
_UNSURE = 900.0
_DRIFT = 2e-4
"""The assumed drift (seconds a second) between the clocks of this machine and of the exchange."""
_BELIEVED = 1.0
"""The most (s) by which an event alone may correct the clock; beyond it ``/time`` decides."""


class TimeSource(Protocol):
    """The raw clocks, in seconds. ``steady`` never goes backwards and, where the system supports it, counts the time
    that the machine sleeps."""

    def wall(self) -> float: ...

    def steady(self) -> float: ...


class SystemTime:
    """The clocks of this machine."""

    wall = staticmethod(time.time)
    if hasattr(time, "CLOCK_BOOTTIME"):

        @staticmethod
        def steady() -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)
    else:
        steady = staticmethod(time.monotonic)


class Reading(NamedTuple):
    """The exchange's time at one moment."""

    exchange: float
    """As :meth:`Clock.exchange`."""
    earliest_ms: int
    """As :meth:`Clock.earliest_ms`."""
    proven: bool
    """As :meth:`Clock.proven`."""


class Clock:
    """Local time for durations and deadlines, exchange time for ages.

    The exchange's time is an interval. An answer of ``/time`` was written between sending and receiving, which bounds
    it on both sides; an event cannot arrive before it was made, which bounds it from below and so narrows the interval
    that a slow request leaves. Successive intervals are intersected.

    Ages and deadlines count from the late end (:meth:`exchange`), so that nothing looks younger than it is; conclusions
    that must not come too early count from the early end (:meth:`earliest_ms`). Each end moves with the clock that
    keeps it on its safe side: a wall clock set back, or a steady clock that stood still, makes nothing look younger.
    When the two clocks have advanced differently by more than a second, nothing is *proven* until the next answer.
    """

    def __init__(self, source: TimeSource | None = None) -> None:
        self._source: TimeSource = source if source is not None else SystemTime()
        self.wall = self._source.wall
        self.now = self._source.steady
        # One tuple, replaced whole, so that readers need no lock: (latest s, wall s, steady s, earliest s).
        self._anchor = (self.wall(), self.wall(), self.now(), self.wall())
        self._reached = 0.0  # what the exchange's time had surely come to (s) when it was looked at last
        self._lock = threading.Lock()  # guards the replacement of _anchor and of _reached against a lost update
        self.synchronised = False
        self._doubted = False

    def after_fork(self) -> None:
        """Renew the lock in a child process, since another thread of the parent may have had it."""
        self._lock = threading.Lock()

    def exchange(self) -> float:
        """Return the exchange's time, epoch seconds: the latest it may be."""
        latest, wall, steady, _ = self._anchor
        by_wall = self.wall() - wall
        by_steady = self.now() - steady
        return latest + (by_wall if by_wall > by_steady else by_steady)

    def reading(self) -> Reading:
        """Return what a read needs to know about the exchange's time, all of one moment."""
        latest, wall, steady, earliest = self._anchor
        by_wall = self.wall() - wall
        by_steady = self.now() - steady
        advance = by_wall if by_wall < by_steady else by_steady
        if advance > 0.0:
            earliest += advance * (1.0 - _DRIFT)
        if earliest < self._reached:
            earliest = self._reached
        if self._doubted or not self.synchronised:
            earliest -= _UNSURE
        apart = by_wall - by_steady
        proven = not self._doubted and -_DISAGREEMENT <= apart <= _DISAGREEMENT
        return Reading(latest + (by_wall if by_wall > by_steady else by_steady), int(earliest * 1000), proven)

    def exchange_ms(self) -> int:
        """Return :meth:`exchange` in milliseconds."""
        return int(self.exchange() * 1000)

    def earliest_ms(self) -> int:
        """Return the earliest that the exchange's time may be, epoch ms; before the first answer of ``/time``, or while
        it is in doubt, well behind this machine's clock."""
        margin = 0.0 if self.synchronised and not self._doubted else _UNSURE
        return int((self._earliest() - margin) * 1000)

    def _earliest(self) -> float:
        _, wall, steady, earliest = self._anchor
        advance = max(0.0, min(self.wall() - wall, self.now() - steady))
        return max(self._reached, earliest + advance * (1.0 - _DRIFT))

    def keep(self) -> None:
        """Remember how far the exchange's time has surely come: it does not go back with a clock of this machine."""
        with self._lock:
            if self.synchronised and self.proven():
                self._reached = self._earliest()

    def _latest(self) -> float:
        """Like :meth:`exchange`, plus the possible drift since the anchor."""
        return self.exchange() + _DRIFT * max(0.0, self.now() - self._anchor[2])

    def uncertainty(self) -> float:
        """Return the width (seconds) of the interval in which the exchange's time lies."""
        return max(0.0, self.exchange() - self._earliest())

    def proven(self) -> bool:
        """Return whether both clocks agree on the age of the anchor, and no event contradicts it."""
        _, wall, steady, _ = self._anchor
        return not self._doubted and abs((self.wall() - wall) - (self.now() - steady)) <= _DISAGREEMENT

    def doubt(self) -> None:
        """Note that something contradicts the estimated time; the next answer of ``/time`` decides."""
        self._doubted = True

    def offset(self) -> float:
        """Return exchange time minus this machine's wall clock, seconds."""
        return self.exchange() - self.wall()

    def lead(self) -> float:
        """Return wall time minus steady time, seconds: it grows while the machine sleeps if the steady clock then
        stands still."""
        return self.wall() - self.now()

    def set_exchange(self, earliest: float, latest: float | None = None) -> None:
        """Take an answer of ``/time``: the exchange's time is now between the two (``latest`` None: at ``earliest``).

        A slow answer has a wide interval: if it overlaps the known one, their intersection counts, else the answer.
        """
        latest = earliest if latest is None else latest
        with self._lock:
            if self.synchronised and not self._doubted:
                known_earliest, known_latest = self._earliest(), self._latest()
                if max(earliest, known_earliest) <= min(latest, known_latest):
                    earliest, latest = max(earliest, known_earliest), min(latest, known_latest)
            self._anchor = (latest, self.wall(), self.now(), earliest)
            self._reached = earliest
            self._doubted = False
            self.synchronised = True

    def follow(self, earliest: float, latest: float, *, proven: bool) -> None:
        """Take over what another process knows of the exchange's time, in place of everything that is known here."""
        with self._lock:
            self._anchor = (latest, self.wall(), self.now(), earliest)
            self._reached = earliest
            self._doubted = not proven
            self.synchronised = True

    def saw_event(self, event_ms: int) -> None:
        """Take the time of an event, which the exchange's clock has reached."""
        event = event_ms / 1000.0
        if event <= self._earliest():
            return
        if event - self.exchange() > _BELIEVED:
            # One wrong event must not make everything look old.
            self._doubted = True
            return
        with self._lock:
            latest, agree = self._latest(), self.proven()
            if event > latest:
                self._doubted = not agree  # While the clocks disagree, the new anchor would hide that.
                self._anchor = (event, self.wall(), self.now(), event)
            elif event > self._earliest() and self.synchronised and agree:
                self._anchor = (latest, self.wall(), self.now(), event)

    def to_wall(self, steady: float) -> float:
        """Convert a moment of :meth:`now` to epoch seconds of this machine's wall clock."""
        return self.wall() + (steady - self.now())

    @staticmethod
    def wait(event: threading.Event, timeout: float | None) -> bool:
        """Wait for ``event`` at most ``timeout`` seconds; return whether it was set."""
        return event.wait(timeout)
