"""The state a person can read."""

# Without postponed annotations, so that typing.get_type_hints() works although the classes show as ats_sync.Status, ….
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum

from .clock import Clock
from .engine.connection import Connection, Progress
from .engine.engine import Engine
from .engine.freshness import TIME_IN_DOUBT, UNWATCHED, WATCHED_WITHIN, stream_doubt
from .engine.state import State
from .feeds import CANDLES, FEEDS, Key, Kind
from .store.market import MarketStore, stream_of

TRADING = "TRADING"


class Overall(str, Enum):
    """How the manager is, in one word."""

    STOPPED = "stopped"
    STARTING = "starting"
    LIVE = "live"
    DEGRADED = "degraded"


class FeedState(str, Enum):
    """How one series is."""

    WARMING_UP = "warming up"
    LIVE = "live"
    POLLED = "polled"
    DEGRADED = "degraded"
    GONE = "gone"


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


@dataclass(frozen=True, slots=True)
class FeedStatus:
    """One series. ``age`` is seconds since its newest event or answer, None before the first."""

    kind: str
    symbol: str
    interval: str
    state: FeedState
    age: float | None
    reason: str


@dataclass(frozen=True, slots=True)
class Status:
    """A picture of the manager at one moment; ``print(status)`` shows it. ``since`` is epoch seconds."""

    state: Overall
    since: float
    connections: tuple[ConnectionStatus, ...]
    feeds: tuple[FeedStatus, ...]
    waiting_requests: int
    blocked: Mapping[str, float]
    """Hosts that said to wait, with the epoch second from which they may be asked again."""
    contracts: Mapping[str, str] = field(default_factory=dict)
    """Followed symbols that do not simply trade, with the exchange's own word for it, such as ``TRADING_HALT``,
    ``PENDING_TRADING`` or ``SETTLING``."""

    def ready(self, kind: str) -> tuple[int, int]:
        """How many series of a kind are live (or polled), and how many there are."""
        own = [feed for feed in self.feeds if feed.kind == kind]
        return sum(feed.state in (FeedState.LIVE, FeedState.POLLED) for feed in own), len(own)

    def __str__(self) -> str:
        lines = [f"{self.state.value} since {_clock(self.since)}"]
        lines += [f"  {connection}" for connection in self.connections]
        for kind in Kind:
            own = [feed for feed in self.feeds if feed.kind == kind.value]
            if not own:
                continue
            counts = Counter(feed.state.value for feed in own)
            ages = [feed.age for feed in own if feed.age is not None]
            parts = ", ".join(f"{count} {state}" for state, count in counts.most_common())
            oldest = f", oldest {max(ages):.1f} s" if ages else ""
            lines.append(f"  {kind.value:<12} {parts}{oldest}")
        lines += [f"  {symbol} is {status}" for symbol, status in sorted(self.contracts.items())]
        if self.waiting_requests:
            lines.append(f"  {self.waiting_requests} requests in line")
        lines += [f"  the {host} host said to wait until {_clock(until)}" for host, until in self.blocked.items()]
        return "\n".join(lines)


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
        sum(progress is Progress.ACKNOWLEDGED for progress in connection.streams.values()),
        clock.to_wall(connection.since),
        link.frames if link is not None else 0,
        connection.last_error,
    )


def feed_statuses(engine: Engine, store: MarketStore, clock: Clock) -> tuple[FeedStatus, ...]:
    """Return the state of every series the engine keeps; the caller holds the engine's lock."""
    assert engine.guarded()
    exchange, now, proven = clock.exchange(), clock.now(), clock.proven()
    return tuple(
        _feed(key, state, engine, store, exchange, now, proven)
        for key, state in engine.upkeep.states.items()
        if key.kind not in (Kind.LISTINGS, Kind.CLOCK)
    )


def contract_statuses(store: MarketStore) -> dict[str, str]:
    """Return the status of every followed symbol that does not simply trade."""
    statuses = {symbol: store.contract_status(symbol) for symbol in store.symbols}
    return {symbol: status for symbol, status in statuses.items() if status not in ("", TRADING)}


def _feed(
    key: Key, state: State, engine: Engine, store: MarketStore, exchange: float, now: float, proven: bool
) -> FeedStatus:
    event = event_of(store, key)
    age = max(0.0, exchange - event / 1000.0) if event else None
    if state.dead:
        return FeedStatus(key.kind.value, key.symbol, key.interval, FeedState.GONE, age, state.dead)
    shown, reason = _judge(key, state, engine, store, exchange, now, age)
    if shown is FeedState.LIVE and not proven:
        shown, reason = FeedState.DEGRADED, TIME_IN_DOUBT
    elif shown is FeedState.LIVE and exchange - store.watched_until > WATCHED_WITHIN:
        shown, reason = FeedState.DEGRADED, UNWATCHED
    if shown not in (FeedState.LIVE, FeedState.POLLED) and (refusal := engine.refusal(key)):
        shown, reason = FeedState.DEGRADED, f"served by REST, since the exchange refuses its stream: {refusal}"
    if state.error is not None and shown not in (FeedState.LIVE, FeedState.POLLED):
        reason = f"{reason}; last error: {state.error}"
    return FeedStatus(key.kind.value, key.symbol, key.interval, shown, age, reason)


