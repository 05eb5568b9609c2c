"""The old ``klines``: functions named after their interval, and the columns of any candles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from .binance import Row, Whole, get_klines

Columns = tuple[list[float], list[float], list[float], list[float], list[float], list[float], list[float]]


class _Newest(Protocol):
    def __call__(self, symbol: str, limit: Whole = ...) -> list[Row]: ...


def _newest(interval: str, *, usually: int) -> _Newest:
    """Return a function that reads one interval, for the three functions below."""

    def read(symbol: str, limit: Whole = usually) -> list[Row]:
        return get_klines(symbol, limit=limit, interval=interval)

    read.__name__ = read.__qualname__ = f"klines_{interval}"
    read.__doc__ = f"Return the newest {interval} candles of a perpetual, as :func:`compat.binance.get_klines` does."
    return read


klines_15m = _newest("15m", usually=300)
klines_1h = _newest("1h", usually=300)
klines_4h = _newest("4h", usually=200)


def split_ohlcv(rows: Iterable[Sequence[Any]]) -> Columns:
    """Return open, high, low, close, volume, quote volume and taker buy volume of candles, each a list of floats."""
    rows = list(rows)
    opened, high, low, close, volume, quote, taker = ([float(row[i]) for row in rows] for i in (1, 2, 3, 4, 5, 7, 9))
    return opened, high, low, close, volume, quote, taker
