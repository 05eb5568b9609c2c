"""The state of a manager, for people to read."""

# Without postponed annotations, so that typing.get_type_hints() works although the classes show as ats_sync.Status, ….
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timezone
from enum import Enum
from typing import Any, NamedTuple

from .clock import Clock
from .engine.connection import Connection, Progress
from .engine.engine import Engine
from .engine.state import State
from .feeds import CANDLES_AUDITED_EVERY, FEEDS, Key, Kind, Scope
from .reads import TIME_IN_DOUBT, UNWATCHED, WATCHED_WITHIN
from .store.link import DOWN, Link, stream_doubt
from .store.market import MarketStore
from .store.series import Series, SeriesState
from .store.trades import TradeSeries

TRADING = "TRADING"
READER, ALONE = "reader", "alone"
NOT_SERVED = "the collector does not serve it"


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


GOOD = _LIVE, _POLLED = FeedState.LIVE, FeedState.POLLED
"""What a series is called that is served from memory, or as often polled as is meant."""
_NAMES = {kind: kind.value for kind, feed in FEEDS.items() if feed.shown}
_new = tuple.__new__  # makes a named tuple without its constructor, which takes three times as long


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
    """Of them, those of which the newest closed rows have not been compared with REST yet."""

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
    """The state of the manager without what is said of each series that is well."""

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


def connection_statuses(engine: Engine, clock: Clock) -> tuple[ConnectionStatus, ...]:
    """Return the state of each of the engine's connections; the caller holds the engine's lock."""
    assert engine.guarded()
    return tuple(_connection(each, clock) for each in engine.connections.connections.values())


def _connection(connection: Connection, clock: Clock) -> ConnectionStatus:
    link = connection.link
    state = connection.phase.value
    if connection.replaces is not None:
        state += " (to replace another)"
    return ConnectionStatus(
        f"{connection.route.value}-{connection.number}",
        connection.route.value,
        state,
        len(connection.streams),
        len(connection.streams.at(Progress.ACKNOWLEDGED)),
        clock.to_wall(connection.since),
        link.frames if link is not None else 0,
        connection.last_error,
    )


def feed_statuses(engine: Engine, store: MarketStore, clock: Clock) -> tuple[FeedStatus, ...]:
    """Return the state of every series the engine keeps; the caller holds the engine's lock."""
    assert engine.guarded()
    return tuple(_look(engine, store, clock).feeds())


def feeds_summary(
    engine: Engine, store: MarketStore, clock: Clock
) -> tuple[tuple[KindSummary, ...], tuple[FeedStatus, ...]]:
    """Return a summary of each kind, and the state of every series that is neither live nor polled; the caller holds
    the engine's lock."""
    assert engine.guarded()
    return _look(engine, store, clock).summary()


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


def contract_statuses(store: MarketStore) -> dict[str, str]:
    """Return the status of every followed symbol that does not trade normally."""
    statuses = store.contract_statuses(store.symbols)
    return {symbol: status for symbol, status in statuses.items() if status not in ("", TRADING)}


def _age(exchange: float, event: int) -> float | None:
    age = exchange - event / 1000.0
    return None if not event else age if age > 0.0 else 0.0


def _overdue(age: float | None, bound: float | None, *, streamed: bool) -> str:
    """Return why a series is doubted of which the newest event or answer is so old, "" where that is within the bound
    (both in seconds; no bound: it may be any age)."""
    if bound is None or (age is not None and age <= bound):
        return ""
    return "no recent event" if streamed else "the last poll is too long ago"


def copied_feed(key: Key, event: int | None, doubt: str, exchange: float) -> FeedStatus:
    """Return the state of a series that another process follows: ``event`` is that of its newest event or answer
    (exchange ms), None where that process has nothing of it; ``exchange`` is the exchange's time (seconds)."""
    feed = FEEDS[key.kind]
    if event is None:
        return FeedStatus(key.kind.value, key.symbol, key.interval, FeedState.DEGRADED, None, doubt or NOT_SERVED)
    age, shown = _age(exchange, event), _LIVE if feed.stream is not None else _POLLED
    bound = None if feed.own_stream else feed.stream_timeout or feed.max_age(streams=True)
    doubt = doubt or _overdue(age, bound, streamed=feed.stream is not None)
    return FeedStatus(key.kind.value, key.symbol, key.interval, FeedState.DEGRADED if doubt else shown, age, doubt)


