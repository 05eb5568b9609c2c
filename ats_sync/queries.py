"""What each kind of read wants of its series, and what it asks of REST where memory cannot answer."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, TypeVar

from .clock import Reading
from .errors import DataUnavailableError, InvalidSymbol, MalformedAnswer, NoSpotPair
from .feeds import Key, Kind
from .reads import LISTINGS_RECENT, Query, Reads
from .store.book import STREAMED_LEVELS, BookSeries, FloatLevels, float_levels
from .store.depth import DepthSeries
from .store.klines import KlineSeries, newest_klines
from .store.link import AHEAD
from .store.listings import ListingBoard
from .store.open_interest import OpenInterestColumns, OpenInterestSeries
from .store.ratios import RatioSeries
from .store.remembered import Column
from .store.series import SeriesState
from .store.snapshot import KlineSnapshot
from .store.tape import TradeColumns
from .store.tickers import QuoteBoard, TickerBoard
from .store.trades import TradeSeries
from .store.values import MarkBoard, SpotBoard
from .venue import endpoints
from .venue.books import Book
from .venue.contracts import SymbolInfo
from .venue.endpoints import Bucket, Request
from .venue.envelope import scan_event_time
from .venue.intervals import check_interval
from .venue.klines import Row, float_rows, string_rows, text_open_time
from .venue.payload import DecodeError
from .venue.symbols import check_symbol
from .venue.tickers import BestQuote, TickerRow, as_rest_ticker, best_quotes
from .venue.trades import Trade
from .venue.values import Mark

T = TypeVar("T")

SUBSCRIBED_WITHIN = 1.5
"""The first read of a full book waits so long (seconds) for its stream: an answer from before that could not be
kept up, and would be requested twice."""
AMPLE = 0.8
"""As long as no more than this part of the allowed weight is used, a read asks for what the book itself will need;
beyond it, only for its own levels: others are waiting."""


@lru_cache(maxsize=8192)
def klines_key(symbol: str, interval: str) -> Key:
    """Return the key of a contract's candles, both parts checked. (Remembered: the checks are as long as the cheapest
    reads.) Raises :class:`~ats_sync.errors.InvalidSymbol` and :class:`~ats_sync.errors.InvalidInterval`."""
    return Key(Kind.KLINES, check_symbol(symbol), check_interval(interval))


class Klines(Query[list[Row]]):
    """The newest rows of candles, the caller's own: the strings of REST if ``exact``, else floats."""

    __slots__ = ("exact",)

    def __init__(self, key: Key, limit: int, max_age: float | None, *, exact: bool) -> None:
        # Without the base class: a warm read is made of few calls.
        self.key, self.limit, self.max_age, self.exact = key, limit, max_age, exact

    def look(self, series: KlineSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Row]]]:
        # No row is made up before its time has surely come.
        state, snapshot = series.look(self.limit, int(time.exchange * 1000), time.earliest_ms, self.exact)
        return state, snapshot.rows

    def fetch(self, series: KlineSeries | None, reads: Reads) -> list[Row]:
        if series is not None and (rows := self._with_tail(series, reads)) is not None:
            return rows
        texts = reads.fetch(self.key, newest_klines(self.key, self.limit))[-self.limit :]
        return string_rows(texts) if self.exact else float_rows(texts)

    def _with_tail(self, series: KlineSeries, reads: Reads) -> list[Row] | None:
        """The rows after asking for those since the last final one; None where memory does not reach back far
        enough."""
        clock = reads.clock
        tail = series.tail_limit(clock.exchange_ms())
        state = series.state(clock.exchange_ms())
        if tail is None or tail >= self.limit or not (state.rows >= self.limit or state.complete):
            return None
        texts = reads.fetch(self.key, series.newest_rows(tail))
        state = series.state(clock.exchange_ms())
        if not texts or not (state.rows >= self.limit or state.complete):
            return None
        try:
            # No row is made up by a clock that is in doubt.
            rows = series.rows(self.limit, clock.earliest_ms() if clock.proven() else None, exact=self.exact)
        except DecodeError as error:
            reads.store.count_dropped(f"{self.key.kind.value} that could not be decoded: {error}")
            return None
        if not rows or rows[-1][0] < text_open_time(texts[-1]):
            return None
        if state.doubt:
            # What memory has of these candles contradicts the answer; it may be older, the answer is REST's own.
            answered = string_rows(texts) if self.exact else float_rows(texts)
            rows = [row for row in rows if row[0] < answered[0][0]] + answered
        return rows[-self.limit :]

    def known(self, series: KlineSeries) -> list[Row] | None:
        try:
            return series.rows(self.limit, None, exact=self.exact) or None
        except DecodeError:
            return None


