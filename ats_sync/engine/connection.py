"""One connection: its state, its next message, and the actions on it; and how often connections may be attempted.

Its phases: WAITING (until its back-off is over) → CONNECTING → OPEN → lost → WAITING …
The progress of a stream on it: pending → sent (in a SUBSCRIBE) → acknowledged, or refused. It is written in one place
(:class:`Streams`), which keeps the names of each progress apart: most streams are acknowledged and rest, and what is
due is found without a look at them.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterator, KeysView, Mapping, MutableMapping
from dataclasses import dataclass, field
from enum import Enum

from ..config import Config
from ..store.link import Link
from ..venue.endpoints import CONNECTION_ATTEMPT_LIMIT, MESSAGES_PER_SECOND, Route
from ..venue.subscriptions import names_that_fit
from .refusals import Refusals

_MAX_DOUBLINGS = 16


class Attempts:
    """The recent attempts of all connections. Two thirds of the exchange's limit are used, since other programs on this
    address connect too."""

    def __init__(self, config: Config, rng: random.Random) -> None:
        self._config = config
        self._rng = rng
        self._recent: deque[float] = deque(maxlen=CONNECTION_ATTEMPT_LIMIT[0])

    def add(self, now: float) -> None:
        """Count an attempt at ``now`` (steady)."""
        self._recent.append(now)

    def free_at(self, now: float) -> float:
        """Return from when on (steady) another attempt is allowed, ``now`` if it is at once."""
        most, seconds = CONNECTION_ATTEMPT_LIMIT
        allowed = most * 2 // 3
        recent = [attempt for attempt in self._recent if attempt > now - seconds]
        return now if len(recent) < allowed else recent[-allowed] + seconds

    def back_off(self, failures: int) -> float:
        """Return the seconds to wait, with jitter, after so many failures in a row."""
        config = self._config
        delay = min(config.reconnect_max, config.reconnect_min * 2.0 ** min(failures, _MAX_DOUBLINGS))
        return delay * self._rng.uniform(0.5, 1.0)


KEPT_FREE_MESSAGES = 3  # a second, for pings and pongs


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
    def may_deliver(self) -> bool:
        """Return whether the exchange may be delivering the stream."""
        return self in (Progress.SENT, Progress.ACKNOWLEDGED)

    @property
    def on_reconnect(self) -> Progress:
        """Return the progress on a new connection."""
        return self if self is Progress.REFUSED else Progress.PENDING


class Streams(MutableMapping[str, Progress]):
    """The progress of each stream of one connection."""

    def __init__(self, progress: Mapping[str, Progress] | None = None) -> None:
        self._progress: dict[str, Progress] = {}
        self._names: dict[Progress, dict[str, None]] = {each: {} for each in Progress}
        self.update(progress or {})

    def at(self, progress: Progress) -> KeysView[str]:
        """Return the names of the streams that have come so far and no farther, in the order in which they did."""
        return self._names[progress].keys()

    def __getitem__(self, name: str) -> Progress:
        return self._progress[name]

    def __setitem__(self, name: str, progress: Progress) -> None:
        before = self._progress.get(name)
        if before is not progress:
            if before is not None:
                del self._names[before][name]
            self._progress[name] = progress
            self._names[progress][name] = None

    def __delitem__(self, name: str) -> None:
        del self._names[self._progress.pop(name)][name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._progress)

    def __len__(self) -> int:
        return len(self._progress)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The subscription of a stream was acknowledged on ``link``."""

    name: str
    link: Link


@dataclass(frozen=True, slots=True)
class HandedOver:
    """A replacement, ``link``, has taken a stream over without a gap."""

    name: str
    link: Link


@dataclass(frozen=True, slots=True)
class Ended:
    """A link has ended."""

    link: Link


StreamChange = Acknowledged | HandedOver | Ended


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
    planned: bool = False
    """Whether nothing is wrong with it."""


Action = Connect | Send | Disconnect


@dataclass(slots=True)
class Connection:
    """One connection, across its reconnects."""

    number: int
    route: Route
    phase: Phase
    since: float
    due: float
    """WAITING: when (steady) to connect. CONNECTING: when to give up."""
    link: Link | None = None
    failures: int = 0
    opened: float = 0.0
    replace_at: float = 0.0
    """When (steady) it is replaced, before the exchange closes it for its age."""
    last_error: str = ""
    streams: Streams = field(default_factory=Streams)
    requests: dict[int, tuple[tuple[str, ...], float, bool]] = field(default_factory=dict)
    """Unanswered messages by id: names, sent at, whether it subscribes."""
    unsubscribing: list[str] = field(default_factory=list)
    """Streams to unsubscribe from."""
    batches: deque[tuple[tuple[str, ...], bool]] = field(default_factory=deque)
    """Halves of refused messages, to be sent as they are: names, whether they are subscribed to."""
    silent_until: float = 0.0
    """No message is sent before (steady), since many in a row were refused."""
    refused_in_a_row: int = 0
    answered_id: int = 0
    """The highest id of an answered message."""
    answered: deque[float] = field(default_factory=lambda: deque(maxlen=16))
    """When (steady) the newest answers to our messages arrived."""
    replaces: int | None = None
    """The number of the connection whose streams it takes over."""
    overlap_until: float | None = None
    overlap_from: float = 0.0
    """When (exchange time, seconds) the overlap began: an old connection alive after it leaves no gap."""

    def acknowledged(self) -> bool:
        """Return whether every stream here is acknowledged, save those that the exchange refuses."""
        return not self.streams.at(Progress.PENDING) and not self.streams.at(Progress.SENT)

    def refused(self) -> KeysView[str]:
        """Return the streams here that the exchange refuses."""
        return self.streams.at(Progress.REFUSED)

    def queue_halves(self, names: tuple[str, ...], subscribes: bool) -> None:
        """Send the names of one message in two."""
        middle = len(names) // 2
        self.batches += [(names[:middle], subscribes), (names[middle:], subscribes)]

    def next_message(self, refusals: Refusals, now: float) -> tuple[tuple[str, ...], bool]:
        """Take the names of the next message, none if there is nothing to send, and whether they are subscribed to."""
        streams = self.streams
        if self.unsubscribing:
            names = names_that_fit(self.unsubscribing)
            del self.unsubscribing[: len(names)]
            return names, False
        while self.batches:
            batch, subscribes = self.batches.popleft()
            # Meanwhile a name may have been dropped, moved, or added again.
            if subscribes:
                batch = tuple(name for name in batch if streams.get(name) is Progress.PENDING)
            else:
                batch = tuple(name for name in batch if name not in streams)
            if batch:
                return batch, subscribes
        names = names_that_fit(streams.at(Progress.PENDING))
        if not names and (name := refusals.first_due(self.refused(), now)) is not None:
            names = (name,)
        return names, True

    def may_send_at(self, now: float) -> float:
        """Return from when on (steady) the exchange's message limit allows another message."""
        allowed = max(1, MESSAGES_PER_SECOND[self.route.value] - KEPT_FREE_MESSAGES)
        # When a message is handed over says little about when it arrives: a busy thread sends several at once. Its
        # answer does, so a message counts until a second after that.
        left = allowed - len(self.requests)
        if left <= 0:
            return math.inf
        recent = [answered for answered in self.answered if answered > now - 1.0]
        free = now if len(recent) < left else recent[-left] + 1.001
        return max(free, self.silent_until)
