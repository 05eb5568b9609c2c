"""Reads in the exact shape of the exchange's REST answers: the same strings, types and order.

What the drop-in shim is made of. A series that the running manager follows is answered from memory; anything
else, and everything while no manager runs, is one budgeted REST request.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Container, Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from .config import Config
from .engine.upkeep import UNKNOWN_SYMBOL
from .errors import InvalidSymbol, RequestRejected
from .feeds import Key, Kind
from .reads import Reads
from .store.book import STREAMED_LEVELS
from .venue import endpoints
from .venue.decode import Book, Mark, Row, Trade, string_rows
from .venue.endpoints import Request
from .venue.symbols import check_symbol


class RestShaped:
    """``live``: whether a manager runs. Limits are taken as they are; symbols are upper-cased and checked.

    Errors are those of :mod:`ats_sync.errors`; times are ms.
    """

    def __init__(self, reads: Reads, config: Config, *, live: bool, watched: Container[str]) -> None:
        self._reads = reads
        self._config = config
        self._live = live
        self._watched = watched

    def klines(
        self, symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[Row]:
        """12-item lists (items 0, 6, 8 int, the rest str), oldest first; ``/fapi/v1/klines``."""
        symbol = check_symbol(symbol)
        if self._follows(symbol) and start is None and end is None and self._reads.follows(symbol, interval):
            return self._reads.klines(symbol, interval, limit, max_age=None, exact=True)
        request = endpoints.klines(symbol, interval, limit, start=start, end=end)
        return string_rows(self._ask(Kind.KLINES, symbol, request))

    def spot_klines(
        self, symbol: str, interval: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[Row]:
        """As :meth:`klines`, of the spot pair; ``/api/v3/klines``."""
        symbol = check_symbol(symbol)
        request = endpoints.spot_klines(symbol, interval, limit, start=start, end=end)
        return string_rows(self._ask(Kind.SPOT_KLINES, symbol, request))

    def open_interest_hist(
        self, symbol: str, period: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[dict[str, Any]]:
        """Rows as ``/futures/data/openInterestHist`` writes them, oldest first."""
        symbol = check_symbol(symbol)
        if self._follows(symbol) and start is None and end is None:
            return self._reads.open_interest(symbol, period, limit, max_age=None)
        request = endpoints.open_interest_hist(symbol, period, limit, start=start, end=end)
        rows: list[dict[str, Any]] = self._ask(Kind.OPEN_INTEREST, symbol, request)
        return [dict(row) for row in rows]

    def funding_hist(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[dict[str, Any]]:
        """Rows as ``/fapi/v1/fundingRate`` writes them, oldest first; ``[]`` for an answer that is no list."""
        symbol = check_symbol(symbol)
        rows = self._ask(Kind.ANSWER, symbol, endpoints.funding_rate(symbol, limit, start=start, end=end))
        return [dict(row) for row in rows] if isinstance(rows, list) else []

    def depth(self, symbol: str, limit: int) -> dict[str, Any]:
        """``{"lastUpdateId", "E", "T", "bids": [[str, str], …], "asks"}``; ``/fapi/v1/depth``."""
        symbol = check_symbol(symbol)
        if self._follows(symbol) and limit <= STREAMED_LEVELS:
            book = self._reads.book(symbol, limit, max_age=None)
        else:
            book = self._ask(Kind.BOOK, symbol, endpoints.depth(symbol, limit))
        return _book(book, limit)

    def mark_price(self, symbol: str) -> float:
        """``markPrice`` of ``/fapi/v1/premiumIndex``, 0 where it is missing."""
        return float(self._mark(symbol).mark_price)

    def last_funding_rate(self, symbol: str) -> float:
        """``lastFundingRate`` of ``/fapi/v1/premiumIndex``, 0 where it is missing."""
        return float(self._mark(symbol).funding_rate)

    def _mark(self, symbol: str) -> Mark:
        symbol = check_symbol(symbol)
        if self._follows(symbol):
            return self._reads.mark(symbol, max_age=None)
        marks: list[Mark] = self._ask(Kind.MARK, symbol, endpoints.premium_index(symbol))
        return marks[0] if marks else Mark(symbol, "0", "0", 0, 0)

    def all_premium_index(self) -> list[dict[str, Any]]:
        """The answer of ``/fapi/v1/premiumIndex`` for all symbols."""
        marks: list[Mark] = self._ask(Kind.MARK, "", endpoints.premium_index())
        return [dict(mark.answer) for mark in marks if mark.answer is not None]

    def spot_price(self, symbol: str) -> float:
        """``price`` of ``/api/v3/ticker/price``."""
        symbol = check_symbol(symbol)
        if self._follows(symbol):
            return float(self._reads.spot_price(symbol, max_age=None))
        prices: dict[str, str] = self._ask(Kind.SPOT, symbol, endpoints.spot_price(symbol))
        return float(prices[symbol])

    def all_spot_prices(self) -> dict[str, float]:
        """``{symbol: price}`` of ``/api/v3/ticker/price``."""
        if self._live:
            prices = self._reads.spot_prices(max_age=None)
        else:
            prices = self._ask(Kind.SPOT, "", endpoints.spot_price())
        return {symbol: float(price) for symbol, price in prices.items()}

    def agg_trades(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[dict[str, Any]]:
        """Rows as ``/fapi/v1/aggTrades`` writes them, oldest first."""
        symbol = check_symbol(symbol)
        if self._follows(symbol) and start is None and end is None:
            found = self._reads.trades(symbol, limit, max_age=None)
        else:
            request = endpoints.agg_trades(symbol, limit, start=start, end=end)
            found = self._ask(Kind.TRADES, symbol, request)
        return [_trade(trade) for trade in found]

    def ticker_24h(self, symbol: str | None = None) -> Any:
        """The answer of ``/fapi/v1/ticker/24hr``: an object for a symbol, a list without."""
        symbol = check_symbol(symbol) if symbol else None
        return self._ask(Kind.ANSWER, symbol or "", endpoints.ticker_24h(symbol))

    def liquidations(
        self, symbol: str, limit: int, *, start: int | None = None, end: int | None = None
    ) -> list[dict[str, Any]]:
        """Forced orders in the shape of the closed ``/fapi/v1/forceOrders``, oldest first.

        Partial: those the running manager has seen since its start. While none runs, the endpoint is asked, whose
        refusal then is the error.
        """
        symbol = check_symbol(symbol)
        if not self._live:
            request = endpoints.force_orders(symbol, limit, start=start, end=end)
            answer = self._ask(Kind.ANSWER, symbol, request)
            return list(answer) if isinstance(answer, list) else []
        earliest = start if start is not None else 0
        latest = end if end is not None else 1 << 62
        orders = [each for each in self._reads.liquidations(symbol, 1 << 30) if earliest <= each.time <= latest]
        return [
            {
                "symbol": each.symbol,
                "price": each.order.get("p", "0"),
                "origQty": each.order.get("q", "0"),
                "executedQty": each.order.get("z", "0"),
                "averagePrice": each.order.get("ap", "0"),
                "status": each.order.get("X", ""),
                "timeInForce": each.order.get("f", ""),
                "type": each.order.get("o", ""),
                "side": each.order["S"],
                "time": each.time,
            }
            for each in orders[-limit:]
        ]

    def get(self, path_or_url: str, params: Mapping[str, str | int] | None = None, *, timeout: float) -> Any:
        """The JSON of any path on the futures host, or of a full URL."""
        request = endpoints.any_request(path_or_url, params or {}, self._config)
        return self._ask(Kind.ANSWER, "", request, timeout)

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
        """As :meth:`get`, signed with HMAC-SHA256; ``now`` is the exchange's time in ms."""
        signed = {**(params or {}), "timestamp": now}
        signature = hmac.new(secret.encode(), urlencode(signed).encode(), hashlib.sha256).hexdigest()
        request = endpoints.any_request(path, {**signed, "signature": signature}, self._config)
        return self._ask(Kind.ANSWER, "", replace(request, headers=(("X-MBX-APIKEY", key),)), timeout)

    def _follows(self, symbol: str) -> bool:
        return self._live and symbol in self._watched

    def _ask(self, kind: Kind, symbol: str, request: Request, timeout: float | None = None) -> Any:
        try:
            return self._reads.ask(Key(kind, symbol), request, timeout)
        except InvalidSymbol as error:
            # Code written for the old module looks for the HTTP status and the exchange's number in an OSError.
            cause = error.__cause__
            if isinstance(cause, RequestRejected) and cause.code == UNKNOWN_SYMBOL:
                raise cause from None
            raise


def _book(book: Book, limit: int) -> dict[str, Any]:
    return {
        "lastUpdateId": book.update_id,
        "E": book.time,
        "T": book.transaction_time,
        "bids": [level[:2] for level in book.bids[:limit]],
        "asks": [level[:2] for level in book.asks[:limit]],
    }


def _trade(trade: Trade) -> dict[str, Any]:
    row: dict[str, Any] = {"a": trade.id, "p": trade.price, "q": trade.quantity}
    if trade.normal_quantity is not None:
        row["nq"] = trade.normal_quantity
    row.update(f=trade.first_trade, l=trade.last_trade, T=trade.time, m=trade.buyer_is_maker)
    return row
