"""The old ``sources.klines``: candles of fixed intervals, and their columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .binance import Row, Whole, get_klines

Columns = tuple[list[float], list[float], list[float], list[float], list[float], list[float], list[float]]


def klines_1h(symbol: str, limit: Whole = 300) -> list[Row]:
    """One-hour candles, as :func:`compat.binance.get_klines`."""
    return get_klines(symbol, "1h", limit)


def klines_4h(symbol: str, limit: Whole = 200) -> list[Row]:
    """Four-hour candles, as :func:`compat.binance.get_klines`."""
    return get_klines(symbol, "4h", limit)


def klines_15m(symbol: str, limit: Whole = 300) -> list[Row]:
    """Fifteen-minute candles, as :func:`compat.binance.get_klines`."""
    return get_klines(symbol, "15m", limit)


def split_ohlcv(rows: Iterable[Sequence[Any]]) -> Columns:
    """Open, high, low, close, volume, quote volume and taker buy volume of candles, each a list of floats."""
    rows = list(rows)
    opened, high, low, close, volume, quote, taker = ([float(row[i]) for row in rows] for i in (1, 2, 3, 4, 5, 7, 9))
    return opened, high, low, close, volume, quote, taker
