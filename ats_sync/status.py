"""The state of a manager, for people to read."""

# Without postponed annotations, so that typing.get_type_hints() works although the classes show as ats_sync.Status, ….
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any, NamedTuple

from .feeds import CANDLES_AUDITED_EVERY, Kind

READER, ALONE = "reader", "alone"


class Overall(str, Enum):
    """The state of the manager, in one word."""

    STOPPED = "stopped"
    STARTING = "starting"
    LIVE = "live"
    DEGRADED = "degraded"


class FeedState(str, Enum):
    """The state of one series."""

    WARMING_UP = "warming up"
    LIVE = "live"
    POLLED = "polled"
    DEGRADED = "degraded"
    GONE = "gone"

    __hash__ = str.__hash__  # the one of Enum is written in Python, and there are thousands to count


GOOD = FeedState.LIVE, FeedState.POLLED
"""The states of a series that is served from memory, or polled as often as intended."""


@dataclass(frozen=True, slots=True)
class ConnectionStatus:
    """One stream connection. ``since`` is epoch seconds."""

    name: str
    route: str
    state: str
    streams: int
    acknowledged: int
    since: float
    frames: int
    last_error: str

    def __str__(self) -> str:
        line = f"{self.name:<12} {self.state:<11} {self.acknowledged}/{self.streams} streams since {_clock(self.since)}"
        return f"{line}; last error: {self.last_error}" if self.last_error else line


class FeedStatus(NamedTuple):
    """One series. ``age`` is seconds since its newest event or answer, None before the first."""

    kind: str
    symbol: str
    interval: str
    state: FeedState
    age: float | None
    reason: str
    derivation: str = ""
    """With ``Config(derive_intervals=True)``: what its candles are derived from, or why they are no longer."""


@dataclass(frozen=True, slots=True)
class SnapshotStatus:
    """What is kept on disk for the next start."""

    directory: str
    problem: str
    """Why nothing is written at present, "" where nothing is in the way."""
    written: float | None
    """Epoch seconds of the last write, None before the first."""
    loaded: int
    """How many series were begun with what was on disk."""
    unaudited: int
    """How many of those have newest closed rows that have not been compared with REST yet."""

    def __str__(self) -> str:
        written = f"written {_clock(self.written)}" if self.written is not None else "not written yet"
        line = f"{self.directory}: {written}, {self.loaded} series loaded"
        line += f", {self.unaudited} of them to be compared with REST" if self.unaudited else ""
        return f"{line}; {self.problem}" if self.problem else line


@dataclass(frozen=True, slots=True)
class SharedStatus:
    """What this process is in the shared store that is set."""

    role: str
    """``leader``, a collector that writes; ``standby``, one that waits for its turn; ``lost``, one that led and is not
    sure any more; ``reader``; ``alone``, which shares nothing but the account of requests."""
    epoch: int = 0
    """The number of the reign that is known here, 0 before one is; with several shards, that of the first."""
    leader: str = ""
    """The name of the collector that leads, "" where nobody is known to; one for each shard."""
    reason: str = ""
    """Of a reader: why the state is what it is, in the collector's words, or why there are no data."""
    standbys: tuple[str, ...] = ()
    """The names of the collectors that stand by, those of the last seconds."""
    readers: int | None = None
    """How many processes read from the store, None where that is not known. (They are known by their connections.)"""
    memory: int | None = None
    """Bytes that the store uses, None where that is not known."""
    alone: bool = False
    """Whether this process counts its requests by itself, with its part of the limit, since the store is away."""

    def __str__(self) -> str:
        reign = f", epoch {self.epoch}" if self.epoch else ""
        if self.role != READER:
            behind = f" behind {self.leader}" if self.leader and self.role == "standby" else ""
            line = f"shared store: {self.role}{behind}{reign}"
        else:
            line = f"shared store: reader of {self.leader}{reign}" if self.leader else f"shared store: {self.reason}"
        return "; ".join((line, *self.users()))

    def users(self) -> tuple[str, ...]:
        """Return what is known of others in the store, in words."""
        return users(asdict(self))


def users(shared: Mapping[str, Any]) -> tuple[str, ...]:
    """Return in words who else uses a store; ``shared`` has the fields of :class:`SharedStatus`."""
    words = []
    if shared["memory"] is not None:
        words.append(f"standbys: {', '.join(shared['standbys']) or 'none'}")
        words.append("readers: unknown" if shared["readers"] is None else f"readers: {shared['readers']}")
        words.append(f"{shared['memory'] / 1e6:.1f} MB")
    if shared["alone"]:
        words.append("requests are counted without it")
    return tuple(words)


class LeaseSigns(NamedTuple):
    """What is seen of who leads one shard."""

    shard: str
    """Such as ``1/1``."""
    epoch: int
    led: bool
    """Whether somebody leads."""
    silent_for: float | None
    """Seconds since the last sign of whoever led last, None where that is not known or the lease was given back."""
    standbys: int | None
    """How many stand by, None where that is not known."""


