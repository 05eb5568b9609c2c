"""The old ``sources.tickers``: statistics of the last 24 hours."""

from __future__ import annotations

from .binance import Answer, get_ticker_24h


def all_24h() -> list[Answer]:
    """Every contract's last 24 hours; ``[]`` for an answer that is no list."""
    answer = get_ticker_24h()
    return answer if isinstance(answer, list) else []


def one_24h(symbol: str) -> Answer:
    """One contract's last 24 hours; ``{}`` for an answer that is no object."""
    answer = get_ticker_24h(symbol)
    return answer if isinstance(answer, dict) else {}
