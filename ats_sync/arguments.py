"""Arguments as users give them: numbers (Python's own, NumPy's, and whatever else stands for one), and the checks that
reads share, made before any request."""

from __future__ import annotations

import math
from numbers import Real
from operator import index
from typing import TypeVar

from .errors import InvalidArgument

T = TypeVar("T")

EARLIEST = 1_230_768_000_000
"""The first millisecond of 2009: the exchange is younger, and seconds since 1970 lie far below."""
LATEST = 32_503_680_000_000
"""The first millisecond of the year 3000; microseconds since 1970 lie above it."""


def whole_number(value: object) -> int | None:
    """Return the int that ``value`` stands for (NumPy's integers too), or None: a bool or a float is none."""
    if type(value).__name__ in ("bool", "bool_"):  # NumPy's too, which is an index in older versions
        return None
    try:
        return index(value)  # type: ignore[arg-type]
    except TypeError:
        return None


def real_number(value: object) -> float | None:
    """Return the float that ``value`` stands for (NumPy's numbers too), or None: a bool or NaN is none."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return None if math.isnan(number) else number


def plain_number(value: T) -> T | int:
    """Return the int that ``value`` stands for (NumPy's integers and floats such as 5.0 too), else ``value`` itself."""
    whole = whole_number(value)
    if whole is None:
        number = real_number(value)
        whole = int(number) if number is not None and number.is_integer() else None
    return value if whole is None else whole


def check_limit(limit: object, most: int | None = None) -> int:
    """Return a number of rows: a whole number from 1 on, at most what the exchange gives."""
    rows = limit if type(limit) is int else whole_number(limit)
    if rows is None or rows < 1:
        raise InvalidArgument(f"limit must be a whole number from 1 on, not {limit!r}")
    if most is not None and rows > most:
        raise InvalidArgument(f"limit must be at most {most}, it is {rows}")
    return rows


def check_max_age(max_age: object) -> float | None:
    """Return a number of seconds from 0 on, or None."""
    if max_age is None:
        return None
    seconds = real_number(max_age)
    if seconds is None or seconds < 0:
        raise InvalidArgument(f"max_age must be a number of seconds from 0 on, or None, not {max_age!r}")
    return seconds


def check_timeout(timeout: object) -> float | None:
    """Return a number of seconds to wait at most, or None for no bound; below 0 is 0."""
    if timeout is None:
        return None
    seconds = real_number(timeout)
    if seconds is None:
        raise InvalidArgument(f"timeout must be a number of seconds, or None, not {timeout!r}")
    return None if seconds == math.inf else max(seconds, 0.0)


def check_seconds(seconds: object, name: str) -> float:
    """Return a finite number of seconds from 0 on."""
    number = real_number(seconds)
    if number is None or not 0 <= number < math.inf:
        raise InvalidArgument(f"{name} must be a number of seconds from 0 on, not {seconds!r}")
    return number


def check_callback(fn: object) -> None:
    """Raise :class:`~ats_sync.errors.InvalidArgument` for what cannot be called."""
    if not callable(fn):
        raise InvalidArgument(f"a callback is a function, not {fn!r}")


def check_after(after: object, name: str = "after") -> int:
    """Return a time in ms since 1970; 0 (any candle) is one too. Seconds and microseconds are refused."""
    whole = whole_number(after)
    if whole is None:
        number = real_number(after)
        whole = int(number) if number is not None and math.isfinite(number) else None
    if whole is None:
        raise InvalidArgument(f"{name} must be a time in ms since 1970, not {after!r}")
    if whole and not EARLIEST <= whole < LATEST:
        hint = "; that looks like seconds, multiply by 1000" if 1e9 <= whole < 1e10 else ""
        raise InvalidArgument(f"{name} must be a time in ms since 1970, not {after!r}{hint}")
    return whole
