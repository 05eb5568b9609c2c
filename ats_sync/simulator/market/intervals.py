"""Candle intervals: their lengths and when their candles open (UTC)."""

from __future__ import annotations

from datetime import datetime, timezone

MINUTE = 60_000
QUARTER = 15 * MINUTE
HOUR = 60 * MINUTE
FOUR_HOURS = 4 * HOUR
DAY = 24 * HOUR
WEEK = 7 * DAY

FIXED = {
    "1m": MINUTE,
    "3m": 3 * MINUTE,
    "5m": 5 * MINUTE,
    "15m": QUARTER,
    "30m": 30 * MINUTE,
    "1h": HOUR,
    "2h": 2 * HOUR,
    "4h": FOUR_HOURS,
    "6h": 6 * HOUR,
    "8h": 8 * HOUR,
    "12h": 12 * HOUR,
    "1d": DAY,
    "3d": 3 * DAY,
}
INTERVALS = (*FIXED, "1w", "1M")
OPEN_INTEREST_PERIODS = ("5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d")

# The first Monday after the epoch is its fourth day.
_MONDAY = 4 * DAY

# The coarsest stored candle that tiles each interval.
_SOURCE = {
    **dict.fromkeys(("1m", "3m", "5m"), MINUTE),
    **dict.fromkeys(("15m", "30m"), QUARTER),
    **dict.fromkeys(("1h", "2h", "6h"), HOUR),
    **dict.fromkeys(("4h", "8h", "12h"), FOUR_HOURS),
    **dict.fromkeys(("1d", "3d", "1w", "1M"), DAY),
}


class UnknownInterval(ValueError):
    """There is no such candle interval or open-interest period; ``args[0]`` is its name."""

    def __str__(self) -> str:
        return f"unknown interval: {self.args[0]}"


def check_interval(interval: str) -> None:
    """Raise :class:`UnknownInterval` unless ``interval`` is one of the exchange's."""
    if interval not in _SOURCE:
        raise UnknownInterval(interval)


def source_length(interval: str) -> int:
    """Return the length in ms of the stored candles that ``interval`` is summed from."""
    return _SOURCE[interval]


def floor_open(interval: str, at: int) -> int:
    """Return the open time of the candle that contains ``at``."""
    length = FIXED.get(interval)
    if length is not None:
        return at - at % length
    if interval == "1w":
        return at - (at - _MONDAY) % WEEK
    return _month_ms(*_year_month(at))


def next_open(interval: str, opened: int) -> int:
    """Return the open time of the candle after the one that opened at ``opened``."""
    length = FIXED.get(interval)
    if length is not None:
        return opened + length
    if interval == "1w":
        return opened + WEEK
    year, month = _year_month(opened)
    return _month_ms(year + month // 12, month % 12 + 1)


def opens_back(interval: str, opened: int, count: int) -> int:
    """Return the open time of the candle ``count`` candles before the one that opened at ``opened``."""
    length = WEEK if interval == "1w" else FIXED.get(interval)
    if length is not None:
        return opened - count * length
    year, month = _year_month(opened)
    months = max(0, (year - 1970) * 12 + month - 1 - count)
    return _month_ms(1970 + months // 12, months % 12 + 1)


def _year_month(at: int) -> tuple[int, int]:
    moment = datetime.fromtimestamp(at // 1000, timezone.utc)
    return moment.year, moment.month


def _month_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=timezone.utc).timestamp()) * 1000
