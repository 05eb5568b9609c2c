"""When to ping a connection, and when it is lost."""

from __future__ import annotations


class Heartbeat:
    """Frames prove that a connection is alive. One on which nothing arrives is pinged and, without an answer, lost.

    At most one ping is unanswered at a time, so that a pong belongs to exactly one moment.
    """

    def __init__(self, ping_interval: float, silence_limit: float, now: float) -> None:
        self.ping_interval = ping_interval
        self.silence_limit = silence_limit
        self._heard = now
        self._pinged: float | None = None  # the exchange time (seconds) at which the unanswered ping was sent

    def heard(self, now: float) -> None:
        """Something arrived."""
        self._heard = now

    def pinged(self, exchange: float) -> None:
        """A ping was sent at this exchange time (seconds)."""
        self._pinged = exchange

    def ponged(self, now: float) -> float | None:
        """A pong arrived; return the exchange time (seconds) up to which everything has been received."""
        self._heard = now
        proved, self._pinged = self._pinged, None
        return proved

    def ping_due(self, now: float) -> bool:
        return self._pinged is None and now - self._heard >= self.ping_interval

    def lost(self, now: float) -> bool:
        """Return whether the connection has been silent for too long."""
        return now - self._heard >= self.silence_limit

    def next_check(self, now: float) -> float:
        """Return the seconds until :meth:`ping_due` or :meth:`lost` may change."""
        patience = self.ping_interval if self._pinged is None else self.silence_limit
        return max(0.0, self._heard + patience - now)