class KlineColumns(Query[list[Column] | list[Row]]):
    """As :class:`Klines` in floats; twelve columns where they are answered from memory."""

    __slots__ = ("_rows",)

    def __init__(self, key: Key, limit: int, max_age: float | None) -> None:
        super().__init__(key, limit, max_age)
        self._rows = Klines(key, limit, max_age, exact=False)

    def look(self, series: KlineSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Column]]]:
        snapshot: KlineSnapshot[Any]
        state, snapshot = series.look(self.limit, int(time.exchange * 1000), time.earliest_ms, False)
        return state, snapshot.columns

    def fetch(self, series: KlineSeries | None, reads: Reads) -> list[Row]:
        return self._rows.fetch(series, reads)

    def known(self, series: KlineSeries) -> list[Row] | None:
        return self._rows.known(series)


class ShownBook(NamedTuple):
    """A book and its levels as floats. Shared: not to be changed."""

    book: Book
    bids: FloatLevels
    asks: FloatLevels


class BestLevels(Query[Book]):
    """The best 20 levels of an order book. Shared: not to be changed."""

    __slots__ = ()

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.BOOK, symbol), 0, max_age)

    def look(self, series: BookSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], Book | None]]:
        state, newest = series.look()
        return state, lambda: series.decoded(newest)

    def fetch(self, series: BookSeries | None, reads: Reads) -> Book:
        return reads.fetch(self.key, endpoints.depth(self.key.symbol, STREAMED_LEVELS))

    def known(self, series: BookSeries) -> Book | None:
        try:
            return series.read()
        except DecodeError:
            return None


class DeepBook(Query[Book]):
    """At least ``levels`` a side where there are so many, more than 20. Shared: not to be changed."""

    __slots__ = ("levels",)

    def __init__(self, symbol: str, levels: int, max_age: float | None) -> None:
        super().__init__(Key(Kind.DEPTH, symbol), 0, max_age)
        self.levels = levels

    def look(self, series: DepthSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], Book | None]]:
        series.note_read(self.levels, reads.clock.now())
        return series.state(0), lambda: series.read(self.levels)

    def fetch(self, series: DepthSeries | None, reads: Reads) -> Book:
        symbol = self.key.symbol
        if series is None:
            return reads.fetch(Key(Kind.BOOK, symbol), endpoints.depth(symbol, self._request_levels()))
        series.note_read(self.levels, reads.clock.now())
        return reads.fetch(self.key, endpoints.depth(symbol, self._levels(series, reads)))

    def _request_levels(self) -> int:
        """How many levels to ask for: REST takes only some numbers."""
        return next((each for each in endpoints.DEPTH_LIMITS if each >= self.levels), endpoints.DEPTH_LIMITS[-1])

    def _levels(self, series: DepthSeries, reads: Reads) -> int:
        """As many as the book itself is waiting for, where the budget allows."""
        usage = reads.usage(Bucket.FUTURES)
        ample = series.begun or usage.cost <= AMPLE * usage.allowed
        if ample and self.max_age != 0 and series.first_read is not None and not series.subscribed:
            subscribed = threading.Event()
            series.when_subscribed(subscribed.set)
            reads.wait(subscribed, series.first_read + SUBSCRIBED_WITHIN)
        state = series.state(0)
        up = state.link.up if state.link is not None else series.subscribed
        delivers = up and not state.suspected
        if delivers and ample and (state.doubt or not series.covers(self.levels)):
            return series.snapshot_limit()
        return self._request_levels()

    def known(self, series: DepthSeries) -> Book | None:
        return series.known(self.levels)


