"""A network for the connections on a virtual clock; it connects, acknowledges, refuses and stays silent."""

from __future__ import annotations

import heapq
import itertools
import json
import random
from collections.abc import Callable
from typing import Any

from ats_sync.config import Config
from ats_sync.engine.connection import Action, Connect, Disconnect, Ended, HandedOver, Phase, Send
from ats_sync.engine.connections import Connections
from ats_sync.engine.moment import Moment
from ats_sync.store.link import Link
from ats_sync.venue.endpoints import Route

from ..venue.samples import MIDNIGHT

START = 1_000.0


def moment(now: float) -> Moment:
    return Moment(now, MIDNIGHT + int((now - START) * 1000))


class Wire:
    """Drives :class:`Connections` and keeps a record of all that was sent."""

    def __init__(self, connections: Connections, *, handshake: float = 0.05, latency: float = 0.05) -> None:
        self.connections = connections
        self.now = START
        self.handshake = handshake
        self.latency = latency
        self.refuses = False
        """Whether attempts to connect fail."""
        self.answer: Callable[[int, str, list[str]], Any] = lambda number, method, names: {"result": None}
        """What a message is answered with, None for silence."""
        self.attempts: list[tuple[float, int]] = []
        self.links: dict[int, Link] = {}
        """The newest link of each connection."""
        self.open: dict[int, Link] = {}
        """The sockets that are open."""
        self.subscribed: dict[int, set[str]] = {}
        self.messages: list[tuple[float, int, str, list[str]]] = []
        self.disconnects: list[tuple[float, int, str]] = []
        self.live: list[tuple[str, Link]] = []
        self.moved: list[tuple[str, Link]] = []
        self.gone: list[Link] = []
        self.most_open = 0
        self.frozen: set[Link] = set()
        """Open, but nothing arrives any more."""
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()

    def at(self) -> Moment:
        return moment(self.now)

    def later(self, pause: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + pause, next(self._count), act))

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass, waking the connections when they ask for it; return whether ``until`` came true."""
        end = self.now + seconds
        idle = 0
        while True:
            self.carry_out()
            if until():
                return True
            due = self.connections.next_due(self.now)
            wake = min(end, due if due is not None else end, self._agenda[0][0] if self._agenda else end)
            idle = idle + 1 if wake <= self.now else 0
            assert idle < 100, f"it asks to be woken at {due} again and again, now is {self.now}"
            # A computed moment and the difference that it is compared with may be rounded differently.
            self.now = max(self.now, wake) + (1e-6 if idle > 10 else 0.0)
            exchange = self.at().exchange / 1000.0
            for link in self.open.values():
                if link not in self.frozen:
                    link.advance(exchange, exchange)
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            self.connections.tick(self.at())
            if self.now >= end:
                self.carry_out()
                return until()

    def carry_out(self) -> None:
        while self.connections.actions:
            actions, self.connections.actions = self.connections.actions, []
            for action in actions:
                self._do(action)
        for change in self.connections.changes:
            if isinstance(change, Ended):
                self.gone.append(change.link)
            elif isinstance(change, HandedOver):
                self.moved.append((change.name, change.link))
            else:
                self.live.append((change.name, change.link))
        self.connections.changes.clear()

    def _do(self, action: Action) -> None:
        if isinstance(action, Connect):
            self.attempts.append((self.now, action.connection))
            self.links[action.connection] = action.link
            self.later(self.handshake, lambda: self._shake(action))
        elif isinstance(action, Send):
            assert action.connection in self.open, "nothing is sent on a socket that is not open"
            message = json.loads(action.text)
            names = message["params"]
            self.messages.append((self.now, action.connection, message["method"], names))
            reply = self.answer(action.connection, message["method"], names)
            link = self.open[action.connection]
            if reply is not None:
                if reply == {"result": None}:
                    self.later(self.latency / 2, lambda: self._obey(action.connection, link, message["method"], names))
                self.later(self.latency, lambda: self._reply(action.connection, link, reply | {"id": message["id"]}))
        else:
            assert isinstance(action, Disconnect)
            self.disconnects.append((self.now, action.connection, action.reason))
            link = self.open.pop(action.connection, self.links[action.connection])
            link.up = False
            self.later(0.001, lambda: self.connections.lost(action.connection, link, action.reason, self.at()))

    def _shake(self, action: Connect) -> None:
        if not action.link.up:
            return
        if self.refuses:
            action.link.up = False
            self.connections.lost(action.connection, action.link, "refused", self.at())
            return
        self.open[action.connection] = action.link
        self.subscribed[action.connection] = set()
        self.most_open = max(self.most_open, len(self.open))
        self.connections.opened(action.connection, action.link, self.at())

    def _obey(self, number: int, link: Link, method: str, names: list[str]) -> None:
        if self.open.get(number) is link:
            held = self.subscribed[number]
            held.difference_update(names) if method == "UNSUBSCRIBE" else held.update(names)

    def _reply(self, number: int, link: Link, message: dict[str, Any]) -> None:
        if self.open.get(number) is link:
            self.connections.replied(number, message, self.at())

    def cut(self, number: int, reason: str = "cut") -> None:
        """End the connection from the other side."""
        link = self.open.pop(number)
        link.up = False
        self.connections.lost(number, link, reason, self.at())

    def cut_all(self) -> None:
        for number in list(self.open):
            self.cut(number)

    def delivered(self) -> set[str]:
        """Return the names that some open socket delivers."""
        return {name for number in self.open for name in self.subscribed[number]}

    def settled(self) -> bool:
        """Return whether everything is connected and acknowledged, with nothing left to send."""
        return all(
            each.phase is Phase.OPEN and each.acknowledged() and not each.unsubscribing and not each.requests
            for each in self.connections.connections.values()
        )


Names = list[tuple[str, Route]]


def names(count: int, route: Route = Route.MARKET, prefix: str = "s") -> Names:
    return [(f"{prefix}{i}@x", route) for i in range(count)]


def wire_of(wanted: Names, *, seed: int = 1, handshake: float = 0.05, **settings: Any) -> Wire:
    wire = Wire(Connections(Config(**settings), random.Random(seed)), handshake=handshake)
    wire.connections.subscribe(wanted, wire.at())
    return wire


def settle(wire: Wire, seconds: float = 60.0) -> None:
    assert wire.run(seconds, until=wire.settled), "not everything was acknowledged"
