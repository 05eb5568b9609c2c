"""The engine: connections and the reconciler under one roof, driven by events and time."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..errors import AtsSyncError, ConnectionFailed, NotRunning, RateLimited, RequestRejected
from ..feeds import CLOCK, FEEDS, LISTINGS, Feed, Key, route_of, stream_of
from ..store.link import Link
from ..store.market import MarketStore
from ..store.order import LAGS_AT_MOST, dated_back
from ..store.series import StoreEvent
from ..venue.endpoints import UNKNOWN_SYMBOL, Host, Route
from .connection import Action, Ended, HandedOver, Phase
from .connections import Connections
from .demand import Demand
from .guarded import Guarded
from .jobs import Fetch
from .lateness import Lateness
from .listings import AT_ONCE, Findings, Listings
from .moment import Moment
from .obstacles import Obstacles
from .polls import CLOCK_AGAIN_AFTER, LISTINGS_AGAIN_AFTER
from .quality import QualityMeter
from .reconciler import Reconciler
from .remedies import Remedy
from .silence import Silence

log = logging.getLogger(__name__)

KNOWN_EVERYWHERE_AFTER = LAGS_AT_MOST / 1000.0 + 0.1
"""How long (seconds) a replica may not know a new contract, with a margin for clocks that drift."""
OUTAGE = 3
"""After so many failures in a row a host that answers again was out of order."""
MASS_SUSPICION = 20
MASS_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Submit:
    """A fetch for the request queue."""

    fetch: Fetch


class Engine(Guarded):
    """Takes events and returns actions. Not thread-safe: the driver holds its lock (:attr:`guard`), except for
    :attr:`demand`, which has a lock of its own, since readers mark there what they read."""

    def __init__(
        self, config: Config, store: MarketStore, *, streams: bool = True, rng: random.Random | None = None
    ) -> None:
        rng = rng if rng is not None else random.Random()
        self.streams = streams
        self.store = store
        self.connections = Connections(config, rng)
        self.reconciler = Reconciler(store, rng, streams=streams)
        self.quality = QualityMeter(store)
        self._lateness = Lateness()
        self._silence = Silence(store)
        self._network_failed = False
        self._hears_contracts = False  # whether !contractInfo was ever subscribed
        self.demand = Demand()
        self.listings = Listings(store)
        self.obstacles = Obstacles()
        self._by_stream: dict[str, Key] = {}
        self._recounted: dict[str, int] = {}  # by when (exchange ms) ids began again, until exchangeInfo was requested
        self._new: dict[str, float] = {}  # symbols of new contracts, and until when (steady) replicas may not know

    # --- events ------------------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        """Keep these series from now on."""
        keys = list(keys)
        self.reconciler.follow(keys, at)
        if self.streams:
            self.connections.paused = self.reconciler.polls.waits_for_clock()
            self._subscribe([key for key in keys if self.store.derivations.root_of(key) == key], at)
            for key in keys:
                self._join(key, at)
        self.tick(at)

    def _subscribe(self, keys: Iterable[Key], at: Moment) -> None:
        names = []
        for key in keys:
            name = stream_of(key)
            if name is not None:
                self._by_stream[name] = key
                names.append((name, route_of(key)))
        self.connections.subscribe(names, at)

    def _join(self, key: Key, at: Moment) -> None:
        """Let a series that is derived from one which is streamed already live by that stream."""
        sources = self.store.derivations.sources_of(key)
        for source in sources:
            self.reconciler.lengthen(source, at)
        root = self.reconciler.states.get(sources[-1]) if sources else None
        if root is not None and root.link is not None:
            self.reconciler.acknowledged(key, root.link, at)

    def _separate(self, at: Moment) -> None:
        """Subscribe to the streams of series that are derived no longer."""
        separated = [key for key in self.store.take_separated() if key in self.reconciler.states]
        for key in separated:
            log.warning("%s: %s", key, self.store.derivations.derivation(key))
            self.reconciler.unstreamed(key, at)
        if separated and self.streams:
            self._subscribe(separated, at)

    def unfollow(self, keys: Iterable[Key], at: Moment) -> None:
        """Keep these series no longer."""
        keys = list(keys)
        self.reconciler.unfollow(keys)
        self.listings.forget({key.symbol for key in keys})
        for key in keys:
            self._recounted.pop(key.symbol, None)
        names = [name for key in keys if (name := stream_of(key)) is not None]
        for name in names:
            self._by_stream.pop(name, None)
        if self.streams:
            self.connections.unsubscribe(names, at)
        self._separate(at)
        self.tick(at)

    def _compare_listings(self, found: Findings, at: Moment) -> None:
        """Symbols that have left the exchange cost nothing more; those that are back are followed again."""
        store = self.store
        if found.ask is not None:
            self._ask_for_listings(found.ask, at)
        for symbol in found.woken:
            self.reconciler.begin_trading(symbol, at)
        self.reconciler.note_paused(found.paused)
        self.reconciler.note_trading(found.trading, at)
        if not found.gone and not found.back and not found.renewed:
            return
        kept = {symbol: why for symbol, why in store.delisted.items() if symbol not in found.back}
        store.delisted = {**kept, **dict.fromkeys(found.gone, "it no longer trades on the exchange; unwatch it")}
        for symbol in found.gone:
            self._new.pop(symbol, None)
        for key in list(self.reconciler.states):
            name = stream_of(key) if self.streams else None
            if FEEDS[key.kind].spot:
                continue
            if key.symbol in found.gone:
                self.reconciler.delist(key, "it no longer trades on the exchange")
                if name is not None:
                    self.connections.unsubscribe([name], at)
        # What comes back may be another contract, even where nothing says so.
        self._begin_again((found.back | found.renewed) - found.gone, at)

    def _begin_again(self, symbols: set[str], at: Moment) -> None:
        """Follow these symbols as if they were followed for the first time: each is a new contract."""
        keys = self._keys_of(symbols)
        if not keys:
            return
        log.info("%s: listed again; all that was known is forgotten", ", ".join(sorted(symbols)))
        # Answers count by the earliest time at which they may have been requested: so does this.
        self.store.renew(keys, at.exchange - at.uncertain)
        self._forget(keys, symbols, at)
        self._new.update(dict.fromkeys(symbols, at.steady + KNOWN_EVERYWHERE_AFTER))

    def _confirm_new(self, at: Moment) -> None:
        """Forget once more what is known of new contracts, as soon as every replica knows them: an answer of before may
        have been about the contract that had the name."""
        symbols = {symbol for symbol, until in self._new.items() if at.steady >= until}
        if symbols:
            keys = self._keys_of(symbols)
            self.store.begin_again(keys, at.exchange - at.uncertain)
            self._forget(keys, symbols, at)
            for symbol in symbols:
                del self._new[symbol]

    def _keys_of(self, symbols: set[str]) -> list[Key]:
        return [key for key in self.reconciler.states if key.symbol in symbols and not FEEDS[key.kind].spot]

    def _forget(self, keys: list[Key], symbols: set[str], at: Moment) -> None:
        """Begin with series that have just begun again in the store."""
        self.reconciler.renew(keys, at)
        self.quality.forget(symbols)
        for key in keys if self.streams else ():
            name = stream_of(key) if self.store.derivations.root_of(key) == key else None
            if name is not None and not self.connections.resubscribe(name, at):
                self.connections.subscribe([(name, route_of(key))], at)

    def _ask_for_listings(self, pause: float, at: Moment) -> None:
        if pause <= AT_ONCE:
            self.reconciler.polls.again(LISTINGS, at, pause)
        self.reconciler.polls.within(LISTINGS, at, pause)

    def _contracts_acknowledged(self, at: Moment) -> None:
        """Events may have been missed while there was no subscription."""
        if self._hears_contracts:
            self._ask_for_listings(AT_ONCE, at)
        self._hears_contracts = True

    def opened(self, connection: int, link: Link, at: Moment) -> None:
        if (opened := self.connections.connections.get(connection)) is not None:
            self.obstacles.succeeded(opened.route)
        self.connections.opened(connection, link, at)
        self._spread(at)

    def lost(self, connection: int, link: Link, reason: str, at: Moment, error: AtsSyncError | None = None) -> None:
        """A connection ended, or could not be made for the sake of ``error``."""
        if error is not None and (ended := self.connections.connections.get(connection)) is not None:
            self.obstacles.failed(ended.route, error)
        self.connections.lost(connection, link, reason, at)
        self._spread(at)

    def replied(self, connection: int, message: dict[str, Any], at: Moment) -> None:
        self.connections.replied(connection, message, at)
        self._spread(at)

    def noticed(self, events: Iterable[StoreEvent], at: Moment) -> None:
        """Series of the store have changed in a way that matters."""
        self.reconciler.changed(events, at)
        self._spread(at)

    def fetched(self, fetch: Fetch, error: AtsSyncError | None, at: Moment) -> None:
        self.reconciler.fetched(fetch, error, at)
        if fetch.key in self.reconciler.states:
            self._note_obstacle(fetch.request.host, error, at)
        if isinstance(error, ConnectionFailed):
            self._network_failed = True
        elif isinstance(error, RequestRejected) and error.code == UNKNOWN_SYMBOL and fetch.key.symbol:
            self._refused(fetch.key, at)
        if error is None:
            if self._network_failed:
                self._network_failed = False
                self.connections.network_recovered(at)
            if (feed := fetch.feed) is not None:
                self._answered(feed, at)
        self._spread(at)

    def _answered(self, feed: Feed, at: Moment) -> None:
        """Learn what an answer says of more than its own series."""
        if feed.sets_clock:
            self._lateness.clock_confirmed(at)
            self._date_back(at)
        elif feed.lists_contracts:
            self._compare_listings(found := self.listings.answered(at), at)
            self._confirm_recounted(found)
        elif feed.shows_contracts:
            if self._listings_differ(self.store.tickers.listed):
                self.reconciler.polls.again(LISTINGS, at, LISTINGS_AGAIN_AFTER)
        elif feed.derivable:
            self._separate(at)

    def _date_back(self, at: Moment) -> None:
        """Now that the time is known: count as of now what a clock that was ahead has dated in a time to come."""
        now = at.exchange - at.uncertain
        self.store.date_back(now)
        self.connections.date_back(at)
        self._recounted = dated_back(self._recounted, now)

    def _confirm_recounted(self, found: Findings) -> None:
        """Where ids have begun again and the listings show no other contract, the candles are those of the same one."""
        info = self.store.listings.get()
        if not self._recounted or info is None:
            return
        shown = {symbol for symbol, since in self._recounted.items() if info.as_of >= since}
        self._recounted = {symbol: since for symbol, since in self._recounted.items() if symbol not in shown}
        self.reconciler.note_listed(shown - found.gone - found.back - found.renewed)

    def _note_obstacle(self, host: Host, error: AtsSyncError | None, at: Moment) -> None:
        if error is None or (isinstance(error, RequestRejected) and error.code is not None):
            if self.obstacles.succeeded(host) >= OUTAGE:  # The exchange itself has answered.
                self.reconciler.polls.retry(host, at)
        elif not isinstance(error, (NotRunning, RateLimited)):
            self.obstacles.failed(host, error)

    def _refused(self, key: Key, at: Moment) -> None:
        """The exchange does not know a symbol: one refusal is a reason to ask, not a burial."""
        if not FEEDS[key.kind].spot and key.symbol in self._expected():
            self.listings.refused(key.symbol, at)
            self._ask_for_listings(AT_ONCE, at)

    def _listings_differ(self, seen: frozenset[str]) -> bool:
        """Return whether a symbol that is followed has left the exchange, or one that is not in the listings trades
        there."""
        listings = self.store.listings.get()
        return not seen >= self._expected() or (listings is not None and not seen <= listings.value.listed)

    def _expected(self) -> frozenset[str]:
        return self.store.symbols - self.store.delisted.keys()

    def tick(self, at: Moment) -> None:
        self._check_lateness(at)
        self.connections.tick(at)
        if self.streams and (found := self.listings.look(at)) is not None:
            self._compare_listings(found, at)
        if self._new:
            self._confirm_new(at)
        self._spread(at)
        if recounted := self.reconciler.remedies.take_counting_again():
            self._ask_for_listings(AT_ONCE, at)  # perhaps a name belongs to another contract now
            self.reconciler.note_recounted(recounted, at)
            self._recounted.update(dict.fromkeys(recounted, at.exchange - at.uncertain))
        self.quality.sample(at)
        gone = self.demand.expired(at.steady)
        if gone:
            self.unfollow(self.store.unfollow(gone), at)

    def _check_lateness(self, at: Moment) -> None:
        """Frames that arrive and are old: a backlog, or our idea of the exchange's time is wrong; where the exchange
        confirms the time and the lag stays, a connection that will not catch up. And pongs without any frame where one
        is due every second: a connection that lives and delivers nothing."""
        links: list[Link] = []
        for connection in list(self.connections.connections.values()):
            link = connection.link
            if link is None or not link.up:
                continue
            links.append(link)
            reason = ""
            if self._silence.heard(link, at):
                if self._lateness.lag(link, at):
                    self.reconciler.polls.again(CLOCK, at, CLOCK_AGAIN_AFTER)
                reason = self._lateness.judge(link, at)
            if reason or (reason := self._silence.judge(connection, link, at)):
                self.connections.give_up(connection.number, reason, at)
        self._silence.keep(links)
        self._lateness.keep(links)

    def _mend(self, at: Moment) -> None:
        """Carry the remedies for dead streams over to the connections."""
        remedies = self.reconciler.remedies.pending[:]
        self.reconciler.remedies.pending.clear()
        by_connection: dict[int, list[tuple[str, Remedy]]] = {}
        for key, remedy in remedies:
            name = stream_of(key)
            connection = self.connections.carrying(name) if name is not None else None
            if name is not None and connection is not None:
                by_connection.setdefault(connection.number, []).append((name, remedy))
        for number, mends in by_connection.items():
            carried = len(self.connections.connections[number].streams)
            if len(mends) > max(MASS_SUSPICION, carried * MASS_SHARE):
                self.connections.give_up(number, f"{len(mends)} of its {carried} streams are dead", at)
                continue
            for name, remedy in mends:
                if remedy is Remedy.MOVE and self.connections.move(name, at):
                    continue
                self.connections.resubscribe(name, at)

    # --- results -----------------------------------------------------------------------------------

    def take(self) -> list[Action | Submit]:
        """Return what is to be done, in order; each action once."""
        assert self.guarded()
        actions: list[Action | Submit] = [*self.connections.actions, *map(Submit, self.reconciler.fetches)]
        self.connections.actions.clear()
        self.reconciler.fetches.clear()
        return actions

    def next_due(self, at: Moment) -> float:
        """Return when (steady) :meth:`tick` is to be called at the latest."""
        assert self.guarded()
        moments = [self.connections.next_due(at.steady), self.reconciler.next_due(at)]
        if self.streams:
            moments.append(self.listings.due())
        if self._new:
            moments.append(min(self._new.values()))
        return min([self.quality.due(), self.demand.due(), *(moment for moment in moments if moment is not None)])

    def missing(self, at: Moment) -> list[Key]:
        """Return what ``start()`` still waits for; before anything is followed, everything."""
        return [key for key in self.reconciler.states if FEEDS[key.kind].gates_start and self.awaits(key, at)]

    def awaits(self, key: Key, at: Moment) -> bool:
        """Return whether ``start()`` still waits for a series: it is not ready, its symbol trades, and its stream may
        soon come."""
        assert self.guarded()
        state = self.reconciler.states.get(key)
        if state is None or self.reconciler.ready(key) or key.symbol in self.listings.pending:
            return False
        return not (state.known and self.refusal(key)) and not self.reconciler.left_to_rest(key, at.steady)

    def hopeless(self, at: Moment) -> AtsSyncError | None:
        """Return the error that makes waiting for what is missing hopeless, None if waiting may help.

        A host or route counts where the newest attempt there for something that is missing has failed: neither what
        nobody waits for counts, nor what failed before it was followed.
        """
        assert self.guarded()
        if self.obstacles.hopeless() is None:
            return None  # which is cheap, and nearly always so
        return self.obstacles.hopeless({place for key in self.missing(at) for place in self._failing(key)})

    def _failing(self, key: Key) -> Iterator[Host | Route]:
        """Yield where the newest attempt to get what a series needs has failed."""
        states = self.reconciler.states
        first = CLOCK if self.reconciler.polls.waits_for_clock() else key
        if states[first].error is not None:
            yield states[first].feed.host
        if self.streams and states[key].feed.own_stream and states[key].link is None:
            name = stream_of(self.store.derivations.root_of(key))
            connection = self.connections.carrying(name) if name is not None else None
            if connection is not None and connection.failures and connection.phase is not Phase.OPEN:
                yield connection.route

    def without_stream(self, at: Moment) -> tuple[list[Key], AtsSyncError | None]:
        """Return what ``start()`` has left to REST for want of its stream, and what stands in the way of the first."""
        assert self.guarded()
        reconciler = self.reconciler
        keys = [
            key for key in reconciler.states if FEEDS[key.kind].gates_start and reconciler.left_to_rest(key, at.steady)
        ]
        return keys, self.obstacles.present(route_of(keys[0])) if keys else None

    def refusal(self, key: Key) -> str:
        """Return why the exchange refuses the stream of a series, which REST then serves; "" where it does not."""
        name = stream_of(self.store.derivations.root_of(key)) if self.streams else None
        return self.connections.refusals.reason(name) if name is not None else ""

    def _spread(self, at: Moment) -> None:
        """Pass on what one part found out to the other."""
        assert self.guarded()
        connections, reconciler = self.connections, self.reconciler
        if connections.paused and not reconciler.polls.waits_for_clock():
            connections.paused = False
            connections.tick(at)
        changes, connections.changes = connections.changes, []
        for change in changes:
            if isinstance(change, Ended):
                reconciler.lost(change.link, at)
            elif (key := self._by_stream.get(change.name)) is None:
                continue
            elif isinstance(change, HandedOver):
                for each in (key, *self.store.derivations.derived_from(key)):
                    reconciler.moved(each, change.link, at)
            else:
                for each in (key, *self.store.derivations.derived_from(key)):
                    reconciler.acknowledged(each, change.link, at)
                if FEEDS[key.kind].announces_contracts:
                    self._contracts_acknowledged(at)
        reconciler.tick(at)
        if reconciler.remedies.pending:
            self._mend(at)