class InFloats(Query[ShownBook]):
    """Another query's book, with its levels as floats."""

    __slots__ = ("_of",)

    def __init__(self, of: BestLevels | DeepBook) -> None:
        super().__init__(of.key, of.limit, of.max_age)
        self._of = of

    def look(
        self, series: BookSeries | DepthSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], ShownBook | None]]:
        state, take = self._of.look(series, reads, time)  # type: ignore[arg-type]

        def shown() -> ShownBook | None:
            book = take()
            return ShownBook(book, *series.floats(book)) if book is not None else None

        return state, shown

    def fetch(self, series: BookSeries | DepthSeries | None, reads: Reads) -> ShownBook:
        return _shown(self._of.fetch(series, reads))  # type: ignore[arg-type]

    def known(self, series: BookSeries | DepthSeries) -> ShownBook | None:
        book = self._of.known(series)  # type: ignore[arg-type]
        return _shown(book) if book is not None else None


def _shown(book: Book) -> ShownBook:
    return ShownBook(book, float_levels(book.bids), float_levels(book.asks))


def book_of(symbol: str, levels: int, max_age: float | None) -> BestLevels | DeepBook:
    """Return the query for at least so many levels a side."""
    return BestLevels(symbol, max_age) if levels <= STREAMED_LEVELS else DeepBook(symbol, levels, max_age)


