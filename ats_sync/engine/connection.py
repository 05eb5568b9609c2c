"""One connection, and what can be done to it.

Its life: WAITING (until its back-off is over) → CONNECTING → OPEN → lost → WAITING …
A stream's on it: pending → sent (in a SUBSCRIBE) → acknowledged, or refused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from ..store.link import Link
from ..venue.endpoints import Route


class Phase(str, Enum):
    WAITING = "waiting"
    CONNECTING = "connecting"
    OPEN = "open"


class Progress(Enum):
    PENDING = 0
    SENT = 1
    ACKNOWLEDGED = 2
    REFUSED = 3

    @property
    def said(self) -> bool:
        """Whether the exchange may be delivering it."""
        return self in (Progress.SENT, Progress.ACKNOWLEDGED)

    @property
    def again(self) -> Progress:
        """Where it stands on a connection that has said nothing of it yet."""
        return self if self is Progress.REFUSED else Progress.PENDING


@dataclass(frozen=True, slots=True)
class Connect:
    connection: int
    route: Route
    link: Link


@dataclass(frozen=True, slots=True)
class Send:
    connection: int
    text: str


@dataclass(frozen=True, slots=True)
class Disconnect:
    connection: int
    reason: str


Action = Connect | Send | Disconnect


@dataclass(slots=True)
class Connection:
    """One connection, across its reconnects."""

    number: int
    route: Route
    phase: Phase
    since: float
    due: float
    """WAITING: when to connect. CONNECTING: when to give up."""
    link: Link | None = None
    failures: int = 0
    opened: float = 0.0
    retire: float = 0.0
    """When to be replaced."""
    last_error: str = ""
    streams: dict[str, Progress] = field(default_factory=dict)
    requests: dict[int, tuple[tuple[str, ...], float, bool]] = field(default_factory=dict)
    """Unanswered messages by id: names, sent at, whether it subscribes."""
    leaving: list[str] = field(default_factory=list)
    """Names to be unsubscribed."""
    batches: deque[tuple[tuple[str, ...], bool]] = field(default_factory=deque)
    """Parts of refused messages, to be sent as they are: names, whether they are subscribed to."""
    silent_until: float = 0.0
    """No message is sent before: all of them were refused lately."""
    refused_in_a_row: int = 0
    answered_id: int = 0
    """The highest id of our messages that was answered."""
    answered: deque[float] = field(default_factory=lambda: deque(maxlen=16))
    """When the newest answers to our messages came."""
    replaces: int | None = None
    overlap_until: float | None = None
    overlap_from: float = 0.0
    """When (exchange time, seconds) the overlap began: what the other one proves later covers the turn."""

    def acknowledged(self) -> bool:
        """Whether every stream here has been acknowledged, save those that the exchange refuses."""
        return all(progress in (Progress.ACKNOWLEDGED, Progress.REFUSED) for progress in self.streams.values())

    def refused(self) -> Iterator[str]:
        """Yield the streams here that the exchange refuses."""
        return (name for name, progress in self.streams.items() if progress is Progress.REFUSED)
