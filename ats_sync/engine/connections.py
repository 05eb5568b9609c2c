"""The connections: which streams each carries, and when each connects, subscribes, is replaced or given up.

A replacement takes over the streams of a connection while the old one goes on delivering. The old one is closed only
when every stream has been acknowledged and the two have overlapped for a while.

A message that the exchange refuses is halved until the refused stream stands alone: one bad name must not keep the
hundred around it from being subscribed.
"""

from __future__ import annotations

import itertools
import json
import logging
import random
from collections.abc import Iterable
from typing import Any

from ..config import Config
from ..logs import RateLimitedLogger
from ..store.link import Link, new_number
from ..venue.endpoints import Route
from ..venue.subscriptions import (
    announces_shutdown,
    is_acknowledgement,
    is_error,
    is_refusal,
    message_text,
    refusal_text,
)
from .connection import (
    Acknowledged,
    Action,
    Attempts,
    Connect,
    Connection,
    Disconnect,
    Ended,
    HandedOver,
    Phase,
    Progress,
    Send,
    StreamChange,
    Streams,
)
from .moment import Moment
from .refusals import Refusals

log = RateLimitedLogger(logging.getLogger(__name__))

ACKNOWLEDGED_WITHIN = 5.0
OVERLAP = 2.0
CONNECT_WITHIN = 15.0
SPREAD_FROM = 256  # From so many market streams on, they are spread over at least two connections. (Books are not: with
# spot candles and a replacement, two more connections would be six in all.)
AFTER_REFUSALS = 10.0  # Seconds without a message on a connection after MOST_REFUSALS in a row.
MOST_REFUSALS = 8  # More in a row are a fault of the exchange, not of a name: halving finds good names sooner.