class _OfTrades(Query[T]):
    __slots__ = ()

    def __init__(self, symbol: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind.TRADES, symbol), limit, max_age)

    def ask(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        # They weigh the same; as many as the series wants, so that its own request is this one.
        rows = self.limit if series is None else max(self.limit, series.capacity)
        request = endpoints.agg_trades(self.key.symbol, min(rows, endpoints.AGG_TRADES_MOST))
        return reads.fetch(self.key, request)[-self.limit :]

    def newest(self, series: TradeSeries) -> list[Trade] | None:
        try:
            return series.read(self.limit) or None
        except DecodeError:
            return None


class Trades(_OfTrades[list[Trade]]):
    """The newest aggregated trades, oldest first, ids without a hole."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Trade]]]:
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        return self.ask(series, reads)

    def known(self, series: TradeSeries) -> list[Trade] | None:
        return self.newest(series)


class TradesInColumns(_OfTrades[TradeColumns | list[Trade]]):
    """As :class:`Trades`, in columns of numbers where they are answered from memory."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], TradeColumns]]:
        return series.state(0), lambda: series.columns(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        return self.ask(series, reads)

    def known(self, series: TradeSeries) -> list[Trade] | None:
        return self.newest(series)


class MarkPrice(Query[Mark]):
    """Mark price and funding of a symbol."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.MARK), 0, max_age)
        self.symbol = symbol

    def look(self, series: MarkBoard, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], Mark | None]]:
        reads.check_delisted(self.symbol)
        state, mark = series.look(self.symbol)
        return state, lambda: mark

    def state(self, series: MarkBoard, reads: Reads) -> SeriesState:
        return series.look(self.symbol)[0]

    def fetch(self, series: MarkBoard, reads: Reads) -> Mark:
        clock = reads.clock
        mark = series.get(self.symbol)
        if mark is not None and clock.proven() and mark.time > (until := int((clock.exchange() + AHEAD) * 1000)):
            series.forget_ahead(until)
        reads.check_listed(self.symbol)
        # One answer for all symbols serves everybody who waits for any of them.
        for found in reads.fetch(self.key, endpoints.premium_index()):
            if found.symbol == self.symbol:
                return found
        raise InvalidSymbol(f"the exchange has no mark price of {self.symbol}; is it a USDⓈ-M perpetual that trades?")

    def known(self, series: MarkBoard) -> Mark | None:
        return series.get(self.symbol)

    def shown(self) -> Key:
        return Key(Kind.MARK, self.symbol)


class _OfOpenInterest(Query[T]):
    __slots__ = ()

    def __init__(self, symbol: str, period: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind.OPEN_INTEREST, symbol, period), limit, max_age)

    def ask(self, reads: Reads) -> list[dict[str, Any]]:
        symbol, period = self.key.symbol, self.key.interval
        rows = reads.fetch(self.key, endpoints.open_interest_hist(symbol, period, self.limit))
        if not rows:
            # For a symbol it does not know, this endpoint answers with an empty list.
            reads.check_listed(symbol)
        return [dict(row) for row in rows[-self.limit :]]


class OpenInterest(_OfOpenInterest[list[dict[str, Any]]]):
    """The newest rows of open interest, the caller's own, as the exchange wrote them, oldest first."""

    __slots__ = ()

    def look(
        self, series: OpenInterestSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[dict[str, Any]]]]:
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: OpenInterestSeries | None, reads: Reads) -> list[dict[str, Any]]:
        return self.ask(reads)

    def known(self, series: OpenInterestSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None


class OpenInterestInColumns(_OfOpenInterest[OpenInterestColumns | list[dict[str, Any]]]):
    """As :class:`OpenInterest`, in columns of numbers where they are answered from memory."""

    __slots__ = ()

    def look(
        self, series: OpenInterestSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], OpenInterestColumns]]:
        return series.state(0), lambda: series.columns(self.limit)

    def fetch(self, series: OpenInterestSeries | None, reads: Reads) -> list[dict[str, Any]]:
        return self.ask(reads)

    def known(self, series: OpenInterestSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None


class Rules(Query[SymbolInfo]):
    """The trading rules of a contract."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.LISTINGS), 0, max_age)
        self.symbol = symbol

    def look(
        self, series: ListingBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], SymbolInfo | None]]:
        return series.state(0), lambda: self.known(series)

    def fetch(self, series: ListingBoard, reads: Reads) -> SymbolInfo:
        info = series.get()
        recent = info is not None and reads.clock.exchange() - info.as_of / 1000.0 < LISTINGS_RECENT
        if info is None or not recent or self.max_age == 0:
            listed = reads.fetch(self.key, endpoints.exchange_info())
        else:
            listed = info.value  # A misspelt symbol costs no request each time.
        if self.symbol in listed.rules:
            return listed.rules[self.symbol]
        if self.symbol in listed.listed:
            raise DataUnavailableError(f"the exchange states no readable trading rules of {self.symbol}")
        raise InvalidSymbol(f"the exchange lists no contract {self.symbol}; check the spelling")

    def known(self, series: ListingBoard) -> SymbolInfo | None:
        info = series.get()
        return info.value.rules.get(self.symbol) if info is not None else None

    def shown(self) -> Key:
        return Key(Kind.LISTINGS, self.symbol)


def _all_tickers(series: TickerBoard, reads: Reads) -> dict[str, TickerRow]:
    """Return the answer for all symbols, which serves everybody who waits for any of them and completes the stream."""
    if reads.clock.proven():
        series.forget_ahead(int((reads.clock.exchange() + AHEAD) * 1000))
    return reads.fetch(series.key, endpoints.ticker_24h())


class ShownQuote(NamedTuple):
    """A best quote, how long ago (seconds) it surely was the best, and what it comes from."""

    quote: BestQuote
    age: float
    source: str


class BestQuotes(Query[ShownQuote]):
    """The best quote of a symbol: from its book where that is followed and fresh, else from the quotes of all."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.QUOTES), 0, max_age)
        self.symbol = symbol

    def look(
        self, series: QuoteBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], ShownQuote | None]]:
        reads.check_delisted(self.symbol)
        book = reads.store.book(self.symbol)
        if book is not None:
            state, newest = book.look()
            if reads.is_fresh(book.feed, state, time, self.max_age):
                link = state.link
                known = state.event / 1000.0
                if link is not None and link.up and not state.suspected:
                    known = max(known, link.watermark)  # it may rest while its stream lives
                age = max(0.0, time.exchange - known)
                fresh = SeriesState(event=int(time.exchange * 1000))
                return fresh, lambda: _quote_of(book.decoded(newest), age)
        return self.state(series, reads), lambda: self._streamed(series, time.exchange)

    def state(self, series: QuoteBoard, reads: Reads) -> SeriesState:
        quote = series.get(self.symbol)
        return SeriesState(event=scan_event_time(quote[1]) if quote is not None else 0)

    def fetch(self, series: QuoteBoard, reads: Reads) -> ShownQuote:
        return ShownQuote(reads.fetch(Key(Kind.ANSWER, self.symbol), endpoints.best_quote(self.symbol)), 0.0, "rest")

    def known(self, series: QuoteBoard) -> ShownQuote | None:
        try:
            return self._streamed(series, None)
        except DecodeError:
            return None

    def shown(self) -> Key:
        return Key(Kind.QUOTES, self.symbol)

    def _streamed(self, series: QuoteBoard, now: float | None) -> ShownQuote | None:
        quote = series.get(self.symbol)
        if quote is None:
            return None
        event = scan_event_time(quote[1])
        age = max(0.0, now - event / 1000.0) if now is not None else math.inf
        return ShownQuote(BestQuote(*best_quotes(quote[1]), event), age, "bookTicker")


