"""The old ``oi``: hourly open interest as numbers."""

from __future__ import annotations

from .binance import Whole, get_open_interest_hist


def fetch_oi_hourly(symbol: str, limit: Whole = 200) -> list[float]:
    """Return hourly open interest (contracts), oldest first. Source: :func:`compat.binance.get_open_interest_hist`."""
    return [float(row["sumOpenInterest"]) for row in get_open_interest_hist(symbol, "1h", limit)]
