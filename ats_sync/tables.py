"""Candles for people who compute: a NumPy structured array, a pandas DataFrame.

Both come straight from the columns in memory, without a list of lists in between. NumPy and pandas are imported at
the first call: the extras ``arrays`` and ``frames``.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .errors import MissingExtra

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

COLUMNS = (
    "open_time",
    "open",
    "high",
    "low",
    "close",
    "volume",
    "close_time",
    "quote_volume",
    "trades",
    "taker_buy_base",
    "taker_buy_quote",
    "ignore",
)
"""The items of a candle, in the order of :meth:`~ats_sync.DataManager.get_klines`."""
TIMES = ("open_time", "close_time")
WHOLE = frozenset({"open_time", "close_time", "trades"})
"""The items that are whole numbers; the others are doubles."""

Candles = Sequence[Sequence[Any]]
"""Twelve columns (``array``), or rows (lists)."""


def klines_array(candles: Candles) -> np.ndarray[Any, np.dtype[np.void]]:
    """Return a structured array, one element per candle, with the fields of :data:`COLUMNS`: int64 and float64."""
    numpy = load("numpy", "arrays")
    kind = numpy.dtype([(name, "i8" if name in WHOLE else "f8") for name in COLUMNS])
    if not candles or not isinstance(candles[0], array):
        table: np.ndarray[Any, np.dtype[np.void]] = numpy.array([tuple(row) for row in candles], dtype=kind)
        return table
    table = numpy.empty(len(candles[0]), dtype=kind)
    for name, column in zip(COLUMNS, candles, strict=True):
        # NumPy refuses an empty buffer.
        table[name] = numpy.frombuffer(column, dtype=kind[name]) if len(column) else ()
    return table


def klines_frame(candles: Candles) -> pd.DataFrame:
    """Return a DataFrame indexed by open time (UTC, named ``open_time``).

    ``close_time`` is UTC too, ``trades`` int64, the rest float64; ``ignore`` is left out.
    """
    load("pandas", "frames")
    table = klines_array(candles)
    return frame_of({name: table[name] for name in COLUMNS})


def frame_of(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return :func:`klines_frame` of the columns of :data:`COLUMNS`, which are copied."""
    pandas = load("pandas", "frames")
    opened, closed = (pandas.to_datetime(columns[name].astype("i8"), unit="ms", utc=True) for name in TIMES)
    values = {name: columns[name].copy() for name in COLUMNS if name not in ("open_time", "ignore")}
    values["close_time"] = closed
    values["trades"] = columns["trades"].astype("i8")
    return pandas.DataFrame(values, index=pandas.DatetimeIndex(opened, name="open_time"))


def load(module: str, extra: str) -> Any:
    """Return a package of an extra. Raises :class:`~ats_sync.errors.MissingExtra`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed; pip install 'ats-sync[{extra}]'") from error
