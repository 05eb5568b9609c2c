"""The object users hold: lifecycle, wiring, and reads in the shape that is convenient to compute with."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from .clock import Clock
from .config import Config
from .engine.budget import Budget
from .engine.engine import SHARED, WITNESSES
from .engine.quality import Quality
from .errors import InvalidArgument, InvalidSymbol, NotRunning, StaleDataError, StartTimeout
from .feeds import Key, Kind
from .reads import Reads, check_limit, check_max_age
from .rest_shaped import RestShaped
from .runtime.counters import Counters
from .runtime.courier import moment
from .runtime.direct import DirectRequests
from .runtime.runtime import Runtime
from .status import Overall, Status, connection_statuses, feed_statuses, last_updates
from .store.book import STREAMED_LEVELS, BookSeries
from .store.depth import DepthBook
from .store.klines import KlineSeries
from .store.market import MarketStore, keys_of
from .store.open_interest import OpenInterestColumns, OpenInterestSeries
from .store.tape import TradeColumns
from .tables import Candles, klines_array, klines_frame
from .venue.decode import Book, Mark, Trade, float_rows, text_open_time
from .venue.endpoints import AGG_TRADES_MOST, DEPTH_LIMITS, KLINES_MOST, OPEN_INTEREST_MOST, Host
from .venue.intervals import check_interval, check_period
from .venue.symbols import check_symbol, check_symbols

log = logging.getLogger(__name__)

T = TypeVar("T")

LEAST_ROWS = 2
DEFAULT_INTERVALS = ("1h", "4h", "15m", "1d")


class DataManager:
    """Keeps the market data of some USDⓈ-M perpetuals in memory and answers reads from there.

    ::

        with DataManager(["BTCUSDT", "ETHUSDT"], ["1h", "15m"]) as dm:
            rows = dm.get_klines("BTCUSDT", "1h", limit=300)

    Thread-safe. ``symbols`` may be lower case; ``config`` defaults to :meth:`Config.from_env`;
    ``enable_websocket=False`` uses REST alone. Reads return what the caller owns, raise an error of
    :mod:`ats_sync.errors`, and take ``max_age`` (seconds) to tighten the freshness bound of their kind
    (0: always ask REST).
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
        self._symbols: tuple[str, ...] = () if symbols == () else check_symbols(symbols)
        self._intervals = _checked_intervals(intervals)
        self.config = config if config is not None else Config.from_env()
        for period in self.config.open_interest_periods:
            check_period(period)
        self.enable_websocket = enable_websocket
        self.clock = clock if clock is not None else Clock()
        self._closed = False
        self._forked = self._fork_told = False
        self._reconnects_before = self._frames_before = 0
        self._begin_afresh()
        _managers.add(self)

    def _begin_afresh(self) -> None:
        """No runtime, nothing known, fresh locks."""
        self._lock = threading.Lock()  # guards everything below; never held while waiting
        self._counters = Counters()
        self._budget = Budget(self.config)
        self._runtime: Runtime | None = None
        self._begun = self.clock.wall()
        self._ready = False
        self._reset()

    def _reset(self) -> None:
        """An empty store, read directly. The lock is held, or nobody else knows this object yet."""
        self._store = MarketStore(self.config, self.clock.now)
        self._direct = DirectRequests(self.config, self.clock, self._store, self._budget, self._counters)
        self._reads, self._patient_reads = (
            Reads(
                self.config,
                self.clock,
                self._store,
                self._direct,
                self._counters,
                streams=False,
                patience=patience,
            )
            for patience in (self.config.read_timeout, self.config.shim_timeout)
        )

    # --- life ------------------------------------------------------------------------------------------

    def start(self, timeout: float | None = None) -> DataManager:
        """Warm up, go live, and return when every read but that of trades is answered from memory.

        Trades (``status()`` shows how far) follow in the background. Raises at once for an unknown symbol,
        a host that does not resolve, 403 and 451; waits other faults out. After ``timeout`` seconds
        :class:`~ats_sync.errors.StartTimeout` names what is missing, and the warm-up goes on.
        """
        if not self._symbols:
            check_symbols(())
        self._forked = False
        deadline = None if timeout is None else self.clock.now() + timeout
        runtime = self._launch()
        try:
            self._wait_until_ready(runtime, deadline)
        except StartTimeout:
            raise
        except BaseException:
            self.close()
            raise
        self._ready = True
        return self

    def _launch(self) -> Runtime:
        with self._lock:
            if self._runtime is not None and not self._runtime.stopped:
                return self._runtime
            self._direct.close()
            self._reset()
            self._ready = False
            self._begun = self.clock.wall()
            runtime = Runtime(
                self.config,
                self.clock,
                self._store,
                self._budget,
                self._counters,
                streams=self.enable_websocket,
            )
            self._reads, self._patient_reads = (
                Reads(
                    self.config,
                    self.clock,
                    self._store,
                    runtime.requests,
                    self._counters,
                    streams=self.enable_websocket,
                    wanted=self._want,
                    patience=patience,
                )
                for patience in (self.config.read_timeout, self.config.shim_timeout)
            )
            self._runtime = runtime
            self._closed = False
            runtime.start()
            keys = self._store.follow(keys_of(self._symbols, self._intervals, self.config.open_interest_periods))
            runtime.follow([*SHARED, *(WITNESSES if self.enable_websocket else ()), *keys])
            return runtime

    def _wait_until_ready(self, runtime: Runtime, deadline: float | None) -> None:
        checked = False
        waited_for: list[Key] | None = None
        while True:
            if runtime.stopped:
                raise NotRunning("the manager was closed while it was starting")
            if runtime.fatal is not None:
                raise runtime.fatal
            listings = self._store.listings.get("info")
            if not checked and listings is not None:
                checked = True
                self._check_listed(self._symbols)
            with runtime.changed:
                waited_for = runtime.still_missing(waited_for)
                if not waited_for:
                    return
                left = None if deadline is None else deadline - self.clock.now()
                if left is not None and left <= 0:
                    missing = [str(key) for key in waited_for]
                    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
                    raise StartTimeout(
                        f"not ready in time, still warming up; missing: {shown}; call start() again to wait on, "
                        "status() shows how far it is",
                        missing,
                    )
                runtime.changed.wait(left)

    def _check_listed(self, symbols: Iterable[str]) -> None:
        listings = self._store.listings.get("info")
        if listings is None:
            return
        unknown = [symbol for symbol in symbols if symbol not in listings.value.listed]
        if unknown:
            raise InvalidSymbol(f"the exchange lists no perpetual {', '.join(unknown)}; check the spelling")
        closed = [symbol for symbol in symbols if symbol not in listings.value.trading]
        if closed:
            raise InvalidSymbol(f"{', '.join(closed)}: listed, but not trading (any more, or not yet)")

    def close(self) -> None:
        """End every thread and connection, within ``config.close_timeout`` seconds. May be called again, and
        ``start()`` works again after it."""
        with self._lock:
            runtime, self._runtime = self._runtime, None
            self._ready = False
            self._closed = True
            if runtime is not None:
                self._reset()
            direct = self._direct
        direct.close()
        if runtime is not None:
            with runtime.engine_lock:
                self._reconnects_before += runtime.engine.connections.reconnects
            self._frames_before += runtime.frames()
            runtime.close(self.config.close_timeout)

    def __enter__(self) -> DataManager:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the threads run (they do while it is still warming up)."""
        runtime = self._runtime
        return runtime is not None and not runtime.stopped

    @property
    def initialized(self) -> bool:
        """Whether ``start()`` has succeeded and ``close()`` was not called since."""
        return self._ready and self.running

    @property
    def symbols(self) -> tuple[str, ...]:
        """The symbols that are followed."""
        return self._symbols

    @property
    def intervals(self) -> tuple[str, ...]:
        """The kline intervals that are followed for each symbol from the start."""
        return self._intervals

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
        intervals = _checked_intervals(intervals)
        if self.running:
            self.watch(symbols, intervals)
        else:
            with self._lock:
                self._symbols = tuple(dict.fromkeys((*self._symbols, *symbols)))
                self._intervals = intervals
                self.enable_websocket = enable_websocket
        return self.start(timeout)

    def watch(self, symbols: Iterable[str], intervals: Iterable[str] | None = None) -> None:
        """Follow these symbols too. Returns at once; until they are warm their reads are answered by REST."""
        symbols = check_symbols(symbols)
        checked = self._intervals if intervals is None else _checked_intervals(intervals)
        runtime = self._running()
        self._check_listed(symbols)
        with self._lock:
            self._symbols = tuple(dict.fromkeys((*self._symbols, *symbols)))
            watched = keys_of(symbols, checked, self.config.open_interest_periods)
            with runtime.engine_lock:
                # What was followed only because it was read is kept from now on, read or not.
                runtime.engine.demand.forget(watched)
                added = self._store.follow(watched)
            runtime.follow(added)

    def unwatch(self, symbols: Iterable[str]) -> None:
        """Follow these symbols no longer; their data is dropped."""
        symbols = check_symbols(symbols)
        runtime = self._running()
        with self._lock:
            self._symbols = tuple(symbol for symbol in self._symbols if symbol not in symbols)
            runtime.unfollow(self._store.unfollow(key for key in self._store.followed_keys() if key.symbol in symbols))

    def _want(self, key: Key) -> None:
        """A watched symbol's open interest is read for a period that is not followed yet: from now on it is.

        Its full order book is followed as long as it is read.
        """
        if key.kind is Kind.DEPTH and key.symbol in self._symbols:
            self._demand(key, 0)
        if key.kind is not Kind.OPEN_INTEREST:
            return
        with self._lock:
            if self._runtime is not None and key.symbol in self._symbols:
                self._runtime.follow(self._store.follow([key]))

    def _running(self) -> Runtime:
        runtime = self._runtime
        if runtime is None or runtime.stopped:
            raise NotRunning("the manager is not running; call start() first")
        return runtime

    # --- reads ---------------------------------------------------------------------------------------------

    @property
    def rest_shaped(self) -> RestShaped:
        """The same reads in the exact shape of the exchange's REST answers (decimals as strings).

        While the manager does not run, each of its calls is one budgeted request on the calling thread.
        """
        self._warn_if_forked()
        return RestShaped(self._patient_reads, self.config, live=self.running, want=self._demand)

    def autostart(self) -> DataManager:
        """Start in the background, without waiting and with nothing to follow but what will be read in the old shape.

        Does nothing where it runs already, after a ``close()``, in a forked child, and with the environment's
        ``ATS_SYNC_AUTOSTART=0``.
        """
        allowed = not (self._closed or self._forked) and os.environ.get("ATS_SYNC_AUTOSTART", "1") != "0"
        if allowed and not self.running:
            self._launch()
            self._ready = True
        return self

    def _demand(self, key: Key, depth: int) -> None:
        """A series is read in the old shape: it is followed from now on, as deep as that read, until nobody asks."""
        runtime = self._runtime
        if runtime is None or (key.kind is Kind.DEPTH and not self.enable_websocket):
            return
        demand = runtime.engine.demand
        series = self._store.get(key)
        if series is None:
            listings = self._store.listings.get("info")
            if key.kind is not Kind.SPOT_KLINES and listings is not None and key.symbol not in listings.value.trading:
                return
            with self._lock:
                if self._runtime is not runtime:
                    return
                added = self._store.follow([key], depth)
                series = self._store.get(key)
                if added and isinstance(series, KlineSeries):
                    series.first_rows = max(depth, LEAST_ROWS)
                if added:
                    demand.asked(key, self.clock.now())
                runtime.follow(added)
            return
        if isinstance(series, (KlineSeries, OpenInterestSeries)) and depth > series.depth:
            series.depth = depth
        if key in demand:
            demand.asked(key, self.clock.now())

    def _warn_if_forked(self) -> None:
        if self._forked and not self._fork_told:
            self._fork_told = True
            log.warning(
                "this process was forked from one that ran a DataManager: it shares nothing with it, and each read is "
                "one REST request, counted against the same address; call start() for a manager of its own"
            )

    def after_fork(self) -> None:
        """In a child process: the parent's threads, sockets, locks and data are not here."""
        ran = self._runtime is not None
        self.clock.after_fork()
        self._begin_afresh()
        self._forked = self._forked or ran
        self._fork_told = False

    def get_klines(
        self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None
    ) -> list[list[Any]]:
        """Candles, oldest first, the last one open.

        Each is ``[open_time, open, high, low, close, volume, close_time, quote_volume, trades,
        taker_buy_base, taker_buy_quote, ignore]``: times (ms) and trades int, the rest float. Fewer than
        ``limit`` only where the symbol has no longer history. Source: ``<symbol>@kline_<interval>`` and
        ``/fapi/v1/klines``. At a candle's turn, until its first event, the last row is what REST shows too:
        flat at the last close, without trades.
        """
        symbol, interval = check_symbol(symbol), check_interval(interval)
        limit, max_age = check_limit(limit, KLINES_MOST), check_max_age(max_age)
        return self._alive().klines(symbol, interval, limit, max_age=max_age, exact=False)

    def get_klines_array(self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None) -> Any:
        """:meth:`get_klines` as a NumPy structured array (the extra ``arrays``).

        Its fields bear the names given there: times (ms) and trades int64, the rest float64. The caller's own.
        :class:`~ats_sync.errors.MissingExtra` where NumPy is not installed.
        """
        return self._table(klines_array, symbol, interval, limit, max_age)

    def get_klines_frame(self, symbol: str, interval: str, limit: int = 300, *, max_age: float | None = None) -> Any:
        """:meth:`get_klines` as a pandas DataFrame (the extra ``frames``).

        Indexed by open time, UTC; columns ``open``, ``high``, ``low``, ``close``, ``volume``, ``close_time`` (UTC),
        ``quote_volume``, ``trades`` (int64), ``taker_buy_base``, ``taker_buy_quote``, the others float64.
        :class:`~ats_sync.errors.MissingExtra` where pandas is not installed.
        """
        return self._table(klines_frame, symbol, interval, limit, max_age)

    def _table(
        self, shape: Callable[[Candles], Any], symbol: str, interval: str, limit: int, max_age: float | None
    ) -> Any:
        symbol, interval = check_symbol(symbol), check_interval(interval)
        limit, max_age = check_limit(limit, KLINES_MOST), check_max_age(max_age)
        return _shaped(shape, lambda: self._alive().kline_columns(symbol, interval, limit, max_age=max_age))

    def get_orderbook(self, symbol: str, limit: int = 20, *, max_age: float | None = None) -> dict[str, Any]:
        """``{"bids": [[price, quantity], …], "asks": …, "timestamp": ms, "lastUpdateId": int}``, best first.

        Floats, ``limit`` levels a side (at most 1000) where the book has so many. Source:
        ``<symbol>@depth20@100ms`` up to 20 levels. The first read of more is answered by ``/fapi/v1/depth``, and for a
        watched symbol ``<symbol>@depth@100ms`` is followed from then on (until nobody has asked for half an hour): a
        full book in memory, asked anew where the price has moved too far for it.
        """
        symbol, limit = check_symbol(symbol), check_limit(limit, DEPTH_LIMITS[-1])
        max_age = check_max_age(max_age)
        return _shaped(
            lambda book: self._shape_book(symbol, book, limit),
            lambda: self._alive().book(symbol, limit, max_age=max_age),
        )

    def _shape_book(self, symbol: str, book: Book, limit: int) -> dict[str, Any]:
        shelf: Mapping[str, BookSeries | DepthBook]
        shelf = self._store.books if limit <= STREAMED_LEVELS else self._store.depths
        series = shelf.get(symbol)
        if series is not None:
            bids, asks = series.floats(book)
        else:
            bids = [[float(price), float(quantity)] for price, quantity, *_ in book.bids]
            asks = [[float(price), float(quantity)] for price, quantity, *_ in book.asks]
        return {
            "bids": [level.copy() for level in bids[:limit]],
            "asks": [level.copy() for level in asks[:limit]],
            "timestamp": book.time,
            "lastUpdateId": book.update_id,
        }

    def get_mark_price(self, symbol: str, *, max_age: float | None = None) -> float:
        """The mark price. Source: ``!markPrice@arr@1s`` and ``/fapi/v1/premiumIndex``."""
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return _shaped(lambda mark: float(mark.mark_price), lambda: self._alive().mark(symbol, max_age=max_age))

    def get_funding_rate(self, symbol: str, *, max_age: float | None = None) -> dict[str, Any]:
        """``{"rate": float, "nextTime": ms, "markPrice": float, "timestamp": ms}``. Source: as the mark price."""
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return _shaped(_shape_funding, lambda: self._alive().mark(symbol, max_age=max_age))

    def get_spot_price(self, symbol: str, *, max_age: float | None = None) -> float:
        """The price of the spot pair of the same name. Source: ``/api/v3/ticker/price``, every 48 s.

        :class:`~ats_sync.errors.NoSpotPair` for a perpetual without one.
        """
        symbol, max_age = check_symbol(symbol), check_max_age(max_age)
        return _shaped(
            lambda price: float(price if isinstance(price, str) else price.get(symbol, "nan")),
            lambda: self._alive().spot_price(symbol, max_age=max_age),
        )

    def get_oi_history(
        self, symbol: str, interval: str = "1h", limit: int = 100, *, max_age: float | None = None
    ) -> list[dict[str, Any]]:
        """Open interest, oldest first: ``{"timestamp": ms, "sumOpenInterest": float, "sumOpenInterestValue": float}``.

        Source: ``/futures/data/openInterestHist`` for each interval on its own, every 4 minutes.
        """
        symbol, interval = check_symbol(symbol), check_period(interval)
        limit, max_age = check_limit(limit, OPEN_INTEREST_MOST), check_max_age(max_age)
        return _shaped(
            _shape_open_interest,
            lambda: self._alive().open_interest_columns(symbol, interval, limit, max_age=max_age),
        )

    def get_agg_trades(self, symbol: str, limit: int = 500, *, max_age: float | None = None) -> list[dict[str, Any]]:
        """Aggregated trades without a hole, oldest first.

        Each is ``{"id": int, "price": float, "qty": float, "time": ms, "isBuyerMaker": bool}``. Source:
        ``<symbol>@aggTrade`` and ``/fapi/v1/aggTrades`` (which gives at most 1000).
        """
        symbol, limit = check_symbol(symbol), check_limit(limit, max(self.config.max_trades, AGG_TRADES_MOST))
        max_age = check_max_age(max_age)
        return _shaped(_shape_trades, lambda: self._alive().trade_columns(symbol, limit, max_age=max_age))

    def get_liquidation_trades(
        self, symbol: str, limit: int = 500, *, max_age: float | None = None
    ) -> list[dict[str, Any]]:
        """The trades that liquidation density is computed from: the same as :meth:`get_agg_trades`."""
        return self.get_agg_trades(symbol, limit, max_age=max_age)

    def get_liquidations(self, symbol: str | None = None, limit: int = 100) -> list[dict[str, Any]]:
        """Forced orders seen since the start, oldest first, of one symbol or of all.

        Each is ``{"symbol", "side", "price", "averagePrice", "qty", "filledQty", "status", "time"}`` (prices
        and quantities float, time ms). Source: ``!forceOrder@arr``, which reports at most one a second and
        symbol; the exchange has no REST for them, so what happened before the start is unknown.
        """
        checked = None if symbol is None else check_symbol(symbol)
        orders = self._alive().liquidations(checked, check_limit(limit))
        return [
            {
                "symbol": each.symbol,
                "side": each.order["S"],
                "price": float(each.order.get("p", 0)),
                "averagePrice": float(each.order.get("ap", 0)),
                "qty": float(each.order.get("q", 0)),
                "filledQty": float(each.order.get("z", 0)),
                "status": each.order.get("X", ""),
                "time": each.time,
            }
            for each in orders
        ]

    def wait_closed(self, symbol: str, interval: str, after: int, timeout: float | None = None) -> list[Any] | None:
        """Block until a candle that opened later than ``after`` (ms) is final; its row, or None in vain.

        The row is shaped as in :meth:`get_klines`; where several have closed meanwhile it is the newest. The
        series must be followed. Raises :class:`~ats_sync.errors.NotRunning` when the manager is closed.
        """
        symbol, interval = check_symbol(symbol), check_interval(interval)
        deadline = None if timeout is None else self.clock.now() + timeout
        runtime = self._running()
        series = self._store.klines.get((symbol, interval))
        if series is None:
            raise InvalidSymbol(f"{symbol} {interval} is not followed; watch(['{symbol}'], ['{interval}']) first")
        while True:
            with runtime.closed_candle:
                text = series.closed_after(after)
                if text is None:
                    if runtime.stopped:
                        raise NotRunning("the manager was closed while waiting for a candle")
                    left = None if deadline is None else deadline - self.clock.now()
                    if left is not None and left <= 0:
                        return None
                    runtime.closed_candle.wait(left)
                    continue
            assert text_open_time(text) > after
            return float_rows((text,))[0]

    def _alive(self) -> Reads:
        self._running()
        return self._reads

    # --- what it tells about itself --------------------------------------------------------------------------

    @property
    def last_update(self) -> Mapping[str, float]:
        """Epoch seconds of each series' newest event or answer, read-only: keys such as ``BTCUSDT_klines_1h``,
        ``BTCUSDT_orderbook``, ``_depth``, ``_oi``, ``_funding``, ``_mark``, ``_spot``, ``_trades``,
        ``_liquidation``."""
        return MappingProxyType(last_updates(self._store))

    def get_stats(self) -> dict[str, Any]:
        """Counts since this object was made: data frames (``ws_updates``), requests (``rest_calls``, and by cause),
        reads from memory and past it (``cache_hits``, ``cache_misses``), reconnects, what is cached."""
        runtime, store = self._runtime, self._store
        by_cause = self._counters.requests()
        hits, misses = self._counters.hits, self._counters.misses
        reconnects, frames, threads = self._reconnects_before, self._frames_before, 0
        if runtime is not None:
            with runtime.engine_lock:
                reconnects += runtime.engine.connections.reconnects
            frames += runtime.frames()
            threads = runtime.requests.workers()
        return {
            "initialized": self.initialized,
            "symbols_count": len(self._symbols),
            "klines_cached": sum(map(len, store.klines.values())),
            "oi_cached": sum(map(len, store.open_interest.values())),
            "trades_cached": sum(map(len, store.trades.values())),
            "depth_cached": sum(book.live() for book in store.depths.values()),
            "funding_cached": sum(symbol in self._symbols for symbol in store.marks.everything()),
            "ws_updates": frames,
            "ws_reconnects": reconnects,
            "ws_dropped": store.dropped(),
            "rest_calls": sum(by_cause.values()),
            "rest_calls_by_cause": by_cause,
            "rest_threads": threads,
            "weight_most_used": {bucket.value: used for bucket, used in self._budget.most_used.items()},
            "cache_hits": hits,
            "cache_misses": misses,
            "cache_hit_rate": f"{100.0 * hits / (hits + misses):.1f}%" if hits + misses else "-",
        }

    def status(self) -> Status:
        """The overall state, every connection, every feed with its age; ``print()`` it."""
        runtime = self._runtime
        now = self.clock.now()
        blocked = {
            host.value: self.clock.to_wall(until)
            for host in Host
            if (until := self._budget.blocked_until(host, now)) is not None
        }
        if runtime is None or runtime.stopped:
            return Status(Overall.STOPPED, self._begun, (), (), 0, blocked)
        with runtime.engine_lock:
            connections = connection_statuses(runtime.engine, self.clock)
            feeds = feed_statuses(runtime.engine, self._store, self.clock)
        if not self._ready:
            overall = Overall.STARTING
        elif any(feed.state.value == "degraded" for feed in feeds):
            overall = Overall.DEGRADED
        else:
            overall = Overall.LIVE
        return Status(overall, self._begun, connections, feeds, runtime.requests.waiting(), blocked)

    def quality(self, symbol: str) -> Quality:
        """How good a watched symbol's data was over the last 5 minutes: a score from 0 to 1 and its parts."""
        symbol = check_symbol(symbol)
        runtime = self._running()
        if symbol not in self._store.symbols:
            raise InvalidSymbol(f"{symbol} is not watched; watch(['{symbol}']) first")
        with runtime.engine_lock:
            return runtime.engine.quality.judge(symbol, moment(self.clock))

    def __repr__(self) -> str:
        state = "running" if self.running else "stopped"
        return f"<DataManager {state}, {len(self._symbols)} symbols × {', '.join(self._intervals)}>"


