"""The REST paths of both hosts: parameters, weights, and the market's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .market import Market, UnknownInterval, UnknownSymbol

DAY = 24 * 3_600_000
MONTH = 30 * DAY
_DEPTH_WEIGHTS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}

FAPI, SPOT = "fapi", "spot"


class Params:
    """The query of one request, checked as it is read."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def text(self, name: str) -> str | None:
        """The value, or None when it was not sent; an empty value is an error."""
        value = self._values.get(name)
        if value == "":
            raise self.missing(name)
        return value

    def need(self, name: str) -> str:
        """The value of a mandatory parameter."""
        value = self.text(name)
        if value is None:
            raise self.missing(name)
        return value

    def integer(self, name: str) -> int | None:
        """A whole number that is not negative."""
        value = self.text(name)
        if value is None:
            return None
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
        return int(value)

    def limit(self, default: int, most: int) -> int:
        """``limit`` between 1 and ``most``."""
        value = self.integer("limit")
        if value is None:
            return default
        if not 1 <= value <= most:
            raise self.bad("limit")
        return value

    def window(self) -> tuple[int | None, int | None]:
        """``startTime`` and ``endTime``."""
        start, end = self.integer("startTime"), self.integer("endTime")
        if start is not None and end is not None and start > end:
            raise ApiError(-1023, "Start time is greater than end time.")
        return start, end

    @staticmethod
    def missing(name: str) -> ApiError:
        """-1102."""
        return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")

    @staticmethod
    def bad(name: str) -> ApiError:
        """-1130."""
        return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


Weight = Callable[[Mapping[str, str]], int]
Answer = Callable[[Market, Params], Any]


@dataclass(frozen=True)
class Endpoint:
    """One path: what it weighs (known before the parameters are checked) and how it is answered."""

    weight: Weight
    answer: Answer
    bucket: str | None = None
    wrong_weight_header: bool = False


def _flat(weight: int) -> Weight:
    return lambda _: weight


def _by_symbol(one: int, every: int) -> Weight:
    return lambda params: one if params.get("symbol") else every


