"""The engine: connections and upkeep under one roof, driven by events and time."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..config import Config
from ..errors import AtsSyncError
from ..feeds import FEEDS, Key, Kind
from ..store.link import Link
from ..store.market import MarketStore, route_of, stream_of
from ..store.notices import Notice
from .connections import Action, Connections
from .jobs import Fetch
from .moment import Moment
from .upkeep import Upkeep

SHARED = (
    Key(Kind.MARK),
    Key(Kind.SPOT),
    Key(Kind.LIQUIDATIONS),
    Key(Kind.LISTINGS),
    Key(Kind.CLOCK),
)
"""What is followed once for all symbols."""


@dataclass(frozen=True, slots=True)
class Submit:
    """A fetch for the request queue."""

    fetch: Fetch


class Engine:
    """Told what happens, it says what to do. Not thread-safe: whoever drives it holds its lock."""

    def __init__(
        self, config: Config, store: MarketStore, *, streams: bool = True, rng: random.Random | None = None
    ) -> None:
        rng = rng if rng is not None else random.Random()
        self.streams = streams
        self.store = store
        self.connections = Connections(config, rng)
        self.upkeep = Upkeep(config, store, rng, streams=streams)
        self._by_stream: dict[str, Key] = {}

    # --- events ------------------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        """Keep these series from now on."""
        keys = list(keys)
        self.upkeep.follow(keys, at)
        if self.streams:
            names = []
            for key in keys:
                name = stream_of(key)
                if name is not None:
                    self._by_stream[name] = key
                    names.append((name, route_of(key)))
            self.connections.want(names, at)
        self.tick(at)

    def unfollow(self, keys: Iterable[Key], at: Moment) -> None:
        """Keep these series no longer."""
        keys = list(keys)
        self.upkeep.unfollow(keys)
        names = [name for key in keys if (name := stream_of(key)) is not None]
        for name in names:
            self._by_stream.pop(name, None)
        if self.streams:
            self.connections.unwant(names, at)
        self.tick(at)

    def delisted(self, symbols: Iterable[str], at: Moment) -> None:
        """These symbols have left the exchange: nothing more is asked or streamed for them."""
        gone = set(symbols)
        keys = [key for key in self.upkeep.states if key.symbol in gone]
        for key in keys:
            self.upkeep.bury(key, "the exchange does not list it (any more)")
        if self.streams:
            self.connections.unwant([name for key in keys if (name := stream_of(key)) is not None], at)

    def opened(self, connection: int, link: Link, at: Moment) -> None:
        self.connections.opened(connection, link, at)
        self._spread(at)

    def lost(self, connection: int, link: Link, reason: str, at: Moment) -> None:
        self.connections.lost(connection, link, reason, at)
        self._spread(at)

    def replied(self, connection: int, message: dict[str, Any], at: Moment) -> None:
        self.connections.replied(connection, message, at)
        self._spread(at)

    def noticed(self, notices: Iterable[Notice], at: Moment) -> None:
        self.upkeep.noticed(notices, at)
        self._spread(at)

    def fetched(self, fetch: Fetch, error: AtsSyncError | None, at: Moment) -> None:
        self.upkeep.fetched(fetch, error, at)
        if error is None:
            self.connections.encouraged(at)
        self._spread(at)

    def tick(self, at: Moment) -> None:
        self.connections.tick(at)
        self._spread(at)

    # --- results -----------------------------------------------------------------------------------

    def take(self) -> list[Action | Submit]:
        """What is to be done, in order; each action once."""
        actions: list[Action | Submit] = [*self.connections.actions, *map(Submit, self.upkeep.fetches)]
        self.connections.actions.clear()
        self.upkeep.fetches.clear()
        return actions

    def next_due(self, at: Moment) -> float | None:
        """When (steady) :meth:`tick` is to be called at the latest, None where nothing is foreseeable."""
        moments = (self.connections.next_due(at.steady), self.upkeep.next_due(at))
        return min((moment for moment in moments if moment is not None), default=None)

    def missing(self) -> list[Key]:
        """What ``start()`` still waits for; before anything is followed, everything."""
        states = self.upkeep.states
        return [key for key in states if FEEDS[key.kind].awaited and not self.upkeep.ready(key)]

    def _spread(self, at: Moment) -> None:
        """Pass on what one part found out to the other."""
        connections, upkeep = self.connections, self.upkeep
        for link in connections.gone:
            upkeep.lost(link)
        connections.gone.clear()
        for name, link in connections.live:
            key = self._by_stream.get(name)
            if key is not None:
                upkeep.acknowledged(key, link, at)
        connections.live.clear()
        for name, link in connections.moved:
            key = self._by_stream.get(name)
            if key is not None:
                upkeep.moved(key, link)
        connections.moved.clear()
        upkeep.tick(at)