def _checked_intervals(intervals: Iterable[str]) -> tuple[str, ...]:
    if isinstance(intervals, str) or not isinstance(intervals, Iterable):
        raise InvalidArgument(f"intervals is a list such as ['1h', '15m'], not {intervals!r}")
    return tuple(dict.fromkeys(check_interval(interval) for interval in intervals))


def _shaped(shape: Callable[[Any], T], read: Callable[[], Any]) -> T:
    """Read and shape; the data that a stale-data error carries is shaped the same way."""
    try:
        value = read()
    except StaleDataError as error:
        error.data = shape(error.data)
        raise
    return shape(value)


def _shape_funding(mark: Mark) -> dict[str, Any]:
    return {
        "rate": float(mark.funding_rate),
        "nextTime": mark.next_funding_time,
        "markPrice": float(mark.mark_price),
        "timestamp": mark.time,
    }


def _shape_open_interest(rows: list[dict[str, Any]] | OpenInterestColumns) -> list[dict[str, Any]]:
    if isinstance(rows, OpenInterestColumns):
        return [
            {"timestamp": stamp, "sumOpenInterest": amount, "sumOpenInterestValue": value}
            for stamp, amount, value in zip(*rows, strict=True)
        ]
    return [
        {
            "timestamp": row["timestamp"],
            "sumOpenInterest": float(row["sumOpenInterest"]),
            "sumOpenInterestValue": float(row["sumOpenInterestValue"]),
        }
        for row in rows
    ]


