"""Arguments that reads have in common, checked before anything is asked."""

from __future__ import annotations

from ..errors import InvalidArgument


def check_limit(limit: object, most: int | None = None) -> int:
    """A number of rows: a whole number from 1 on, at most what the exchange gives."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidArgument(f"limit must be a whole number from 1 on, not {limit!r}")
    if most is not None and limit > most:
        raise InvalidArgument(f"limit must be at most {most}, it is {limit}")
    return limit


def check_max_age(max_age: object) -> float | None:
    """A number of seconds from 0 on, or None."""
    if max_age is None:
        return None
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)) or not max_age >= 0:
        raise InvalidArgument(f"max_age must be a number of seconds from 0 on, or None, not {max_age!r}")
    return float(max_age)
