"""Who leads, decided from answers and time: the lease of one process without I/O.

One of several processes leads. The shared store gives it the lease for a short time and an *epoch*, which is greater
than every one before; it renews the lease until it ends or cannot. The others stand by and ask for the lease often, so
that a planned hand-over takes no longer than their interval, and an unplanned one no longer than the lease.
"""

from __future__ import annotations

from enum import Enum

TTL = 2.0
"""Seconds for which a lease is given."""
RENEW_EVERY = 0.5
ASK_EVERY = 0.05
"""Seconds between two attempts of a process that does not lead, or whose last attempt had no answer."""


class Role(str, Enum):
    """What a process is as far as it knows itself."""

    STANDBY = "standby"
    LEADER = "leader"
    LOST = "lost"
    """It led, and cannot be sure any more: it writes nothing, and what it has written may be gone."""


class LeaseState:
    """The lease as one process knows it; times are seconds of a clock that counts also while the process is stopped.

    Not thread-safe. Whoever drives it sends an attempt when :meth:`due`, a renewal where :attr:`role` is leader, else a
    request for the lease, and reports how that ended, with the time at which it was *sent*: the lease runs from some
    moment after that, so that this process never believes in it longer than the store does.
    """

    def __init__(self, *, ttl: float = TTL, renew_every: float = RENEW_EVERY, ask_every: float = ASK_EVERY) -> None:
        if not 0 < ask_every <= renew_every < ttl:
            raise ValueError("a lease must be renewed before it ends, and requested at least as often")
        self.ttl = ttl
        self.role = Role.STANDBY
        self.epoch = 0
        """The greatest epoch that this process has seen: its own while it leads."""
        self._renew_every = renew_every
        self._ask_every = ask_every
        self._due = 0.0
        self._ends = 0.0

    def due(self) -> float:
        """Return when the next attempt is due; a leader that gets no answer must also look when its lease ends."""
        return min(self._due, self._ends) if self.role is Role.LEADER else self._due

    def look(self, now: float) -> Role:
        """Return the role at ``now``: a leader whose lease has run out has lost it."""
        if self.role is Role.LEADER and now >= self._ends:
            self.role = Role.LOST
        return self.role

    def acquired(self, epoch: int, sent: float) -> None:
        """The lease was given to this process."""
        assert epoch > self.epoch
        self.role = Role.LEADER
        self.epoch = epoch
        self._runs_from(sent)

    def renewed(self, sent: float, *, leaving: bool = False) -> None:
        """The lease of this process was extended; ``leaving``: it looks often whether another one is prepared."""
        if self.role is Role.LEADER:
            self._runs_from(sent)
            if leaving:
                self._due = sent + self._ask_every

    def leave(self, now: float) -> bool:
        """This process wants to hand the lease over; return whether it leads. Its next attempt is due now."""
        if self.look(now) is not Role.LEADER:
            return False
        self._due = now
        return True

    def _runs_from(self, sent: float) -> None:
        self._ends = sent + self.ttl
        self._due = sent + self._renew_every

    def refused(self, epoch: int, now: float) -> None:
        """Another process has the lease, with this epoch."""
        self.epoch = max(self.epoch, epoch)
        self.role = Role.STANDBY
        self._due = now + self._ask_every

    def denied(self, now: float) -> None:
        """The lease that this process thought it had is not its own any more."""
        self.role = Role.LOST
        self._due = now

    def unanswered(self, now: float) -> None:
        """The store did not answer: nothing is known, and a leader stays one until its lease runs out."""
        self.look(now)
        self._due = now + self._ask_every

    def released(self, now: float, pause: float = 0.0) -> None:
        """This process has given the lease back, and leaves others ``pause`` seconds to take it."""
        self.role = Role.STANDBY
        self._due = now + max(pause, self._ask_every)