class SharedTotals(NamedTuple):
    """What is counted and measured of the shared store."""

    role: str
    """As in :class:`SharedStatus`."""
    alone: bool
    """Whether requests are counted without it."""
    calls: Mapping[str, tuple[int, int]]
    """Of the feed and of the account of requests: calls that went to the server, and how many of them failed."""
    answers: bool
    """Whether the last call had an answer."""
    leases: tuple[LeaseSigns, ...] = ()
    readers: int | None = None
    memory: int | None = None
    written: tuple[float, float] | None = None
    """Of a collector: when (epoch seconds) it last wrote, and how long (seconds) that took."""
    feed_ages: Mapping[str, float] = {}
    """Of a reader, by shard: seconds since the newest sign of life of the collector's connections."""


@dataclass(frozen=True, slots=True)
class Status:
    """The state of the manager at one moment; ``print(status)`` shows it. ``since`` is epoch seconds."""

    state: Overall
    since: float
    connections: tuple[ConnectionStatus, ...]
    feeds: tuple[FeedStatus, ...]
    waiting_requests: int
    blocked: Mapping[str, float]
    """Hosts that said to wait, with the epoch second from which requests are allowed again."""
    contracts: Mapping[str, str] = field(default_factory=dict)
    """Followed symbols that do not trade normally, with the exchange's own word for it, such as ``TRADING_HALT``,
    ``PENDING_TRADING`` or ``SETTLING``."""
    snapshot: SnapshotStatus | None = None
    """What is kept on disk, None where nothing is."""
    shared: SharedStatus | None = None
    """What this process is in the shared store, None where none is set."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Frames that could not be used, by reason."""
    audit_every: float | None = None
    """How often (seconds) each series of candles is compared with REST, None where nothing is streamed. (With so many
    series that 300 s take more than a tenth of the requests, less often.)"""

    def ready(self, kind: str) -> tuple[int, int]:
        """Return how many series of a kind are live (or polled), and how many there are."""
        own = [feed for feed in self.feeds if feed.kind == kind]
        return sum(feed.state in GOOD for feed in own), len(own)

    def __str__(self) -> str:
        lines = [f"{self.state.value} since {_clock(self.since)}"]
        lines += [f"  {connection}" for connection in self.connections]
        for kind, states, age in by_kind(self.feeds):
            parts = ", ".join(f"{count} {state.value}" for state, count in states.most_common())
            oldest = f", oldest {age:.1f} s" if age is not None else ""
            lines.append(f"  {kind.value:<12} {parts}{oldest}")
        derivations = Counter(feed.derivation for feed in self.feeds if feed.derivation)
        lines += [f"  {count} series {how}" for how, count in derivations.most_common()]
        lines += [f"  {symbol} is {status}" for symbol, status in sorted(self.contracts.items())]
        if self.waiting_requests:
            lines.append(f"  {self.waiting_requests} requests in line")
        lines += [f"  the {host} host said to wait until {_clock(until)}" for host, until in self.blocked.items()]
        lines += [f"  {count} frames dropped: {reason}" for reason, count in self.dropped.items()]
        if self.audit_every is not None and self.audit_every > CANDLES_AUDITED_EVERY:
            lines.append(f"  each series of candles is compared with REST every {self.audit_every / 60.0:.0f} minutes")
        if self.snapshot is not None:
            lines.append(f"  {self.snapshot}")
        if self.shared is not None:
            lines.append(f"  {self.shared}")
        return "\n".join(lines)


class KindSummary(NamedTuple):
    """All series of one kind."""

    kind: Kind
    states: Counter[FeedState]
    """How many series are in each state."""
    oldest: float | None
    """The largest age (seconds) among them, None where none has an event yet."""


def by_kind(feeds: Iterable[FeedStatus]) -> Iterator[KindSummary]:
    """Yield a summary of each kind that has series, in the order of :class:`~ats_sync.feeds.Kind`."""
    groups: dict[str, list[FeedStatus]] = {}
    for feed in feeds:
        groups.setdefault(feed.kind, []).append(feed)
    for kind in Kind:
        if own := groups.get(kind.value):
            ages = [feed.age for feed in own if feed.age is not None]
            yield KindSummary(kind, Counter([feed.state for feed in own]), max(ages, default=None))


class Summary(NamedTuple):
    """The state of the manager without the series that are well."""

    status: Status
    """Its feeds are only those that are neither live nor polled."""
    kinds: tuple[KindSummary, ...]
    """Of all."""


def summary_of(status: Status) -> Summary:
    """Return the summary of a whole status."""
    others = tuple([feed for feed in status.feeds if feed.state not in GOOD])
    return Summary(replace(status, feeds=others), tuple(by_kind(status.feeds)))


def _clock(epoch: float) -> str:
    return datetime.fromtimestamp(epoch, timezone.utc).strftime("%H:%M:%S UTC")


def overall(feeds: Iterable[FeedStatus], *, ready: bool) -> tuple[Overall, str]:
    """Return the state of a running manager and what it is due to; ``ready``: whether its start has succeeded."""
    if not ready:
        return Overall.STARTING, "it is warming up"
    degraded = [feed for feed in feeds if feed.state is FeedState.DEGRADED]
    if not degraded:
        return Overall.LIVE, "every series is fresh"
    first = degraded[0]
    name = " ".join(part for part in (first.symbol, first.kind, first.interval) if part)
    return Overall.DEGRADED, f"{len(degraded)} series are degraded, such as {name}: {first.reason}"
