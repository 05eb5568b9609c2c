"""The old ``sources.binance``: market data of Binance USDⓈ-M futures and spot in the exact shape of REST.

Data that the shared manager follows and has fresh is returned from memory; anything else is one REST request within the
request-weight budget. While no manager runs, each call is exactly one request on the calling thread and starts no
thread::

    ats_sync.get_data_manager().initialize(["BTCUSDT", "ETHUSDT"])   # from here on reads cause no request
    rows = get_klines("BTCUSDT", "1h", 300)

Common to all functions: symbols are upper-cased; limits are clamped to what the exchange allows; intervals and periods
are passed on unchecked; times are ms. What is returned belongs to the caller. Errors are OSError or ValueError with the
HTTP status and the exchange's number in their text: see :mod:`ats_sync.errors`.

Environment, read at import: ``BINANCE_FAPI_BASE``, ``BINANCE_SPOT_BASE``, ``BINANCE_API_KEY``, ``BINANCE_API_SECRET``,
and what else :meth:`ats_sync.Config.from_env` reads.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ats_sync import (
    Config,
    KlineRow,
    RequestError,
    RestAggTrade,
    RestDepth,
    RestForceOrder,
    RestFunding,
    RestOpenInterest,
    RestPremiumIndex,
    RestRatio,
    RestShaped,
    get_data_manager,
)

_ENVIRONMENT = Config.from_env()
BASE = _ENVIRONMENT.fapi_base
SPOT_BASE = _ENVIRONMENT.spot_base
API_KEY = os.environ.get("BINANCE_API_KEY", "")
API_SECRET = os.environ.get("BINANCE_API_SECRET", "")

Row = KlineRow
"""A candle: items 0, 6 and 8 int, the rest str."""
Whole = int | float | str
"""Anything that ``int()`` accepts."""
Params = Mapping[str, Any]

_DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)


def _rest() -> RestShaped:
    return get_data_manager().autostart().rest_shaped


def _clamped(limit: Whole, most: int) -> int:
    return int(max(1, min(int(limit), most)))


def _ms(time: Whole | None) -> int | None:
    return None if time is None else int(time)


def _sent(params: Params | None) -> dict[str, str | int]:
    """Return the parameters as they appear in the query, without those that are None."""
    return {
        name: value if isinstance(value, (str, int)) else str(value)
        for name, value in (params or {}).items()
        if value is not None
    }


def _get(path_or_url: str, params: Params | None = None, *, timeout: float = 8.0, retries: int = 2) -> Any:
    """Return the parsed JSON of a path on the futures host, or of a full URL.

    ``timeout`` (seconds) covers waiting for budget, the request and its retries. ``retries`` is accepted and ignored:
    while the manager runs, failures that a retry can cure are retried; otherwise exactly one request is sent.
    """
    return _rest().get(path_or_url, _sent(params), timeout=timeout)


def _get_signed(path: str, params: Params | None = None, *, timeout: float = 8.0, retries: int = 2) -> Any:
    """Like :func:`_get`, but signed. RuntimeError unless ``BINANCE_API_KEY`` and ``BINANCE_API_SECRET`` are set."""
    if not API_KEY or not API_SECRET:
        raise RuntimeError("BINANCE_API_KEY and BINANCE_API_SECRET must be set for signed requests")
    now = get_data_manager().clock.exchange_ms()
    return _rest().get_signed(path, _sent(params), key=API_KEY, secret=API_SECRET, now=now, timeout=timeout)


def get_klines(
    symbol: str,
    interval: str,
    limit: Whole = 300,
    start_time: Whole | None = None,
    end_time: Whole | None = None,
) -> list[Row]:
    """Return candles, oldest first, the last one open; at most 1500. Source: ``/fapi/v1/klines`` and its stream."""
    return _rest().klines(symbol.upper(), interval, _clamped(limit, 1500), start=_ms(start_time), end=_ms(end_time))


def get_spot_klines(
    symbol: str,
    interval: str,
    limit: Whole = 300,
    start_time: Whole | None = None,
    end_time: Whole | None = None,
) -> list[Row]:
    """Return candles of the spot pair, like :func:`get_klines`; at most 1000. Source: spot ``/api/v3/klines``."""
    return _rest().spot_klines(
        symbol.upper(), interval, _clamped(limit, 1000), start=_ms(start_time), end=_ms(end_time)
    )


def get_open_interest_hist(
    symbol: str,
    period: str = "1h",
    limit: Whole = 200,
    start_time: Whole | None = None,
    end_time: Whole | None = None,
) -> list[RestOpenInterest]:
    """Return ``{"symbol", "sumOpenInterest", "sumOpenInterestValue", …, "timestamp"}``, oldest first; at most 500.

    Numbers are str, the timestamp int (ms). Source: ``/futures/data/openInterestHist``.
    """
    return _rest().open_interest_hist(
        symbol.upper(), period, _clamped(limit, 500), start=_ms(start_time), end=_ms(end_time)
    )


def get_global_long_short_account_ratio(
    symbol: str, period: str = "1h", limit: Whole = 100, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestRatio]:
    """Return ``{"symbol", "longAccount", "longShortRatio", "shortAccount", "timestamp"}`` of all accounts.

    Oldest first, at most 500. Numbers are str, the timestamp int (ms). Source:
    ``/futures/data/globalLongShortAccountRatio``.
    """
    return _ratio("globalLongShortAccountRatio", symbol, period, limit, start_time, end_time)


def get_top_long_short_account_ratio(
    symbol: str, period: str = "1h", limit: Whole = 100, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestRatio]:
    """Return the same for the top traders' accounts. Source: ``/futures/data/topLongShortAccountRatio``."""
    return _ratio("topLongShortAccountRatio", symbol, period, limit, start_time, end_time)


