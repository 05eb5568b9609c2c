"""The connections: which streams each carries, when it connects, subscribes, is replaced, is given up.

A replacement takes over a connection's streams while the old one goes on delivering; only when every
stream has been acknowledged and the two have overlapped for a while is the old one closed.

A message that the exchange refuses is halved until what it refuses stands alone: one bad name must not keep the
hundred around it from being subscribed.
"""

from __future__ import annotations

import itertools
import json
import math
import random
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..config import Config
from ..store.link import Link
from ..venue.endpoints import CONNECTION_ATTEMPT_LIMIT, MESSAGES_PER_SECOND, SPOT_PREFIX, Route
from .connection import Action, Connect, Connection, Disconnect, Phase, Progress, Send
from .moment import Moment
from .subscribing import Refusals, halves, is_refusal, message_text, names_that_fit, said, tells_of_shutdown

ACKNOWLEDGED_WITHIN = 5.0
OVERLAP = 2.0
CONNECT_WITHIN = 15.0
SPREAD_FROM = 256  # From this many streams on a route they are spread over at least two connections.
MOST_REFUSALS = 32
AFTER_REFUSAL = 10.0  # seconds of silence on a connection where one message after another was refused
WHOLESALE = 8  # So many refusals in a row are the exchange's trouble, no name's: halving finds good names sooner.
KEPT_FREE_MESSAGES = 3  # a second, for pings and pongs


