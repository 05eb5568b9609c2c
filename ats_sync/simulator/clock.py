"""Exchange time: it starts at a given moment and runs at real speed."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from .market.intervals import floor_open, next_open

Start = int | datetime | None


def local_ms() -> int:
    """Return this machine's time in ms since the epoch."""
    return time.time_ns() // 1_000_000


def start_ms(start: Start) -> int:
    """Return ``start`` as ms since the epoch; None is now. A datetime without a zone is UTC."""
    if start is None:
        return local_ms()
    if isinstance(start, datetime):
        moment = start if start.tzinfo is not None else start.replace(tzinfo=timezone.utc)
        return round(moment.timestamp() * 1000)
    if isinstance(start, bool) or not isinstance(start, int) or start <= 0:
        raise ValueError(f"start must be None, a datetime or ms since the epoch, not {start!r}")
    return start


def before_turn(interval: str, seconds: float = 3.0, *, after: Start = None) -> int:
    """Return the moment ``seconds`` before the next turn of ``interval`` ("1m" … "1M"), ms since the epoch.

    The turn is at least ``seconds`` after ``after`` (None: this machine's time). Use: ``SimulatedExchange(start=…)``.
    """
    lead = round(seconds * 1000)
    earliest = start_ms(after) + lead
    return next_open(interval, floor_open(interval, earliest)) - lead


def before_midnight(seconds: float = 3.0, *, after: Start = None) -> int:
    """Return the moment ``seconds`` before the next midnight UTC, at which every interval up to 1d turns at once."""
    return before_turn("1d", seconds, after=after)


class ExchangeClock:
    """Exchange time in ms: ``start`` at the moment of :meth:`begin`, then driven by the monotonic clock."""

    def __init__(self, start: int) -> None:
        self._start = start
        self._begun = time.monotonic_ns()

    def begin(self, start: int) -> None:
        """Set exchange time to ``start``."""
        self._start = start
        self._begun = time.monotonic_ns()

    def now(self) -> int:
        """Return exchange time, ms."""
        return self._start + (time.monotonic_ns() - self._begun) // 1_000_000

    def jump(self, milliseconds: int) -> None:
        """Move exchange time forward, or back when negative."""
        self._start += milliseconds
