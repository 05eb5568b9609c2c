"""Everything that is known, and the way in for frames and answers."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, TypeVar

from ..config import Config
from ..errors import MalformedAnswer
from ..feeds import FEEDS, RATIOS, Key, Kind, Scope
from ..venue.endpoints import Request, Route
from ..venue.klines import text_trades
from ..venue.listings import Phase, phase_of
from ..venue.payload import DecodeError
from ..venue.ratios import PERPETUAL
from .book import BookSeries
from .depth import DepthSeries
from .derivations import Derivations
from .derived import DerivedKlines
from .klines import KlineSeries, no_time
from .link import Link
from .listings import ContractBoard, ListingBoard, status_of
from .order import dated_back
from .periods import OpenInterestSeries, RatioSeries
from .series import Board, Change, Copied, Origin, Series, StoreEvent
from .stream_router import NAME_AT, Reply, Sink, StreamRouter
from .tickers import QuoteBoard, TickerBoard
from .trades import TradeSeries
from .values import ClockSeries, LiquidationBoard, MarkBoard, SpotBoard

NEW_FOR = 86_400_000
"""How long (ms) after its listing a contract may still be without its first trade."""

S = TypeVar("S", bound=Series)


class MarketStore:
    """Every series that is followed, and the boards that serve all symbols."""

    may_derive = True
    """Whether it derives larger candles from smaller ones, where the settings say so."""

    def __init__(
        self,
        config: Config,
        now: Callable[[], float],
        exchange_ms: Callable[[], int] = no_time,
        *,
        liquidations: LiquidationBoard | None = None,
        tickers: TickerBoard | None = None,
    ) -> None:
        self._config = config
        kept = min(config.warmup_klines, config.max_klines)
        self.derivations = Derivations(kept if config.derive_intervals and self.may_derive else 0)
        self._exchange_ms = exchange_ms
        self.marks = MarkBoard()
        self.liquidations = liquidations if liquidations is not None else LiquidationBoard(config.max_liquidations)
        self.tickers = tickers if tickers is not None else TickerBoard()
        self.quotes = QuoteBoard()
        self.contracts = ContractBoard()
        self.spot = SpotBoard(now=now)
        self.listings = ListingBoard(now=now)
        boards: tuple[Board, ...] = (
            self.marks,
            self.liquidations,
            self.tickers,
            self.quotes,
            self.contracts,
            self.spot,
            self.listings,
            ClockSeries(),
        )
        self.boards: Mapping[Key, Board] = {board.key: board for board in boards}
        """Those of them that serve all symbols."""
        self.delisted: dict[str, str] = {}
        """Symbols that were followed and have left the exchange, and what to say about it."""
        self.renewed: dict[str, int] = {}
        """Since when (exchange ms) a name belongs to a new contract."""
        self._counts_from: dict[str, int] = {}
        """What was requested of a symbol before then (exchange ms) may be of the contract that had the name."""
        self._lock = threading.Lock()  # guards the replacement of the collections below
        # Replaced whole, never changed in place: readers and stream threads take no lock.
        self.series: dict[Key, Series] = {**self.boards}
        """Everything by its key."""
        self.symbols: frozenset[str] = frozenset()
        """Every perpetual of which anything is followed."""
        self.watched_until = math.inf
        """Exchange time (seconds) up to which somebody looked out for streams that died in silence; replaced by the
        engine, read without a lock. Infinite while nobody does."""
        self.touched: set[Sink] | None = None
        """The sinks whose frames were merged, for the one thread that removes them one by one (``pop``); None while
        there is no such thread. Each is added after the merge."""
        self._router = StreamRouter()
        self._router.replace((), boards)
        self._of: dict[type[Series], list[Any]] = {}
        self._spot: list[KlineSeries] = []

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], depth: int = 0) -> list[Key]:
        """Begin a series for every key that has none yet; return the keys of the new ones.

        Rows are kept ``depth`` deep, where that is more than the configured depth.
        """
        with self._lock:
            added = [key for key in dict.fromkeys(keys) if key not in self.series]
            self._replace((), self._begin_all(dict.fromkeys(added, depth), self.series))
        return added

    def _begin_all(self, depths: Mapping[Key, int], known: Mapping[Key, Series]) -> list[Series]:
        """Return a new series for each of these keys, beside those that are ``known``."""
        begun: dict[Key, Series] = {}
        for key, source in self.derivations.plan(depths, known).items():
            of = None if source is None else begun[source] if source in begun else known[source]
            begun[key] = self._begin(key, depths[key], of)
        return [begun[key] for key in depths]

    def _begin(self, key: Key, depth: int, source: Series | None = None) -> Series:
        if isinstance(source, KlineSeries):
            return self._make_klines(key, depth, source)
        _, make = self._MAKE[key.kind]
        return make(self, key, depth)

    def _make_klines(self, key: Key, depth: int, source: KlineSeries | None = None) -> Series:
        begin = (
            partial(DerivedKlines, source) if source is not None else partial(KlineSeries, key.symbol, kind=key.kind)
        )
        return begin(
            interval=key.interval,
            depth=max(self._config.max_klines, depth),
            warm_up=self._config.warmup_klines,
            exchange_ms=self._exchange_ms,
        )

    def _make_open_interest(self, key: Key, depth: int) -> Series:
        most = self._config.max_open_interest
        return OpenInterestSeries(key.symbol, key.interval, max(most, depth), warm_up=most)

    def _make_ratio(self, key: Key, depth: int) -> Series:
        depth = max(self._config.max_open_interest, depth)
        return RatioSeries(key, depth, lambda: self.contract_type(key.symbol))

    def _make_trades(self, key: Key, depth: int) -> Series:
        return TradeSeries(key.symbol, self._config.max_trades)

    _MAKE: ClassVar[Mapping[Kind, tuple[type[Series], Callable[[MarketStore, Key, int], Series]]]] = {
        Kind.KLINES: (KlineSeries, _make_klines),
        Kind.SPOT_KLINES: (KlineSeries, _make_klines),
        Kind.OPEN_INTEREST: (OpenInterestSeries, _make_open_interest),
        **dict.fromkeys(RATIOS, (RatioSeries, _make_ratio)),
        Kind.TRADES: (TradeSeries, _make_trades),
        Kind.BOOK: (BookSeries, lambda store, key, depth: BookSeries(key.symbol)),
        Kind.DEPTH: (DepthSeries, lambda store, key, depth: DepthSeries(key.symbol)),
    }
    """Of which class a series of each kind is, and how it is made; the depth (rows) is the least that it keeps."""

    def unfollow(self, keys: Iterable[Key]) -> list[Key]:
        """Drop these series; return the keys of those there were."""
        with self._lock:
            gone = [key for key in dict.fromkeys(keys) if key in self.series]
            self._replace(gone, ())
        return gone

    def renew(self, keys: Iterable[Key], now: int) -> None:
        """Begin these series again, with nothing of the contract that had the name until now (exchange ms)."""
        symbols = self.begin_again(keys, now)
        self.renewed = {**self.renewed, **dict.fromkeys(symbols, now)}
        for symbol in symbols:
            for board in self.boards.values():
                board.forget(symbol)

    def begin_again(self, keys: Iterable[Key], now: int) -> set[str]:
        """Begin these series again, with nothing that was requested until now (exchange ms); return their symbols."""
        with self._lock:
            gone = [key for key in keys if key in self.series]
            symbols = {key.symbol for key in gone}
            self._counts_from = {**self._counts_from, **dict.fromkeys(symbols, now)}
            left = {key: each for key, each in self.series.items() if key not in gone}
            self._replace(gone, self._begin_all({key: self.series[key].depth for key in gone}, left))
        return symbols

    def date_back(self, now: int) -> None:
        """Count what was begun again at a time to come as begun at ``now`` (exchange ms, at the earliest): the clock
        was ahead, and until that time no answer would count."""
        with self._lock:
            self._counts_from = dated_back(self._counts_from, now)
            self.renewed = dated_back(self.renewed, now)

    def _replace(self, gone: Iterable[Key], added: Iterable[Series]) -> None:
        """Exchange some series for others. The caller holds the lock."""
        assert self._lock.locked()
        series, gone, added = dict(self.series), list(gone), list(added)
        for key in gone:
            del series[key]
        series.update((each.key, each) for each in added)
        orphaned = self.derivations.sort(series)
        self.series, self._of = series, {}
        streamed = [each for each in added if each.source is None]
        self._router.replace(gone, [*streamed, *orphaned])
        self._spot = [each for each in self.of(KlineSeries) if each.feed.spot]
        self.symbols = frozenset(key.symbol for key in self.followed_keys() if not FEEDS[key.kind].spot)

    def take_separated(self) -> list[Key]:
        """Return the series that were derived and have just begun to have streams of their own, each once."""
        if not self.derivations.may_change():
            return []
        with self._lock:
            if apart := self.derivations.separate():
                self._replace((), ())
                self._router.replace((), apart)
            return self.derivations.take_separated()

    def get(self, key: Key) -> Series | None:
        """Return the series of a key, None where it is not followed."""
        return self.series.get(key)

    def of(self, kind: type[S]) -> list[S]:
        """Return every series of a class. Shared: not to be changed."""
        of, series = self._of, self.series
        found = of.get(kind)
        if found is None:
            found = of[kind] = [each for each in series.values() if isinstance(each, kind)]
        return found

    def of_symbol(self, symbol: str, kind: type[S]) -> list[S]:
        """Return every series of a class and a contract."""
        return [each for each in self.of(kind) if each.key.symbol == symbol and not each.feed.spot]

    def spot_candles(self, symbol: str) -> list[KlineSeries]:
        """Return the candles of the spot pair of a symbol's name, of every interval that is followed."""
        return [each for each in self._spot if each.key.symbol == symbol]

    def event_in(self, key: Key, copied: Copied) -> int:
        """Return the exchange time (ms) of the newest event or answer that a copy of a series shows, be it followed or
        not. Errors as of :meth:`~ats_sync.store.series.Series.take_copy`."""
        board = self.boards.get(key)
        return board.event_in(copied) if board is not None else self._MAKE[key.kind][0].event_in(copied)

    def _one(self, key: Key, kind: type[S]) -> S | None:
        found = self.series.get(key)
        return found if isinstance(found, kind) else None

    def candles(self, key: Key) -> KlineSeries | None:
        """Return the candles of a key, those of a contract or of a spot pair; None where they are not followed, and
        where the key is of anything else."""
        return self._one(key, KlineSeries)

    def klines(self, symbol: str, interval: str) -> KlineSeries | None:
        """Return the candles of a contract, None where they are not followed; the others likewise."""
        return self._one(Key(Kind.KLINES, symbol, interval), KlineSeries)

    def spot_klines(self, symbol: str, interval: str) -> KlineSeries | None:
        return self._one(Key(Kind.SPOT_KLINES, symbol, interval), KlineSeries)

    def book(self, symbol: str) -> BookSeries | None:
        return self._one(Key(Kind.BOOK, symbol), BookSeries)

    def depth(self, symbol: str) -> DepthSeries | None:
        return self._one(Key(Kind.DEPTH, symbol), DepthSeries)

    def trades(self, symbol: str) -> TradeSeries | None:
        return self._one(Key(Kind.TRADES, symbol), TradeSeries)

    def open_interest(self, symbol: str, period: str) -> OpenInterestSeries | None:
        return self._one(Key(Kind.OPEN_INTEREST, symbol, period), OpenInterestSeries)

    def followed_keys(self) -> list[Key]:
        """Return the keys of everything that is followed by symbol."""
        return [key for key in self.series if key.symbol]

    # --- answers -----------------------------------------------------------------------------------

    def merge(self, key: Key, request: Request[Any], body: bytes, at: int, link: Link | None) -> Any:
        """Decode an answer and merge it, where the series is followed; return what was decoded, for those who wait for
        it (shared, not to be changed).

        It was requested at exchange time ``at`` (ms); ``link`` is the living subscription before that, if any.
        What was requested while the name belonged to another contract is not merged. Raises
        :class:`~ats_sync.errors.MalformedAnswer`.
        """
        try:
            answer = request.decode(body)
            series = self.series.get(key)
            if series is not None and self._counts(series, request, at):
                self._merge(series, answer, Origin(at, request.rows, request.from_id, link))
            return answer
        except DecodeError as error:
            raise MalformedAnswer(f"the exchange sent an unusable answer for {key}: {error}", status=200) from None

    def merge_copied(self, key: Key, request: Request[Any], copied: Copied, since: int) -> Any:
        """Merge what REST answered another process, as if it had answered ``request`` here; return that answer, None
        where nothing was merged: the copy does not contain it, it was requested before exchange time ``since`` (ms), or
        it may be of another contract. Errors as of :meth:`merge`; a copy that is malformed raises any error."""
        series, listed = self.series.get(key), self._listed_at(key.symbol)
        found = series.answer_in(copied, request, listed) if series is not None and listed else None
        if series is None or found is None:
            return None
        answer, at = found
        if not since <= at <= self._exchange_ms() or not self._counts(series, request, at):
            return None
        self._merge(series, answer, Origin(at, request.rows, request.from_id))
        return answer

    def _merge(self, series: Series, answer: Any, origin: Origin) -> None:
        """Merge an answer. Raises :class:`~ats_sync.errors.MalformedAnswer` for an empty one that cannot be true."""
        if not answer:
            symbol, at = series.key.symbol, origin.requested_at
            series.check_empty(
                origin, lambda: self._may_be_new(symbol, at), lambda: self._candles_show_no_trade(symbol)
            )
        series.replace(answer, origin)
        series.answers += 1
        self.derivations.advance(series.key)

    def _listed_at(self, symbol: str) -> int:
        """Return when (exchange ms) the contract was listed that has the name now, 0 where that is not known."""
        info, event = self.listings.get(), self.contracts.get(symbol)
        listed = info.value.onboarded.get(symbol, 0) if info is not None else 0
        return listed if event is None or event.onboarded <= listed else 0

    def _counts(self, series: Series, request: Request[Any], at: int) -> bool:
        """Return whether an answer is merged: a range of rows is not, nor what was requested of another contract."""
        return (request.rows > 0 or series.feed.shared) and at >= self._counts_from.get(series.key.symbol, 0)

    def _may_be_new(self, symbol: str, now: int) -> bool:
        """Return whether a contract may never have traded: it is pending or too new for the listings, or was listed a
        short while ago, and nothing shows a trade of it. Without that, an empty answer is a mistake of its sender."""
        if self.tickers.traded.get(symbol, 0) > self.renewed.get(symbol, 0):
            return False
        trades = self.trades(symbol)
        if (trades is not None and len(trades)) or any(
            each.following() for each in self.of_symbol(symbol, KlineSeries)
        ):
            return False
        if self.phase(symbol) is Phase.PENDING:
            return True
        info = self.listings.get()
        if info is None:
            return False
        onboarded = info.value.onboarded.get(symbol)
        return onboarded is None or onboarded > now - NEW_FOR

    def _candles_show_no_trade(self, symbol: str) -> bool:
        """Return whether what is known of a symbol's candles allows that there was never a trade of it."""
        followed = self.of_symbol(symbol, KlineSeries)
        whole = [series for series in followed if series.complete]
        if not whole:
            return not followed
        return not any(text_trades(text) for series in whole for text in series.closed_rows())

    # --- contracts ---------------------------------------------------------------------------------

    def phase(self, symbol: str) -> Phase | None:
        """Return what the exchange last said of a contract, None where it has not been heard yet."""
        return status_of(symbol, self.listings.get(), self.contracts.get(symbol))[0]

    def contract_type(self, symbol: str) -> str:
        """Return the type of a contract as exchangeInfo states it; that of a perpetual where it is not known."""
        info = self.listings.get()
        rules = info.value.rules.get(symbol) if info is not None else None
        return rules.contract_type if rules is not None else PERPETUAL

    def contract_status(self, symbol: str) -> str:
        """Return the same in the exchange's own word, such as ``TRADING_HALT``; "" where it is not known."""
        return self.contract_statuses([symbol])[symbol]

    def contract_statuses(self, symbols: Iterable[str]) -> dict[str, str]:
        """Return that of each of these contracts."""
        info, contracts = self.listings.get(), self.contracts
        return {symbol: status_of(symbol, info, contracts.get(symbol))[1] for symbol in symbols}

    def event_phase(self, symbol: str) -> Phase | None:
        """Return what the newest ``!contractInfo`` event of a contract said, None where there was none."""
        event = self.contracts.get(symbol)
        return phase_of(event.status) if event is not None else None

    def is_gone(self, symbol: str) -> bool:
        """Return whether the exchange is known not to have a contract (any more), and nothing has shown that it
        trades."""
        return self.phase(symbol) is Phase.GONE and not self.trades_by_evidence(symbol)

    def trades_by_evidence(self, symbol: str) -> bool:
        """Return whether the tickers have shown the symbol since the listings were last requested."""
        listings = self.listings.get()
        if listings is None:
            return False
        seen = self.tickers.traded if symbol in listings.value.listed else self.tickers.seen
        return seen.get(symbol, 0) > listings.as_of

    # --- the way in -----------------------------------------------------------------------------

    def ingest(self, frames: Iterable[bytes], link: Link) -> tuple[list[StoreEvent], list[Reply]]:
        """Merge frames that came in on ``link``, in order.

        Returns what the engine should know and the messages that were no stream frames. A frame that is
        unusable is counted and dropped.
        """
        router = self._router
        sinks = router.spot if link.route == Route.SPOT.value else router.futures
        touched = self.touched
        events: list[StoreEvent] = []
        replies: list[Reply] = []
        count = 0
        for frame in frames:
            count += 1
            # A name that is known has nothing to unescape: what stands before its quote is the key.
            sink = sinks.get(frame[: frame.find(b'"', NAME_AT)])
            if sink is not None:
                try:
                    event = sink(frame, link)
                except Exception:  # noqa: BLE001 -- tried again with care, which shows what was wrong
                    event = router.apply_carefully(frame, link, sinks, replies)
                if touched is not None:
                    touched.add(sink)
            else:
                event = router.apply_carefully(frame, link, sinks, replies, touched)
            if event is not None:
                events.append(event)
                if event.change is Change.CLOSED:
                    events += self.derivations.advance(event.key)
        link.frames += count - len(replies)
        return events, replies

    def count_dropped(self, reason: str) -> None:
        """Count something that was merged and turned out to be unusable as a dropped frame."""
        self._router.count_dropped(reason)

    def dropped(self) -> dict[str, int]:
        """Return how many frames were dropped, by reason."""
        return self._router.dropped()


def keys_of(symbols: Iterable[str], intervals: Iterable[str], periods: Iterable[str]) -> list[Key]:
    """Return the keys of everything that is followed for symbols which are watched."""
    of_scope = {Scope.SYMBOL: ("",), Scope.INTERVALS: tuple(intervals), Scope.PERIODS: tuple(periods)}
    return [
        Key(feed.kind, symbol, interval)
        for symbol in symbols
        for feed in FEEDS.values()
        for interval in of_scope.get(feed.scope, ())
    ]