def get_top_long_short_position_ratio(
    symbol: str, period: str = "1h", limit: Whole = 100, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestRatio]:
    """Return the same for the top traders' positions. Source: ``/futures/data/topLongShortPositionRatio``."""
    return _ratio("topLongShortPositionRatio", symbol, period, limit, start_time, end_time)


def get_taker_long_short_ratio(
    symbol: str, period: str = "1h", limit: Whole = 100, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestRatio]:
    """Return ``{"buySellRatio", "sellVol", "buyVol", "timestamp"}``, oldest first. Source:
    ``/futures/data/takerlongshortRatio``."""
    return _ratio("takerlongshortRatio", symbol, period, limit, start_time, end_time)


def get_basis(
    symbol: str, period: str = "1h", limit: Whole = 100, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestRatio]:
    """Return ``{"indexPrice", "contractType", "basisRate", "futuresPrice", "annualizedBasisRate", "basis", "pair",
    "timestamp"}``, oldest first. Source: ``/futures/data/basis``."""
    return _ratio("basis", symbol, period, limit, start_time, end_time)


def _ratio(
    kind: str, symbol: str, period: str, limit: Whole, start_time: Whole | None, end_time: Whole | None
) -> list[RestRatio]:
    return _rest().ratio(kind, symbol.upper(), period, _clamped(limit, 500), start=_ms(start_time), end=_ms(end_time))


def get_funding_hist(
    symbol: str, limit: Whole = 120, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestFunding]:
    """Return ``{"symbol", "fundingRate", "fundingTime", "markPrice"}``, oldest first; at most 1000.

    Return ``[]`` if the answer is not a list. Source: ``/fapi/v1/fundingRate``.
    """
    return _rest().funding_hist(symbol.upper(), _clamped(limit, 1000), start=_ms(start_time), end=_ms(end_time))


def get_orderbook_snapshot(symbol: str, limit: Whole = 100) -> RestDepth:
    """Return ``{"lastUpdateId", "E", "T", "bids": [[price, quantity], …], "asks"}``, best first, values str.

    ``limit`` is rounded to the nearest of 5, 10, 20, 50, 100, 500, 1000 (a tie goes down). Source:
    ``/fapi/v1/depth``; up to 20 levels the stream, whose ``E`` is the time of its event.
    """
    levels = int(limit)
    return _rest().depth(symbol.upper(), min(_DEPTH_LIMITS, key=lambda allowed: abs(allowed - levels)))


def get_mark_price(symbol: str) -> float:
    """Return the mark price, 0 if it is missing. Source: ``/fapi/v1/premiumIndex`` and the mark price stream."""
    return _rest().mark_price(symbol.upper())


def get_funding_rate(symbol: str) -> float:
    """Return the last funding rate, 0 if it is missing. Source: as :func:`get_mark_price`."""
    return _rest().last_funding_rate(symbol.upper())


def get_spot_price(symbol: str) -> float:
    """Return the price of the spot pair of the same name. Source: spot ``/api/v3/ticker/price``."""
    return _rest().spot_price(symbol.upper())


def get_all_spot_prices() -> dict[str, float]:
    """Return ``{symbol: price}`` of every spot pair. Source: spot ``/api/v3/ticker/price``."""
    return _rest().all_spot_prices()


def get_all_premium_index() -> list[RestPremiumIndex]:
    """Return mark price and funding of every contract, with the strings of REST. Source: ``/fapi/v1/premiumIndex``."""
    return _rest().all_premium_index()


def get_liquidations(
    symbol: str,
    interval: str = "5m",
    limit: Whole = 100,
    start_time: Whole | None = None,
    end_time: Whole | None = None,
) -> list[RestForceOrder]:
    """Return liquidation orders, oldest first; at most 1000. ``interval`` is accepted and was never used.

    The exchange has closed its endpoint, so the list is partial: what the running manager has seen since its start
    (the stream reports at most one per second and symbol). While no manager runs, the request goes to
    ``/fapi/v1/forceOrders``; if that answers 401 and keys are set, a signed one to ``/fapi/v1/allForceOrders``
    follows. If they are refused, the refusal is raised.
    """
    symbol, most = symbol.upper(), _clamped(limit, 1000)
    start, end = _ms(start_time), _ms(end_time)
    try:
        return _rest().liquidations(symbol, most, start=start, end=end)
    except RequestError as error:
        if "401" not in str(error) or not API_KEY or not API_SECRET:
            raise
    params = {"symbol": symbol, "limit": most, "startTime": start, "endTime": end}
    answer = _get_signed("/fapi/v1/allForceOrders", params)
    return answer if isinstance(answer, list) else []


def get_agg_trades(
    symbol: str, limit: Whole = 500, start_time: Whole | None = None, end_time: Whole | None = None
) -> list[RestAggTrade]:
    """Return ``{"a", "p", "q", "nq", "f", "l", "T", "m"}``, oldest first; at most 1000.

    Source: ``/fapi/v1/aggTrades``.
    """
    return _rest().agg_trades(symbol.upper(), _clamped(limit, 1000), start=_ms(start_time), end=_ms(end_time))


def get_ticker_24h(symbol: str | None = None) -> Any:
    """Return the statistics of the last 24 hours: a dict for one symbol, a list without a symbol.

    Source: the stream ``!ticker@arr`` completed by ``/fapi/v1/ticker/24hr``.
    """
    return _rest().ticker_24h(symbol.upper() if symbol else None)
