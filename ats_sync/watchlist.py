"""Which series a manager keeps: those of the symbols it watches, and those that somebody reads."""

from __future__ import annotations

from .clock import Clock
from .config import Config
from .errors import InvalidInterval, InvalidSymbol
from .feeds import FEEDS, Feed, Key, Kind, Scope
from .lifecycle import Lifecycle
from .store.market import keys_of
from .venue.endpoints import OPEN_INTEREST_LIMIT

LEAST_ROWS = 2


class Watchlist:
    """The symbols and intervals that are watched, and what is followed because it is read.

    Guarded by the lock of the lifecycle.
    """

    def __init__(
        self, config: Config, clock: Clock, life: Lifecycle, symbols: tuple[str, ...], intervals: tuple[str, ...]
    ) -> None:
        self._config = config
        self._clock = clock
        self._life = life
        self.symbols = symbols
        self.intervals = intervals

    def keys(self) -> list[Key]:
        """Return what is followed from the start."""
        return keys_of(self.symbols, self.intervals, self._config.open_interest_periods)

    def prepare(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        """Add these symbols, and replace the intervals, from the next start on."""
        with self._life.lock:
            self._add(symbols)
            self.intervals = intervals

    def _add(self, symbols: tuple[str, ...]) -> None:
        self.symbols = tuple(dict.fromkeys((*self.symbols, *symbols)))

    def watch(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        """Follow these symbols too, with these intervals."""
        life = self._life
        life.launched()
        if any(map(life.store.is_gone, symbols)):
            life.reads.refresh_listings()  # It may have been listed since.
        life.check_listed(symbols)
        with life.lock:
            self._add(symbols)
            watched = keys_of(symbols, intervals, self._config.open_interest_periods)
            life.watch(watched)
        life.bring_watched(watched)

    def unwatch(self, symbols: tuple[str, ...]) -> None:
        """Stop following these symbols, now or from the next start on."""
        life = self._life
        with life.lock:
            self.symbols = tuple(symbol for symbol in self.symbols if symbol not in symbols)
            if life.running:
                life.unwatch(symbols)

    def check_followed(self, symbols: tuple[str, ...] | None, intervals: tuple[str, ...] | None) -> None:
        """Raise :class:`~ats_sync.errors.InvalidSymbol` or :class:`~ats_sync.errors.InvalidInterval` where candles of
        one of these are not followed, now or from the next start on (None: any)."""
        life = self._life
        if life.running:
            life.check_listed(symbols or ())
            followed = {key for key in life.followed_keys() if FEEDS[key.kind].notifies}
        else:
            followed = {Key(Kind.KLINES, symbol, interval) for symbol in self.symbols for interval in self.intervals}
        for interval in intervals or ():
            if symbols is None and not any(key.interval == interval for key in followed):
                raise InvalidInterval(f"candles of {interval} are not followed; watch(symbols, ['{interval}']) first")
        for symbol in symbols or ():
            of_symbol = {key.interval for key in followed if key.symbol == symbol}
            lacking = [interval for interval in intervals or () if interval not in of_symbol]
            if lacking or not of_symbol:
                what = f"{symbol} {lacking[0]}" if lacking else symbol
                raise InvalidSymbol(f"{what} is not followed; watch(['{symbol}'], {lacking or '…'}) first")

    def touch(self, key: Key) -> None:
        """Note the read of a watched symbol's series that is not followed from the start.

        A further period of open interest is followed from now on, a full order book as long as it is read.
        """
        feed = FEEDS[key.kind]
        if key.symbol not in self.symbols or feed.spot:
            return
        if feed.scope is Scope.ON_DEMAND:
            self.demand(key, 0)
        elif feed.scope is Scope.PERIODS:
            life = self._life
            with life.lock:
                if life.runtime is not None and key.symbol in self.symbols:
                    life.runtime.follow(life.store.follow([key]))

    def _affords(self, feed: Feed) -> bool:
        """Return whether the polls of one more series fit into what open interest and the ratios share.

        The caller holds the lock."""
        assert self._life.lock.locked()
        requests, window = OPEN_INTEREST_LIMIT
        feeds = [*(FEEDS[key.kind] for key in self._life.store.followed_keys()), feed]
        polls = sum(window / each.poll.every for each in feeds if each.poll is not None and each.poll.shares_limit)
        return polls <= requests * (self._config.weight_share - self._config.repair_share)

    def demand(self, key: Key, rows: int) -> None:
        """Follow a series that is read through the shim, as deep as that read, until it is no longer read."""
        life, feed = self._life, FEEDS[key.kind]
        runtime = life.runtime
        on_demand = feed.scope is Scope.ON_DEMAND
        if runtime is None or (on_demand and feed.own_stream and not feed.spot and not runtime.streams):
            return
        demand = runtime.demand
        series = life.store.get(key)
        if series is None:
            if not feed.spot and life.store.is_gone(key.symbol):
                return
            with life.lock:
                if life.runtime is not runtime or (on_demand and not feed.own_stream and not self._affords(feed)):
                    return
                added = life.store.follow([key], rows)
                if added:
                    life.store.series[key].begin_with(max(rows, LEAST_ROWS))
                    life.store.series[key].expecting = life.expects(key)
                    demand.touch(key, self._clock.now())
                runtime.follow(added)
            return
        series.deepen(rows)
        if key in demand:
            demand.touch(key, self._clock.now())
