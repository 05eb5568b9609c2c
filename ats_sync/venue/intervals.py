"""The kline calendar: which intervals exist, when a candle opens and when the next one begins."""

from __future__ import annotations

from calendar import timegm
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone

from ..errors import InvalidArgument, InvalidInterval

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR

_FIXED = {
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": 15 * MINUTE,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "4h": 4 * HOUR,
    "6h": 6 * HOUR,
    "8h": 8 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
    "1w": 7 * DAY,
}
# The epoch was a Thursday; weeks open on Monday.
_PHASE = {"1w": 4 * DAY}

INTERVALS = (*_FIXED, "1M")
PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")
"""Periods of open interest history."""


def check_interval(interval: object) -> str:
    """Return ``interval`` if the exchange has it; otherwise raise :class:`InvalidInterval`."""
    if isinstance(interval, str) and interval in INTERVALS:
        return interval
    raise InvalidInterval(f"there is no interval {interval!r}; choose one of {', '.join(INTERVALS)}")


def check_intervals(intervals: object) -> tuple[str, ...]:
    """Return several intervals, each checked, without repetitions."""
    if isinstance(intervals, str) or not isinstance(intervals, Iterable):
        raise InvalidArgument(f"intervals must be a list such as ['1h', '15m'], not {intervals!r}")
    return tuple(dict.fromkeys(check_interval(interval) for interval in intervals))


def check_period(period: object) -> str:
    """Return ``period`` if open interest history has it; otherwise raise :class:`InvalidInterval`."""
    if isinstance(period, str) and period in PERIODS:
        return period
    raise InvalidInterval(f"there is no open interest period {period!r}; choose one of {', '.join(PERIODS)}")


def nominal_length(interval: str) -> int:
    """Return the interval's length in ms (for a month: 31 days)."""
    return _FIXED.get(interval, 31 * DAY)


def open_time(interval: str, at: int, *, known_open: int | None = None) -> int:
    """Return the open time (ms) of the candle that covers ``at``.

    ``known_open`` is any open time the exchange gave for this interval: it aligns intervals such as
    3d, whose phase is not documented.
    """
    length = _FIXED.get(interval)
    if length is None:
        month = datetime.fromtimestamp(at / 1000, timezone.utc)
        return timegm((month.year, month.month, 1, 0, 0, 0)) * 1000
    phase = _PHASE.get(interval, 0) if known_open is None else known_open % length
    return at - (at - phase) % length


def next_open(interval: str, opened: int) -> int:
    """Return the open time of the candle after the one that opened at ``opened``."""
    length = _FIXED.get(interval)
    if length is not None:
        return opened + length
    month = datetime.fromtimestamp(opened / 1000, timezone.utc)
    year, following = (month.year, month.month + 1) if month.month < 12 else (month.year + 1, 1)
    return timegm((year, following, 1, 0, 0, 0)) * 1000


def next_opens(interval: str, opens: Sequence[int]) -> list[int]:
    """Return :func:`next_open` for each of these."""
    length = _FIXED.get(interval)
    if length is None:
        return [next_open(interval, opened) for opened in opens]
    return [opened + length for opened in opens]


def candles_between(interval: str, first: int, last: int) -> int:
    """Return how many candles open in ``[first, last]``, both being open times (0 when ``last`` is earlier)."""
    if last < first:
        return 0
    length = _FIXED.get(interval)
    if length is not None:
        return (last - first) // length + 1
    a = datetime.fromtimestamp(first / 1000, timezone.utc)
    b = datetime.fromtimestamp(last / 1000, timezone.utc)
    return (b.year - a.year) * 12 + b.month - a.month + 1


def divides(smaller: str, larger: str) -> bool:
    """Return whether every candle of ``larger`` consists of whole candles of ``smaller``, wherever both begin."""
    length, within = _FIXED.get(smaller, 0), _FIXED.get(larger, DAY)
    if not 0 < length <= DAY or length >= nominal_length(larger):
        return False  # candles longer than a day begin on different days, so no candle consists of them
    return (DAY if within > DAY else within) % length == 0


def most_within(smaller: str, larger: str) -> int:
    """Return the largest number of candles of ``smaller``, which divides ``larger``, that make up one of ``larger``."""
    return nominal_length(larger) // nominal_length(smaller)