class _Look(NamedTuple):
    """One look at every series: there are thousands, so that what they have in common is found out once."""

    engine: Engine
    store: MarketStore
    exchange: float
    exchange_ms: int
    now: float
    untrusted: str
    """Why nothing that is streamed is trusted now, "" where it is."""

    def feeds(self) -> list[FeedStatus]:
        """Return the state of every series."""
        exchange, found = self.exchange, []
        derivation = self.store.derivations.derivation if self.store.derivations.are_any() else None
        for key, event, shown, status in self._series():
            if status is None:
                kind, symbol, interval = key
                derived = derivation(key) if derivation is not None else ""
                found.append(
                    _new(FeedStatus, (_NAMES[kind], symbol, interval, shown, _age(exchange, event), "", derived))
                )
            else:
                found.append(status)
        return found

    def summary(self) -> tuple[tuple[KindSummary, ...], tuple[FeedStatus, ...]]:
        """Return what :func:`summary_of` returns of :meth:`feeds`, with no object for a series that is plainly live or
        polled."""
        events: dict[Kind, list[int]] = {kind: [] for kind in _NAMES}
        others: list[FeedStatus] = []
        for key, event, _, status in self._series():
            if status is None:
                events[key[0]].append(event)
            else:
                others.append(status)
        kinds = {each.kind: each for each in by_kind(others)}
        for kind, plain in events.items():
            if plain:
                _, states, oldest = kinds.get(kind, KindSummary(kind, Counter(), None))
                states[_LIVE if FEEDS[kind].own_stream else _POLLED] += len(plain)
                age = _age(self.exchange, min(filter(None, plain), default=0))
                ages = [each for each in (oldest, age) if each is not None]
                kinds[kind] = KindSummary(kind, states, max(ages, default=None))
        return (
            tuple([kinds[kind] for kind in Kind if kind in kinds]),
            tuple([each for each in others if each.state not in GOOD]),
        )

    def _series(self) -> Iterator[tuple[Key, int, FeedState, FeedStatus | None]]:
        """Yield every series with its newest event (exchange ms) where it is plainly live or polled, else with what
        :meth:`feed` returns."""
        now, every = self.exchange_ms, self.store.series
        alive, since = self._alive(), self._polled_since()
        for key, state in self.engine.reconciler.states.items():
            kind = key[0]
            if kind not in _NAMES:
                continue
            event, shown, series = -1, _LIVE, every.get(key)
            if series is not None and not state.delisted:
                if links := alive.get(kind):
                    event = series.sound_event(now, links)
                elif kind in since and state.known:
                    event, shown = series.polled_event(since[kind]), _POLLED
            yield key, event, shown, self.feed(key, state) if event < 0 else None

    def _alive(self) -> dict[Kind, frozenset[Link]]:
        """Return for each kind whose series have streams of their own the connections that live by its policy; none
        where nothing that is streamed is trusted."""
        if self.untrusted or not self.engine.streams:
            return {}
        links = [each.link for each in self.engine.connections.connections.values() if each.link is not None]
        return {
            kind: frozenset(link for link in links if link.alive(self.exchange, feed.stream_timeout))
            for kind, feed in FEEDS.items()
            if feed.own_stream
        }

    def _polled_since(self) -> dict[Kind, int]:
        """Return for each kind that is polled whatever is streamed since when (exchange ms) it must have been requested
        to be surely fresh."""
        bounds = {kind: feed.max_age(streams=False) for kind, feed in FEEDS.items() if feed.stream is None}
        return {
            kind: math.ceil((self.exchange - bound) * 1000) + 1 for kind, bound in bounds.items() if bound is not None
        }

    def feed(self, key: Key, state: State) -> FeedStatus:
        """Return the state of one series."""
        store, exchange = self.store, self.exchange
        series = store.series.get(key)
        series_state = series.state(self.exchange_ms) if series is not None else SeriesState()
        event = series_state.event
        age = _age(exchange, event)
        kind, symbol, interval = key
        if state.delisted:
            return FeedStatus(kind.value, symbol, interval, FeedState.GONE, age, state.delisted)
        shown, reason = self._assess(state, series_state, series)
        if shown is FeedState.LIVE and self.untrusted:
            shown, reason = FeedState.DEGRADED, self.untrusted
        if shown not in GOOD:
            if refusal := self.engine.refusal(key):
                shown, reason = FeedState.DEGRADED, f"served by REST, since the exchange refuses its stream: {refusal}"
            if state.error is not None:
                reason = f"{reason}; last error: {state.error}"
        return FeedStatus(kind.value, symbol, interval, shown, age, reason, store.derivations.derivation(key))

    def _assess(self, state: State, series_state: SeriesState, series: Series | None) -> tuple[FeedState, str]:
        feed, exchange, streams = state.feed, self.exchange, self.engine.streams
        if feed.stream is None or not streams:
            if not state.known:
                return FeedState.WARMING_UP, "the first answer is to come"
            max_age = feed.max_age(streams=streams) if feed.poll is not None else None
            doubt = _overdue(_age(exchange, series_state.answered), max_age, streamed=False)
            return (FeedState.DEGRADED if doubt else FeedState.POLLED), doubt
        if feed.shared:
            silence = feed.stream_timeout or feed.max_age(streams=streams)
            doubt = stream_doubt(state.link, "", exchange, silence or 5.0)
            if state.link is None and state.subscribed:
                doubt = DOWN
            # No answer makes them live: their stream does, by its frames or, where it may be silent, by being there.
            begun = bool(state.subscribed) and (silence is None or (series is not None and series.received > 0))
            doubt = doubt or _overdue(_age(exchange, series_state.event), silence, streamed=True)
        else:
            doubt = stream_doubt(series_state.link, series_state.suspected, exchange, feed.stream_timeout)
            doubt = doubt or series_state.doubt
            if not doubt and series is not None and series.lacks_older():
                doubt = series.unsettled(0)
            if doubt:
                begun = state.live_once or self.engine.reconciler.left_to_rest(state.key, self.now)
        if not doubt:
            return FeedState.LIVE, ""
        return (FeedState.DEGRADED if begun else FeedState.WARMING_UP), doubt


