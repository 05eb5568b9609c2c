"""The old ``tickers``: statistics of the last 24 hours, of all contracts or of one."""

from __future__ import annotations

from typing import cast

from ats_sync import RestTicker24h

from .binance import get_ticker_24h


def all_24h() -> list[RestTicker24h]:
    """Return one object per contract, in the exchange's order; ``[]`` if the answer is not a list.

    Source: :func:`compat.binance.get_ticker_24h`.
    """
    found = get_ticker_24h()
    return found if isinstance(found, list) else []


def one_24h(symbol: str) -> RestTicker24h:
    """Return the object of a single contract; ``{}`` if the answer is not an object. Source: as :func:`all_24h`."""
    found = get_ticker_24h(symbol)
    return cast(RestTicker24h, found) if isinstance(found, dict) else {}