def _shape_trades(trades: list[Trade] | TradeColumns) -> list[dict[str, Any]]:
    if isinstance(trades, TradeColumns):
        numbers = range(trades.first, trades.after)
        items = zip(numbers, trades.prices, trades.quantities, trades.times, trades.makers, strict=True)
        return [
            {"id": number, "price": price, "qty": quantity, "time": time, "isBuyerMaker": maker == 1}
            for number, price, quantity, time, maker in items
        ]
    return [
        {
            "id": trade.id,
            "price": float(trade.price),
            "qty": float(trade.quantity),
            "time": trade.time,
            "isBuyerMaker": trade.buyer_is_maker,
        }
        for trade in trades
    ]


_managers: weakref.WeakSet[DataManager] = weakref.WeakSet()
_shared_lock = threading.Lock()  # guards _shared
_shared: DataManager | None = None


def get_data_manager() -> DataManager:
    """The manager that the whole process shares, made at the first call; ``initialize()`` starts it."""
    global _shared
    with _shared_lock:
        if _shared is None:
            _shared = DataManager()
        return _shared


def reset_data_manager() -> None:
    """Close the shared manager and forget it, so that the next call reads the environment anew."""
    global _shared
    with _shared_lock:
        manager, _shared = _shared, None
    if manager is not None:
        manager.close()


def _after_fork() -> None:
    global _shared_lock
    _shared_lock = threading.Lock()
    for manager in list(_managers):
        manager.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
