"""Hosts, REST paths with their weights and limits, stream routes and names."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache, partial
from typing import Any, Generic, TypeVar
from urllib.parse import parse_qsl, urlencode

from ..config import Config
from .books import Book, book_snapshot
from .klines import kline_texts
from .listings import ExchangeInfo, server_time
from .listings import exchange_info as decode_exchange_info
from .payload import json_answer
from .ratios import RATIOS, pair_of, rest_ratios
from .tickers import BestQuote, TickerRow, rest_quote, rest_tickers
from .trades import Trade, rest_trades
from .values import Mark, rest_marks, rest_open_interest, rest_spot_prices

T_co = TypeVar("T_co", covariant=True)


class Host(str, Enum):
    """A REST host; bans and request weight are counted separately for each."""

    FUTURES = "futures"
    SPOT = "spot"
    OTHER = "other"
    """Not a host of this exchange's market data: a full URL that a caller passed in."""


class Bucket(str, Enum):
    """The limit that a request counts towards."""

    FUTURES = "futures weight"
    SPOT = "spot weight"
    OPEN_INTEREST = "open interest requests"
    FUNDING = "funding requests"
    OTHER = "other requests"


OPEN_INTEREST_LIMIT = (1000, 300.0)
"""Requests, seconds."""
FUNDING_LIMIT = (500, 300.0)
OTHER_LIMIT = (1200, 60.0)
"""Not a rule of the exchange but our own courtesy."""
CONNECTION_ATTEMPT_LIMIT = (300, 300.0)
"""Stream connection attempts, seconds."""
WEIGHT_WINDOW = 60.0

MESSAGES_PER_SECOND = {"public": 10, "market": 10, "spot": 5}
"""Client messages that a connection may send per second; SUBSCRIBE, ping and pong all count."""
NAMES_PER_SUBSCRIBE = 100
BYTES_PER_MESSAGE = 4088
"""Maximum length of a client message; a longer one is silently dropped or closes the connection."""

API_KEY_HEADER = "X-MBX-APIKEY"
TIME_UNIT_HEADER = "X-MBX-TIME-UNIT"
"""Request header: the unit of times in the answer."""
MILLISECONDS = "MILLISECOND"
UNKNOWN_INTERVAL = -1120
UNKNOWN_SYMBOL = -1121
"""The exchange's error code for a symbol that it does not have."""


class Route(str, Enum):
    """Where a stream is served. On a wrong route a subscription is accepted and stays silent forever."""

    PUBLIC = "public"
    MARKET = "market"
    SPOT = "spot"


@dataclass(frozen=True, slots=True)
class Request(Generic[T_co]):
    """One REST request, ready to be budgeted and sent, and how to decode its answer."""

    host: Host
    path: str
    params: tuple[tuple[str, str | int], ...] = ()
    weight: int = 1
    bucket: Bucket = Bucket.FUTURES
    used_weight_is_true: bool = True
    """Whether the answer's used-weight header may correct the budget."""
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    decode: Callable[[bytes], T_co] = field(default=json_answer, repr=False)
    """Decodes the body of the answer. Raises :class:`~ats_sync.venue.payload.DecodeError` or
    :class:`~ats_sync.errors.MalformedAnswer`."""
    rows: int = field(default=0, compare=False)
    """How many of the newest rows it requests; 0 if it requests a range, or something other than rows."""
    from_id: int | None = field(default=None, compare=False)
    """The id of the first trade it requests, None if it does not say."""
    cheaper: Request[T_co] | None = field(default=None, compare=False, repr=False)
    """A request with the same answer at an undocumented price, used while the exchange's count confirms it."""

    def url(self, config: Config) -> str:
        base = {Host.FUTURES: config.fapi_base, Host.SPOT: config.spot_base, Host.OTHER: ""}[self.host]
        return base + self.path

    def priced(self, weight: int) -> Request[T_co]:
        """Return the same request at another price."""
        return replace(self, weight=weight)

    def as_json(self) -> Request[Any]:
        """Return the same request, with the answer decoded only as JSON."""
        return replace(self, decode=json_answer, cheaper=None)

    def __str__(self) -> str:
        query = "&".join(f"{name}={value}" for name, value in self.params if name != "signature")
        return f"{self.path}?{query}" if query else self.path


