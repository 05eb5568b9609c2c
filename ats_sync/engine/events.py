"""The events of the engine: values, so that they can be logged and replayed, and the inbox that keeps their order."""

from __future__ import annotations

import itertools
from collections import deque
from dataclasses import dataclass
from typing import Any

from ..errors import AtsSyncError
from ..store.link import Link
from ..store.series import StoreEvent
from .jobs import Fetch

MAX_REPLIES = 10_000


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
    dropped (``dropped`` counts them). Of the others there is one a fetch in flight, two a connection, and one a call
    of a user.
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