class Connections:
    """All connections. What is to be done goes to ``actions``; what was acknowledged to ``live``."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._numbers = itertools.count(1)
        self._ids = itertools.count(1)
        self._attempts: deque[float] = deque(maxlen=CONNECTION_ATTEMPT_LIMIT[0])
        self.connections: dict[int, Connection] = {}
        self.home: dict[str, int] = {}
        self.actions: list[Action] = []
        self.live: list[tuple[str, Link]] = []
        """Streams acknowledged since last taken, with the link they are live on."""
        self.moved: list[tuple[str, Link]] = []
        """Streams that a replacement has taken over without a gap, since last taken."""
        self.gone: list[Link] = []
        """Links that ended, since last taken."""
        self.held = False
        """Whether connecting has to wait (for the exchange's time, without which no proof of life can be judged)."""
        self.reconnects = 0
        self.refusals = Refusals()
        """The streams that the exchange refuses, each when it stands alone."""
        self._suspected: set[str] = set()
        """Streams of messages that were never answered, until they are acknowledged."""
        self.refused: deque[str] = deque(maxlen=MOST_REFUSALS)
        """What the exchange said against our messages, the newest ones."""

    # --- what is wanted ------------------------------------------------------------------------

    def want(self, names: Iterable[tuple[str, Route]], at: Moment) -> None:
        """Carry these streams from now on."""
        by_route: dict[Route, list[str]] = {}
        for name, route in names:
            if name not in self.home:
                by_route.setdefault(route, []).append(name)
        for route, fresh in by_route.items():
            self._make_room(route, len(fresh), at)
            for name in fresh:
                connection = min(self._of(route), key=lambda each: len(each.streams))
                connection.streams[name] = Progress.PENDING
                if name in connection.leaving:
                    connection.leaving.remove(name)
                self.home[name] = connection.number
                for replacement in self.connections.values():
                    if replacement.replaces == connection.number:
                        replacement.streams[name] = Progress.PENDING
        self.tick(at)

    def unwant(self, names: Iterable[str], at: Moment) -> None:
        """Carry these streams no longer."""
        for name in names:
            self.home.pop(name, None)
            self.refusals.forget(name)
            self._suspected.discard(name)
            for connection in self.connections.values():
                progress = connection.streams.pop(name, Progress.PENDING)
                if progress.said and connection.phase is Phase.OPEN:
                    connection.leaving.append(name)
        self.tick(at)

    def _of(self, route: Route) -> list[Connection]:
        return [each for each in self.connections.values() if each.route is route and each.replaces is None]

    def _make_room(self, route: Route, more: int, at: Moment) -> None:
        existing = self._of(route)
        total = sum(len(each.streams) for each in existing) + more
        most = self._config.max_streams_per_connection
        needed = max(-(-total // most), 2 if total >= SPREAD_FROM and route is Route.MARKET else 1)
        for _ in range(needed - len(existing)):
            number = next(self._numbers)
            self.connections[number] = Connection(number, route, Phase.WAITING, at.steady, at.steady)

    # --- what happened ---------------------------------------------------------------------------

    def opened(self, number: int, link: Link, at: Moment) -> None:
        """The handshake is done."""
        connection = self.connections.get(number)
        if connection is None or connection.link is not link:
            return
        connection.phase = Phase.OPEN
        connection.since = connection.opened = at.steady
        # Ages differ from the start, so that replacements never fall together.
        share = 1.0 - 0.1 * (number % 5) - 0.02 * self._rng.random()
        connection.retire = at.steady + self._config.connection_max_age * share
        self.tick(at)

    def lost(self, number: int, link: Link, reason: str, at: Moment) -> None:
        """The connection ended, or could not be made."""
        link.up = False
        connection = self.connections.get(number)
        if connection is None or connection.link is not link:
            return  # news of an attempt that was given up before
        self._ended(link)
        if connection.phase is Phase.OPEN and at.steady - connection.opened >= self._config.healthy_after:
            connection.failures = 0
        if connection.replaces is not None:
            # A failed replacement is given up; the old connection goes on and is replaced a little later.
            del self.connections[number]
            replaced = self.connections.get(connection.replaces)
            if replaced is not None:
                replaced.retire = at.steady + self._back_off(connection.failures + 2)
            self.tick(at)
            return
        for replacement in [each for each in self.connections.values() if each.replaces == number]:
            # The old one is gone: what was to replace it now simply takes its place.
            self._take_over(replacement, connection)
            del self.connections[number]
            self.reconnects += 1
            self.tick(at)
            return
        connection.link = None
        connection.last_error = reason
        connection.phase = Phase.WAITING
        connection.since = at.steady
        connection.due = at.steady + self._back_off(connection.failures)
        connection.failures += 1
        connection.streams = self._anew(connection.streams)
        connection.requests.clear()
        connection.leaving.clear()
        connection.batches.clear()
        connection.silent_until = 0.0
        connection.refused_in_a_row = connection.answered_id = 0
        self.reconnects += 1
        self.tick(at)

    def _anew(self, names: Iterable[str]) -> dict[str, Progress]:
        """Return where streams stand on a connection that has subscribed to none of them."""
        return {name: Progress.REFUSED if name in self.refusals else Progress.PENDING for name in names}

    def replied(self, number: int, message: dict[str, Any], at: Moment) -> None:
        """A message that is not a stream frame came in: an acknowledgement, an error, or news of the connection."""
        connection = self.connections.get(number)
        if connection is None:
            return
        if tells_of_shutdown(message):
            self._hand_over(connection, at)
            return
        identity = message.get("id")
        if identity is None and is_refusal(message):
            # Messages are answered in order, so an error without an id belongs to the oldest.
            identity = next(iter(connection.requests), None)
        answered = connection.requests.pop(identity, None) if isinstance(identity, int) else None
        if message.get("error") is not None or "code" in message or answered is None:
            self.refused.append(f"{connection.route.value}-{number}: {json.dumps(message)[:200]}")
        if answered is None:
            return
        connection.answered.append(at.steady)
        connection.answered_id = max(connection.answered_id, identity or 0)
        names, _, subscribes = answered
        if message.get("result", "absent") is not None or message.get("error") is not None or not connection.link:
            connection.refused_in_a_row += not all(name in self.refusals for name in names)
            if connection.refused_in_a_row >= WHOLESALE:
                connection.silent_until = at.steady + AFTER_REFUSAL
            self._split(connection, names, subscribes, said(message), at)
        else:
            connection.refused_in_a_row = 0
            if subscribes:
                self._acknowledge(connection, connection.link, names)
        self.tick(at)

    def _acknowledge(self, connection: Connection, link: Link, names: Iterable[str]) -> None:
        passed = False
        for name in names:
            if connection.streams.get(name) is Progress.SENT:
                connection.streams[name] = Progress.ACKNOWLEDGED
                passed = self.refusals.forget(name) or passed
                self._suspected.discard(name)
                if connection.replaces is None:
                    self.live.append((name, link))
        if passed:
            # What kept one name out is over: the others need not wait out their pauses.
            for name in self.refusals.release():
                for each in self.connections.values():
                    if each.streams.get(name) is Progress.REFUSED:
                        each.streams[name] = Progress.PENDING

    def _split(self, connection: Connection, names: tuple[str, ...], subscribes: bool, reason: str, at: Moment) -> None:
        """Send a refused message again in two, until what is refused stands alone."""
        if subscribes:
            names = tuple(name for name in names if connection.streams.get(name) is Progress.SENT)
        if len(names) > 1:
            connection.batches += [(half, subscribes) for half in halves(names)]
        for name in names if subscribes else ():
            if len(names) > 1:
                connection.streams[name] = Progress.PENDING
            else:
                connection.streams[name] = Progress.REFUSED
                self.refusals.add(name, reason, at.steady)

    def _hand_over(self, connection: Connection, at: Moment) -> None:
        """The exchange is about to close a connection: another takes over at once, while this one still delivers."""
        if connection.replaces is not None:
            # The server it came to closes as well; the connection that it replaces is good for a while.
            self._give_up(connection, "its server is about to close", at)
            return
        connection.retire = at.steady
        self.tick(at)

    def encouraged(self, at: Moment) -> None:
        """The network works again: do not wait out long back-offs."""
        for connection in self.connections.values():
            if connection.phase is Phase.WAITING:
                soonest = max(at.steady, connection.since + self._config.reconnect_min)
                connection.due = min(connection.due, soonest)

    def resubscribe(self, name: str, at: Moment) -> bool:
        """Subscribe a stream again on its own connection; whether it has one that is open."""
        connection = self.connections.get(self.home.get(name, -1))
        if connection is None or connection.phase is not Phase.OPEN or name in self.refusals:
            return False
        connection.leaving.append(name)
        connection.streams[name] = Progress.PENDING
        self.tick(at)
        return True

    def move(self, name: str, at: Moment) -> bool:
        """Carry a stream on another open connection of its route; whether there is one."""
        home = self.connections.get(self.home.get(name, -1))
        if home is None or name in self.refusals:
            return False
        others = [
            each
            for each in self._of(home.route)
            if each is not home
            and each.phase is Phase.OPEN
            and len(each.streams) < self._config.max_streams_per_connection
        ]
        if not others:
            return False
        target = min(others, key=lambda each: len(each.streams))
        if home.streams.pop(name, Progress.PENDING).said and home.phase is Phase.OPEN:
            home.leaving.append(name)
        target.streams[name] = Progress.PENDING
        self.home[name] = target.number
        self.tick(at)
        return True

    # --- time ------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Do what is due."""
        now = at.steady
        for connection in list(self.connections.values()):
            if self.connections.get(connection.number) is not connection:
                continue  # gone through what happened to one before it
            if connection.replaces is not None and connection.replaces not in self.connections:
                connection.replaces = connection.overlap_until = None
            if connection.phase is Phase.WAITING:
                if not connection.streams:
                    del self.connections[connection.number]
                elif now >= connection.due and not self.held and self._may_attempt(now):
                    self._connect(connection, at)
            elif connection.phase is Phase.CONNECTING:
                if now >= connection.due:
                    self._give_up(connection, "connecting took too long", at)
            elif not connection.streams and not connection.leaving and connection.replaces is None:
                self._drop(connection, "nothing is wanted of it any more")
            else:
                self._speak(connection, now)
                self._check_replies(connection, at)
                self._check_age(connection, at)

    def next_due(self, now: float) -> float | None:
        """When :meth:`tick` has something to do next (steady), None for nothing foreseeable."""
        moments: list[float] = []
        for connection in self.connections.values():
            if connection.phase is Phase.OPEN:
                if connection.leaving or connection.batches or Progress.PENDING in connection.streams.values():
                    moments.append(self._may_speak_at(connection, now))
                if (again := self.refusals.due(connection.refused())) is not None:
                    moments.append(max(again, self._may_speak_at(connection, now)))
                moments += [sent + ACKNOWLEDGED_WITHIN for _, sent, _ in connection.requests.values()]
                if connection.overlap_until is not None:
                    moments.append(connection.overlap_until)
                elif connection.replaces is None:
                    moments.append(connection.retire)
            elif not (self.held and connection.phase is Phase.WAITING):
                moments.append(max(connection.due, self._attempt_free_at(now)))
        return min(moments, default=None)

    def _connect(self, connection: Connection, at: Moment) -> None:
        self._attempts.append(at.steady)
        connection.phase = Phase.CONNECTING
        connection.since = at.steady
        connection.due = at.steady + CONNECT_WITHIN
        connection.link = Link(connection.number, connection.route.value, at.exchange / 1000.0)
        connection.answered.clear()
        self.actions.append(Connect(connection.number, connection.route, connection.link))

    def _speak(self, connection: Connection, now: float) -> None:
        """Send what the message limit allows of the pending (un)subscriptions."""
        while self._may_speak_at(connection, now) <= now:
            names, subscribes = self._next_message(connection, now)
            if not names:
                return
            for name in names if subscribes else ():
                connection.streams[name] = Progress.SENT
            identity = next(self._ids)
            connection.requests[identity] = (names, now, subscribes)
            params = [name.removeprefix(SPOT_PREFIX) for name in names]
            self.actions.append(Send(connection.number, message_text(params, identity, subscribes=subscribes)))

    def _next_message(self, connection: Connection, now: float) -> tuple[tuple[str, ...], bool]:
        """Return the names to be sent next, none when there is nothing to say, and whether they are subscribed to."""
        streams = connection.streams
        if connection.leaving:
            names = names_that_fit(connection.leaving)
            del connection.leaving[: len(names)]
            return names, False
        while connection.batches:
            batch, subscribes = connection.batches.popleft()
            # Meanwhile a name may have been dropped, moved, or wanted again.
            if subscribes:
                batch = tuple(name for name in batch if streams.get(name) is Progress.PENDING)
            else:
                batch = tuple(name for name in batch if name not in streams)
            if batch:
                return batch, subscribes
        names = names_that_fit(name for name, progress in streams.items() if progress is Progress.PENDING)
        if not names and (name := self.refusals.first_due(connection.refused(), now)) is not None:
            names = (name,)
        return names, True

    def _may_speak_at(self, connection: Connection, now: float) -> float:
        allowed = max(1, MESSAGES_PER_SECOND[connection.route.value] - KEPT_FREE_MESSAGES)
        # When a message is handed over says little about when it arrives: a busy thread sends several at once. Its
        # answer does, so a message counts until a second after that.
        left = allowed - len(connection.requests)
        if left <= 0:
            return math.inf
        recent = [answered for answered in connection.answered if answered > now - 1.0]
        free = now if len(recent) < left else recent[-left] + 1.001
        return max(free, connection.silent_until)

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
                # The connection is answered all the same: this message alone was dropped in silence.
                self._suspected.update(waiting)
                self._split(connection, waiting, subscribes, "it is never acknowledged", at)
                continue
            # Dropped in silence; a fresh connection is the only thing known to help.
            self._suspected.update(waiting)
            self._give_up(connection, "a subscription was not acknowledged", at)
            if connection.phase is Phase.WAITING and len(waiting) > 1:
                # Should one name be the reason, it would happen again and again, to all the streams here.
                connection.batches += [(half, True) for half in halves(waiting)]
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
        elif now >= connection.retire:
            # One at a time, so that there is never more than one connection beyond the usual number.
            in_hand = any(each.replaces is not None for each in self.connections.values())
            if not in_hand and self._may_attempt(now):
                number = next(self._numbers)
                replacement = Connection(number, connection.route, Phase.WAITING, now, now)
                replacement.replaces = connection.number
                replacement.streams = self._anew(connection.streams)
                self.connections[number] = replacement
                self._connect(replacement, at)
            else:
                connection.retire = now + 5.0

    def _take_over(self, replacement: Connection, old: Connection) -> None:
        """``replacement`` is the home of the old one's streams from now on."""
        replacement.replaces = None
        replacement.overlap_until = None
        for name in list(replacement.streams):
            if name not in old.streams:
                del replacement.streams[name]
                replacement.leaving.append(name)
        for name in old.streams:
            self.home[name] = replacement.number
            progress = replacement.streams.setdefault(name, old.streams[name].again)
            if progress is Progress.ACKNOWLEDGED and replacement.link is not None:
                # Where the old one was alive to the end, the series goes on without a question; where
                # it was not, the acknowledgement counts as a new subscription.
                alive = old.link is not None and old.link.up and old.link.proof >= replacement.overlap_from
                (self.moved if alive else self.live).append((name, replacement.link))

    def give_up(self, number: int, reason: str, at: Moment) -> None:
        """Cut a connection that is of no use any more, and connect again."""
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
            self._ended(connection.link)
        self.actions.append(Disconnect(connection.number, reason))

    def _ended(self, link: Link) -> None:
        # What was acknowledged on it in the same breath is no longer live.
        self.live = [each for each in self.live if each[1] is not link]
        self.gone.append(link)

    def _back_off(self, failures: int) -> float:
        config = self._config
        delay = min(config.reconnect_max, config.reconnect_min * 2.0 ** min(failures, 16))
        return delay * self._rng.uniform(0.5, 1.0)

    def _may_attempt(self, now: float) -> bool:
        return self._attempt_free_at(now) <= now

    def _attempt_free_at(self, now: float) -> float:
        # Two thirds of what the exchange allows: other programs on this address connect too.
        most, seconds = CONNECTION_ATTEMPT_LIMIT
        allowed = most * 2 // 3
        recent = [attempt for attempt in self._attempts if attempt > now - seconds]
        return now if len(recent) < allowed else recent[-allowed] + seconds