def _params(**values: str | int | None) -> tuple[tuple[str, str | int], ...]:
    return tuple((name, value) for name, value in values.items() if value is not None)


def klines_weight(limit: int) -> int:
    if limit <= 100:
        return 1
    if limit <= 500:
        return 2
    return 5 if limit <= 1000 else 10


def depth_weight(limit: int) -> int:
    if limit <= 50:
        return 2
    return {100: 5, 500: 10}.get(limit, 20)


DEPTH_ROWS, DEPTH_PRICE, DEPTH_DOCUMENTED = 500, 1, 10
"""For a depth request without a limit: the number of levels, the weight that was measured on 2026-10-07, and the
documented weight."""
CHEAPEST_DEPTH = 20
"""Books of up to this many levels are requested with their limit."""
DEPTH_LIMITS = (5, 10, 20, 50, 100, 500, 1000)
KLINES_MOST = 1500
SPOT_KLINES_MOST = 1000
AGG_TRADES_MOST = 1000
KLINES_PATH = "/fapi/v1/klines"
AGG_TRADES_PATH = "/fapi/v1/aggTrades"
DEPTH_PATH = "/fapi/v1/depth"
TICKER_24H_PATH = "/fapi/v1/ticker/24hr"
OPEN_INTEREST_PATH = "/futures/data/openInterestHist"
OPEN_INTEREST_MOST = 500
OPEN_INTEREST_REACH = 30 * 86_400_000
"""How far back (ms) the open interest history goes."""
FUNDING_MOST = 1000


BRIEFLY = 5.0
"""Seconds for which an answer that changes all the time may be reused for later callers."""
FUNDING_EVERY = 3600.0
"""Seconds. Contracts are funded every 1, 4 or 8 hours, always on the hour."""
FUNDING_LATE = 60.0
"""Seconds after the hour for which its funding may still be missing in an answer."""
LIFETIMES = {
    "/fapi/v1/exchangeInfo": 3600.0,
    "/fapi/v1/fundingInfo": 3600.0,
    "/fapi/v1/ticker/24hr": BRIEFLY,
    "/fapi/v1/ticker/price": 1.0,
    "/fapi/v2/ticker/price": 1.0,
    "/fapi/v1/premiumIndex": BRIEFLY,
    "/fapi/v1/openInterest": BRIEFLY,
    "/api/v3/exchangeInfo": 3600.0,
    "/api/v3/ticker/price": BRIEFLY,
    "/api/v3/ticker/24hr": BRIEFLY,
}
"""Seconds for which the answer of a path is reused; answers of other paths are not reused."""


def funding_lifetime(exchange: float) -> float:
    """Return how long (seconds) an answer with funding rates may be reused at this exchange time: nothing changes
    before the next funding."""
    since = exchange % FUNDING_EVERY
    return since - FUNDING_LATE if since > FUNDING_LATE else min(since, BRIEFLY)


def time() -> Request[int]:
    return Request(Host.FUTURES, "/fapi/v1/time", decode=server_time)


def exchange_info() -> Request[ExchangeInfo]:
    return Request(Host.FUTURES, "/fapi/v1/exchangeInfo", decode=decode_exchange_info)


def _newest(limit: int, start: int | None, end: int | None) -> int:
    """Return ``Request.rows`` of a request with these bounds."""
    return limit if start is None and end is None else 0


def klines(
    symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
) -> Request[list[bytes]]:
    params = _params(symbol=symbol, interval=interval, startTime=start, endTime=end, limit=limit)
    rows = _newest(limit, start, end)
    return Request(Host.FUTURES, KLINES_PATH, params, klines_weight(limit), decode=kline_texts, rows=rows)


def spot_klines(
    symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
) -> Request[list[bytes]]:
    params = _params(symbol=symbol, interval=interval, startTime=start, endTime=end, limit=limit)
    rows = _newest(limit, start, end)
    return Request(Host.SPOT, "/api/v3/klines", params, 2, Bucket.SPOT, decode=kline_texts, rows=rows)


def depth(symbol: str, limit: int) -> Request[Book]:
    params = _params(symbol=symbol, limit=limit)
    cheaper = whole_depth(symbol) if CHEAPEST_DEPTH < limit <= DEPTH_ROWS else None
    return Request(
        Host.FUTURES, DEPTH_PATH, params, depth_weight(limit), decode=book_snapshot, rows=limit, cheaper=cheaper
    )