class Connections:
    """All connections. Decisions are appended to ``actions``, and what has become of streams to ``changes``."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._attempts = Attempts(config, rng)
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1)
        self.connections: dict[int, Connection] = {}
        self.assigned_to: dict[str, int] = {}
        """The number of the connection of each stream."""
        self.actions: list[Action] = []
        self.changes: list[StreamChange] = []
        """What has become of streams and links since the list was last taken, in order."""
        self.paused = False
        """Whether connecting has to wait for the exchange's time, without which the age of no event can be judged."""
        self.reconnects = 0
        self.refusals = Refusals()
        self._suspected: set[str] = set()
        """Streams of messages that were never answered, until they are acknowledged."""

    # --- the set of streams --------------------------------------------------------------------

    def subscribe(self, names: Iterable[tuple[str, Route]], at: Moment) -> None:
        """Subscribe to these streams, each on one connection."""
        by_route: dict[Route, list[str]] = {}
        for name, route in names:
            if name not in self.assigned_to:
                by_route.setdefault(route, []).append(name)
        for route, fresh in by_route.items():
            self._make_room(route, len(fresh), at)
            for name in fresh:
                connection = min(self._of(route), key=lambda each: len(each.streams))
                if name in connection.unsubscribing:
                    connection.unsubscribing.remove(name)
                self._carry(name, connection)
        self.tick(at)

    def _carry(self, name: str, connection: Connection) -> None:
        """Have a connection subscribe to a stream, and so whatever is about to replace it."""
        self.assigned_to[name] = connection.number
        for each in self.connections.values():
            if each is connection or each.replaces == connection.number:
                each.streams[name] = Progress.PENDING

    def unsubscribe(self, names: Iterable[str], at: Moment) -> None:
        """Unsubscribe from these streams."""
        for name in names:
            self.assigned_to.pop(name, None)
            self.refusals.forget(name)
            self._suspected.discard(name)
            for connection in self.connections.values():
                progress = connection.streams.pop(name, Progress.PENDING)
                if progress.may_deliver and connection.phase is Phase.OPEN:
                    connection.unsubscribing.append(name)
        self.tick(at)

    def carrying(self, name: str) -> Connection | None:
        """Return the connection to which a stream is assigned, None where there is none."""
        return self.connections.get(self.assigned_to.get(name, -1))

    def _of(self, route: Route) -> list[Connection]:
        return [each for each in self.connections.values() if each.route is route and each.replaces is None]

    def _make_room(self, route: Route, more: int, at: Moment) -> None:
        existing = self._of(route)
        total = sum(len(each.streams) for each in existing) + more
        most = self._config.max_streams_per_connection
        spread = route is Route.MARKET and total >= SPREAD_FROM
        needed = max(-(-total // most), 2 if spread else 1)
        for _ in range(needed - len(existing)):
            number = next(self._numbers)
            self.connections[number] = Connection(number, route, Phase.WAITING, at.steady, at.steady)

    # --- events ----------------------------------------------------------------------------------

    def opened(self, number: int, link: Link, at: Moment) -> None:
        """Note that the handshake of a connection succeeded."""
        connection = self.connections.get(number)
        if connection is None or connection.link is not link:
            return
        connection.phase = Phase.OPEN
        connection.since = connection.opened = at.steady
        # Ages differ from the start, so that replacements never coincide.
        share = 1.0 - 0.1 * (number % 5) - 0.02 * self._rng.random()
        connection.replace_at = at.steady + self._config.connection_max_age * share
        self.tick(at)

    def lost(self, number: int, link: Link, reason: str, at: Moment) -> None:
        """Note that a connection ended, or could not be made."""
        link.up = False
        connection = self.connections.get(number)
        if connection is None or connection.link is not link:
            return  # an attempt that was given up before
        self.changes.append(Ended(link))
        if connection.phase is Phase.OPEN and at.steady - connection.opened >= self._config.healthy_after:
            connection.failures = 0
        if connection.replaces is not None:
            # A failed replacement is given up; the old connection goes on and is replaced a little later.
            del self.connections[number]
            replaced = self.connections.get(connection.replaces)
            if replaced is not None:
                replaced.replace_at = at.steady + self._attempts.back_off(connection.failures + 2)
            self.tick(at)
            return
        for replacement in [each for each in self.connections.values() if each.replaces == number]:
            # The old connection has ended, so its replacement takes its place at once.
            self._take_over(replacement, connection)
            del self.connections[number]
            self.reconnects += 1
            self.tick(at)
            return
        connection.link = None
        connection.last_error = reason
        connection.phase = Phase.WAITING
        connection.since = at.steady
        connection.due = at.steady + self._attempts.back_off(connection.failures)
        connection.failures += 1
        connection.streams = self._progress_on_reconnect(connection.streams)
        connection.requests.clear()
        connection.unsubscribing.clear()
        connection.batches.clear()
        connection.silent_until = 0.0
        connection.refused_in_a_row = connection.answered_id = 0
        self.reconnects += 1
        self.tick(at)

    def _progress_on_reconnect(self, names: Iterable[str]) -> Streams:
        """Return the progress of streams on a connection that has subscribed to none of them."""
        return Streams({name: Progress.REFUSED if name in self.refusals else Progress.PENDING for name in names})

    def replied(self, number: int, message: dict[str, Any], at: Moment) -> None:
        """Act on a message other than a stream frame: an acknowledgement, an error, or an announcement."""
        connection = self.connections.get(number)
        if connection is None:
            return
        if announces_shutdown(message):
            self._hand_over(connection, at)
            return
        identity = message.get("id")
        if identity is None and is_refusal(message):
            # Messages are answered in order, so an error without an id belongs to the oldest.
            identity = next(iter(connection.requests), None)
        answered = connection.requests.pop(identity, None) if isinstance(identity, int) else None
        if is_error(message) or answered is None:
            text = json.dumps(message)[:200]
            log.info(f"message {connection.route.value}", "%s-%d answered: %s", connection.route.value, number, text)
        if answered is None:
            return
        connection.answered.append(at.steady)
        connection.answered_id = max(connection.answered_id, identity or 0)
        names, _, subscribes = answered
        if not is_acknowledgement(message) or not connection.link:
            connection.refused_in_a_row += not all(name in self.refusals for name in names)
            if connection.refused_in_a_row >= MOST_REFUSALS:
                connection.silent_until = at.steady + AFTER_REFUSALS
            self._split(connection, names, subscribes, refusal_text(message), at)
        else:
            connection.refused_in_a_row = 0
            if subscribes:
                self._acknowledge(connection, connection.link, names)
        self.tick(at)

    def _acknowledge(self, connection: Connection, link: Link, names: Iterable[str]) -> None:
        passed: list[str] = []
        for name in names:
            if connection.streams.get(name) is Progress.SENT:
                connection.streams[name] = Progress.ACKNOWLEDGED
                if self.refusals.forget(name):
                    passed.append(name)
                self._suspected.discard(name)
                if connection.replaces is None:
                    self.changes.append(Acknowledged(name, link))
        if passed:
            # A refused stream was accepted, so the others need not wait out their pauses. (A replacement, where it was
            # refused as well, has it still to subscribe to.)
            for name in (*passed, *self.refusals.release()):
                for each in self.connections.values():
                    if each.streams.get(name) is Progress.REFUSED:
                        each.streams[name] = Progress.PENDING

    def _split(self, connection: Connection, names: tuple[str, ...], subscribes: bool, reason: str, at: Moment) -> None:
        """Send a refused message again in halves, until the refused stream stands alone."""
        if subscribes:
            names = tuple(name for name in names if connection.streams.get(name) is Progress.SENT)
        if len(names) > 1:
            connection.queue_halves(names, subscribes)
        for name in names if subscribes else ():
            if len(names) > 1:
                connection.streams[name] = Progress.PENDING
            else:
                connection.streams[name] = Progress.REFUSED
                self.refusals.add(name, reason, at.steady)

    def _hand_over(self, connection: Connection, at: Moment) -> None:
        """Replace a connection that the exchange is about to close while it still delivers."""
        if connection.replaces is not None:
            # The replacement's own server is closing; the connection that it replaces goes on.
            self._give_up(connection, "its server is about to close", at)
            return
        connection.replace_at = at.steady
        self.tick(at)

    def date_back(self, at: Moment) -> None:
        """Correct the watermarks that a clock which was ahead has set in the future."""
        for connection in self.connections.values():
            if connection.link is not None:
                connection.link.date_back(at.exchange / 1000.0, at.steady)

    def network_recovered(self, at: Moment) -> None:
        """Cut back-offs short, since the network works again."""
        for connection in self.connections.values():
            if connection.phase is Phase.WAITING:
                soonest = max(at.steady, connection.since + self._config.reconnect_min)
                connection.due = min(connection.due, soonest)

    def resubscribe(self, name: str, at: Moment) -> bool:
        """Subscribe to a stream again on its connection; return False where that is not open."""
        connection = self.carrying(name)
        if connection is None or connection.phase is not Phase.OPEN or name in self.refusals:
            return False
        connection.unsubscribing.append(name)
        connection.streams[name] = Progress.PENDING
        self.tick(at)
        return True

    def move(self, name: str, at: Moment) -> bool:
        """Carry a stream on another open connection of its route; return False without one."""
        current = self.carrying(name)
        if current is None or name in self.refusals:
            return False
        others = [
            each
            for each in self._of(current.route)
            if each is not current
            and each.phase is Phase.OPEN
            and len(each.streams) < self._config.max_streams_per_connection
        ]
        if not others:
            return False
        target = min(others, key=lambda each: len(each.streams))
        if current.streams.pop(name, Progress.PENDING).may_deliver and current.phase is Phase.OPEN:
            current.unsubscribing.append(name)
        self._carry(name, target)
        self.tick(at)
        return True

    # --- time ------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Do what is due."""
        now = at.steady
        for connection in list(self.connections.values()):
            if self.connections.get(connection.number) is not connection:
                continue  # removed with an earlier one
            if connection.replaces is not None and connection.replaces not in self.connections:
                connection.replaces = connection.overlap_until = None
            if connection.phase is Phase.WAITING:
                if not connection.streams:
                    del self.connections[connection.number]
                elif now >= connection.due and not self.paused and self._attempts.free_at(now) <= now:
                    self._connect(connection, at)
            elif connection.phase is Phase.CONNECTING:
                if now >= connection.due:
                    self._give_up(connection, "connecting took too long", at)
            elif not connection.streams and not connection.unsubscribing and connection.replaces is None:
                self._drop(connection, "it carries no streams any more")
            else:
                self._send_pending(connection, now)
                self._check_replies(connection, at)
                self._check_age(connection, at)

    def next_due(self, now: float) -> float | None:
        """Return when (steady) :meth:`tick` is due next, None if nothing is foreseeable."""
        moments: list[float] = []
        for connection in self.connections.values():
            if connection.phase is Phase.OPEN:
                if connection.unsubscribing or connection.batches or connection.streams.at(Progress.PENDING):
                    moments.append(connection.may_send_at(now))
                if (again := self.refusals.due(connection.refused())) is not None:
                    moments.append(max(again, connection.may_send_at(now)))
                moments += [sent + ACKNOWLEDGED_WITHIN for _, sent, _ in connection.requests.values()]
                if connection.overlap_until is not None:
                    moments.append(connection.overlap_until)
                elif connection.replaces is None:
                    moments.append(connection.replace_at)
            elif not (self.paused and connection.phase is Phase.WAITING):
                moments.append(max(connection.due, self._attempts.free_at(now)))
        return min(moments, default=None)

    def _connect(self, connection: Connection, at: Moment) -> None:
        self._attempts.add(at.steady)
        connection.phase = Phase.CONNECTING
        connection.since = at.steady
        connection.due = at.steady + CONNECT_WITHIN
        connection.link = Link(new_number(), connection.route.value, at.exchange / 1000.0, at.steady)
        connection.answered.clear()
        self.actions.append(Connect(connection.number, connection.route, connection.link))

    def _send_pending(self, connection: Connection, now: float) -> None:
        """Send as many of the pending (un)subscriptions as the message limit allows."""
        while connection.may_send_at(now) <= now:
            names, subscribes = connection.next_message(self.refusals, now)
            if not names:
                return
            for name in names if subscribes else ():
                connection.streams[name] = Progress.SENT
            identity = next(self._ids)
            connection.requests[identity] = (names, now, subscribes)
            self.actions.append(Send(connection.number, message_text(names, identity, subscribes=subscribes)))

    def _check_replies(self, connection: Connection, at: Moment) -> None:
        for identity, (names, sent, subscribes) in list(connection.requests.items()):
            if at.steady < sent + ACKNOWLEDGED_WITHIN:
                continue
            del connection.requests[identity]
            connection.answered.append(at.steady)
            waiting = tuple(name for name in names if connection.streams.get(name) is Progress.SENT)
            if not subscribes or not waiting:
                continue
            if identity < connection.answered_id or (connection.answered_id and self._suspected.issuperset(waiting)):
                # Other messages of the connection were answered: this one alone was dropped in silence.
                self._suspected.update(waiting)
                self._split(connection, waiting, subscribes, "it is never acknowledged", at)
                continue
            # Dropped in silence: only a new connection is known to help.
            self._suspected.update(waiting)
            self._give_up(connection, "a subscription was not acknowledged", at)
            if connection.phase is Phase.WAITING and len(waiting) > 1:
                # If one name is the reason, it would otherwise happen to all these streams again and again.
                connection.queue_halves(waiting, True)
            return

    def _check_age(self, connection: Connection, at: Moment) -> None:
        now = at.steady
        if connection.replaces is not None:
            old = self.connections.get(connection.replaces)
            if not connection.acknowledged():
                connection.overlap_until = None
            elif connection.overlap_until is None:
                connection.overlap_until = now + OVERLAP
                connection.overlap_from = at.exchange / 1000.0
            elif now >= connection.overlap_until and old is not None:
                self._take_over(connection, old)
                self._drop(old, "replaced before its age limit")
        elif now >= connection.replace_at:
            # One at a time, so that there is never more than one additional connection.
            in_hand = any(each.replaces is not None for each in self.connections.values())
            if not in_hand and self._attempts.free_at(now) <= now:
                number = next(self._numbers)
                replacement = Connection(number, connection.route, Phase.WAITING, now, now)
                replacement.replaces = connection.number
                replacement.streams = self._progress_on_reconnect(connection.streams)
                self.connections[number] = replacement
                self._connect(replacement, at)
            else:
                connection.replace_at = now + 5.0

    def _take_over(self, replacement: Connection, old: Connection) -> None:
        """Assign the old connection's streams to its replacement."""
        replacement.replaces = None
        replacement.overlap_until = None
        for name in list(replacement.streams):
            if name not in old.streams:
                del replacement.streams[name]
                replacement.unsubscribing.append(name)
        for name in old.streams:
            self.assigned_to[name] = replacement.number
            progress = replacement.streams.setdefault(name, old.streams[name].on_reconnect)
            if progress is Progress.ACKNOWLEDGED and replacement.link is not None:
                # If the old connection was alive to the end, the series goes on without a gap; otherwise the
                # acknowledgement counts as a new subscription.
                alive = old.link is not None and old.link.up and old.link.watermark >= replacement.overlap_from
                change = HandedOver if alive else Acknowledged
                self.changes.append(change(name, replacement.link))

    def give_up(self, number: int, reason: str, at: Moment) -> None:
        """Close a connection that is of no use, and connect again."""
        connection = self.connections.get(number)
        if connection is not None and connection.phase is Phase.OPEN:
            self._give_up(connection, reason, at)

    def _give_up(self, connection: Connection, reason: str, at: Moment) -> None:
        self.actions.append(Disconnect(connection.number, reason))
        if connection.link is not None:
            self.lost(connection.number, connection.link, reason, at)

    def _drop(self, connection: Connection, reason: str) -> None:
        del self.connections[connection.number]
        if connection.link is not None:
            self.changes.append(Ended(connection.link))
        self.actions.append(Disconnect(connection.number, reason, planned=True))
