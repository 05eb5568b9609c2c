"""Which requests are answered, and how: pure, from a path and a query to what is to be read.

Memory answers a request whose parameters are exactly those of a read of the newest data. Any other request for public
market data goes to the exchange as it is, so that ranges are its ranges and mistakes its errors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from ..errors import InvalidSymbol
from ..rest_text import RestText, Text
from ..venue.endpoints import (
    AGG_TRADES_MOST,
    AGG_TRADES_PATH,
    DEPTH_LIMITS,
    DEPTH_PATH,
    FUNDING_MOST,
    KLINES_MOST,
    KLINES_PATH,
    LIFETIMES,
    OPEN_INTEREST_MOST,
    OPEN_INTEREST_PATH,
    SPOT_KLINES_MOST,
    TICKER_24H_PATH,
    Host,
    funding_lifetime,
)
from ..venue.intervals import INTERVALS, PERIODS
from ..venue.ratios import RATIOS
from ..venue.symbols import check_symbol
from .replies import Reply, refused

MOST_PARAMETERS = 32
LONGEST_QUERY = 4096
LIMIT_WITHOUT, OPEN_INTEREST_WITHOUT, FUNDING_WITHOUT = 500, 30, 100
"""The rows that the exchange sends where no limit is stated."""

_FUTURES = tuple(
    """
    ping time exchangeInfo depth rpiDepth trades aggTrades klines continuousKlines indexPriceKlines markPriceKlines
    premiumIndexKlines premiumIndex fundingRate fundingInfo ticker/24hr ticker/price ticker/bookTicker openInterest
    indexInfo assetIndex constituents insuranceBalance tradingSchedule symbolAdlRisk
    """.split()  # noqa: SIM905
)
_SPOT = tuple(
    """
    ping time exchangeInfo depth trades aggTrades klines uiKlines avgPrice ticker ticker/24hr ticker/tradingDay
    ticker/price ticker/bookTicker
    """.split()  # noqa: SIM905
)
PUBLIC: Mapping[str, Host] = {
    **{f"/fapi/v1/{name}": Host.FUTURES for name in _FUTURES},
    "/fapi/v2/ticker/price": Host.FUTURES,
    **{f"/api/v3/{name}": Host.SPOT for name in _SPOT},
}
"""What is public market data, and on which host."""
_STATISTICS = re.compile(r"/futures/data/[A-Za-z-]{1,64}")
_OF_ONE_SYMBOL = frozenset(
    {
        "/fapi/v1/ticker/24hr",
        "/fapi/v1/ticker/price",
        "/fapi/v2/ticker/price",
        "/fapi/v1/premiumIndex",
        "/fapi/v1/openInterest",
        "/api/v3/exchangeInfo",
        "/api/v3/ticker/24hr",
    }
)
"""Paths whose answer for one symbol is small enough to be kept for each."""
_OF_ALL_SYMBOLS = {"/fapi/v1/ticker/bookTicker": 1.0}
"""Seconds for which the answer for all symbols is reused, where that for one symbol is not. Memory cannot give it: the
stream brings the quotes that have changed, so those of a symbol that rests are never known to be fresh."""
_SIGNED = frozenset({"signature", "timestamp", "recvWindow", "apiKey", "listenKey"})
_WHOLE = re.compile(r"[1-9][0-9]{0,8}")
_LONGEST_KNOWN, _MOST_KNOWN = 200, 4096

Read = Callable[[RestText], Text | None]
"""Returns None where it cannot answer."""


@dataclass(frozen=True, slots=True)
class Route:
    """A request that may be answered. ``target`` is path and query as they came."""

    host: Host
    target: str
    read: Read | None = None
    """The read of memory that has the same answer, None where there is none."""
    lifetime: Callable[[float], float] = lambda exchange: 0.0
    """For how long (seconds) an answer may be reused, at an exchange time."""


_known: dict[tuple[str, str], Route] = {}
"""Routes that were found before: programs send the same requests again and again, and parsing a query is a sixth of the
cost of answering it."""


def route(path: str, query: str) -> Route | Reply:
    """Return how a GET request is answered, or its refusal. ``query`` is raw, as it came."""
    known = _known.get((path, query))
    if known is not None:
        return known
    found = _route(path, query)
    # Of a refused request nothing is kept: it may have a key in it.
    if isinstance(found, Route) and len(query) <= _LONGEST_KNOWN:
        if len(_known) >= _MOST_KNOWN:
            _known.clear()
        _known[path, query] = found
    return found


def _route(path: str, query: str) -> Route | Reply:
    host = PUBLIC.get(path)
    if host is None:
        if not _STATISTICS.fullmatch(path):
            return refused(
                403,
                f"{path[:100]} is not public market data. This endpoint answers nothing else: it is no gateway for "
                "orders, and no key must ever be sent to it.",
            )
        host = Host.FUTURES
    if len(query) > LONGEST_QUERY:
        return refused(414, f"the query is longer than {LONGEST_QUERY} bytes")
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_PARAMETERS)
    except ValueError:
        return refused(400, f"the query has more than {MOST_PARAMETERS} parameters")
    parameters = dict(pairs)
    if signed := sorted(_SIGNED & parameters.keys()):
        return refused(
            403, f"{signed[0]} belongs to a signed request; this endpoint answers public market data and needs no key."
        )
    target = f"{path}?{query}" if query else path
    read = _read(path, parameters) if len(parameters) == len(pairs) else None
    return Route(host, target, read, _lifetime(path, parameters, len(pairs)))


def _read(path: str, parameters: Mapping[str, str]) -> Read | None:
    """Return the read of memory that a request is, None where memory has nothing of that kind."""
    if not parameters:
        return _WITHOUT_PARAMETERS.get(path)
    symbol = parameters.get("symbol", "")
    if not _is_symbol(symbol):
        return None
    names = parameters.keys() - {"limit"}
    if names == {"symbol", "interval"} and (interval := parameters["interval"]) in INTERVALS:
        return _klines(path, symbol, interval, parameters)
    if names == {"symbol", "period"} and (period := parameters["period"]) in PERIODS:
        return _statistics(path, symbol, period, parameters)
    if names == {"symbol"}:
        return _of_symbol(path, symbol, parameters)
    return None


def _klines(path: str, symbol: str, interval: str, parameters: Mapping[str, str]) -> Read | None:
    if path not in (KLINES_PATH, "/api/v3/klines"):
        return None
    spot = path != KLINES_PATH
    rows = _limit(parameters, LIMIT_WITHOUT, SPOT_KLINES_MOST if spot else KLINES_MOST)
    return None if rows is None else lambda text: text.klines(symbol, interval, rows, spot=spot)


def _statistics(path: str, symbol: str, period: str, parameters: Mapping[str, str]) -> Read | None:
    rows = _limit(parameters, OPEN_INTEREST_WITHOUT, OPEN_INTEREST_MOST)
    kind = path.removeprefix("/futures/data/")
    if rows is None:
        return None
    if path == OPEN_INTEREST_PATH:
        return lambda text: text.open_interest_hist(symbol, period, rows)
    # Those of a pair have other parameters.
    if kind in RATIOS and not RATIOS[kind].by_pair:
        return lambda text: text.ratio(kind, symbol, period, rows)
    return None


def _of_symbol(path: str, symbol: str, parameters: Mapping[str, str]) -> Read | None:
    if path == DEPTH_PATH:
        levels = _limit(parameters, LIMIT_WITHOUT, DEPTH_LIMITS[-1])
        return None if levels not in DEPTH_LIMITS else lambda text: text.depth(symbol, levels)
    if path == AGG_TRADES_PATH:
        rows = _limit(parameters, LIMIT_WITHOUT, AGG_TRADES_MOST)
        return None if rows is None else lambda text: text.agg_trades(symbol, rows)
    if "limit" in parameters:
        return None
    if path == TICKER_24H_PATH:
        return lambda text: text.ticker_24h(symbol)
    if path == "/fapi/v1/ticker/bookTicker":
        return lambda text: text.book_ticker(symbol)
    if path == "/fapi/v1/premiumIndex":
        return lambda text: text.premium_index(symbol)
    if path == "/api/v3/ticker/price":
        return lambda text: text.spot_price(symbol)
    return None


def _pong(text: RestText) -> Text:
    return Text(b"{}", True)


_WITHOUT_PARAMETERS: Mapping[str, Read] = {
    "/fapi/v1/ping": _pong,
    "/api/v3/ping": _pong,
    "/fapi/v1/time": RestText.time,
    "/api/v3/time": RestText.time,
    "/api/v3/ticker/price": RestText.spot_prices,
    TICKER_24H_PATH: lambda text: text.ticker_24h(None),
}


def _lifetime(path: str, parameters: Mapping[str, str], count: int) -> Callable[[float], float]:
    one = count == 1 and _is_symbol(parameters.get("symbol", ""))
    if path == "/fapi/v1/fundingRate":
        rows = _limit(parameters, FUNDING_WITHOUT, FUNDING_MOST)
        newest = count == len(parameters) and parameters.keys() <= {"symbol", "limit"} and rows is not None
        return funding_lifetime if newest and _is_symbol(parameters.get("symbol", "")) else _never
    seconds = LIFETIMES.get(path, 0.0) if not count or (one and path in _OF_ONE_SYMBOL) else 0.0
    if not count:
        seconds = _OF_ALL_SYMBOLS.get(path, seconds)
    return (lambda exchange: seconds) if seconds else _never


def _never(exchange: float) -> float:
    return 0.0


def _limit(parameters: Mapping[str, str], without: int, most: int) -> int | None:
    """Return the number of rows requested, None where the exchange is to say what is wrong with them."""
    written = parameters.get("limit")
    if written is None:
        return without
    return int(written) if _WHOLE.fullmatch(written) and int(written) <= most else None


def _is_symbol(text: str) -> bool:
    """Return whether it is a symbol in the exchange's own spelling."""
    try:
        return check_symbol(text) == text
    except InvalidSymbol:
        return False
