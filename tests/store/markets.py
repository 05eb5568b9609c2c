"""An empty market store, and a connection of its market streams."""

from __future__ import annotations

from ats_sync.config import Config
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of

SYMBOL = "BTCUSDT"
CHINESE = "币安人生USDT"


def store_of(*symbols: str, intervals: tuple[str, ...] = ("1m",)) -> MarketStore:
    store = MarketStore(Config(), lambda: 0.0)
    store.follow(keys_of(symbols or (SYMBOL,), intervals, ("1h",)))
    return store


def market() -> Link:
    return Link(1, "market", 0.0)
