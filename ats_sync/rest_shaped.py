"""Reads in the exact shape of the exchange's REST answers: the same strings, types and order.

The drop-in shim is made of them. Memory answers for a series that the running manager follows; anything else, and
everything while no manager runs, is one budgeted REST request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import orjson

from .arguments import plain_number
from .config import Config
from .engine.budget import Usage
from .errors import (
    DataUnavailableError,
    InvalidSymbol,
    MalformedAnswer,
    NoSpotPair,
    RequestError,
    RequestRejected,
)
from .feeds import Key, Kind
from .queries.books import book_of
from .queries.candles import Klines
from .queries.periods import OpenInterest, RatioRows
from .queries.tickers import DayTicker, DayTickers
from .queries.trades import TradesText
from .queries.values import MarkPrice, SpotPrices, check_spot_pair, spot_price
from .reads import Query, Reads, as_read
from .results import (
    KlineRow,
    RestAggTrade,
    RestDepth,
    RestForceOrder,
    RestFunding,
    RestOpenInterest,
    RestPremiumIndex,
    RestRatio,
)
from .store.book import STREAMED_LEVELS
from .venue import endpoints
from .venue.books import Book
from .venue.endpoints import (
    BRIEFLY,
    DEPTH_LIMITS,
    LIFETIMES,
    UNKNOWN_SYMBOL,
    Bucket,
    Request,
)
from .venue.intervals import INTERVALS, PERIODS
from .venue.klines import string_rows
from .venue.ratios import check_ratio
from .venue.symbols import check_symbol
from .venue.tickers import TickerRow
from .venue.trades import trades_text
from .venue.values import Mark

S = TypeVar("S")
T = TypeVar("T")


class RestShaped:
    """``live``: whether a manager runs. Limits, intervals and periods are passed on unchecked: a wrong one
    is the exchange's own error. Symbols are upper-cased and checked; times are ms. Numbers may be NumPy's.

    Errors are those of :mod:`ats_sync.errors`, OSError or ValueError unless the manager is closed meanwhile: where
    a request failed and nothing is known, the :class:`~ats_sync.errors.RequestError` itself, whose text holds the
    HTTP status and the exchange's number. What is returned belongs to the caller.
    """

    def __init__(
        self,
        reads: Reads,
        config: Config,
        *,
        live: bool,
        want: Callable[[Key, int], None] = lambda key, depth: None,
        keeps: object = None,
    ) -> None:
        self._reads = reads
        self._config = config
        self._live = live
        self._want = want
        """Called with every series that is read, and the number of rows: it is followed from then on."""
        self._keeps = keeps
        """The manager, which would be collected and closed without a reference."""

    def klines(
        self, symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[KlineRow]:
        """Return 12-item lists (items 0, 6, 8 int, the rest str), oldest first; ``/fapi/v1/klines``."""
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if self._newest(start, end) and interval in INTERVALS:
            query = Klines(Key(Kind.KLINES, symbol, interval), limit, None, exact=True)
            return self._read_followed(query, limit, as_read)
        request = endpoints.klines(symbol, interval, limit, start=start, end=end)
        return string_rows(self._ask(Kind.KLINES, symbol, request))

    def spot_klines(
        self, symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[KlineRow]:
        """Return what :meth:`klines` returns, for the spot pair; ``/api/v3/klines``."""
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if self._newest(start, end) and interval in INTERVALS:
            as_refused(lambda: check_spot_pair(self._reads, symbol))
            query = Klines(Key(Kind.SPOT_KLINES, symbol, interval), limit, None, exact=True)
            return self._read_followed(query, limit, as_read)
        request = endpoints.spot_klines(symbol, interval, limit, start=start, end=end)
        return string_rows(self._ask(Kind.SPOT_KLINES, symbol, request))

    def open_interest_hist(
        self, symbol: str, period: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[RestOpenInterest]:
        """Return rows as ``/futures/data/openInterestHist`` writes them, oldest first."""
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if self._newest(start, end) and period in PERIODS:
            query = OpenInterest(symbol, period, limit, None)
            return self._read_followed(query, limit, lambda rows: cast(list[RestOpenInterest], rows))
        request = endpoints.open_interest_hist(symbol, period, limit, start=start, end=end)
        rows: list[RestOpenInterest] = _own(self._ask(Kind.OPEN_INTEREST, symbol, request))
        return rows

    def ratio(
        self, kind: str, symbol: str, period: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[RestRatio]:
        """Return rows as ``/futures/data/<kind>`` writes them, oldest first; ``kind`` is one of the exchange's names,
        such as ``topLongShortPositionRatio``."""
        symbol, kind = check_symbol(symbol), check_ratio(kind)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if self._newest(start, end) and period in PERIODS:
            query = RatioRows(kind, symbol, period, limit, None)
            return self._read_followed(query, limit, lambda rows: cast(list[RestRatio], rows))
        contract_type = self._reads.store.contract_type(symbol)
        request = endpoints.ratio(kind, symbol, period, limit, contract_type=contract_type, start=start, end=end)
        rows: list[RestRatio] = _own(self._ask(Kind(kind), symbol, request))
        return rows

    def funding_hist(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[RestFunding]:
        """Return rows as ``/fapi/v1/fundingRate`` writes them, oldest first; ``[]`` for an answer that is not a list.

        Nothing is left out: since July 2026 ``rateType`` distinguishes a dividend paid as a special funding from a
        rate ("Regular"), and ``markPrice`` is "" in rows of the first years. To compute with rates, take the rows whose
        ``rateType`` is "Regular" or missing.
        """
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        request = endpoints.funding_rate(symbol, limit, start=start, end=end)
        if self._newest(start, end):
            rows = self._remembered(symbol, request, endpoints.funding_lifetime(self._reads.clock.exchange()))
        else:
            rows = self._ask_json(symbol, request)
        return rows if isinstance(rows, list) else []

    def depth(self, symbol: str, limit: int) -> RestDepth:
        """Return ``{"lastUpdateId", "E", "T", "bids": [[str, str], …], "asks"}``; ``/fapi/v1/depth``."""
        symbol = check_symbol(symbol)
        limit = plain_number(limit)
        if self._live and (limit <= STREAMED_LEVELS or limit in DEPTH_LIMITS):
            return self._read_followed(book_of(symbol, limit, None), limit, lambda book: rest_book(book, limit))
        return rest_book(self._ask(Kind.BOOK, symbol, endpoints.depth(symbol, limit)), limit)

    def mark_price(self, symbol: str) -> float:
        """Return ``markPrice`` of ``/fapi/v1/premiumIndex``, 0 where it is missing."""
        return self._premium(symbol, "markPrice", lambda mark: mark.mark_price)

    def last_funding_rate(self, symbol: str) -> float:
        """Return ``lastFundingRate`` of ``/fapi/v1/premiumIndex``, 0 where it is missing."""
        return self._premium(symbol, "lastFundingRate", lambda mark: mark.funding_rate)

    def _premium(self, symbol: str, field: str, known: Callable[[Mark], str]) -> float:
        symbol = check_symbol(symbol)
        if self._live:
            try:
                return _unwrapped(lambda: self._reads.read(MarkPrice(symbol, None), lambda mark: float(known(mark))))
            except InvalidSymbol:
                pass  # What comes for all symbols lacks it; let the exchange say what is wrong with it.
        answer = self._ask_json(symbol, endpoints.premium_index(symbol))
        return float(_expected(answer, dict).get(field) or 0)

    def all_premium_index(self) -> list[RestPremiumIndex]:
        """Return the answer of ``/fapi/v1/premiumIndex`` for all symbols."""
        answer = self._remembered("", endpoints.premium_index(), BRIEFLY)
        rows: list[RestPremiumIndex] = _expected(answer, list)
        return rows

    def spot_price(self, symbol: str) -> float:
        """Return ``price`` of ``/api/v3/ticker/price``."""
        symbol = check_symbol(symbol)
        if self._live:
            try:
                return _unwrapped(lambda: spot_price(self._reads, symbol, None, float))
            except NoSpotPair as error:
                raise _refused_beforehand(error) from error
            except InvalidSymbol:
                pass  # As in _premium().
        prices: dict[str, str] = self._ask(Kind.SPOT, symbol, endpoints.spot_price(symbol))
        if symbol not in prices:
            raise MalformedAnswer(f"the exchange sent no spot price of {symbol}", status=200)
        return float(prices[symbol])

    def all_spot_prices(self) -> dict[str, float]:
        """Return ``{symbol: price}`` of ``/api/v3/ticker/price``."""
        if self._live:
            return self._read(SpotPrices(None), _floats)
        return _floats(self._ask(Kind.SPOT, "", endpoints.spot_price()))

    def agg_trades(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[RestAggTrade]:
        """Return rows as ``/fapi/v1/aggTrades`` writes them, oldest first."""
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if self._newest(start, end):
            return self._read_followed(TradesText(symbol, limit, None), limit, _rows)
        request = endpoints.agg_trades(symbol, limit, start=start, end=end)
        return _rows(trades_text(self._ask(Kind.TRADES, symbol, request)))

    def ticker_24h(self, symbol: str | None = None) -> Any:
        """Return the answer of ``/fapi/v1/ticker/24hr``: an object for a symbol, a list without.

        ``openTime`` and ``closeTime`` of a ticker that has come by stream are those of its event.
        """
        symbol = check_symbol(symbol) if symbol else None
        if self._live and self._reads.streams:
            try:
                return self._ticker(symbol) if symbol else self._read(DayTickers(None), as_read)
            except InvalidSymbol:
                pass  # As in _premium().
        return self._remembered(symbol or "", endpoints.ticker_24h(symbol), BRIEFLY)

    def _ticker(self, symbol: str) -> TickerRow:
        return _unwrapped(lambda: self._reads.read(DayTicker(symbol, None), as_read))

    def liquidations(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[RestForceOrder]:
        """Return liquidation orders in the shape of the closed ``/fapi/v1/forceOrders``, oldest first.

        Partial: those the running manager has seen since its start. While none runs, the request goes to that endpoint,
        whose refusal is the error.
        """
        symbol = check_symbol(symbol)
        limit, start, end = plain_number(limit), plain_number(start), plain_number(end)
        if not self._live:
            request = endpoints.force_orders(symbol, limit, start=start, end=end)
            answer = self._ask_json(symbol, request)
            return answer if isinstance(answer, list) else []
        earliest = start if start is not None else 0
        latest = end if end is not None else 1 << 62
        orders = [
            each for each in self._reads.store.liquidations.read(symbol, 1 << 30) if earliest <= each.time <= latest
        ]
        return [
            {
                "symbol": each.symbol,
                "price": each.price,
                "origQty": each.quantity,
                "executedQty": each.filled,
                "averagePrice": each.average_price,
                "status": each.status,
                "timeInForce": each.time_in_force,
                "type": each.order_type,
                "side": each.side,
                "time": each.time,
            }
            for each in orders[-limit:]
        ]

    def get(self, path_or_url: str, params: Mapping[str, str | int] | None = None, *, timeout: float) -> Any:
        """Return the JSON of any path on the futures host, or of a full URL."""
        sent = {name: plain_number(value) for name, value in (params or {}).items()}
        request = endpoints.any_request(path_or_url, sent, self._config)
        lifetime = LIFETIMES.get(request.path, 0.0)
        if self._live and lifetime:
            return self._remembered("", request, lifetime)
        return self._ask_json("", request, timeout)

    def get_signed(
        self,
        path: str,
        params: Mapping[str, str | int] | None = None,
        *,
        key: str,
        secret: str,
        now: int,
        timeout: float,
    ) -> Any:
        """Return what :meth:`get` returns, signed with HMAC-SHA256; ``now`` is the exchange's time in ms."""
        request = endpoints.signed_request(path, params or {}, self._config, key=key, secret=secret, now=now)
        return self._ask_json("", request, timeout)

    def usage(self) -> Usage:
        """Return the request weight of the futures host in the last minute, and how much of it this process may use."""
        return self._reads.usage(Bucket.FUTURES)

    def _newest(self, start: object, end: object) -> bool:
        """Return whether the newest rows are read, which the running manager may have in memory."""
        return self._live and start is None and end is None

    def _read_followed(self, query: Query[S], rows: int, shape: Callable[[S], T]) -> T:
        """Return what is read of a series, which is followed from now on, so many rows deep."""
        self._want(query.key, rows)
        return self._read(query, shape)

    def _read(self, query: Query[S], shape: Callable[[S], T]) -> T:
        return as_refused(lambda: self._reads.read(query, shape))

    def _remembered(self, symbol: str, request: Request[Any], lifetime: float) -> Any:
        if not self._live:
            return self._ask_json(symbol, request)
        return as_refused(lambda: self._reads.remembered(Key(Kind.ANSWER, symbol), request.as_json(), lifetime))

    def _ask(self, kind: Kind, symbol: str, request: Request[T], timeout: float | None = None) -> T:
        return as_refused(lambda: self._reads.ask(Key(kind, symbol), request, timeout))

    def _ask_json(self, symbol: str, request: Request[Any], timeout: float | None = None) -> Any:
        # Callers who requested the same at the same time share one object.
        return _own(self._ask(Kind.ANSWER, symbol, request.as_json(), timeout))


