"""A connection, as far as the freshness of what it delivers is concerned."""

from __future__ import annotations

AHEAD = 2.0
"""A proof further than this (seconds) in the future stems from a clock that has been corrected since."""


class Link:
    """One connection's life. The thread that owns the connection writes, readers read.

    ``proof`` is an exchange time in seconds: everything the exchange had sent by then has been
    received. A frame proves its own event time, a pong proves the moment its ping was sent; the time of
    receiving proves nothing, since what arrives may have waited in a queue.
    """

    __slots__ = ("connection", "frames", "proof", "route", "up")

    def __init__(self, connection: int, route: str, proof: float) -> None:
        self.connection = connection
        self.route = route
        self.up = True
        self.proof = proof
        self.frames = 0

    def age(self, exchange_now: float) -> float:
        """Seconds since the last proof of life."""
        return exchange_now - self.proof

    def alive(self, exchange_now: float, silence: float) -> bool:
        """Whether it is up and has proved so within ``silence`` seconds."""
        return self.up and -AHEAD <= exchange_now - self.proof <= silence

    def proved(self, exchange_time: float, exchange_now: float) -> None:
        """Everything up to ``exchange_time`` has arrived (as seen at ``exchange_now``)."""
        if exchange_time > self.proof or self.proof > exchange_now + AHEAD:
            self.proof = exchange_time

    def __repr__(self) -> str:
        return f"Link({self.connection}, {self.route!r}, {'up' if self.up else 'down'})"