def _quote_of(book: Book | None, age: float) -> ShownQuote | None:
    if book is None or not book.bids or not book.asks:
        return None
    (bid, bid_quantity), (ask, ask_quantity) = book.bids[0][:2], book.asks[0][:2]
    return ShownQuote(BestQuote(bid, bid_quantity, ask, ask_quantity, book.time), age, "book")


class DayTicker(Query[TickerRow]):
    """The 24-hour ticker of a symbol, as REST writes it; the caller's own."""

    __slots__ = ("symbol",)

    def __init__(self, symbol: str, max_age: float | None) -> None:
        super().__init__(Key(Kind.TICKERS), 0, max_age)
        self.symbol = symbol

    def look(
        self, series: TickerBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], TickerRow | None]]:
        reads.check_delisted(self.symbol)
        state, row = series.look(self.symbol)
        return state, lambda: as_rest_ticker(row) if row is not None else None

    def state(self, series: TickerBoard, reads: Reads) -> SeriesState:
        return series.look(self.symbol)[0]

    def fetch(self, series: TickerBoard, reads: Reads) -> TickerRow:
        reads.check_listed(self.symbol)
        if reads.streams:
            rows = _all_tickers(series, reads)
        else:
            rows = reads.fetch(Key(Kind.ANSWER, self.symbol), endpoints.ticker_24h(self.symbol))
        if self.symbol not in rows:
            raise InvalidSymbol(f"the exchange has no 24-hour ticker of {self.symbol}; does it trade?")
        return _written(rows[self.symbol])

    def known(self, series: TickerBoard) -> TickerRow | None:
        row = series.look(self.symbol)[1]
        try:
            return as_rest_ticker(row) if row is not None else None
        except DecodeError:
            return None

    def shown(self) -> Key:
        return Key(Kind.TICKERS, self.symbol)


class DayTickers(Query[list[TickerRow]]):
    """The 24-hour tickers of all symbols, as REST writes them and in its order; the caller's own."""

    __slots__ = ()

    def __init__(self, max_age: float | None) -> None:
        super().__init__(Key(Kind.TICKERS), 0, max_age)

    def look(
        self, series: TickerBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[TickerRow] | None]]:
        state, rows = series.look_at_all()
        return state, lambda: [as_rest_ticker(row) for row in rows] or None

    def state(self, series: TickerBoard, reads: Reads) -> SeriesState:
        return series.look_at_all()[0]

    def fetch(self, series: TickerBoard, reads: Reads) -> list[TickerRow]:
        return [_written(row) for row in _all_tickers(series, reads).values()]

    def known(self, series: TickerBoard) -> list[TickerRow] | None:
        try:
            return [as_rest_ticker(row) for row in series.look_at_all()[1]] or None
        except DecodeError:
            return None


