"""A connection, as far as the freshness of what it delivers is concerned."""

from __future__ import annotations

import itertools

AHEAD = 2.0
"""A watermark further than this (seconds) in the future stems from a clock that has been corrected since."""
DOWN = "its connection is down"


_numbers = itertools.count(1)


def new_number() -> int:
    """Return the number of a connection's life, which no other in this process has had: one that is made again is
    another, and what has not been subscribed to on it yet still hangs on the one before."""
    return next(_numbers)


class Link:
    """One connection's life, by its number. It has no lock: each field is replaced whole, and readers take what they
    find.
    """

    __slots__ = ("event", "frames", "number", "proved_at", "route", "up", "watermark")

    def __init__(self, number: int, route: str, watermark: float, proved_at: float | None = None) -> None:
        self.number = number
        self.route = route
        self.up = True
        """Whether it may deliver. Any thread that learns of its end makes it False (the one that owns the connection,
        the engine's, whoever stops it), and nothing makes it True again, so their order does not matter."""
        self.watermark = watermark
        """An exchange time in seconds: everything the exchange had sent by then has been received. A frame advances it
        to its own event time, a pong to the moment at which its ping was sent; the time of receiving proves nothing,
        since what arrives may have waited in a queue.

        The thread that owns the connection advances it, and the engine's dates it back when the clock is corrected.
        Where the two meet, what is left is what one of them wrote, and never more than they would leave one after the
        other."""
        self.frames = 0
        """How many frames have come; only the thread that owns the connection counts them."""
        self.event = 0.0
        """The newest frame's event time: unlike that of a ping it is right whatever this machine's clock says."""
        self.proved_at = proved_at
        """When (steady) the newest ping was sent that was answered, or the connection made; None where that is not
        known."""

    def age(self, exchange_now: float) -> float:
        """Return the seconds since the watermark."""
        return exchange_now - self.watermark

    def alive(self, exchange_now: float, silence: float) -> bool:
        """Return whether it is up and its watermark is within ``silence`` seconds."""
        return self.up and -AHEAD <= exchange_now - self.watermark <= silence

    def advance(self, exchange_time: float, exchange_now: float) -> None:
        """Note at ``exchange_now`` that a frame of ``exchange_time`` has arrived (both in seconds), and so everything
        up to then.

        A watermark to come stems from a clock that has been corrected since.
        """
        self.event = exchange_time
        self._advance(exchange_time, exchange_now)

    def ponged(self, pinged: float, pinged_at: float, exchange_now: float) -> None:
        """Note at ``exchange_now`` that a ping was answered that was sent at exchange time ``pinged`` (both in
        seconds), at ``pinged_at`` by the steady clock."""
        self.proved_at = pinged_at
        self._advance(pinged, exchange_now)

    def _advance(self, exchange_time: float, exchange_now: float) -> None:
        if exchange_time > self.watermark or self.watermark > exchange_now:
            self.watermark = exchange_time

    def date_back(self, exchange_now: float, now: float) -> None:
        """Count what a clock that was ahead has proved as of when that was by the steady clock, which is at ``now``
        (``exchange_now``: the exchange's time by the corrected clock; both in seconds)."""
        proved = exchange_now if self.proved_at is None else exchange_now - (now - self.proved_at)
        self.watermark = min(self.watermark, max(self.event, proved))

    def __repr__(self) -> str:
        return f"Link({self.number}, {self.route!r}, {'up' if self.up else 'down'})"


class FirstFrame:
    """The first frame of a series' newest subscription: by where it begins a series sees whether anything is missing
    before it.

    What comes late or again proves nothing, so it has to be newer than all that came before the acknowledgement.
    ``after`` and ``place`` are what the frames of a kind are in order by. Guarded by the lock of the series, which
    compares in place whether a frame is the one: a call for each of them would be dear.
    """

    __slots__ = ("after", "awaited_on", "place")

    def __init__(self) -> None:
        self.awaited_on: Link | None = None
        """The connection on which it is still to come, None once it has."""
        self.after = -1
        """What the newest frame before the acknowledgement was."""
        self.place = -1
        """Where it begins, -1 as long as it has not come."""

    def expect(self, link: Link, after: int) -> None:
        """Wait for that of a new subscription."""
        self.awaited_on, self.after, self.place = link, after, -1

    def restart(self) -> None:
        """Take whatever comes next: the order has begun again."""
        self.after = self.place = -1

    def came(self, place: int) -> None:
        """Note that it has come."""
        self.awaited_on, self.place = None, place


def stream_doubt(link: Link | None, suspected: str, exchange_now: float, silence: float) -> str:
    """Return why a streamed series cannot be trusted at this exchange time (seconds); "" when it can.

    ``silence`` is how long (seconds) the connection may go without a proof of life.
    """
    if suspected:
        return suspected
    if link is None:
        return "it is not streamed yet"
    if not link.up:
        return DOWN
    if not link.alive(exchange_now, silence):
        return f"its connection has shown no life for {link.age(exchange_now):.1f} s"
    return ""


def within(age: float, bound: float | None, max_age: float | None) -> bool:
    """Return whether an age (seconds) is inside the bound and what the caller requires; one in the future is not."""
    return age >= -AHEAD and (bound is None or age <= bound) and (max_age is None or age <= max_age)
