"""Candles for people who compute: a NumPy structured array, a pandas DataFrame.

Both come straight from the columns in memory, without a list of lists in between. NumPy and pandas are imported at
the first call: the extras ``arrays`` and ``frames``.
"""

from __future__ import annotations

import importlib
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
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
    columns = _columns(candles)
    table: np.ndarray[Any, np.dtype[np.void]] = load("numpy", "arrays").empty(len(columns["open_time"]), _row())
    for name, column in columns.items():
        table[name] = column
    return table


def klines_frame(candles: Candles) -> pd.DataFrame:
    """Return a DataFrame indexed by open time (UTC, named ``open_time``).

    ``close_time`` is UTC too, ``trades`` int64, the rest float64; ``ignore`` is left out. Where ``candles`` are
    columns, it takes their memory over.
    """
    load("pandas", "frames")
    return frame_of(_columns(candles))


def frame_of(columns: Mapping[str, Any]) -> pd.DataFrame:
    """Return :func:`klines_frame` of arrays, one for each of :data:`COLUMNS`; whole numbers may be doubles. It takes
    their memory over."""
    pandas = load("pandas", "frames")
    values: dict[str, Any] = {name: columns[name] for name in COLUMNS if name not in ("open_time", "ignore")}
    values["close_time"] = _times(columns["close_time"])
    values["trades"] = columns["trades"].astype("i8", copy=False)
    # (Another copy would take a quarter of all the time.)
    return pandas.DataFrame(values, index=_times(columns["open_time"], "open_time"), copy=False)


def _columns(candles: Candles) -> dict[str, Any]:
    """Return candles as arrays by name. Those of columns share their memory."""
    numpy, row = load("numpy", "arrays"), _row()
    if candles and isinstance(candles[0], array) and len(candles[0]):  # NumPy refuses an empty buffer
        return {name: numpy.frombuffer(column, row[name]) for name, column in zip(COLUMNS, candles, strict=True)}
    if candles and isinstance(candles[0], array):
        candles = ()
    columns = zip(*candles, strict=True) if candles else ((),) * len(COLUMNS)
    return {name: numpy.array(column, row[name]) for name, column in zip(COLUMNS, columns, strict=True)}


@lru_cache(maxsize=1)
def _row() -> Any:
    """Return the type of a candle as an element of a structured array."""
    return load("numpy", "arrays").dtype([(name, "i8" if name in WHOLE else "f8") for name in COLUMNS])


def _times(milliseconds: Any, name: str | None = None) -> Any:
    """Return epoch milliseconds as the ``DatetimeIndex`` that ``pandas.to_datetime`` makes of them, which takes four
    times as long."""
    dtype = _instant()
    naive = milliseconds.astype("i8", copy=False).view("M8[ms]").astype(f"M8[{dtype.unit}]")
    return load("pandas", "frames").DatetimeIndex(naive, dtype=dtype, copy=False, name=name)


@lru_cache(maxsize=1)
def _instant() -> Any:
    """Return the type that ``pandas.to_datetime`` gives to milliseconds, UTC: nanoseconds before pandas 3."""
    return load("pandas", "frames").to_datetime([0], unit="ms", utc=True).dtype


def load(module: str, extra: str) -> Any:
    """Return a package of an extra. Raises :class:`~ats_sync.errors.MissingExtra`."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{module} is not installed; pip install 'ats-sync[{extra}]'") from error
