"""``DataManager``: what it follows, and reads in a shape that is convenient to compute with."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from .arguments import check_after, check_callback, check_limit, check_max_age, check_seconds, check_timeout
from .batches import Errors, KlineBatch, read_batch
from .clock import Clock
from .config import Config
from .engine.quality import Quality
from .errors import InvalidArgument, NotRunning, StartTimeout
from .events.queues import CandleQueue, EventQueue, Selection, TurnQueue
from .events.values import CandleEvent, ContractChange, Missed, Turn
from .lifecycle import Lifecycle
from .look import last_updates
from .overview import Overview
from .publisher.iterator import EventIterator
from .publisher.publisher import CallbackHandle
from .queries.books import BestQuotes, InFloats, book_of
from .queries.candles import KlineColumns, Klines, klines_key, newest_in_floats
from .queries.periods import OpenInterestInColumns, RatioRows
from .queries.tickers import DayTicker, DayTickers
from .queries.trades import TradesInColumns
from .queries.values import MarkPrice, Rules, spot_price
from .reads import as_read
from .reentry import refuse_reentry
from .rest_shaped import RestShaped
from .rest_text import RestText
from .results import (
    AggTrade,
    ForcedOrder,
    FundingRate,
    KlineRow,
    OpenInterest,
    OrderBook,
    Quote,
    Ratio,
    Statistics,
    Ticker,
)
from .shapes import (
    check_ranking,
    shape_book,
    shape_funding,
    shape_liquidations,
    shape_open_interest,
    shape_quote,
    shape_ratios,
    shape_ticker,
    shape_tickers,
    shape_top,
    shape_trades,
)
from .shared_lifecycle import SharedLifecycle
from .stats import statistics
from .status import Overall, Status
from .store.market import MarketStore
from .tables import Candles, klines_array, klines_frame
from .venue.contracts import SymbolInfo
from .venue.endpoints import AGG_TRADES_MOST, DEPTH_LIMITS, KLINES_MOST, OPEN_INTEREST_MOST
from .venue.intervals import check_interval, check_intervals, check_period
from .venue.klines import float_rows, text_open_time
from .venue.ratios import check_ratio
from .venue.symbols import check_symbol, check_symbols
from .watchlist import Watchlist

T = TypeVar("T")

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .runtime.runtime import Runtime

DEFAULT_INTERVALS = ("1h", "4h", "15m", "1d")


class DataManager:
    """Keeps the market data of some USDⓈ-M contracts in memory and answers reads from there.

    ::

        with DataManager(["BTCUSDT", "ETHUSDT"], ["1h", "15m"]) as dm:
            rows = dm.get_klines("BTCUSDT", "1h", limit=300)

    Thread-safe. ``symbols`` may be lower case; ``config`` defaults to :meth:`Config.from_env`;
    ``enable_websocket=False`` uses REST alone. Reads return what the caller owns, raise an error of
    :mod:`ats_sync.errors`, and take ``max_age`` (seconds) to tighten the freshness bound of their kind
    (0: always go to REST).

    A manager that nothing refers to any more is closed by the garbage collector; keep a reference while you need its
    data.
    """

    def __init__(
        self,
        symbols: Iterable[str] = (),
        intervals: Iterable[str] = DEFAULT_INTERVALS,
        *,
        config: Config | None = None,
        enable_websocket: bool = True,
        clock: Clock | None = None,
    ) -> None:
        symbols = tuple(symbols) if isinstance(symbols, Iterable) and not isinstance(symbols, str) else symbols
        checked = () if symbols == () else check_symbols(symbols)
        intervals = check_intervals(intervals)
        self.config = config if config is not None else Config.from_env()
        for period in self.config.open_interest_periods:
            check_period(period)
        self.enable_websocket = enable_websocket
        self.clock = clock if clock is not None else Clock()
        shared = self.config.shared is not None and self.config.role != "alone"
        self._life = (SharedLifecycle if shared else Lifecycle)(self.config, self.clock)
        self._watchlist = Watchlist(self.config, self.clock, self._life, checked, intervals)
        # At the end of the interpreter there is nothing to close: the threads are daemons.
        weakref.finalize(self, self._life.abandon).atexit = False

    # --- life ------------------------------------------------------------------------------------------

    def start(self, timeout: float | None = None) -> DataManager:
        """Launch the threads where they do not run yet, then :meth:`wait_ready`.

        A reader of a shared store needs no symbols: without any, it is ready when a collector has tickers and listings.
        Where that raises anything but :class:`~ats_sync.errors.StartTimeout`, what this call launched is closed
        again; a manager that ran before goes on. Raises :class:`~ats_sync.errors.ConfigError` at once for a proxy or a
        file of certificate authorities that cannot be used, and where gevent or eventlet has replaced threads or
        sockets.
        """
        if not self.symbols and not self._life.reads_shared:
            check_symbols(())
        timeout = check_timeout(timeout)
        self._life.forked = False
        runtime, launched = self._launch()
        try:
            self._wait_ready(runtime, timeout)
        except StartTimeout:
            raise
        except BaseException:
            if launched:
                self.close()
            raise
        return self

    def wait_ready(self, timeout: float | None = None) -> DataManager:
        """Return when memory answers every read except those of trades; trades follow in the background
        (``status()`` shows the progress).

        Raises at once for a name that the exchange does not know, 403 and 451, and after three attempts for a fault
        that waiting cannot mend: a host that does not exist, a base URL that answers 404, a certificate that does not
        verify, a proxy that refuses. Other faults are waited out. Where REST serves a series but its stream has not
        started for 15 s, it returns with a warning, and the series goes live later. A symbol that no longer trades
        causes a warning. After ``timeout`` seconds :class:`~ats_sync.errors.StartTimeout` names what is missing, and
        the warm-up continues. :class:`~ats_sync.errors.NotRunning` where :meth:`start` was not called.
        """
        self._wait_ready(self._life.launched(), timeout)
        return self

    def _wait_ready(self, runtime: Runtime | None, timeout: float | None) -> None:
        deadline = None if timeout is None else self.clock.now() + timeout
        self._life.wait_until_ready(runtime, self.symbols, deadline)
        self._life.ready = True

    def _launch(self) -> tuple[Runtime | None, bool]:
        watchlist = self._watchlist
        launched = self._life.launch(
            watchlist.keys, watchlist.touch, streams=self.enable_websocket, demand=watchlist.demand
        )
        watchlist.warn_of_surplus()
        return launched

    def close(self) -> None:
        """End every thread and connection, within ``config.close_timeout`` seconds. May be called again, and
        ``start()`` works again after it.

        Safe in a signal handler: where the handler interrupted another call of this library, a thread named
        ``ats-close`` closes as soon as that call has ended, and this returns at once. Other calls raise
        :class:`~ats_sync.errors.ReentrantCall` there."""
        self._life.close()

    def __enter__(self) -> DataManager:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the threads run (they do while it is still warming up)."""
        return self._life.running

    @property
    def initialized(self) -> bool:
        """Whether ``start()`` has succeeded and ``close()`` was not called since."""
        return self._life.ready and self.running

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are followed."""
        return self._watchlist.symbols

    @property
    def intervals(self) -> tuple[str, ...]:
        """The kline intervals that are followed for each symbol from the start."""
        return self._watchlist.intervals

    # --- what is followed --------------------------------------------------------------------------------

    def initialize(
        self,
        symbols: Iterable[str],
        intervals: Iterable[str] = DEFAULT_INTERVALS,
        enable_websocket: bool = True,
        *,
        timeout: float | None = None,
    ) -> DataManager:
        """Configure and start; where it runs already, :meth:`watch` these symbols too and wait for them."""
        symbols = check_symbols(symbols)
        intervals = check_intervals(intervals)
        if self.running:
            self.watch(symbols, intervals)
        else:
            self._watchlist.prepare(symbols, intervals)
            self.enable_websocket = enable_websocket
        return self.start(timeout)

    def watch(self, symbols: Iterable[str], intervals: Iterable[str] | None = None) -> None:
        """Follow these symbols too. Returns at once; until they are warm, REST answers their reads."""
        symbols = check_symbols(symbols)
        self._watchlist.watch(symbols, self.intervals if intervals is None else check_intervals(intervals))

    def unwatch(self, symbols: Iterable[str]) -> None:
        """Stop following these symbols and drop their data. Works whether the manager runs or not."""
        self._watchlist.unwatch(check_symbols(symbols))

    def prefetch(self, symbols: Iterable[str] | None = None, intervals: Iterable[str] | None = None) -> None:
        """Bring everything that a scan of these symbols and intervals reads into this process, in one round trip to the
        shared store (None: of all symbols, of all intervals that are watched).

        For a reader of a shared store: its reads within the next second need no round trip of their own. It does
        nothing in a manager that follows the exchange itself.
        """
        these = self.symbols if symbols is None else check_symbols(symbols)
        self._life.alive()
        self._life.prefetch(these, self.intervals if intervals is None else check_intervals(intervals))

    # --- reads ---------------------------------------------------------------------------------------------

    @property
    def rest_shaped(self) -> RestShaped:
        """The same reads in the exact shape of the exchange's REST answers (decimals as strings).

        While the manager does not run, each of its calls is one budgeted request on the calling thread. It keeps the
        manager alive.
        """
        life = self._life
        life.warn_if_forked()
        return RestShaped(life.patient_reads, self.config, live=self.running, want=self._watchlist.demand, keeps=self)

    @property
    def rest_text(self) -> RestText:
        """The same reads as :attr:`rest_shaped`, as the bytes of REST's answers, for the endpoint."""
        life = self._life
        life.warn_if_forked()
        return RestText(life.patient_reads, self.config, live=self.running, want=self._watchlist.demand, keeps=self)

    def autostart(self) -> DataManager:
        """Start without waiting, and follow whatever is read through the shim.

        Does nothing where it runs already, after a ``close()``, in a forked child, and with the environment's
        ``ATS_SYNC_AUTOSTART=0``.
        """
        life = self._life
        allowed = not (life.closed or life.forked) and os.environ.get("ATS_SYNC_AUTOSTART", "1") != "0"
        if allowed and not self.running:
            self._launch()
            life.ready = True
        return self

    def get_klines(
        self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None
    ) -> list[KlineRow]:
        """Return candles, oldest first, the last one open.

        Each is ``[open_time, open, high, low, close, volume, close_time, quote_volume, trades,
        taker_buy_base, taker_buy_quote, ignore]``: times (ms) and trades int, the rest float. Fewer than
        ``limit`` only where the symbol's history is shorter. Source: ``<symbol>@kline_<interval>`` and
        ``/fapi/v1/klines``. Between a candle's close and the first event of the next, the last row is the one that
        REST shows: flat at the last close, without trades.
        """
        if max_age is None and type(limit) is int:
            query = newest_in_floats(symbol, interval, limit)
        else:
            limit, max_age = check_limit(limit, KLINES_MOST), check_max_age(max_age)
            query = Klines(klines_key(symbol, interval), limit, max_age, exact=False)
        return self._life.alive().read(query, as_read)

    def get_klines_array(
        self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None
    ) -> np.ndarray[Any, np.dtype[np.void]]:
        """Return :meth:`get_klines` as a NumPy structured array (the extra ``arrays``).

        Its fields have the names given there: times (ms) and trades int64, the rest float64. It belongs to the caller.
        :class:`~ats_sync.errors.MissingExtra` where NumPy is not installed.
        """
        return self._table(klines_array, symbol, interval, limit, max_age)

    def get_klines_frame(
        self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None
    ) -> pd.DataFrame:
        """Return :meth:`get_klines` as a pandas DataFrame (the extra ``frames``).

        Indexed by open time, UTC; columns ``open``, ``high``, ``low``, ``close``, ``volume``, ``close_time`` (UTC),
        ``quote_volume``, ``trades`` (int64), ``taker_buy_base``, ``taker_buy_quote``, the others float64.
        :class:`~ats_sync.errors.MissingExtra` where pandas is not installed.
        """
        return self._table(klines_frame, symbol, interval, limit, max_age)

    def _table(self, shape: Callable[[Candles], T], symbol: str, interval: str, limit: int, max_age: float | None) -> T:
        limit, max_age = check_limit(limit, KLINES_MOST), check_max_age(max_age)
        return self._life.alive().read(KlineColumns(klines_key(symbol, interval), limit, max_age), shape)

    def read_klines(
        self,
        symbols: Iterable[str] | None = None,
        interval: str = "1h",
        limit: int = 300,
        *,
        max_age: float | None = None,
        errors: Errors = "raise",
    ) -> KlineBatch:
        """Return :meth:`get_klines` of many symbols (None: of all that are followed) as one table.

        ``batch.array`` is float64 of the shape (symbols, rows, columns), ``batch.frame()`` a DataFrame indexed by
        symbol and open time. What is not fresh in memory is requested for up to 64 symbols at a time. A symbol that
        cannot be had fresh raises its error after all have been tried; with ``errors="name"`` it is NaN and stands in
        ``batch.errors``. :class:`~ats_sync.errors.MissingExtra` where NumPy is not installed.
        """
        these = self.symbols if symbols is None else check_symbols(symbols)
        limit, max_age = check_limit(limit, KLINES_MOST), check_max_age(max_age)
        keys = [klines_key(symbol, interval) for symbol in these]
        reads = self._life.alive()
        self._life.bring(keys)
        return read_batch(reads, keys, limit, max_age, errors)

    def get_orderbook(self, symbol: str, limit: int = 20, *, max_age: float | None = None) -> OrderBook:
        """Return ``{"bids": [[price, quantity], …], "asks": …, "timestamp": ms, "lastUpdateId": int}``, best first.

        Floats, ``limit`` levels a side (at most 1000) where the book has so many. Source:
        ``<symbol>@depth20@100ms`` up to 20 levels. The first read of more is answered by ``/fapi/v1/depth``, and for a
        watched symbol ``<symbol>@depth@100ms`` is followed from then on, until half an hour after the last read: a
        full book in memory, with a new snapshot where the price has moved too far for it.
        """
        symbol, limit = check_symbol(symbol), check_limit(limit, DEPTH_LIMITS[-1])
        max_age = check_max_age(max_age)
        return self._life.alive().read(InFloats(book_of(symbol, limit, max_age)), lambda book: shape_book(book, limit))

    def get_mark_price(self, symbol: str, *, max_age: float | None = None) -> float:
        """Return the mark price. Source: ``!markPrice@arr@1s`` and ``/fapi/v1/premiumIndex``."""
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return self._life.alive().read(MarkPrice(symbol, max_age), lambda mark: float(mark.mark_price))

    def get_funding_rate(self, symbol: str, *, max_age: float | None = None) -> FundingRate:
        """Return ``{"rate": float, "nextTime": ms, "markPrice": float, "timestamp": ms}``. Source: as the mark price.

        A contract without funding (a quarterly) has the rate 0.0, and None as ``nextTime``.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return self._life.alive().read(MarkPrice(symbol, max_age), shape_funding)

    def get_spot_price(self, symbol: str, *, max_age: float | None = None) -> float:
        """Return the price of the spot pair of the same name. Source: ``/api/v3/ticker/price``, every 48 s.

        :class:`~ats_sync.errors.NoSpotPair` for a perpetual without one.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        reads = self._life.alive()
        reads.check_delisted(symbol)
        return spot_price(reads, symbol, max_age, float)

    def get_oi_history(
        self, symbol: str, interval: str = "1h", limit: int = 100, *, max_age: float | None = None
    ) -> list[OpenInterest]:
        """Return open interest, oldest first.

        Each is ``{"timestamp": ms, "sumOpenInterest": float, "sumOpenInterestValue": float}``.

        Source: ``/futures/data/openInterestHist`` for each interval on its own, every 4 minutes.
        """
        symbol, interval = check_symbol(symbol), check_period(interval)
        limit, max_age = check_limit(limit, OPEN_INTEREST_MOST), check_max_age(max_age)
        return self._life.alive().read(OpenInterestInColumns(symbol, interval, limit, max_age), shape_open_interest)

    def get_ratio(
        self, symbol: str, kind: str, period: str = "1h", limit: int = 100, *, max_age: float | None = None
    ) -> list[Ratio]:
        """Return rows of a ratio, oldest first, in numbers; ``timestamp`` in ms.

        ``kind`` is the exchange's name: ``globalLongShortAccountRatio``, ``topLongShortAccountRatio`` or
        ``topLongShortPositionRatio`` with ``{"timestamp", "longShortRatio", "longAccount", "shortAccount"}``;
        ``takerlongshortRatio`` with ``{"timestamp", "buySellRatio", "buyVol", "sellVol"}``; ``basis`` with
        ``{"timestamp", "basis", "basisRate", "annualizedBasisRate", "futuresPrice", "indexPrice"}``, where the third is
        None for a perpetual. At most 500 rows, one month back.

        Source: ``/futures/data/<kind>``. A watched symbol's series is polled every 4 minutes once it was read, until
        it has not been read for half an hour, where its polls fit into the 1,000 requests in 5 minutes that all these
        series share with open interest. Otherwise each read is a request.
        """
        symbol, kind, period = check_symbol(symbol), check_ratio(kind), check_period(period)
        limit, max_age = check_limit(limit, OPEN_INTEREST_MOST), check_max_age(max_age)
        return self._life.alive().read(
            RatioRows(kind, symbol, period, limit, max_age), lambda rows: shape_ratios(kind, rows)
        )

    def get_agg_trades(self, symbol: str, limit: int = 500, *, max_age: float | None = None) -> list[AggTrade]:
        """Return aggregated trades without a hole, oldest first.

        Each is ``{"id": int, "price": float, "qty": float, "time": ms, "isBuyerMaker": bool}``. Source:
        ``<symbol>@aggTrade`` and ``/fapi/v1/aggTrades`` (which gives at most 1000).
        """
        symbol, limit = check_symbol(symbol), check_limit(limit, max(self.config.max_trades, AGG_TRADES_MOST))
        max_age = check_max_age(max_age)
        return self._life.alive().read(TradesInColumns(symbol, limit, max_age), shape_trades)

    def get_liquidation_trades(self, symbol: str, limit: int = 500, *, max_age: float | None = None) -> list[AggTrade]:
        """Return :meth:`get_agg_trades`: the trades from which old code computes liquidation density."""
        return self.get_agg_trades(symbol, limit, max_age=max_age)

    def get_liquidations(self, symbol: str | None = None, limit: int = 100) -> list[ForcedOrder]:
        """Return the liquidation orders seen since the start, oldest first, of one symbol or of all.

        Each is ``{"symbol", "side", "price", "averagePrice", "qty", "filledQty", "status", "time"}`` (prices
        and quantities float, time ms). Source: ``!forceOrder@arr``, which reports at most one per second
        and symbol; there is no REST for them, so those before the start are unknown.
        """
        checked = None if symbol is None else check_symbol(symbol)
        return shape_liquidations(self._life.alive().store.liquidations.read(checked, check_limit(limit)))

    def get_quote(self, symbol: str, *, max_age: float | None = None) -> Quote:
        """Return the best bid and ask.

        It is ``{"bid", "bidQty", "ask", "askQty", "timestamp": ms, "age": seconds, "source"}``; prices and quantities
        are floats. Source: the order book of a followed symbol while that is fresh (``source`` is "book"); else
        ``!bookTicker``, which is pushed every 5 s, where its event is at most 5 s old ("bookTicker"); else
        ``/fapi/v1/ticker/bookTicker`` ("rest"). ``age`` is how long ago they surely were the best.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return self._life.alive().read(BestQuotes(symbol, max_age), shape_quote)

    def get_ticker(self, symbol: str, *, max_age: float | None = None) -> Ticker:
        """Return what a symbol did in the last 24 hours: last price, change, volumes, number of trades.

        Numbers are float, times (ms), ids and ``count`` int. Any contract, watched or not. Source: ``!ticker@arr``, of
        which each frame (one a second) holds what has changed, completed by ``/fapi/v1/ticker/24hr``. A ticker that
        rests is fresh as long as frames come without a gap and the newest is at most 5 s old; every 2 minutes REST
        moves its window on. Until REST has completed the stream (10 s after a connection), and while streams are
        disabled, a ticker is as old as the answer that brought it. Raises :class:`~ats_sync.errors.InvalidSymbol` for
        a symbol without a ticker.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return self._life.alive().read(DayTicker(symbol, max_age), shape_ticker)

    def get_tickers(self, *, max_age: float | None = None) -> list[Ticker]:
        """Return the tickers of all contracts, in the order of REST; each as in :meth:`get_ticker`, and from there."""
        return self._life.alive().read(DayTickers(check_max_age(max_age)), shape_tickers)

    def top(self, n: int, by: str = "quote_volume", *, max_age: float | None = None) -> list[Ticker]:
        """Return the tickers of the ``n`` contracts with the largest ``quote_volume``, ``price_change_percent`` or
        ``count``.

        The largest comes first, equal ones by name; contracts that no longer trade are left out. Each is as in
        :meth:`get_ticker`, and from there.
        """
        n, by, max_age = check_limit(n), check_ranking(by), check_max_age(max_age)
        reads = self._life.alive()
        gone = reads.store.is_gone
        return reads.read(
            DayTickers(max_age), lambda rows: shape_top((row for row in rows if not gone(row["symbol"])), n, by)
        )

    def symbol_info(self, symbol: str, *, max_age: float | None = None) -> SymbolInfo:
        """Return tick and step size, least quantity and value, contract and underlying type of a contract.

        Prices and quantities are :class:`decimal.Decimal`; ``round_price`` and ``round_quantity`` of the result give
        exact multiples. Any contract of the exchange, watched or not. Source: ``/fapi/v1/exchangeInfo``, kept and
        requested again every 50 minutes, and at once when a contract is listed. Raises
        :class:`~ats_sync.errors.InvalidSymbol` for a symbol that the exchange does not list.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return self._life.alive().read(Rules(symbol, max_age), as_read)

    def wait_closed(self, symbol: str, interval: str, after: int, timeout: float | None = None) -> KlineRow | None:
        """Block until a candle that opened later than ``after`` (ms) is final. Return its row, or None on timeout.

        The row has the shape of :meth:`get_klines`; where several have closed, it is the newest. The series must be
        followed. Raises :class:`~ats_sync.errors.NotRunning` when the manager is closed, and
        :class:`~ats_sync.errors.InvalidArgument` for an ``after`` that cannot be ms (``time.time()`` is seconds); 0 is
        any candle.
        """
        symbol, interval = check_symbol(symbol), check_interval(interval)
        after, timeout = check_after(after), check_timeout(timeout)
        deadline = None if timeout is None else self.clock.now() + timeout
        text = self._life.wait_closed(klines_key(symbol, interval), after, deadline)
        if text is None:
            return None
        assert text_open_time(text) > after
        return float_rows((text,))[0]

    # --- events ------------------------------------------------------------------------------------------------

    def turns(
        self,
        interval: str,
        *,
        grace: float = 3.0,
        symbols: Iterable[str] | None = None,
        since: int | None = None,
        timeout: float | None = None,
    ) -> EventIterator[Turn]:
        """Return an iterator that blocks for each turn of an interval, from the candle that is open now on.

        A :class:`Turn` comes when every followed symbol (or of ``symbols``) has closed, or ``grace`` seconds after the
        close; ``late`` then names the missing ones. Symbols that trade close within about 2 s, quiet ones within 7 s.
        Contracts that have left the exchange or do not trade yet are not waited for. Turns that passed while the
        consumer was busy follow at once, in order, from memory; ``since`` (ms) begins with the first turn whose candle
        opened then or later. Neither causes a request. The loop ends when the manager or the iterator is closed, or
        when no turn has come for ``timeout`` seconds.

        Raises :class:`~ats_sync.errors.InvalidInterval` and :class:`~ats_sync.errors.InvalidSymbol` for what is not
        followed, :class:`~ats_sync.errors.InvalidArgument` for a grace below 0,
        :class:`~ats_sync.errors.NotRunning` where the manager does not run. Source: as :meth:`get_klines`.
        """
        checked = None if symbols is None else check_symbols(symbols)
        interval = check_interval(interval)
        grace_ms = round(check_seconds(grace, "grace") * 1000)
        start = None if since is None else check_after(since, "since")
        timeout = check_timeout(timeout)
        self._life.launched()
        self._watchlist.check_followed(checked, (interval,))
        return self._iterator(
            lambda store, now: TurnQueue(store, interval, checked, now, grace=grace_ms, since=start), timeout
        )

    def closed(
        self,
        symbols: Iterable[str] | None = None,
        intervals: Iterable[str] | None = None,
        *,
        since: int | None = None,
        timeout: float | None = None,
        provisional: float | None = None,
    ) -> EventIterator[CandleEvent | Missed]:
        """Return an iterator that blocks for each candle of these series that closes (None: of all that are followed).

        Each :class:`CandleEvent` comes once, after the merge, in order a series, whatever happens to connections
        meanwhile. ``since`` (ms) begins with the candles in memory that opened then or later (0: all), and goes on
        without a hole or a repetition; a consumer that comes late gets what has closed meanwhile. What memory no
        longer has comes as a :class:`Missed`. ``provisional`` gives each candle so many seconds after its close even
        if it is not final (``final=False``), and once more if the final one differs. ``timeout``: the loop ends when
        nothing has come for so many seconds; it also ends when the manager or the iterator is closed.

        Raises :class:`~ats_sync.errors.InvalidSymbol` and :class:`~ats_sync.errors.InvalidInterval` for what is not
        followed, :class:`~ats_sync.errors.InvalidArgument` for times that cannot be,
        :class:`~ats_sync.errors.NotRunning` where the manager does not run. Source: as :meth:`get_klines`.
        """
        selection = self._selection(symbols, intervals)
        start = None if since is None else check_after(since, "since")
        early = None if provisional is None else round(check_seconds(provisional, "provisional") * 1000)
        timeout = check_timeout(timeout)
        self._life.launched()
        return self._iterator(
            lambda store, now: CandleQueue(store, selection, now, since=start, provisional=early), timeout
        )

    def on_closed(
        self,
        fn: Callable[[CandleEvent | Missed], object],
        symbols: Iterable[str] | None = None,
        intervals: Iterable[str] | None = None,
        *,
        provisional: float | None = None,
    ) -> CallbackHandle:
        """Call ``fn`` with each candle that closes from now on, as :meth:`closed` gives them, until the returned handle
        is closed.

        All callbacks run on the one thread ``ats-events``, one after the other: what takes long belongs on a thread of
        yours. An exception is logged and stops nothing. Callbacks stay registered when the manager is closed and
        started again, may be registered before it starts, and keep alive what they refer to. A child of ``os.fork()``
        has none of them. Errors as of :meth:`closed`; :class:`~ats_sync.errors.InvalidArgument` for what cannot be
        called.
        """
        check_callback(fn)
        selection = self._selection(symbols, intervals)
        early = None if provisional is None else round(check_seconds(provisional, "provisional") * 1000)
        return self._life.publisher.on_closed(fn, selection, early)

    def on_state(self, fn: Callable[[Overall, Overall, float, str], object]) -> CallbackHandle:
        """Call ``fn(old, new, since, reason)`` when the overall state changes, until the returned handle is closed.

        ``old`` and ``new`` as in :meth:`status`, ``since`` in epoch seconds, ``reason`` in words. It is looked at after
        turns of the engine, at most every 0.5 s. In a reader of a shared store it is the collector's, or degraded
        while no collector leads, and looked at every 0.5 s. Threads and errors as of :meth:`on_closed`.
        """
        refuse_reentry()
        check_callback(fn)
        return self._life.publisher.on_state(fn)

    def on_listed(self, fn: Callable[[ContractChange], object]) -> CallbackHandle:
        """Call ``fn`` with each contract of the exchange, followed or not, that begins to trade, until the returned
        handle is closed.

        Source: ``!contractInfo`` and ``/fapi/v1/exchangeInfo``. Threads and errors as of :meth:`on_closed`.
        """
        refuse_reentry()
        check_callback(fn)
        return self._life.publisher.on_contract(fn, listed=True)

    def on_delisted(self, fn: Callable[[ContractChange], object]) -> CallbackHandle:
        """Call ``fn`` with each contract that has left the exchange, as :meth:`on_listed` does with new ones.

        Of a followed contract once a second source agrees; of another by its event, or by two answers.
        """
        refuse_reentry()
        check_callback(fn)
        return self._life.publisher.on_contract(fn, listed=False)

    def _selection(self, symbols: Iterable[str] | None, intervals: Iterable[str] | None) -> Selection:
        checked = None if symbols is None else check_symbols(symbols)
        these = None if intervals is None else check_intervals(intervals)
        if these == ():
            raise InvalidArgument("the list of intervals is empty; name at least one, such as '1h'")
        refuse_reentry()
        self._watchlist.check_followed(checked, these)
        return Selection(None if checked is None else frozenset(checked), None if these is None else frozenset(these))

    def _iterator(self, make: Callable[[MarketStore, int], EventQueue[T]], timeout: float | None) -> EventIterator[T]:
        iterator = self._life.publisher.iterate(make, timeout, self)
        if iterator is None:
            raise NotRunning("the manager was closed meanwhile")
        return iterator

    # --- what it reports about itself --------------------------------------------------------------------------

    @property
    def last_update(self) -> Mapping[str, float]:
        """Epoch seconds of each series' newest event or answer, read-only: keys such as ``BTCUSDT_klines_1h``,
        ``BTCUSDT_orderbook``, ``_depth``, ``_oi``, ``_funding``, ``_mark``, ``_spot``, ``_trades``,
        ``_liquidation``."""
        refuse_reentry()
        return MappingProxyType(last_updates(self._life.store))

    def get_stats(self) -> Statistics:
        """Return counts since this object was made: data frames (``ws_updates``), requests (``rest_calls``, and by
        cause), reads from memory and by REST (``cache_hits``, ``cache_misses``), reconnects, what is in memory."""
        refuse_reentry()
        return statistics(self._life, self.symbols)

    @property
    def overview(self) -> Overview:
        """The market and the connections at a glance, for the endpoint's page: looks that are not reads, so nothing is
        requested or followed for them. It keeps the manager alive."""
        return Overview(self._life, self.clock, lambda: self.symbols, keeps=self)

    def status(self) -> Status:
        """Return the overall state, every connection and every feed with its age; ``print()`` it."""
        refuse_reentry()
        return self._life.status()

    def quality(self, symbol: str) -> Quality:
        """Return how good a watched symbol's data was over the last 5 minutes: a score (0 to 1) and its parts.

        Of a reader of a shared store it is what the collector writes every 10 s;
        :class:`~ats_sync.errors.DataUnavailableError` before that and while no collector leads.
        """
        return self._life.quality(check_symbol(symbol))

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<DataManager {state}, {len(self.symbols)} symbols × {', '.join(self.intervals)}>"
