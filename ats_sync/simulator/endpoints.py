"""The REST paths of the hosts: parameters, weights, and the market's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from .errors import ApiError
from .literals import Host
from .market import RATIOS, Market, UnknownInterval, UnknownSymbol
from .params import Params
from .settings import Settings

FAPI: Host = "fapi"
SPOT: Host = "spot"
DAPI: Host = "dapi"
"""COIN-M futures, whose paths ("/dapi/…") the port of futures REST also answers."""

Weight = Callable[[Mapping[str, str]], int]
Answer = Callable[[Market, Params], Any]


@dataclass(frozen=True)
class Endpoint:
    """One path: its weight (known before the parameters are checked) and its answer."""

    weight: Weight
    answer: Answer
    bucket: str | None = None
    wrong_weight_header: bool = False


Endpoints = Mapping[Host, Mapping[str, Endpoint]]

# -- weights


def _flat(weight: int) -> Weight:
    return lambda _: weight


def _by_symbol(one: int, every: int) -> Weight:
    return lambda params: one if params.get("symbol") else every


def _sent_limit(params: Mapping[str, str]) -> int | None:
    text = params.get("limit", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def _kline_weight(settings: Settings) -> Weight:
    bands = settings.kline_weights

    def weight(params: Mapping[str, str]) -> int:
        limit = _sent_limit(params)
        if limit is None:
            return settings.kline_weight_without_limit
        # A limit above the last band is refused, but still costs that band's weight.
        return next((cost for most, cost in bands if limit <= most), bands[-1][1])

    return weight


def _depth_weight(settings: Settings) -> Weight:
    weights = dict(settings.depth_weights)

    def weight(params: Mapping[str, str]) -> int:
        limit = _sent_limit(params)
        return settings.depth_weight_without_limit if limit is None else weights.get(limit, min(weights.values()))

    return weight


# -- answers


def _klines(most: int, spot: bool) -> Answer:
    def answer(market: Market, params: Params) -> Any:
        symbol, interval = params.need("symbol"), params.need("interval")
        start, end = params.window()
        read = market.spot_klines if spot else market.klines
        return read(symbol, interval, start=start, end=end, limit=params.limit(500, most))

    return answer


def _depth(settings: Settings, market: Market, params: Params) -> Any:
    symbol = params.need("symbol")
    limit = params.integer("limit")
    if limit is not None and limit not in dict(settings.depth_weights):
        raise ApiError(-4021, f"{limit} is not valid depth limit.")
    return market.depth(symbol, 500 if limit is None else limit)


def _agg_trades(settings: Settings, market: Market, params: Params) -> Any:
    symbol = params.need("symbol")
    limit = params.limit(500, 1000)
    from_id = params.integer("fromId")
    start, end = params.window()
    if from_id is not None and (start is not None or end is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    if start is not None and start < market.now - round(settings.trade_history * 1000):
        raise ApiError(-4166, f"Search window is restricted to recent {settings.trade_history // 3600:.0f} hours only.")
    return market.agg_trades(symbol, from_id=from_id, start=start, end=end, limit=limit)


def _premium_index(market: Market, params: Params) -> Any:
    return market.premium_index(params.text("symbol"))


def _funding_rate(market: Market, params: Params) -> Any:
    start, end = params.window()
    return market.funding_rate(params.text("symbol"), start=start, end=end, limit=params.limit(100, 1000))


def _period_window(settings: Settings, market: Market, params: Params) -> dict[str, int | None]:
    start, end = params.window()
    if start is not None and start < market.now - round(settings.data_history * 1000):
        raise params.bad("startTime")
    return {"start": start, "end": end, "limit": params.limit(30, 500)}


def _open_interest(settings: Settings, market: Market, params: Params) -> Any:
    symbol, period = params.need("symbol"), params.need("period")
    window: dict[str, Any] = _period_window(settings, market, params)
    try:
        return market.open_interest_hist(symbol, period, **window)
    except UnknownInterval as error:
        raise params.bad("period") from error


def _ratio(kind: str, settings: Settings, market: Market, params: Params) -> Any:
    symbol = params.need("pair" if kind == "basis" else "symbol")
    contract_type = params.need("contractType") if kind == "basis" else ""
    period = params.need("period")
    window: dict[str, Any] = _period_window(settings, market, params)
    try:
        return market.ratio(kind, symbol, period, contract_type=contract_type, **window)
    except UnknownInterval as error:
        raise params.bad("period") from error
    except UnknownSymbol:
        if kind == "basis":
            raise params.bad("pair") from None
        raise


def _needs_key(_: Market, params: Params) -> Any:
    raise ApiError(-2014, "API-key format invalid.", 401)


def _closed(_: Market, params: Params) -> Any:
    raise ApiError(-1000, "The endpoint has been out of maintenance", 400)


def _empty(_: Market, params: Params) -> Any:
    return {}


def _time(market: Market, params: Params) -> Any:
    return {"serverTime": market.now}


# -- tables


def _futures(settings: Settings) -> dict[str, Endpoint]:
    wrong = settings.wrong_weight_header
    by_symbol = _by_symbol
    return {
        "/fapi/v1/ping": Endpoint(_flat(1), _empty),
        "/fapi/v1/time": Endpoint(_flat(1), _time),
        "/fapi/v1/exchangeInfo": Endpoint(_flat(1), lambda market, params: market.exchange_info()),
        "/fapi/v1/tradingSchedule": Endpoint(
            _flat(settings.trading_schedule_weight), lambda market, params: market.trading_schedule()
        ),
        "/fapi/v1/klines": Endpoint(_kline_weight(settings), _klines(1500, spot=False)),
        "/fapi/v1/depth": Endpoint(_depth_weight(settings), partial(_depth, settings)),
        "/fapi/v1/aggTrades": Endpoint(_flat(settings.agg_trades_weight), partial(_agg_trades, settings)),
        "/fapi/v1/premiumIndex": Endpoint(by_symbol(1, 10), _premium_index),
        "/fapi/v1/fundingRate": Endpoint(_flat(0), _funding_rate, bucket="funding"),
        "/fapi/v1/fundingInfo": Endpoint(_flat(0), lambda market, params: market.funding_info(), bucket="funding"),
        "/fapi/v1/ticker/24hr": Endpoint(
            by_symbol(1, 40), lambda market, params: market.ticker_24hr(params.text("symbol"))
        ),
        "/fapi/v1/ticker/bookTicker": Endpoint(
            by_symbol(2, 5), lambda market, params: market.book_ticker(params.text("symbol")), wrong_weight_header=wrong
        ),
        "/fapi/v1/ticker/price": Endpoint(by_symbol(1, 2), lambda market, params: market.price(params.text("symbol"))),
        "/fapi/v2/ticker/price": Endpoint(
            by_symbol(1, 2), lambda market, params: market.price(params.text("symbol")), wrong_weight_header=wrong
        ),
        "/fapi/v1/forceOrders": Endpoint(by_symbol(20, 50), _needs_key),
        "/fapi/v1/allForceOrders": Endpoint(_flat(1), _closed),
        "/futures/data/openInterestHist": Endpoint(_flat(0), partial(_open_interest, settings), bucket="open interest"),
        **{
            f"/futures/data/{kind}": Endpoint(_flat(0), partial(_ratio, kind, settings), bucket="open interest")
            for kind in RATIOS
        },
    }


def _spot() -> dict[str, Endpoint]:
    return {
        "/api/v3/ping": Endpoint(_flat(1), _empty),
        "/api/v3/time": Endpoint(_flat(1), _time),
        "/api/v3/exchangeInfo": Endpoint(_flat(20), lambda market, params: market.spot_exchange_info()),
        "/api/v3/klines": Endpoint(_flat(2), _klines(1000, spot=True)),
        "/api/v3/ticker/price": Endpoint(
            _by_symbol(2, 4), lambda market, params: market.spot_price(params.text("symbol"))
        ),
        "/api/v3/ticker/24hr": Endpoint(
            _by_symbol(2, 80), lambda market, params: market.spot_ticker_24hr(params.text("symbol"))
        ),
    }


def _coin_margined() -> dict[str, Endpoint]:
    return {
        "/dapi/v1/ping": Endpoint(_flat(1), _empty),
        "/dapi/v1/time": Endpoint(_flat(1), _time),
        "/dapi/v1/exchangeInfo": Endpoint(_flat(1), lambda market, params: market.coin_margined_exchange_info()),
        "/dapi/v1/premiumIndex": Endpoint(
            _flat(10), lambda market, params: market.coin_margined_premium_index(params.text("symbol"))
        ),
    }


def make_endpoints(settings: Settings) -> Endpoints:
    """Return the endpoints of every host under ``settings``."""
    return {FAPI: _futures(settings), SPOT: _spot(), DAPI: _coin_margined()}


ENDPOINTS = make_endpoints(Settings())
"""The endpoints of the exchange, as documented and measured."""

LIVE_PATHS = frozenset(path for each in ENDPOINTS.values() for path in each if path.endswith(("/ping", "/time")))
"""Paths that a lagging replica never answers."""


def host_of(path: str) -> Host:
    """Return the host that has ``path``."""
    if path.startswith("/api/"):
        return SPOT
    return DAPI if path.startswith("/dapi/") else FAPI


def answer(host: Host, path: str, params: Mapping[str, str], market: Market, endpoints: Endpoints = ENDPOINTS) -> Any:
    """Return the JSON value of one request; :class:`ApiError` for the exchange's errors."""
    endpoint = endpoints[host].get(path)
    if endpoint is None:
        raise ApiError(0, "Not Found", 404)
    try:
        return endpoint.answer(market, Params(params))
    except UnknownSymbol as error:
        raise ApiError(-1121, "Invalid symbol.") from error
    except UnknownInterval as error:
        raise ApiError(-1120, "Invalid interval.") from error
