"""What the engine does as contracts come and go.

One that has left the exchange is delisted. One that is back, or bears the name of another, starts from nothing. Candles
learn of halts.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator

from ..feeds import LISTINGS, Key, route_of, stream_of
from ..store.klines import KlineSeries
from ..store.market import MarketStore
from ..store.order import LAGS_AT_MOST, dated_back
from .connections import Connections
from .listings import AT_ONCE, Findings, Listings
from .moment import Moment
from .polls import LISTINGS_AGAIN_AFTER
from .quality import QualityMeter
from .reconciler import DRIFTS, Reconciler

log = logging.getLogger(__name__)

KNOWN_EVERYWHERE_AFTER = LAGS_AT_MOST / 1000.0 + 0.1
"""How long (seconds) a replica may not know a new contract, with a margin for clocks that drift."""


class Contracts:
    """Acts on what :class:`~ats_sync.engine.listings.Listings` finds out. Not thread-safe: the caller holds the lock of
    the engine."""

    def __init__(
        self,
        store: MarketStore,
        listings: Listings,
        connections: Connections,
        reconciler: Reconciler,
        quality: QualityMeter,
        *,
        streams: bool,
    ) -> None:
        self._store = store
        self._listings = listings
        self._connections = connections
        self._reconciler = reconciler
        self._quality = quality
        self._streams = streams
        self._hears_events = False  # whether !contractInfo was ever subscribed
        self._recounted: dict[str, int] = {}  # by when (exchange ms) ids began again, until exchangeInfo was requested
        self._new: dict[str, float] = {}  # symbols of new contracts, and until when (steady) replicas may not know

    def forget(self, symbols: Collection[str]) -> None:
        """Forget these symbols, which are no longer followed."""
        self._listings.forget(symbols)
        for symbol in symbols:
            self._recounted.pop(symbol, None)

    # --- what is learned ---------------------------------------------------------------------------

    def answered(self, at: Moment) -> None:
        """Act on an answer of exchangeInfo that was merged."""
        found = self._listings.answered(at)
        self._act(found, at)
        self._confirm_recounted(found)

    def shown(self, at: Moment) -> None:
        """Request the listings where the tickers show that a followed symbol has left the exchange, or that one trades
        which is not listed."""
        seen, listings = self._store.tickers.listed, self._store.listings.get()
        if not seen >= self._expected() or (listings is not None and not seen <= listings.value.listed):
            self._reconciler.polls.again(LISTINGS, at, LISTINGS_AGAIN_AFTER)

    def refused(self, symbol: str, at: Moment) -> None:
        """Request the listings, since the exchange has just refused a request because it does not know a symbol. (One
        refusal alone delists nothing.)"""
        if symbol in self._expected():
            self._listings.refused(symbol, at)
            self._ask_for_listings(AT_ONCE, at)

    def events_acknowledged(self, at: Moment) -> None:
        """Request the listings, since events may have been missed while there was no subscription to them."""
        if self._hears_events:
            self._ask_for_listings(AT_ONCE, at)
        self._hears_events = True

    def recounted(self, symbols: Collection[str], at: Moment) -> None:
        """Request the listings and the whole history of these symbols' candles as soon as every replica knows it: their
        trade ids have restarted, perhaps since the names belong to other contracts now."""
        self._ask_for_listings(AT_ONCE, at)
        states = self._reconciler.states
        for series in self._candles_of(symbols):
            series.note_recounted(at.exchange)
            state = states.get(series.key)
            if state is not None and (state.link is not None or not self._streams):
                wait = (LAGS_AT_MOST + at.uncertain) / 1000.0 + DRIFTS  # (the time may still be corrected)
                self._reconciler.repair(series.key, at, wait)
        self._recounted.update(dict.fromkeys(symbols, at.exchange - at.uncertain))

    def date_back(self, now: int) -> None:
        """Count as of ``now`` (exchange ms) what was noted by a clock that was ahead."""
        self._recounted = dated_back(self._recounted, now)

    # --- time --------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Do what is due."""
        if self._streams and (found := self._listings.look(at)) is not None:
            self._act(found, at)
        if self._new:
            self._confirm_new(at)

    def next_due(self) -> float | None:
        """Return when (steady) :meth:`tick` is due next, None if nothing is foreseeable."""
        moments = list(self._new.values())
        if self._streams:
            moments.append(self._listings.due())
        return min(moments, default=None)

    # --- what follows ------------------------------------------------------------------------------

    def _act(self, found: Findings, at: Moment) -> None:
        """Delist contracts that have left the exchange, so that they cost nothing more; start over with those that are
        back."""
        store, reconciler = self._store, self._reconciler
        if found.ask is not None:
            self._ask_for_listings(found.ask, at)
        for symbol in found.woken:
            reconciler.begin_trading(symbol, at)
        for series in self._candles_of(found.paused):
            series.note_paused(found.paused[series.key.symbol])
        for series in self._candles_of(found.trading):
            if series.note_trading(found.trading[series.key.symbol]):
                reconciler.repair(series.key, at)  # its candles had stopped in a halt
        if not found.gone and not found.back and not found.renewed:
            return
        kept = {symbol: why for symbol, why in store.delisted.items() if symbol not in found.back}
        store.delisted = {**kept, **dict.fromkeys(found.gone, "it no longer trades on the exchange; unwatch it")}
        for symbol in found.gone:
            self._new.pop(symbol, None)
        for key in self._keys_of(found.gone):
            reconciler.delist(key, "it no longer trades on the exchange")
            name = stream_of(key) if self._streams else None
            if name is not None:
                self._connections.unsubscribe([name], at)
        # What comes back may be another contract, even where nothing says so.
        self._begin_again((found.back | found.renewed) - found.gone, at)

    def _begin_again(self, symbols: set[str], at: Moment) -> None:
        """Follow these symbols as if they were followed for the first time: each is a new contract."""
        keys = self._keys_of(symbols)
        if not keys:
            return
        log.info("%s: listed again; all that was known is forgotten", ", ".join(sorted(symbols)))
        # Answers count by the earliest time at which they may have been requested: so does this.
        self._store.renew(keys, at.exchange - at.uncertain)
        self._forget_series(keys, symbols, at)
        self._new.update(dict.fromkeys(symbols, at.steady + KNOWN_EVERYWHERE_AFTER))

    def _confirm_new(self, at: Moment) -> None:
        """Forget once more what is known of new contracts as soon as every replica knows them: an earlier answer may
        have been about the contract that had the name before."""
        symbols = {symbol for symbol, until in self._new.items() if at.steady >= until}
        if symbols:
            keys = self._keys_of(symbols)
            self._store.begin_again(keys, at.exchange - at.uncertain)
            self._forget_series(keys, symbols, at)
            for symbol in symbols:
                del self._new[symbol]

    def _forget_series(self, keys: Collection[Key], symbols: Collection[str], at: Moment) -> None:
        """Have the other parts forget what they know of series that have just been emptied in the store."""
        self._reconciler.renew(keys, at, self._listings.onboarded)
        self._quality.forget(symbols)
        for key in keys if self._streams else ():
            name = stream_of(key) if self._store.derivations.root_of(key) == key else None
            if name is not None and not self._connections.resubscribe(name, at):
                self._connections.subscribe([(name, route_of(key))], at)

    def _confirm_recounted(self, found: Findings) -> None:
        """Let candles know where listings of after their trade ids began again show the same contract as before."""
        info = self._store.listings.get()
        if not self._recounted or info is None:
            return
        shown = {symbol for symbol, since in self._recounted.items() if info.as_of >= since}
        self._recounted = {symbol: since for symbol, since in self._recounted.items() if symbol not in shown}
        for series in self._candles_of(shown - found.gone - found.back - found.renewed):
            series.note_listed()

    def _ask_for_listings(self, pause: float, at: Moment) -> None:
        """Request the listings within ``pause`` seconds."""
        if pause <= AT_ONCE:
            self._reconciler.polls.again(LISTINGS, at, pause)
        self._reconciler.polls.within(LISTINGS, at, pause)

    def _expected(self) -> frozenset[str]:
        """Return the followed symbols that the exchange should have."""
        return self._store.symbols - self._store.delisted.keys()

    def _keys_of(self, symbols: Collection[str]) -> list[Key]:
        """Return the series of these contracts."""
        states = self._reconciler.states.values()
        return [state.key for state in states if state.key.symbol in symbols and not state.feed.spot]

    def _candles_of(self, symbols: Collection[str]) -> Iterator[KlineSeries]:
        """Yield the candles of these contracts."""
        for series in self._store.of(KlineSeries) if symbols else ():
            if series.key.symbol in symbols and not series.feed.spot:
                yield series
