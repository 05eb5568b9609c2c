"""Everything that is known, and the way in for frames."""

from __future__ import annotations

import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from ..config import Config
from ..feeds import FEEDS, Key, Kind
from ..logs import RateLimitedLogger
from ..venue import endpoints
from ..venue.envelope import SHUTDOWN, STREAM, normalised, shutdown_in, stream_name
from ..venue.listings import ExchangeInfo, Phase, phase_of
from ..venue.payload import DecodeError
from .book import BookSeries
from .depth import DepthBook
from .klines import KlineSeries
from .link import Link
from .listings import ContractBoard, status_of
from .notices import Notice
from .open_interest import OpenInterestSeries
from .remembered import RowBudget
from .trades import TradeRing
from .values import AnswerCache, Liquidations, MarkBoard, SpotBoard
from .witness import QuoteBoard, TickerBoard

log = RateLimitedLogger(logging.getLogger(__name__))

_SHELVES = {
    Kind.KLINES: "klines",
    Kind.SPOT_KLINES: "spot_klines",
    Kind.BOOK: "books",
    Kind.DEPTH: "depths",
    Kind.TRADES: "trades",
    Kind.OPEN_INTEREST: "open_interest",
}
SPOT_PREFIX = endpoints.SPOT_PREFIX

Series = KlineSeries | BookSeries | DepthBook | TradeRing | OpenInterestSeries
MOST_EXACT = 16 * 1024 * 1024
"""Bytes of rows in strings that are remembered for those who read them again."""

Sink = Callable[[bytes, Link], Notice | None]
Reply = dict[str, Any]
_NAME_AT = len(STREAM)


