"""Numbers as users give them: Python's own, NumPy's, and whatever else stands for one."""

from __future__ import annotations

import math
from numbers import Real
from operator import index


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
