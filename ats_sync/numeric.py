"""Numbers as users give them: Python's own, NumPy's, and whatever else stands for one."""

from __future__ import annotations

import math
from numbers import Real
from operator import index
from typing import TypeVar

T = TypeVar("T")


def whole_number(value: object) -> int | None:
    """Return the int that ``value`` stands for (NumPy's integers too), or None: a bool or a float is none."""
    if isinstance(value, bool):
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
