"""Which series a manager keeps: those of the symbols it watches, and those that somebody reads."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from operator import itemgetter

from .clock import Clock
from .config import Config
from .errors import InvalidInterval, InvalidSymbol
from .feeds import FEEDS, Key, Kind, Scope
from .lifecycle import Lifecycle
from .store.market import keys_of
from .venue.endpoints import OPEN_INTEREST_LIMIT

log = logging.getLogger(__name__)

LEAST_ROWS = 2
POLLS = {
    feed.kind: OPEN_INTEREST_LIMIT[1] / feed.poll.every
    for feed in FEEDS.values()
    if feed.poll is not None and feed.shares_limit
}
"""How many requests one series of a kind causes in the window of the limit that open interest and the ratios share."""


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
        self._surplus: set[Key] = set()

    def keys(self) -> list[Key]:
        """Return what is followed from the start."""
        followed, self._surplus = self._watched(self.symbols, self.intervals)
        return followed

    def _watched(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> tuple[list[Key], set[Key]]:
        """Return what is followed for watched symbols, and what is not, since its polls would exceed the limit."""
        keys = keys_of(symbols, intervals, self._config.open_interest_periods)
        fitting = self._fitting(keys)
        return fitting, set(keys).difference(fitting)

    def warn_of_surplus(self) -> None:
        """Say which of the series that the start was to follow are not polled."""
        with self._life.lock:
            surplus, self._surplus = self._surplus, set()
        _warn_of(surplus)

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
            watched, surplus = self._watched(symbols, intervals)
            life.watch(watched)
        life.bring_watched(watched)
        _warn_of(surplus)

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

        A further period of open interest is followed from now on where its polls fit; a full order book, as long as it
        is read.
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
                    life.runtime.follow(life.store.follow(self._fitting([key])))

    def _fitting(self, keys: Sequence[Key]) -> list[Key]:
        """Return those of ``keys`` that may be followed in addition to what is followed already: all but the new ones
        whose polls would exceed what open interest and the ratios share. Where anything is polled here, the caller
        holds the lock.

        Whatever is followed keeps its place. Of what is new, the first period of each symbol goes before the second of
        any.
        """
        life = self._life
        if life.reads_shared:
            return list(keys)
        assert life.lock.locked()
        known = life.store.series
        new = [key for key in keys if key.kind in POLLS and key not in known]
        if not new:
            return list(keys)
        polled = Counter(map(itemgetter(0), known))
        room = OPEN_INTEREST_LIMIT[0] * (self._config.weight_share - self._config.repair_share)
        room -= sum(polled[kind] * polls for kind, polls in POLLS.items())
        order = {period: place for place, period in enumerate(dict.fromkeys(key.interval for key in new))}
        surplus = set()
        for key in sorted(new, key=lambda key: order[key.interval]):
            if POLLS[key.kind] <= room:
                room -= POLLS[key.kind]
            else:
                surplus.add(key)
        return [key for key in keys if key not in surplus]

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
                if life.runtime is not runtime or not self._fitting([key]):
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


def _warn_of(surplus: set[Key]) -> None:
    if surplus:
        log.warning(
            "%d series, such as %s, are not polled: of the %d requests in %d s that open interest and the ratios "
            "share, nothing is left for them; each read of one is a request",
            len(surplus),
            min(surplus),
            *OPEN_INTEREST_LIMIT,
        )