def whole_depth(symbol: str) -> Request[Book]:
    """Return the request of a book without a limit: 500 levels, at the measured price."""
    return Request(Host.FUTURES, DEPTH_PATH, _params(symbol=symbol), DEPTH_PRICE, decode=book_snapshot, rows=DEPTH_ROWS)


def is_whole_depth(request: Request[Any]) -> bool:
    """Return whether a request is for a book without a limit."""
    return request.path == DEPTH_PATH and all(name != "limit" for name, _ in request.params)


def agg_trades(
    symbol: str,
    limit: int,
    *,
    from_id: int | None = None,
    start: int | None = None,
    end: int | None = None,
) -> Request[list[Trade]]:
    params = _params(symbol=symbol, fromId=from_id, startTime=start, endTime=end, limit=limit)
    rows = _newest(limit, start, end)
    return Request(Host.FUTURES, AGG_TRADES_PATH, params, 20, decode=rest_trades, rows=rows, from_id=from_id)


def premium_index(symbol: str | None = None) -> Request[list[Mark]]:
    params = _params(symbol=symbol)
    return Request(Host.FUTURES, "/fapi/v1/premiumIndex", params, 1 if symbol else 10, decode=rest_marks)


def funding_rate(symbol: str, limit: int, *, start: int | None = None, end: int | None = None) -> Request[Any]:
    params = _params(symbol=symbol, startTime=start, endTime=end, limit=limit)
    return Request(Host.FUTURES, "/fapi/v1/fundingRate", params, 1, Bucket.FUNDING)


def ticker_24h(symbol: str | None = None) -> Request[dict[str, TickerRow]]:
    return Request(Host.FUTURES, TICKER_24H_PATH, _params(symbol=symbol), 1 if symbol else 40, decode=rest_tickers)


def book_ticker(symbol: str | None = None) -> Request[Any]:
    return Request(
        Host.FUTURES,
        "/fapi/v1/ticker/bookTicker",
        _params(symbol=symbol),
        2 if symbol else 5,
        used_weight_is_true=False,
    )


def best_quote(symbol: str) -> Request[BestQuote]:
    """Return the same for one symbol, decoded."""
    return replace(book_ticker(symbol), decode=rest_quote)


def open_interest_hist(
    symbol: str, period: str, limit: int, *, start: int | None = None, end: int | None = None
) -> Request[list[dict[str, Any]]]:
    params = _params(symbol=symbol, period=period, limit=limit, startTime=start, endTime=end)
    rows, bucket = _newest(limit, start, end), Bucket.OPEN_INTEREST
    return Request(Host.FUTURES, OPEN_INTEREST_PATH, params, 1, bucket, decode=rest_open_interest, rows=rows)


def ratio(
    kind: str,
    symbol: str,
    period: str,
    limit: int,
    *,
    contract_type: str = "PERPETUAL",
    start: int | None = None,
    end: int | None = None,
) -> Request[list[dict[str, Any]]]:
    """Return the request of one of the :data:`~ats_sync.venue.ratios.RATIOS`."""
    of = {"pair": pair_of(symbol), "contractType": contract_type} if RATIOS[kind].by_pair else {"symbol": symbol}
    params = _params(**of, period=period, limit=limit, startTime=start, endTime=end)
    path, rows = f"/futures/data/{kind}", _newest(limit, start, end)
    return Request(Host.FUTURES, path, params, 1, Bucket.OPEN_INTEREST, decode=_ratio_decoder(kind), rows=rows)


@cache
def _ratio_decoder(kind: str) -> Callable[[bytes], list[dict[str, Any]]]:
    return partial(rest_ratios, kind)  # one object for each, so that equal requests are equal


def spot_price(symbol: str | None = None) -> Request[dict[str, str]]:
    weight, params = (2 if symbol else 4), _params(symbol=symbol)
    return Request(Host.SPOT, "/api/v3/ticker/price", params, weight, Bucket.SPOT, decode=rest_spot_prices)


def force_orders(symbol: str, limit: int, *, start: int | None = None, end: int | None = None) -> Request[Any]:
    params = _params(symbol=symbol, limit=limit, startTime=start, endTime=end)
    return Request(Host.FUTURES, "/fapi/v1/forceOrders", params, 20)


