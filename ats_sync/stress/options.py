"""The options of a stress run, and the bounds that the library must keep."""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_INTERVALS = ("1m", "15m", "1h", "4h", "1d")


@dataclass(frozen=True)
class Options:
    """The options. Times are seconds."""

    seconds: float = 60.0
    """How long faults are made; the warm-up before and the comparison after take additional time."""
    symbols: int = 200
    intervals: tuple[str, ...] = DEFAULT_INTERVALS
    seed: int = 7
    readers: int = 4
    pause: bool = False
    """Whether a helper may also stop this process (SIGSTOP)."""
    checks_per_second: float = 8.0
    """How many reads are compared with the exchange's truth; each comparison costs the exchange three answers."""
    scan_seconds: float = 5.0
    """How long a reader takes for one scan of all symbols."""
    only: tuple[str, ...] = ()
    """Names of faults to choose from; empty: all."""


@dataclass(frozen=True)
class Bounds:
    """How far an answer from memory may be behind the exchange, seconds.

    ``usual``: a connection counts as alive for its silence bound (3 s, books 2 s), an event takes the stream's period
    (0.25 s), and the rest is for the machine. ``silent``: the bound while single streams are silent or lose events,
    which other streams must first reveal (2.5 s after the next trade, books 6.5 s).
    """

    usual: float
    silent: float


BOUNDS = {
    "klines": Bounds(4.0, 6.5),
    "trades": Bounds(4.0, 6.5),
    "orderbook": Bounds(3.0, 9.5),
    "mark": Bounds(6.0, 6.0),
    "oi": Bounds(0.0, 0.0),
}

CONVERGED_WITHIN = 30.0
"""Time after a fault's end within which candles and books must agree with REST again."""
FINAL_AFTER = 5.0
"""Time after a candle's close from which REST shows its final version."""
MOST_CONNECTIONS = 5
SENT_ALL_THE_SAME = 1.5
"""Seconds after which a request can no longer have been in flight when the 429 was sent."""
