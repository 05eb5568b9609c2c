"""Order books and best quotes: twenty levels from their stream, more from the full book."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from typing import NamedTuple

from ..clock import Reading
from ..feeds import Key, Kind
from ..reads import Query, Reads
from ..store.book import STREAMED_LEVELS, BookSeries, FloatLevels, float_levels
from ..store.depth import DepthSeries
from ..store.series import SeriesState
from ..store.tickers import QuoteBoard
from ..venue import endpoints
from ..venue.books import Book
from ..venue.endpoints import Bucket
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.tickers import BestQuote, streamed_quote

SUBSCRIBED_WITHIN = 1.5
"""The first read of a full book waits so long (seconds) for its stream: an answer from before that could not be
kept up, and would be requested twice."""

AMPLE = 0.8
"""As long as no more than this part of the allowed weight is used, a read asks for what the book itself will need;
beyond it, only for its own levels: others are waiting."""


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
        """Return how many levels to ask for: REST takes only some numbers."""
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
        newest = streamed_quote(quote[1])
        age = max(0.0, now - newest.time / 1000.0) if now is not None else math.inf
        return ShownQuote(newest, age, "bookTicker")


def _quote_of(book: Book | None, age: float) -> ShownQuote | None:
    if book is None or not book.bids or not book.asks:
        return None
    (bid, bid_quantity), (ask, ask_quantity) = book.bids[0][:2], book.asks[0][:2]
    quote = BestQuote(bid, bid_quantity, ask, ask_quantity, book.time, book.transaction_time, book.update_id)
    return ShownQuote(quote, age, "book")