def _refused_beforehand(error: NoSpotPair | InvalidSymbol) -> RequestRejected:
    return RequestRejected(
        f"{error}; known beforehand, nothing was sent (the exchange's answer is HTTP 400, "
        f"code {UNKNOWN_SYMBOL}: Invalid symbol.)",
        status=400,
        code=UNKNOWN_SYMBOL,
    )


def as_refused(read: Callable[[], T]) -> T:
    """Return what ``read()`` returns, with the errors of :func:`_unwrapped`. A symbol or pair that is refused without a
    request raises the error of the exchange's own refusal."""
    try:
        return _unwrapped(read)
    except (InvalidSymbol, NoSpotPair) as error:
        raise _refused_beforehand(error) from error


def _unwrapped(read: Callable[[], T]) -> T:
    """Return what ``read()`` returns; raise the errors that code written for the old module can handle.

    That code looks for the HTTP status in the text of an OSError, so where nothing is known but that a request failed,
    that request's own error is raised.
    """
    try:
        return read()
    except (InvalidSymbol, DataUnavailableError) as error:
        cause = error.__cause__
        if isinstance(cause, RequestError):
            raise cause from cause.__cause__
        raise


def _own(value: Any) -> Any:
    """Return a copy of parsed JSON, much faster than ``copy.deepcopy``."""
    if isinstance(value, list):
        return [_own(item) for item in value]
    if isinstance(value, dict):
        return {name: _own(item) for name, item in value.items()}
    return value


def _expected(answer: Any, kind: type[T]) -> T:
    if not isinstance(answer, kind):
        raise MalformedAnswer(f"the answer is a {type(answer).__name__}, not a {kind.__name__}", status=200)
    return answer


def _floats(prices: Mapping[str, str]) -> dict[str, float]:
    return {symbol: float(price) for symbol, price in prices.items()}


def rest_book(book: Book, limit: int) -> RestDepth:
    return {
        "lastUpdateId": book.update_id,
        "E": book.time,
        "T": book.transaction_time,
        "bids": [list(level[:2]) for level in book.bids[:limit]],
        "asks": [list(level[:2]) for level in book.asks[:limit]],
    }


def _rows(text: bytes) -> list[RestAggTrade]:
    rows: list[RestAggTrade] = orjson.loads(text)
    return rows
