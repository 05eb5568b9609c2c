"""The most traded contracts."""

from __future__ import annotations

from contextlib import closing

from ..config import Config
from ..errors import InvalidSymbol
from ..manager import DataManager
from ..venue.listings import is_perpetual
from .exits import CommandFailed, asking

MOST = 100_000


def busiest_in_memory(manager: DataManager, count: int) -> list[str]:
    """Return the most traded contracts according to a running manager, from memory if it is fresh there."""
    found: list[str] = []
    for ticker in manager.top(MOST):
        try:
            info = manager.symbol_info(ticker["symbol"])
        except InvalidSymbol:
            continue  # it has a ticker but is not listed, or not yet
        if info.status == "TRADING" and is_perpetual(info.contract_type) and info.quote_asset == "USDT":
            found.append(info.symbol)
            if len(found) == count:
                break
    if not found:
        raise CommandFailed(f"{manager.config.fapi_base} has no USDT perpetual that is trading")
    return found


def busiest(config: Config, count: int) -> list[str]:
    """Return the ``count`` USDT perpetuals with the largest turnover in the last 24 hours."""
    with closing(DataManager(config=config)) as manager, asking(config.fapi_base):
        info = manager.rest_shaped.get("/fapi/v1/exchangeInfo", timeout=config.request_timeout)
        tickers = manager.rest_shaped.ticker_24h()
    try:
        perpetuals = [
            each["symbol"]
            for each in info["symbols"]
            if each["status"] == "TRADING" and is_perpetual(each["contractType"]) and each["quoteAsset"] == "USDT"
        ]
        turnover = {each["symbol"]: float(each["quoteVolume"]) for each in tickers}
    except (LookupError, TypeError, ValueError) as error:
        raise CommandFailed(
            f"{config.fapi_base}: exchangeInfo or the 24 h tickers are not as expected: {error!r}"
        ) from error
    if not perpetuals:
        raise CommandFailed(f"{config.fapi_base} lists no USDT perpetual that is trading")
    return sorted(perpetuals, key=lambda symbol: turnover.get(symbol, 0.0), reverse=True)[:count]
