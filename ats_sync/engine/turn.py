"""One turn of the engine: it receives events, which are values in one inbox, and returns the actions that follow.

The engine's thread takes turns, and so do the tests, on virtual time.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple, Protocol

from ..errors import AtsSyncError
from ..feeds import Key
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Change, StoreEvent
from .connection import Connect, Disconnect, Send
from .engine import Engine, Submit
from .jobs import Fetch
from .moment import Moment

MAX_REPLIES = 10_000
COUNT_EVERY = 0.2
"""How often (seconds) candle series are counted at most."""
COUNT_WHEN_QUIET = 2.0
"""The same where nothing has happened since."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The handshake of a connection succeeded."""

    connection: int
    link: Link


@dataclass(frozen=True, slots=True)
class Lost:
    """A connection ended, or could not be made because of ``error``."""

    connection: int
    link: Link
    reason: str
    error: AtsSyncError | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """A connection received a message other than a stream frame."""

    connection: int
    message: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Noticed:
    """A store found something missing."""

    notice: StoreEvent


@dataclass(frozen=True, slots=True)
class Fetched:
    """A fetch was answered, or failed with ``error``."""

    fetch: Fetch
    error: AtsSyncError | None


@dataclass(frozen=True, slots=True)
class Changed:
    """The set of followed series has changed, so that there may be actions to execute."""


EngineEvent = Opened | Lost | Replied | Noticed | Fetched | Changed


class Inbox:
    """Waiting events in order of arrival. Not thread-safe.

    It is bounded: a notice that waits already is not added again, and beyond ``MAX_REPLIES`` the oldest reply is
    dropped (``dropped`` counts them). The others are at most one per fetch in flight, two per connection, and one per
    call of a user.
    """

    def __init__(self) -> None:
        self.dropped = 0
        self._events: dict[object, EngineEvent] = {}
        self._replies: deque[int] = deque()  # their keys, from the oldest on
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: EngineEvent) -> None:
        """Append an event."""
        if isinstance(event, Noticed):
            self._events.setdefault(event, event)
            return
        number = next(self._numbers)
        self._events[number] = event
        if isinstance(event, Replied):
            self._replies.append(number)
            if len(self._replies) > MAX_REPLIES:
                del self._events[self._replies.popleft()]
                self.dropped += 1

    def take(self) -> list[EngineEvent]:
        """Remove and return all events."""
        events = list(self._events.values())
        self._events.clear()
        self._replies.clear()
        return events


Action = Connect | Send | Disconnect | Submit


class CandleCount:
    """Decides when to count the candle series for which the budget keeps room. A count wakes a thread that waits for
    room, so counts are rare while the turns of the engine receive nothing and do nothing."""

    def __init__(self) -> None:
        self._due = self._due_when_quiet = 0.0
        self._changed = False

    def take(self, engine: Engine, now: float, *, quiet: bool) -> tuple[int, int] | None:
        """Return what :meth:`~ats_sync.engine.reconciler.Reconciler.candles` does, None where it is not due; ``quiet``:
        this turn neither received nor did anything."""
        self._changed = self._changed or not quiet
        if now < (self._due if self._changed else self._due_when_quiet):
            return None
        self._changed = False
        self._due, self._due_when_quiet = now + COUNT_EVERY, now + COUNT_WHEN_QUIET
        return engine.reconciler.candles()


def receive(engine: Engine, event: EngineEvent, at: Moment) -> None:
    """Pass one event to the engine."""
    match event:
        case Opened(connection, link):
            engine.opened(connection, link, at)
        case Lost(connection, link, reason, error):
            engine.lost(connection, link, reason, at, error)
        case Replied(connection, message):
            engine.replied(connection, message, at)
        case Noticed(notice):
            engine.noticed([notice], at)
        case Fetched(fetch, error):
            engine.fetched(fetch, error, at)
        case Changed():
            pass


class Turn(NamedTuple):
    """The outcome of a turn."""

    actions: list[Action]
    """To execute, in order."""
    candles: tuple[int, int] | None
    """As :meth:`CandleCount.take` returns it."""
    failures: list[tuple[Exception, EngineEvent | None]]
    """Each with its event, None where it was not due to one. A failure costs no other event and no action."""


def take_turn(engine: Engine, now: Callable[[], Moment], events: Sequence[EngineEvent], count: CandleCount) -> Turn:
    """Pass on events in their order, then do what is due."""
    assert engine.guarded()
    failures: list[tuple[Exception, EngineEvent | None]] = []
    _pass_on(engine, now, events, failures)
    try:
        engine.tick(now())
    except Exception as failure:  # noqa: BLE001 - reported
        failures.append((failure, None))
    actions, candles = engine.take(), None
    try:
        candles = count.take(engine, now().steady, quiet=not events and not actions)
    except Exception as failure:  # noqa: BLE001 - reported
        failures.append((failure, None))
    return Turn(actions, candles, failures)


def _pass_on(
    engine: Engine,
    now: Callable[[], Moment],
    events: Iterable[EngineEvent],
    failures: list[tuple[Exception, EngineEvent | None]],
) -> None:
    for is_notice, group in groupby(events, lambda event: isinstance(event, Noticed)):
        if is_notice:
            # One gap in a connection shows in many series at once.
            together = [event for event in group if isinstance(event, Noticed)]
            try:
                engine.noticed([event.notice for event in together], now())
            except Exception as failure:  # noqa: BLE001 - reported
                failures.append((failure, together[0]))
            continue
        for event in group:
            try:
                receive(engine, event, now())
            except Exception as failure:  # noqa: BLE001 - reported
                failures.append((failure, event))


class Carrier(Protocol):
    """Executes the actions of an engine."""

    def submit(self, fetch: Fetch) -> None: ...

    def connect(self, action: Connect) -> None: ...

    def send(self, action: Send) -> None: ...

    def disconnect(self, action: Disconnect) -> None: ...


def carry_out(action: Action, carrier: Carrier) -> None:
    """Execute an action."""
    match action:
        case Submit(fetch):
            carrier.submit(fetch)
        case Connect():
            carrier.connect(action)
        case Send():
            carrier.send(action)
        case Disconnect():
            carrier.disconnect(action)


def sort(notices: Iterable[StoreEvent]) -> tuple[list[EngineEvent], list[Key]]:
    """Return those of the store's notices that concern the engine, and the series of which a candle has closed."""
    events: list[EngineEvent] = []
    closed: list[Key] = []
    for notice in notices:
        if notice.change is Change.CLOSED:
            closed.append(notice.key)
        else:
            events.append(Noticed(notice))
    return events, closed


def closed_by(fetch: Fetch, error: AtsSyncError | None, store: MarketStore) -> tuple[Key, ...]:
    """Return the series of which a fetch may have closed candles."""
    feed = fetch.feed
    if error is not None or feed is None or not feed.closes:
        return ()
    return (fetch.key, *store.derivations.derived_from(fetch.key))