class MarketStore:
    """The series that are followed and the boards that serve all symbols."""

    def __init__(self, config: Config, now: Callable[[], float]) -> None:
        self._config = config
        self.marks = MarkBoard()
        self.liquidations = Liquidations(config.max_liquidations)
        self.tickers = TickerBoard()
        self.quotes = QuoteBoard()
        self.contracts = ContractBoard()
        self.spot = SpotBoard(FEEDS[Kind.SPOT].kept, now=now)
        self.listings: AnswerCache[ExchangeInfo] = AnswerCache(FEEDS[Kind.LISTINGS].kept, now=now, most=1)
        self.delisted: dict[str, str] = {}
        """Symbols that were followed and have left the exchange, and what to say about it."""
        self.renewed: dict[str, int] = {}
        """Since when (exchange ms) what is held of a symbol is held of a new contract; what was asked for before is
        of the old one."""
        self._lock = threading.Lock()  # guards the replacement of the dictionaries and the counter below
        # Replaced whole, never changed in place: readers and stream threads take no lock.
        self.klines: dict[tuple[str, str], KlineSeries] = {}
        self.spot_klines: dict[tuple[str, str], KlineSeries] = {}
        self.books: dict[str, BookSeries] = {}
        self.depths: dict[str, DepthBook] = {}
        self.trades: dict[str, TradeRing] = {}
        self.open_interest: dict[tuple[str, str], OpenInterestSeries] = {}
        self.symbols: frozenset[str] = frozenset()
        """Every perpetual of which anything is followed."""
        self.watched_until = math.inf
        """Exchange time (seconds) up to which somebody looked out for streams that died in silence; replaced by the
        engine, read without a lock. Infinite while nobody does."""
        self._sinks: dict[bytes, Sink] = {
            _sign(endpoints.MARK_PRICES_STREAM): self.marks.ingest,
            _sign(endpoints.LIQUIDATIONS_STREAM): self.liquidations.ingest,
            _sign(endpoints.TICKERS_STREAM): self.tickers.ingest,
            _sign(endpoints.BOOK_TICKERS_STREAM): self.quotes.ingest,
            _sign(endpoints.CONTRACTS_STREAM): self.contracts.ingest,
        }
        self._spot_sinks: dict[bytes, Sink] = {}
        self._dropped: Counter[str] = Counter()
        self._exact_rows = RowBudget(MOST_EXACT)

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], depth: int = 0) -> list[Key]:
        """Begin a series for every key that has none yet; the keys of the new ones.

        Candles are kept ``depth`` rows deep, where that is more than the configured depth.
        """
        with self._lock:
            added = [key for key in dict.fromkeys(keys) if self.get(key) is None and key.kind in _SHELVES]
            shelves = {kind: dict(getattr(self, _SHELVES[kind])) for kind in {key.kind for key in added}}
            sinks = {Kind.KLINES: dict(self._sinks), Kind.SPOT_KLINES: dict(self._spot_sinks)}
            for key in added:
                self._shelve(key, self._begin(key, depth), shelves, sinks)
            self._replace(shelves, sinks)
        return added

    def _begin(self, key: Key, depth: int) -> Series:
        config = self._config
        if key.kind in (Kind.KLINES, Kind.SPOT_KLINES):
            depth = max(config.max_klines, depth)
            return KlineSeries(key.symbol, key.interval, depth, kind=key.kind, budget=self._exact_rows)
        if key.kind is Kind.BOOK:
            return BookSeries(key.symbol)
        if key.kind is Kind.DEPTH:
            return DepthBook(key.symbol)
        if key.kind is Kind.TRADES:
            return TradeRing(key.symbol, config.max_trades)
        return OpenInterestSeries(key.symbol, key.interval, max(config.max_open_interest, depth))

    def unfollow(self, keys: Iterable[Key]) -> list[Key]:
        """Drop these series; the keys of those there were."""
        with self._lock:
            gone = [key for key in dict.fromkeys(keys) if self.get(key) is not None]
            shelves = {kind: dict(getattr(self, _SHELVES[kind])) for kind in {key.kind for key in gone}}
            sinks = {Kind.KLINES: dict(self._sinks), Kind.SPOT_KLINES: dict(self._spot_sinks)}
            for key in gone:
                series = self.get(key)
                if isinstance(series, KlineSeries):
                    series.forget_decoded()
                del shelves[key.kind][_place(key)]
                name = stream_of(key)
                if name is not None:
                    market = Kind.SPOT_KLINES if key.kind is Kind.SPOT_KLINES else Kind.KLINES
                    sinks[market].pop(_sign(name), None)
            self._replace(shelves, sinks)
        return gone

    def renew(self, keys: Iterable[Key], now: int) -> None:
        """Begin these series again, with nothing of the contract that bore the name until now (exchange ms)."""
        with self._lock:
            held = [series for key in keys if (series := self.get(key)) is not None]
            shelves = {kind: dict(getattr(self, _SHELVES[kind])) for kind in {series.key.kind for series in held}}
            sinks = {Kind.KLINES: dict(self._sinks), Kind.SPOT_KLINES: dict(self._spot_sinks)}
            symbols = {series.key.symbol for series in held}
            self.renewed = {**self.renewed, **dict.fromkeys(symbols, now)}
            for old in held:
                if isinstance(old, KlineSeries):
                    old.forget_decoded()
                depth = old.depth if isinstance(old, (KlineSeries, OpenInterestSeries)) else 0
                self._shelve(old.key, self._begin(old.key, depth), shelves, sinks)
            self._replace(shelves, sinks)
        for symbol in symbols:
            self.marks.forget(symbol)
            self.quotes.forget(symbol)
            self.tickers.forget(symbol)

    @staticmethod
    def _shelve(
        key: Key, series: Series, shelves: dict[Kind, dict[Any, Any]], sinks: dict[Kind, dict[bytes, Sink]]
    ) -> None:
        shelves[key.kind][_place(key)] = series
        name = stream_of(key)
        if name is not None and not isinstance(series, OpenInterestSeries):
            market = Kind.SPOT_KLINES if key.kind is Kind.SPOT_KLINES else Kind.KLINES
            sinks[market][_sign(name)] = series.ingest

    def _replace(self, shelves: dict[Kind, dict[Any, Any]], sinks: dict[Kind, dict[bytes, Sink]]) -> None:
        for kind, shelf in shelves.items():
            setattr(self, _SHELVES[kind], shelf)
        self._sinks, self._spot_sinks = sinks[Kind.KLINES], sinks[Kind.SPOT_KLINES]
        self.symbols = frozenset(key.symbol for key in self.followed_keys() if key.kind is not Kind.SPOT_KLINES)

    def get(self, key: Key) -> Series | None:
        """The series of a key, None where it is not followed."""
        shelf = _SHELVES.get(key.kind)
        series: Series | None = getattr(self, shelf).get(_place(key)) if shelf is not None else None
        return series

    def candles(self, key: Key) -> KlineSeries | None:
        """The candles of a key, of futures or spot."""
        shelf = self.spot_klines if key.kind is Kind.SPOT_KLINES else self.klines
        return shelf.get((key.symbol, key.interval))

    def followed_keys(self) -> list[Key]:
        """The keys of everything that is followed by symbol."""
        return [series.key for shelf in _SHELVES.values() for series in getattr(self, shelf).values()]

    def phase(self, symbol: str) -> Phase | None:
        """Return what the exchange last said of a contract, None where it has not been heard yet."""
        return status_of(symbol, self.listings, self.contracts)[0]

    def contract_status(self, symbol: str) -> str:
        """Return the same in the exchange's own word, such as ``TRADING_HALT``; "" where it is not known."""
        return status_of(symbol, self.listings, self.contracts)[1]

    def event_phase(self, symbol: str) -> Phase | None:
        """Return what the newest ``!contractInfo`` event of a contract said, None where there was none."""
        event = self.contracts.get(symbol)
        return phase_of(event.status) if event is not None else None

    def is_gone(self, symbol: str) -> bool:
        """Whether the exchange is known not to have a contract (any more), and nothing has shown that it trades."""
        return self.phase(symbol) is Phase.GONE and not self.trades_by_evidence(symbol)

    def trades_by_evidence(self, symbol: str) -> bool:
        """Whether the tickers have told of the symbol since the exchange was last asked for its listings."""
        listings = self.listings.get("info")
        if listings is None:
            return False
        seen = self.tickers.traded if symbol in listings.value.listed else self.tickers.seen
        return seen.get(symbol, 0) > listings.as_of

    # --- the way in -----------------------------------------------------------------------------

    def ingest(self, frames: Iterable[bytes], link: Link) -> tuple[list[Notice], list[Reply]]:
        """Merge frames that came in on ``link``, in order.

        Returns what the engine should know and the messages that were no stream frames. A frame that is
        unusable is counted and dropped.
        """
        sinks = self._spot_sinks if link.route == endpoints.Route.SPOT.value else self._sinks
        notices: list[Notice] = []
        replies: list[Reply] = []
        count = 0
        for frame in frames:
            count += 1
            # A name that is known has nothing to unescape: what stands before its quote is the key.
            sink = sinks.get(frame[: frame.find(b'"', _NAME_AT)])
            if sink is not None:
                try:
                    notice = sink(frame, link)
                except Exception:  # noqa: BLE001 -- tried again with care, which tells what was wrong
                    notice = self._ingest_carefully(frame, link, sinks, replies)
            else:
                notice = self._ingest_carefully(frame, link, sinks, replies)
            if notice is not None:
                notices.append(notice)
        link.frames += count - len(replies)
        return notices, replies

    def _ingest_carefully(
        self, frame: bytes, link: Link, sinks: dict[bytes, Sink], replies: list[Reply]
    ) -> Notice | None:
        """Merge a frame of any spacing and order of keys, or find out what else it is."""
        name = stream_name(frame)
        try:
            if SHUTDOWN in frame and isinstance(event := normalised(frame), bytes):
                # It concerns the connection, whatever stream it is wrapped in.
                replies.append(shutdown_in(event))
                return None
            if name is None:
                whole = normalised(frame)
                if isinstance(whole, dict):
                    replies.append(whole)
                    return None
                frame = whole
                name = stream_name(frame)
                if name is None:
                    raise DecodeError("bad stream name")
            sink = sinks.get(STREAM + name)
            if sink is None:
                self.count_dropped("a stream that is not followed")
                return None
            try:
                return sink(frame, link)
            except DecodeError:
                # Scanning is strict about white space and escapes; rewritten, the frame may well be good.
                rewritten = normalised(frame)
                if rewritten == frame or isinstance(rewritten, dict):
                    raise
                return sink(rewritten, link)
        except DecodeError as error:
            self.count_dropped(error.reason)
        except Exception as error:  # noqa: BLE001
            # No frame may end the stream of all others; it is a fault of ours all the same.
            self.count_dropped(f"{type(error).__name__} in merging")
            log.warning(type(error).__name__, "a frame could not be merged: %r: %r", error, frame[:300])
        return None

    def candle_bytes(self) -> int:
        """Memory that the closed candles take, with all that is remembered of them."""
        return sum(series.size() for series in (*self.klines.values(), *self.spot_klines.values()))

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