def _look(engine: Engine, store: MarketStore, clock: Clock) -> _Look:
    exchange, proven = clock.exchange(), clock.proven()
    untrusted = TIME_IN_DOUBT if not proven else UNWATCHED if exchange - store.watched_until > WATCHED_WITHIN else ""
    return _Look(engine, store, exchange, int(exchange * 1000), clock.now(), untrusted)


def last_updates(store: MarketStore) -> dict[str, float]:
    """Return epoch seconds (the exchange's clock) of the newest event or answer, by ``SYMBOL_kind[_interval]``."""
    updates: dict[str, float] = {}

    def note(name: str, event: int) -> None:
        if event:
            updates[name] = max(event / 1000.0, updates.get(name, 0.0))

    for key, series in store.series.items():
        if not key.symbol:
            continue
        # Periods of open interest share one name: the newest counts.
        interval = "" if series.feed.scope is Scope.PERIODS else key.interval
        parts = (key.symbol, *key.kind.value.split(), interval)
        note("_".join(part for part in parts if part), series.state(0).event)
    for trades in store.of(TradeSeries):
        note(f"{trades.key.symbol}_liquidation", trades.state(0).event)
    marks = store.marks.everything()
    spot = store.spot.get()
    for symbol in store.symbols:
        mark = marks.get(symbol)
        if mark is not None:
            note(f"{symbol}_mark", mark.time)
            note(f"{symbol}_funding", mark.time)
        if spot is not None and symbol in spot.value:
            note(f"{symbol}_spot", spot.as_of)
    return updates