def _limit_of(params: Mapping[str, str], default: int) -> int:
    text = params.get("limit", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default


def _klines_weight(params: Mapping[str, str]) -> int:
    # The bands were measured; the exchange's page puts 100 and 500 one band higher.
    limit = _limit_of(params, 501)
    if limit <= 100:
        return 1
    if limit <= 500:
        return 2
    return 5 if limit <= 1000 else 10


def _depth_weight(params: Mapping[str, str]) -> int:
    # Without a limit: measured, undocumented.
    return _DEPTH_WEIGHTS.get(_limit_of(params, 500), 2) if params.get("limit") else 1


def _klines(most: int, spot: bool) -> Answer:
    def answer(market: Market, params: Params) -> Any:
        symbol, interval = params.need("symbol"), params.need("interval")
        start, end = params.window()
        read = market.spot_klines if spot else market.klines
        return read(symbol, interval, start=start, end=end, limit=params.limit(500, most))

    return answer


def _depth(market: Market, params: Params) -> Any:
    symbol = params.need("symbol")
    limit = params.integer("limit")
    if limit is not None and limit not in _DEPTH_WEIGHTS:
        raise ApiError(-4021, f"{limit} is not valid depth limit.")
    return market.depth(symbol, 500 if limit is None else limit)


def _agg_trades(market: Market, params: Params) -> Any:
    symbol = params.need("symbol")
    limit = params.limit(500, 1000)
    from_id = params.integer("fromId")
    start, end = params.window()
    if from_id is not None and (start is not None or end is not None):
        raise ApiError(-1128, "Combination of optional parameters invalid.")
    # A window of two hours was answered; trades older than 48 hours are refused.
    if start is not None and start < market.now - 2 * DAY:
        raise ApiError(-4166, "Search window is restricted to recent 48 hours only.")
    return market.agg_trades(symbol, from_id=from_id, start=start, end=end, limit=limit)


def _premium_index(market: Market, params: Params) -> Any:
    return market.premium_index(params.text("symbol"))


def _funding_rate(market: Market, params: Params) -> Any:
    start, end = params.window()
    return market.funding_rate(params.text("symbol"), start=start, end=end, limit=params.limit(100, 1000))


def _open_interest(market: Market, params: Params) -> Any:
    symbol, period = params.need("symbol"), params.need("period")
    start, end = params.window()
    if start is not None and start < market.now - MONTH:
        raise params.bad("startTime")
    limit = params.limit(30, 500)
    try:
        return market.open_interest_hist(symbol, period, start=start, end=end, limit=limit)
    except UnknownInterval as error:
        raise params.bad("period") from error


def _needs_key(_: Market, params: Params) -> Any:
    raise ApiError(-2014, "API-key format invalid.", 401)


def _closed(_: Market, params: Params) -> Any:
    raise ApiError(-1000, "The endpoint has been out of maintenance", 400)


_FUTURES: dict[str, Endpoint] = {
    "/fapi/v1/ping": Endpoint(_flat(1), lambda market, params: {}),
    "/fapi/v1/time": Endpoint(_flat(1), lambda market, params: {"serverTime": market.now}),
    "/fapi/v1/exchangeInfo": Endpoint(_flat(1), lambda market, params: market.exchange_info()),
    "/fapi/v1/klines": Endpoint(_klines_weight, _klines(1500, spot=False)),
    "/fapi/v1/depth": Endpoint(_depth_weight, _depth),
    "/fapi/v1/aggTrades": Endpoint(_flat(20), _agg_trades),
    "/fapi/v1/premiumIndex": Endpoint(_by_symbol(1, 10), _premium_index),
    "/fapi/v1/fundingRate": Endpoint(_flat(0), _funding_rate, bucket="funding"),
    "/fapi/v1/fundingInfo": Endpoint(_flat(0), lambda market, params: market.funding_info(), bucket="funding"),
    "/fapi/v1/ticker/24hr": Endpoint(
        _by_symbol(1, 40), lambda market, params: market.ticker_24hr(params.text("symbol"))
    ),
    "/fapi/v1/ticker/bookTicker": Endpoint(
        _by_symbol(2, 5), lambda market, params: market.book_ticker(params.text("symbol")), wrong_weight_header=True
    ),
    "/fapi/v1/ticker/price": Endpoint(_by_symbol(1, 2), lambda market, params: market.price(params.text("symbol"))),
    "/fapi/v2/ticker/price": Endpoint(_by_symbol(1, 2), lambda market, params: market.price(params.text("symbol"))),
    "/fapi/v1/forceOrders": Endpoint(_by_symbol(20, 50), _needs_key),
    "/fapi/v1/allForceOrders": Endpoint(_flat(1), _closed),
    "/futures/data/openInterestHist": Endpoint(_flat(0), _open_interest, bucket="open interest"),
}

_SPOT: dict[str, Endpoint] = {
    "/api/v3/ping": Endpoint(_flat(1), lambda market, params: {}),
    "/api/v3/time": Endpoint(_flat(1), lambda market, params: {"serverTime": market.now}),
    "/api/v3/exchangeInfo": Endpoint(_flat(20), lambda market, params: market.spot_exchange_info()),
    "/api/v3/klines": Endpoint(_flat(2), _klines(1000, spot=True)),
    "/api/v3/ticker/price": Endpoint(_by_symbol(2, 4), lambda market, params: market.spot_price(params.text("symbol"))),
    "/api/v3/ticker/24hr": Endpoint(
        _by_symbol(2, 80), lambda market, params: market.spot_ticker_24hr(params.text("symbol"))
    ),
}

ENDPOINTS = {FAPI: _FUTURES, SPOT: _SPOT}

LIVE_PATHS = frozenset({"/fapi/v1/ping", "/fapi/v1/time", "/api/v3/ping", "/api/v3/time"})
"""Paths that no lagging replica answers."""


def answer(host: str, path: str, params: Mapping[str, str], market: Market) -> Any:
    """The JSON value of one request; :class:`ApiError` for the exchange's errors."""
    endpoint = ENDPOINTS[host].get(path)
    if endpoint is None:
        raise ApiError(0, "Not Found", 404)
    try:
        return endpoint.answer(market, Params(params))
    except UnknownSymbol as error:
        raise ApiError(-1121, "Invalid symbol.") from error
    except UnknownInterval as error:
        raise ApiError(-1120, "Invalid interval.") from error