def keys_of(symbols: Iterable[str], intervals: Iterable[str], periods: Iterable[str]) -> list[Key]:
    """The keys of everything that is followed for symbols which are watched."""
    keys: list[Key] = []
    for symbol in symbols:
        keys += [Key(Kind.KLINES, symbol, interval) for interval in intervals]
        keys.append(Key(Kind.BOOK, symbol))
        keys += [Key(Kind.OPEN_INTEREST, symbol, period) for period in periods]
        keys.append(Key(Kind.TRADES, symbol))
    return keys


def _sign(stream: str) -> bytes:
    """How the frames of a stream begin."""
    return STREAM + stream.removeprefix(SPOT_PREFIX).encode()


def _place(key: Key) -> str | tuple[str, str]:
    return (key.symbol, key.interval) if key.interval else key.symbol


def stream_of(key: Key) -> str | None:
    """The stream that feeds a series, None for what is polled; those of the spot host bear a prefix."""
    if key.kind is Kind.KLINES:
        return endpoints.kline_stream(key.symbol, key.interval)
    if key.kind is Kind.SPOT_KLINES:
        return SPOT_PREFIX + endpoints.kline_stream(key.symbol, key.interval)
    if key.kind is Kind.BOOK:
        return endpoints.book_stream(key.symbol)
    if key.kind is Kind.DEPTH:
        return endpoints.diff_depth_stream(key.symbol)
    if key.kind is Kind.TRADES:
        return endpoints.agg_trade_stream(key.symbol)
    return {
        Kind.MARK: endpoints.MARK_PRICES_STREAM,
        Kind.LIQUIDATIONS: endpoints.LIQUIDATIONS_STREAM,
        Kind.TICKERS: endpoints.TICKERS_STREAM,
        Kind.QUOTES: endpoints.BOOK_TICKERS_STREAM,
        Kind.CONTRACTS: endpoints.CONTRACTS_STREAM,
    }.get(key.kind)


def route_of(key: Key) -> endpoints.Route:
    """The route its stream is served on."""
    if key.kind is Kind.SPOT_KLINES:
        return endpoints.Route.SPOT
    public = key.kind in (Kind.BOOK, Kind.DEPTH, Kind.QUOTES)
    return endpoints.Route.PUBLIC if public else endpoints.Route.MARKET
