"""The engine: connections and the reconciler under one roof, driven by events and time."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..errors import AtsSyncError, ConnectionFailed, NotRunning, RateLimited, RequestRejected
from ..feeds import CLOCK, FEEDS, Feed, Key, route_of, stream_of
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import StoreEvent
from ..venue.endpoints import UNKNOWN_SYMBOL, Host, Route
from .connection import Action, Ended, HandedOver, Phase
from .connections import Connections
from .contracts import Contracts
from .demand import Demand
from .guarded import Guarded
from .jobs import Fetch
from .lateness import Lateness
from .listings import Listings
from .moment import Moment
from .obstacles import Obstacles
from .polls import CLOCK_AGAIN_AFTER
from .quality import QualityMeter
from .reconciler import Reconciler
from .remedies import Remedy
from .silence import Silence

log = logging.getLogger(__name__)

OUTAGE = 3
"""A host that answers again after so many failures in a row had been out of order."""
MASS_SUSPICION = 20
MASS_SHARE = 0.25


@dataclass(frozen=True, slots=True)
class Submit:
    """A fetch for the request queue."""

    fetch: Fetch


class Engine(Guarded):
    """Takes events and returns actions. Not thread-safe: the driver holds its lock (:attr:`guard`), except for
    :attr:`demand`, which has a lock of its own, since readers note in it what they read."""

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
        self.demand = Demand()
        self.listings = Listings(store)
        self._contracts = Contracts(
            store, self.listings, self.connections, self.reconciler, self.quality, streams=streams
        )
        self.obstacles = Obstacles()
        self._by_stream: dict[str, Key] = {}

    # --- events ------------------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        """Follow these series from now on."""
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
        """Attach a derived series to the stream of its root, where that is acknowledged already."""
        sources = self.store.derivations.sources_of(key)
        for source in sources:
            self.reconciler.lengthen(source, at)
        root = self.reconciler.states.get(sources[-1]) if sources else None
        if root is not None and root.link is not None:
            self.reconciler.acknowledged(key, root.link, at)

    def _separate(self, at: Moment) -> None:
        """Subscribe to the streams of series that are no longer derived."""
        separated = [key for key in self.store.take_separated() if key in self.reconciler.states]
        for key in separated:
            log.warning("%s: %s", key, self.store.derivations.derivation(key))
            self.reconciler.unstreamed(key, at)
        if separated and self.streams:
            self._subscribe(separated, at)

    def unfollow(self, keys: Iterable[Key], at: Moment) -> None:
        """Stop following these series."""
        keys = list(keys)
        self.reconciler.unfollow(keys)
        self._contracts.forget({key.symbol for key in keys})
        names = [name for key in keys if (name := stream_of(key)) is not None]
        for name in names:
            self._by_stream.pop(name, None)
        if self.streams:
            self.connections.unsubscribe(names, at)
        self._separate(at)
        self.tick(at)

    def opened(self, connection: int, link: Link, at: Moment) -> None:
        if (opened := self.connections.connections.get(connection)) is not None:
            self.obstacles.succeeded(opened.route)
        self.connections.opened(connection, link, at)
        self._spread(at)

    def lost(self, connection: int, link: Link, reason: str, at: Moment, error: AtsSyncError | None = None) -> None:
        """Note that a connection ended, or could not be made because of ``error``."""
        if error is not None and (ended := self.connections.connections.get(connection)) is not None:
            self.obstacles.failed(ended.route, error)
        self.connections.lost(connection, link, reason, at)
        self._spread(at)

    def replied(self, connection: int, message: dict[str, Any], at: Moment) -> None:
        self.connections.replied(connection, message, at)
        self._spread(at)

    def noticed(self, events: Iterable[StoreEvent], at: Moment) -> None:
        """Act on what the store has noticed about its series."""
        self.reconciler.changed(events, at)
        self._spread(at)

    def fetched(self, fetch: Fetch, error: AtsSyncError | None, at: Moment) -> None:
        self.reconciler.fetched(fetch, error, at)
        if fetch.key in self.reconciler.states:
            self._note_obstacle(fetch.request.host, error, at)
        if isinstance(error, ConnectionFailed):
            self._network_failed = True
        elif isinstance(error, RequestRejected) and error.code == UNKNOWN_SYMBOL and fetch.request.host is Host.FUTURES:
            self._contracts.refused(fetch.key.symbol, at)
        if error is None:
            if self._network_failed:
                self._network_failed = False
                self.connections.network_recovered(at)
            if (feed := fetch.feed) is not None:
                self._answered(feed, at)
        self._spread(at)

    def _answered(self, feed: Feed, at: Moment) -> None:
        """Act on what an answer says about more than its own series."""
        if feed.sets_clock:
            self._lateness.clock_confirmed(at)
            self._date_back(at)
        elif feed.lists_contracts:
            self._contracts.answered(at)
        elif feed.shows_contracts:
            self._contracts.shown(at)
        elif feed.derivable:
            self._separate(at)

    def _date_back(self, at: Moment) -> None:
        """Date back to now what a clock that was ahead has dated in the future: the time is known now."""
        now = at.exchange - at.uncertain
        self.store.date_back(now)
        self.connections.date_back(at)
        self._contracts.date_back(now)

    def _note_obstacle(self, host: Host, error: AtsSyncError | None, at: Moment) -> None:
        if error is None or (isinstance(error, RequestRejected) and error.code is not None):
            if self.obstacles.succeeded(host) >= OUTAGE:  # The exchange itself has answered.
                self.reconciler.polls.retry(host, at)
        elif not isinstance(error, (NotRunning, RateLimited)):
            self.obstacles.failed(host, error)

    def tick(self, at: Moment) -> None:
        self._check_lateness(at)
        self.connections.tick(at)
        self._contracts.tick(at)
        self._spread(at)
        if recounted := self.reconciler.remedies.take_counting_again():
            self._contracts.recounted(recounted, at)
        self.quality.sample(at)
        gone = self.demand.expired(at.steady)
        if gone:
            self.unfollow(self.store.unfollow(gone), at)

    def _check_lateness(self, at: Moment) -> None:
        """Give up connections that will not catch up, or that answer pings and deliver nothing where a frame is due
        every second. Frames that arrive old may also mean that our idea of the exchange's time is wrong, so the time is
        requested first."""
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
        """Apply the remedies for dead streams to the connections."""
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
        """Return the actions that are due, in order; each is returned once."""
        assert self.guarded()
        actions: list[Action | Submit] = [*self.connections.actions, *map(Submit, self.reconciler.fetches)]
        self.connections.actions.clear()
        self.reconciler.fetches.clear()
        return actions

    def next_due(self, at: Moment) -> float:
        """Return when (steady) :meth:`tick` is to be called at the latest."""
        assert self.guarded()
        moments = [self.connections.next_due(at.steady), self.reconciler.next_due(at), self._contracts.next_due()]
        return min([self.quality.due(), self.demand.due(), *(moment for moment in moments if moment is not None)])

    def missing(self, at: Moment) -> list[Key]:
        """Return what ``start()`` still waits for; before anything is followed, everything."""
        states = self.reconciler.states
        return [key for key, state in states.items() if state.feed.gates_start and self.awaits(key, at)]

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

        A host or route counts where the newest attempt there for something that is missing has failed. Series that
        ``start()`` does not wait for do not count, nor do failures from before a series was followed.
        """
        assert self.guarded()
        if self.obstacles.hopeless() is None:
            return None  # cheap, and nearly always the case
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
        """Return what ``start()`` has left to REST for lack of its stream, and what stands in the way of the first."""
        assert self.guarded()
        states, left_to_rest = self.reconciler.states, self.reconciler.left_to_rest
        keys = [key for key, state in states.items() if state.feed.gates_start and left_to_rest(key, at.steady)]
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
                    self._contracts.events_acknowledged(at)
        reconciler.tick(at)
        if reconciler.remedies.pending:
            self._mend(at)