def _judge(
    key: Key, state: State, engine: Engine, store: MarketStore, exchange: float, now: float, age: float | None
) -> tuple[FeedState, str]:
    feed = FEEDS[key.kind]
    if not feed.streamed or not engine.streams:
        if not state.known:
            return FeedState.WARMING_UP, "the first answer is to come"
        if feed.poll is None or feed.bound_polled is None or (age is not None and age <= feed.bound_polled):
            return FeedState.POLLED, ""
        return FeedState.DEGRADED, "the last poll is too long ago"
    if feed.one_for_all:
        connection = engine.connections.connections.get(engine.connections.assigned_to.get(_stream(key), -1))
        link = connection.link if connection is not None else None
        doubt = stream_doubt(link, "", exchange, feed.silence or feed.bound or 5.0)
        if not doubt and feed.bound is not None and (age is None or age > feed.bound):
            doubt = "no recent event"
    elif (series := store.candles(key)) is not None and key.kind in CANDLES:
        standing = series.standing(int(exchange * 1000))
        doubt = stream_doubt(standing.link, standing.suspected, exchange, feed.silence or 0.0) or standing.doubt
    elif key.kind is Kind.DEPTH:
        depth = store.depths[key.symbol].standing()
        doubt = depth.suspected or depth.doubt or stream_doubt(depth.link, "", exchange, feed.silence or 0.0)
    elif key.kind is Kind.BOOK:
        book = store.books[key.symbol].standing()
        doubt = stream_doubt(book.link, book.suspected, exchange, feed.silence or 0.0)
    else:
        ring = store.trades[key.symbol].standing()
        doubt = stream_doubt(ring.link, ring.suspected, exchange, feed.silence or 0.0)
        if not doubt and not engine.upkeep.ready(key):
            doubt = f"the newest {ring.rows} are here, older ones are to come"
    if not doubt:
        return FeedState.LIVE, ""
    begun = state.live_once or engine.upkeep.left_to_rest(key, now)
    return (FeedState.DEGRADED if begun else FeedState.WARMING_UP), doubt


def _stream(key: Key) -> str:
    return stream_of(key) or ""


def event_of(store: MarketStore, key: Key) -> int:
    """Exchange time (ms) of a series' newest event or answer, 0 before the first."""
    if key.kind in CANDLES:
        series = store.candles(key)
        return series.standing(0).event if series is not None else 0
    if key.kind is Kind.BOOK:
        book = store.books.get(key.symbol)
        return book.standing().event if book is not None else 0
    if key.kind is Kind.DEPTH:
        depth = store.depths.get(key.symbol)
        return depth.standing().event if depth is not None else 0
    if key.kind is Kind.TRADES:
        ring = store.trades.get(key.symbol)
        return ring.standing().event if ring is not None else 0
    if key.kind is Kind.OPEN_INTEREST:
        rows = store.open_interest.get((key.symbol, key.interval))
        return rows.asked() if rows is not None else 0
    if key.kind is Kind.MARK:
        return store.marks.event()
    if key.kind is Kind.SPOT:
        held = store.spot.get()
        return held.as_of if held is not None else 0
    return {
        Kind.TICKERS: store.tickers.event,
        Kind.QUOTES: store.quotes.event,
        Kind.CONTRACTS: store.contracts.event,
        Kind.LIQUIDATIONS: store.liquidations.event,
    }[key.kind]


def last_updates(store: MarketStore) -> dict[str, float]:
    """Epoch seconds (the exchange's clock) of the newest event or answer, by ``SYMBOL_kind[_interval]``."""
    updates: dict[str, float] = {}

    def note(name: str, event: int) -> None:
        if event:
            updates[name] = event / 1000.0

    for (symbol, interval), series in store.klines.items():
        note(f"{symbol}_klines_{interval}", series.standing(0).event)
    for (symbol, _), rows in store.open_interest.items():
        name = f"{symbol}_oi"
        updates[name] = max(updates.get(name, 0.0), rows.asked() / 1000.0)
    marks = store.marks.everything()
    spot = store.spot.get()
    for (symbol, interval), series in store.spot_klines.items():
        note(f"{symbol}_spot_klines_{interval}", series.standing(0).event)
    for symbol, depth in store.depths.items():
        note(f"{symbol}_depth", depth.standing().event)
    for symbol in store.symbols:
        book = store.books.get(symbol)
        note(f"{symbol}_orderbook", book.standing().event if book is not None else 0)
        mark = marks.get(symbol)
        if mark is not None:
            note(f"{symbol}_mark", mark.time)
            note(f"{symbol}_funding", mark.time)
        if spot is not None and symbol in spot.value:
            note(f"{symbol}_spot", spot.as_of)
    for symbol, ring in store.trades.items():
        event = ring.standing().event
        note(f"{symbol}_trades", event)
        note(f"{symbol}_liquidation", event)
    return {name: moment for name, moment in updates.items() if moment}
