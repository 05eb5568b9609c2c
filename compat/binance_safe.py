"""The old ``sources.binance_safe``: reads within a request budget. All reads here are, so most functions are shared."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TypedDict

from ats_sync import RestOpenInterest, get_data_manager

from ._event_loop import read_without_blocking
from .binance import Whole, get_funding_hist, get_klines, get_open_interest_hist, get_ticker_24h

__all__ = [
    "batch_get_open_interest_hist",
    "get_funding_hist",
    "get_klines",
    "get_open_interest_hist",
    "get_rate_limiter_status",
    "get_ticker_24h",
]

log = logging.getLogger(__name__)


class RateLimiterStatus(TypedDict):
    """Usage of the futures host over the last minute."""

    requests: int
    weight: int
    requests_limit: int
    weight_limit: int


async def batch_get_open_interest_hist(
    symbols: Iterable[str], period: str = "1h", limit: Whole = 200, batch_size: int = 20
) -> dict[str, list[RestOpenInterest]]:
    """Return ``{symbol: rows}`` of :func:`get_open_interest_hist`, in the order of ``symbols``.

    A failure is logged and yields ``[]``. The loop is not blocked: what memory cannot answer is requested by at most
    ``batch_size`` threads, which end with the call.
    """
    symbols = list(dict.fromkeys(symbols))
    executor = ThreadPoolExecutor(max(1, int(batch_size)), thread_name_prefix="open-interest")
    try:
        found = await asyncio.gather(
            *(
                read_without_blocking(partial(get_open_interest_hist, symbol, period, limit), executor)
                for symbol in symbols
            ),
            return_exceptions=True,
        )
    finally:
        # Not joined: on a cancelled call that would block the loop until the last request is answered.
        executor.shutdown(wait=False, cancel_futures=True)
    answers: dict[str, list[RestOpenInterest]] = {}
    for symbol, rows in zip(symbols, found, strict=True):
        if isinstance(rows, list):
            answers[symbol] = rows
        elif isinstance(rows, Exception):
            log.warning("no open interest of %s: %s", symbol, rows)
            answers[symbol] = []
        else:
            raise rows
    return answers


def get_rate_limiter_status() -> RateLimiterStatus:
    """Return what was sent to the futures host in the last minute, and the limits.

    ``weight`` includes what other programs on this address are known to have used. The exchange limits only weight;
    since no request weighs less than 1, the same number limits the requests.
    """
    usage = get_data_manager().rest_shaped.usage()
    return {
        "requests": usage.requests,
        "weight": usage.cost,
        "requests_limit": usage.allowed,
        "weight_limit": usage.allowed,
    }
