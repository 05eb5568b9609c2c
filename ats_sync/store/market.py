"""Everything that is known, and the way in for frames."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ..config import Config
from ..feeds import FEEDS, Key, Kind
from ..logs import Sparing
from ..venue import decode, endpoints
from ..venue.decode import DecodeError
from .book import BookSeries
from .klines import KlineSeries
from .link import Link
from .notices import Notice
from .trades import TradeRing
from .values import AnswerCache, Liquidations, MarkBoard, OpenInterestSeries, SpotBoard
from .witness import QuoteBoard, TickerBoard

log = Sparing(logging.getLogger(__name__))

Sink = Callable[[bytes, Link], Notice | None]
Reply = dict[str, Any]


class MarketStore:
    """The series that are followed and the boards that serve all symbols."""

    def __init__(self, config: Config, now: Callable[[], float]) -> None:
        self._config = config
        self.marks = MarkBoard()
        self.liquidations = Liquidations(config.max_liquidations)
        self.tickers = TickerBoard()
        self.quotes = QuoteBoard()
        self.spot = SpotBoard(FEEDS[Kind.SPOT].kept, now=now)
        self.listings: AnswerCache[decode.ExchangeInfo] = AnswerCache(FEEDS[Kind.LISTINGS].kept, now=now, most=1)
        self.delisted: dict[str, str] = {}
        """Symbols that were followed and have left the exchange, and what to say about it."""
        self._lock = threading.Lock()  # guards the replacement of the dictionaries and the counter below
        # Replaced whole, never changed in place: readers and stream threads take no lock.
        self.klines: dict[tuple[str, str], KlineSeries] = {}
        self.books: dict[str, BookSeries] = {}
        self.trades: dict[str, TradeRing] = {}
        self.open_interest: dict[tuple[str, str], OpenInterestSeries] = {}
        self._sinks: dict[bytes, Sink] = {
            endpoints.MARK_PRICES_STREAM.encode(): self.marks.ingest,
            endpoints.LIQUIDATIONS_STREAM.encode(): self.liquidations.ingest,
            endpoints.TICKERS_STREAM.encode(): self.tickers.ingest,
            endpoints.BOOK_TICKERS_STREAM.encode(): self.quotes.ingest,
        }
        self._dropped: Counter[str] = Counter()

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, symbols: Iterable[str], intervals: Iterable[str], periods: Iterable[str]) -> list[Key]:
        """Begin a series for everything named that has none yet; the keys of the new ones."""
        config = self._config
        intervals, periods = tuple(intervals), tuple(periods)
        added: list[Key] = []
        with self._lock:
            klines, books, trades = dict(self.klines), dict(self.books), dict(self.trades)
            interest, sinks = dict(self.open_interest), dict(self._sinks)
            for symbol in symbols:
                for interval in intervals:
                    if (symbol, interval) not in klines:
                        series = klines[symbol, interval] = KlineSeries(symbol, interval, config.max_klines)
                        sinks[endpoints.kline_stream(symbol, interval).encode()] = series.ingest
                        added.append(series.key)
                if symbol not in books:
                    book = books[symbol] = BookSeries(symbol)
                    sinks[endpoints.book_stream(symbol).encode()] = book.ingest
                    added.append(book.key)
                for period in periods:
                    if (symbol, period) not in interest:
                        rows = OpenInterestSeries(symbol, period, config.max_open_interest)
                        interest[symbol, period] = rows
                        added.append(rows.key)
                if symbol not in trades:
                    ring = trades[symbol] = TradeRing(symbol, config.max_trades)
                    sinks[endpoints.agg_trade_stream(symbol).encode()] = ring.ingest
                    added.append(ring.key)
            self.klines, self.books, self.trades = klines, books, trades
            self.open_interest, self._sinks = interest, sinks
        return added

    def unfollow(self, symbols: Iterable[str]) -> list[Key]:
        """Drop every series of these symbols; the keys of those there were."""
        gone = set(symbols)
        with self._lock:
            keys = [
                *(s.key for (symbol, _), s in self.klines.items() if symbol in gone),
                *(s.key for (symbol, _), s in self.open_interest.items() if symbol in gone),
                *(book.key for symbol, book in self.books.items() if symbol in gone),
                *(ring.key for symbol, ring in self.trades.items() if symbol in gone),
            ]
            streams = {name.encode() for key in keys if (name := stream_of(key)) is not None}
            self.klines = {k: v for k, v in self.klines.items() if k[0] not in gone}
            self.open_interest = {k: v for k, v in self.open_interest.items() if k[0] not in gone}
            self.books = {k: v for k, v in self.books.items() if k not in gone}
            self.trades = {k: v for k, v in self.trades.items() if k not in gone}
            self._sinks = {name: sink for name, sink in self._sinks.items() if name not in streams}
        return keys

    # --- the way in -----------------------------------------------------------------------------

    def ingest(self, frames: Iterable[bytes], link: Link) -> tuple[list[Notice], list[Reply]]:
        """Merge frames that came in on ``link``, in order.

        Returns what the engine should know and the messages that were no stream frames. A frame that is
        unusable is counted and dropped.
        """
        sinks = self._sinks
        notices: list[Notice] = []
        replies: list[Reply] = []
        for frame in frames:
            link.frames += 1
            name = decode.stream_name(frame)
            try:
                if name is None:
                    whole = decode.normalised(frame)
                    if isinstance(whole, dict):
                        link.frames -= 1
                        replies.append(whole)
                        continue
                    frame = whole
                    name = decode.stream_name(frame)
                    if name is None:
                        raise DecodeError("a stream name that can not be one")
                sink = sinks.get(name)
                if sink is None:
                    self.count_dropped("a stream that is not followed")
                    continue
                try:
                    notice = sink(frame, link)
                except DecodeError:
                    # Scanning is strict about white space and escapes; rewritten, the frame may well be good.
                    rewritten = decode.normalised(frame)
                    if rewritten == frame or isinstance(rewritten, dict):
                        raise
                    notice = sink(rewritten, link)
            except DecodeError as error:
                self.count_dropped(_reason(error))
                continue
            except Exception as error:  # noqa: BLE001
                # No frame may end the stream of all others; it is a fault of ours all the same.
                self.count_dropped(f"{type(error).__name__} in merging")
                log.warning(type(error).__name__, "a frame could not be merged: %r: %r", error, frame[:300])
                continue
            if notice is not None:
                notices.append(notice)
        return notices, replies

    def count_dropped(self, reason: str) -> None:
        with self._lock:
            if reason in self._dropped or len(self._dropped) < 200:
                self._dropped[reason] += 1
            else:
                self._dropped["other"] += 1

    def dropped(self) -> dict[str, int]:
        """How many frames were dropped, by reason."""
        with self._lock:
            return dict(self._dropped)


def _reason(error: DecodeError) -> str:
    # The value that was wrong differs from frame to frame; the kind of fault is what is counted.
    text = str(error)
    return text.rsplit(" is no ", 1)[-1] if " is no " in text else text.split(":", 1)[0]


def stream_of(key: Key) -> str | None:
    """The stream that feeds a series, None for what is polled."""
    if key.kind is Kind.KLINES:
        return endpoints.kline_stream(key.symbol, key.interval)
    if key.kind is Kind.BOOK:
        return endpoints.book_stream(key.symbol)
    if key.kind is Kind.TRADES:
        return endpoints.agg_trade_stream(key.symbol)
    return {
        Kind.MARK: endpoints.MARK_PRICES_STREAM,
        Kind.LIQUIDATIONS: endpoints.LIQUIDATIONS_STREAM,
        Kind.TICKERS: endpoints.TICKERS_STREAM,
        Kind.QUOTES: endpoints.BOOK_TICKERS_STREAM,
    }.get(key.kind)


def route_of(key: Key) -> endpoints.Route:
    """The route its stream is served on."""
    return endpoints.Route.PUBLIC if key.kind in (Kind.BOOK, Kind.QUOTES) else endpoints.Route.MARKET