def _written(row: TickerRow) -> TickerRow:
    try:
        return as_rest_ticker(row)
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable 24-hour ticker: {error}", status=200) from None


class RatioRows(Query[list[dict[str, Any]]]):
    """The newest rows of a ratio, the caller's own, as the exchange wrote them, oldest first."""

    __slots__ = ()

    def __init__(self, kind: str, symbol: str, period: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind(kind), symbol, period), limit, max_age)

    def look(
        self, series: RatioSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[dict[str, Any]]]]:
        series.deepen(self.limit)
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: RatioSeries | None, reads: Reads) -> list[dict[str, Any]]:
        kind, symbol, period = self.key
        # As many as the series wants at first, so that its own request is this one.
        limit = self.limit if series is None or len(series) else max(self.limit, series.depth)
        contract_type = reads.store.contract_type(symbol)
        request = endpoints.ratio(kind.value, symbol, period, limit, contract_type=contract_type)
        rows = reads.fetch(self.key, request)
        if not rows:
            # For a symbol it does not know, this endpoint may answer with an empty list.
            reads.check_listed(symbol)
        return [dict(row) for row in rows[-self.limit :]]

    def known(self, series: RatioSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None


class SpotPrices(Query[Mapping[str, str]]):
    """All spot prices. Shared: not to be changed."""

    __slots__ = ()

    def __init__(self, max_age: float | None) -> None:
        super().__init__(Key(Kind.SPOT), 0, max_age)

    def look(
        self, series: SpotBoard, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], Mapping[str, str] | None]]:
        prices = series.get()
        return series.state(0), lambda: prices.value if prices is not None else None

    def fetch(self, series: SpotBoard, reads: Reads) -> Mapping[str, str]:
        request: Request[dict[str, str]] = endpoints.spot_price()
        return reads.fetch(self.key, request)

    def known(self, series: SpotBoard) -> Mapping[str, str] | None:
        prices = series.get()
        return prices.value if prices is not None else None


def spot_price(reads: Reads, symbol: str, max_age: float | None, shape: Callable[[str], T]) -> T:
    """Return the shaped spot price of the pair of the same name, also where the perpetual has left the exchange.

    Raises :class:`~ats_sync.errors.NoSpotPair`.
    """
    if max_age is None and (close := _spot_close(reads, symbol)):
        return shape(close)
    price = reads.read(SpotPrices(max_age), lambda prices: shape(prices[symbol]) if symbol in prices else None)
    if price is None:
        if symbol not in reads.store.delisted:
            reads.check_listed(symbol)
        raise NoSpotPair(f"{symbol} has no spot market of the same name; there is no spot price to read")
    return price


def _spot_close(reads: Reads, symbol: str) -> str:
    """The close of a living spot candle, fresher than the poll; "" where none is followed."""
    for series in reads.store.spot_candles(symbol):
        time = reads.clock.reading()
        state = series.state(int(time.exchange * 1000))
        if state.doubt or reads.stream_doubt(state, time, series.feed.stream_timeout):
            continue
        try:
            close: str = series.rows(1, int(time.exchange * 1000), exact=True)[-1][4]
        except DecodeError:
            continue
        reads.counters.hit()
        return close
    return ""


def check_spot_pair(reads: Reads, symbol: str) -> None:
    """Raise :class:`~ats_sync.errors.NoSpotPair` where the list of all spot prices is known and lacks the symbol."""
    prices = reads.store.spot.get()
    if prices is not None and symbol not in prices.value:
        raise NoSpotPair(f"{symbol} has no spot market of the same name")
