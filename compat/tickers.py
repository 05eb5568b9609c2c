"""The old ``tickers``: what was traded in the last 24 hours, of all contracts or of one."""

from __future__ import annotations

from typing import TypeVar

from .binance import Answer, get_ticker_24h

T = TypeVar("T", list[Answer], Answer)


def _or_nothing(symbol: str | None, empty: T) -> T:
    """The exchange's answer; ``empty`` where it is of another shape (an error object instead of a list, say)."""
    found = get_ticker_24h(symbol)
    return found if isinstance(found, type(empty)) else empty


def all_24h() -> list[Answer]:
    """One object a contract, in the exchange's order. Source: :func:`compat.binance.get_ticker_24h`."""
    return _or_nothing(None, [])


def one_24h(symbol: str) -> Answer:
    """That of a single contract. Source: as :func:`all_24h`."""
    return _or_nothing(symbol, {})
