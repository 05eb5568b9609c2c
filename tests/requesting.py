"""The request that asks for a series' newest rows."""

from __future__ import annotations

from typing import Any

from ats_sync.feeds import RATIOS, Key, Kind
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Request


def request_for(key: Key, rows: int) -> Request[Any]:
    """Return a request for ``rows`` rows (0: for a range of them, or for what has none)."""
    symbol, interval = key.symbol, key.interval
    end = None if rows else 1
    if key.kind is Kind.KLINES:
        return endpoints.klines(symbol, interval, rows or 1, end=end)
    if key.kind is Kind.SPOT_KLINES:
        return endpoints.spot_klines(symbol, interval, rows or 1, end=end)
    if key.kind is Kind.TRADES:
        return endpoints.agg_trades(symbol, rows or 1, end=end)
    if key.kind is Kind.OPEN_INTEREST:
        return endpoints.open_interest_hist(symbol, interval, rows or 1, end=end)
    if key.kind in RATIOS:
        return endpoints.ratio(key.kind.value, symbol, interval, rows or 1, end=end)
    if key.kind in (Kind.BOOK, Kind.DEPTH):
        return endpoints.depth(symbol, rows)
    return {
        Kind.MARK: endpoints.premium_index,
        Kind.SPOT: endpoints.spot_price,
        Kind.LISTINGS: endpoints.exchange_info,
        Kind.TICKERS: endpoints.ticker_24h,
        Kind.CLOCK: endpoints.time,
        Kind.ANSWER: endpoints.ticker_24h().as_json,
    }[key.kind]()
