"""Reads as the very bytes of the exchange's REST answers, for programs that ask over HTTP.

Candles and trades are sent as they are kept, without being decoded. What memory cannot answer, and everything while no
manager runs, is one request within the request-weight budget, whose answer is handed on as it came.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import orjson

from .clock import Reading
from .config import Config
from .engine.budget import Usage
from .errors import NotInMemory, RequestRejected
from .feeds import Key, Kind
from .queries.books import BestQuotes, book_of
from .queries.candles import Klines
from .queries.periods import OpenInterest, RatioRows
from .queries.tickers import DayTicker, DayTickers
from .queries.trades import TradesText
from .queries.values import MarkPrice, SpotPrices, check_spot_pair, spot_price
from .reads import Query, Reads, as_read, memory_only
from .rest_shaped import as_refused, rest_book
from .store.book import STREAMED_LEVELS
from .store.klines import KlineSeries
from .store.series import SeriesState
from .store.tickers import QuoteBoard
from .store.values import MarkBoard
from .venue import endpoints
from .venue.endpoints import UNKNOWN_SYMBOL, Bucket
from .venue.payload import as_of_now, raw_answer
from .venue.tickers import quote_text
from .venue.values import Mark, premium_text

T = TypeVar("T")

INTEREST_LIFETIME = 3600.0
"""Seconds for which the interest rate of an answer, a term of the contract, is joined with marks of the stream."""
SURE_TIME = 0.25
"""Seconds: a time of the exchange that is known less exactly is requested."""


class Text(NamedTuple):
    """A body as REST writes it."""

    body: bytes
    from_memory: bool
    age: float = 0.0
    """Seconds since the newest event or answer in it; 0 for what the exchange has just sent."""


class _Noting(Query[T]):
    """Another query, with a note of whether memory answered it, and how old that is."""

    __slots__ = ("_of", "age", "fetched")

    def __init__(self, of: Query[T]) -> None:
        super().__init__(of.key, of.limit, of.max_age)
        self._of = of
        self.age = 0.0
        self.fetched = False

    def look(self, series: Any, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], T | None]]:
        state, take = self._of.look(series, reads, time)
        self.age = max(0.0, time.exchange - max(state.event, state.answered) / 1000.0)
        return state, take

    def fetch(self, series: Any, reads: Reads) -> T:
        self.fetched = True
        return self._of.fetch(series, reads)

    def state(self, series: Any, reads: Reads) -> SeriesState:
        return self._of.state(series, reads)

    def known(self, series: Any) -> T | None:
        return self._of.known(series)

    def shown(self) -> Key:
        return self._of.shown()


class _KlineText(Query[bytes]):
    """The newest candles as REST writes them."""

    __slots__ = ("_rows",)

    def __init__(self, key: Key, limit: int) -> None:
        super().__init__(key, limit, None)
        self._rows = Klines(key, limit, None, exact=True)

    def look(self, series: KlineSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], bytes]]:
        state, text = series.look_text(self.limit, int(time.exchange * 1000), time.earliest_ms)
        return state, text.json

    def fetch(self, series: KlineSeries | None, reads: Reads) -> bytes:
        return orjson.dumps(self._rows.fetch(series, reads))


class _PremiumText(Query[bytes]):
    """Mark price and funding of a symbol as premiumIndex writes them."""

    __slots__ = ("_mark", "symbol")

    def __init__(self, symbol: str) -> None:
        super().__init__(Key(Kind.MARK), 0, None)
        self.symbol = symbol
        self._mark = MarkPrice(symbol, None)

    def look(self, series: MarkBoard, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], bytes | None]]:
        state, take = self._mark.look(series, reads, time)
        rate, requested_at = series.interest_rate(self.symbol)
        known = requested_at > 0 and time.exchange - requested_at / 1000.0 <= INTEREST_LIFETIME

        def text() -> bytes | None:
            mark = take()
            return premium_text(mark, rate) if mark is not None and (known or mark.answer is not None) else None

        return state, text

    def fetch(self, series: MarkBoard, reads: Reads) -> bytes:
        mark: Mark = self._mark.fetch(series, reads)
        return premium_text(mark, "")


class _QuoteText(Query[Text]):
    """The best quote of a symbol as bookTicker writes it."""

    __slots__ = ("_quotes", "symbol")

    def __init__(self, symbol: str) -> None:
        super().__init__(Key(Kind.QUOTES), 0, None)
        self.symbol = symbol
        self._quotes = BestQuotes(symbol, None)

    def look(self, series: QuoteBoard, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], Text | None]]:
        state, take = self._quotes.look(series, reads, time)

        def text() -> Text | None:
            shown = take()
            body = quote_text(self.symbol, shown.quote) if shown is not None else None
            return Text(body, True, shown.age) if shown is not None and body is not None else None

        return state, text

    def fetch(self, series: QuoteBoard, reads: Reads) -> Text:
        request = replace(endpoints.book_ticker(self.symbol), decode=raw_answer)
        return Text(reads.fetch(Key(Kind.ANSWER, self.symbol), request), False)

    def shown(self) -> Key:
        return self._quotes.shown()


class RestText:
    """Reads as bytes. ``live``: whether a manager runs. Arguments are checked already and within what the exchange
    takes; :meth:`pass_on` is for all else.

    Errors are those of :class:`~ats_sync.RestShaped`.
    """

    def __init__(
        self, reads: Reads, config: Config, *, live: bool, want: Callable[[Key, int], None], keeps: object = None
    ) -> None:
        self._reads = reads
        self._config = config
        self.live = live
        self._want = want
        self._keeps = keeps

    def klines(self, symbol: str, interval: str, limit: int, *, spot: bool = False) -> Text:
        """Return the newest candles: ``/fapi/v1/klines``, or ``/api/v3/klines`` of the spot pair."""
        key = Key(Kind.SPOT_KLINES if spot else Kind.KLINES, symbol, interval)
        if spot:
            self._check_spot_pair(symbol)
        return self._read_followed(_KlineText(key, limit), limit, as_read)

    def depth(self, symbol: str, limit: int) -> Text:
        """Return the order book: ``/fapi/v1/depth``."""
        query = book_of(symbol, limit, None)
        return self._read_followed(query, limit, lambda book: orjson.dumps(rest_book(book, limit)))

    def agg_trades(self, symbol: str, limit: int) -> Text:
        """Return the newest trades: ``/fapi/v1/aggTrades``."""
        return self._read_followed(TradesText(symbol, limit, None), limit, as_read)

    def open_interest_hist(self, symbol: str, period: str, limit: int) -> Text:
        """Return the newest rows: ``/futures/data/openInterestHist``."""
        return self._read_followed(OpenInterest(symbol, period, limit, None), limit, orjson.dumps)

    def ratio(self, kind: str, symbol: str, period: str, limit: int) -> Text:
        """Return the newest rows of a ratio: ``/futures/data/<kind>``."""
        return self._read_followed(RatioRows(kind, symbol, period, limit, None), limit, orjson.dumps)

    def ticker_24h(self, symbol: str | None) -> Text | None:
        """Return 24-hour statistics, of all symbols for None: ``/fapi/v1/ticker/24hr``.

        None where the exchange is to say what is wrong with the symbol.
        """
        if not self._reads.streams:
            return None
        if symbol is None:
            return self._read(DayTickers(None), orjson.dumps)
        try:
            return self._read(DayTicker(symbol, None), orjson.dumps)
        except RequestRejected as error:
            if error.code == UNKNOWN_SYMBOL and not error.body:
                return None
            raise

    def book_ticker(self, symbol: str) -> Text:
        """Return the best bid and ask of a symbol: ``/fapi/v1/ticker/bookTicker``."""
        self._want(Key(Kind.BOOK, symbol), STREAMED_LEVELS)
        return as_refused(lambda: self._reads.read(_QuoteText(symbol), as_read))

    def premium_index(self, symbol: str) -> Text:
        """Return mark price and funding of a symbol: ``/fapi/v1/premiumIndex``."""
        return self._read(_PremiumText(symbol), as_read)

    def spot_price(self, symbol: str) -> Text:
        """Return the price of a spot pair: ``/api/v3/ticker/price``."""
        self._check_spot_pair(symbol)

        def read() -> bytes:
            def body(price: str) -> bytes:
                return orjson.dumps({"symbol": symbol, "price": price})

            return as_refused(lambda: spot_price(self._reads, symbol, None, body))

        try:
            with memory_only():
                return Text(read(), True, self._spot_age())
        except NotInMemory:
            return Text(read(), False)

    def spot_prices(self) -> Text:
        """Return the prices of all spot pairs: ``/api/v3/ticker/price``."""
        return self._read(
            SpotPrices(None),
            lambda prices: orjson.dumps([{"symbol": symbol, "price": price} for symbol, price in prices.items()]),
        )

    def time(self) -> Text | None:
        """Return the exchange's time, ``/fapi/v1/time``, None where it is not known to a quarter of a second."""
        clock = self._reads.clock
        if not (clock.synchronised and clock.proven() and clock.uncertainty() <= SURE_TIME):
            return None
        return Text(orjson.dumps({"serverTime": clock.exchange_ms()}), True)

    def pass_on(self, url: str, lifetime: float = 0.0) -> Text:
        """Return the answer to a request for a full URL; one is reused for ``lifetime`` seconds, and states the time of
        now where it states the exchange's."""
        request = replace(endpoints.any_request(url, {}, self._config), decode=raw_answer)
        reads = self._reads
        key = Key(Kind.ANSWER, "")
        if self.live and lifetime > 0:
            found, from_memory = as_refused(lambda: reads.dated(key, request, lifetime))
            elapsed = max(0, reads.clock.exchange_ms() - found.as_of) if from_memory else 0
            return Text(as_of_now(found.value, elapsed), from_memory, elapsed / 1000.0)
        return Text(as_refused(lambda: reads.ask(key, request)), False)

    def usage(self, bucket: Bucket) -> Usage:
        """Return what a bucket has used in its window."""
        return self._reads.usage(bucket)

    def exchange_time(self) -> float:
        """Return the exchange's time, epoch seconds."""
        return self._reads.clock.exchange()

    def _read_followed(self, query: Query[T], rows: int, shape: Callable[[T], bytes]) -> Text:
        """Return what is read of a series, which is followed from now on, so many rows deep."""
        self._want(query.key, rows)
        return self._read(query, shape)

    def _read(self, query: Query[T], shape: Callable[[T], bytes]) -> Text:
        noting = _Noting(query)
        body = as_refused(lambda: self._reads.read(noting, shape))
        return Text(body, not noting.fetched, 0.0 if noting.fetched else noting.age)

    def _check_spot_pair(self, symbol: str) -> None:
        as_refused(lambda: check_spot_pair(self._reads, symbol))

    def _spot_age(self) -> float:
        prices = self._reads.store.spot.get()
        return max(0.0, self._reads.clock.exchange() - prices.as_of / 1000.0) if prices is not None else 0.0