_WRONG_WEIGHT_PATHS = frozenset({"/fapi/v1/ticker/bookTicker", "/fapi/v2/ticker/price"})
"""Their answers do not report the weight that the address has used."""


def any_request(path_or_url: str, params: Mapping[str, str | int], config: Config) -> Request[Any]:
    """Return a request for any path (of the futures host) or full URL, with its weight as far as it is known."""
    url = path_or_url if "://" in path_or_url else config.fapi_base + path_or_url
    sent = tuple((name, value) for name, value in params.items())
    for host, base in ((Host.FUTURES, config.fapi_base), (Host.SPOT, config.spot_base)):
        if url.startswith(base + "/"):
            path, _, query = url[len(base) :].partition("?")
            weight, bucket = _weight_of(host, path, {**dict(parse_qsl(query)), **params})
            return Request(host, url[len(base) :], sent, weight, bucket, path not in _WRONG_WEIGHT_PATHS)
    return Request(Host.OTHER, url, sent, 1, Bucket.OTHER)


def signed_request(
    path: str, params: Mapping[str, str | int], config: Config, *, key: str, secret: str, now: int
) -> Request[Any]:
    """Return a request like :func:`any_request`, signed with HMAC-SHA256; ``now`` is the exchange's time in ms."""
    signed = {**params, "timestamp": now}
    signature = hmac.new(secret.encode(), urlencode(signed).encode(), hashlib.sha256).hexdigest()
    request = any_request(path, {**signed, "signature": signature}, config)
    return replace(request, headers=((API_KEY_HEADER, key),))


def _weight_of(host: Host, path: str, params: Mapping[str, str | int]) -> tuple[int, Bucket]:
    if host is Host.SPOT:
        return {"/api/v3/exchangeInfo": 20, "/api/v3/ticker/24hr": 80}.get(path, 4), Bucket.SPOT
    if path.startswith("/futures/data/"):
        return 1, Bucket.OPEN_INTEREST
    if path in ("/fapi/v1/fundingRate", "/fapi/v1/fundingInfo"):
        return 1, Bucket.FUNDING
    limit = _limit_in(params)
    one = "symbol" in params
    if path.endswith("lines"):  # klines, and their continuous, index, mark and premium kin
        return klines_weight(limit) if limit else 5, Bucket.FUTURES
    known = {
        "/fapi/v1/depth": depth_weight(limit or 500),
        AGG_TRADES_PATH: 20,
        "/fapi/v1/historicalTrades": 20,
        "/fapi/v1/trades": 5,
        "/fapi/v1/forceOrders": 20,
        "/fapi/v1/allForceOrders": 20,
        "/fapi/v1/premiumIndex": 1 if one else 10,
        "/fapi/v1/ticker/24hr": 1 if one else 40,
        "/fapi/v1/ticker/price": 1 if one else 2,
        "/fapi/v2/ticker/price": 1 if one else 2,
        "/fapi/v1/ticker/bookTicker": 2 if one else 5,
    }
    return known.get(path, 1), Bucket.FUTURES


def _limit_in(params: Mapping[str, str | int]) -> int:
    try:
        return int(params.get("limit", 0))
    except ValueError:
        return 0


def stream_url(config: Config, route: Route) -> str:
    """Return the URL where a combined-stream connection of this route begins."""
    if route is Route.SPOT:
        return f"{config.spot_stream_base}/stream"
    return f"{config.fstream_base}/{route.value}/stream"


def kline_stream(symbol: str, interval: str) -> str:
    return f"{symbol.lower()}@kline_{interval}"


def agg_trade_stream(symbol: str) -> str:
    return f"{symbol.lower()}@aggTrade"


def book_stream(symbol: str) -> str:
    return f"{symbol.lower()}@depth20@100ms"


def diff_depth_stream(symbol: str) -> str:
    return f"{symbol.lower()}@depth@100ms"


SPOT_PREFIX = "spot/"
"""Marks a stream name as one of the spot host, since futures have streams of the same names; never sent."""
MARK_PRICES_STREAM = "!markPrice@arr@1s"
LIQUIDATIONS_STREAM = "!forceOrder@arr"
TICKERS_STREAM = "!ticker@arr"
BOOK_TICKERS_STREAM = "!bookTicker"
CONTRACTS_STREAM = "!contractInfo"
