"""A look at the state of every connection and every series, as a status shows it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from .clock import Clock
from .engine.connection import Connection, Progress
from .engine.engine import Engine
from .engine.state import State
from .feeds import FEEDS, Key, Kind, Scope
from .reads import TIME_IN_DOUBT, UNWATCHED, WATCHED_WITHIN
from .status import GOOD, ConnectionStatus, FeedState, FeedStatus, KindSummary, by_kind
from .store.link import DOWN, Link, stream_doubt
from .store.market import MarketStore
from .store.series import Series, SeriesState
from .store.trades import TradeSeries

TRADING = "TRADING"
NOT_SERVED = "the collector does not serve it"
_LIVE, _POLLED = GOOD
_NAMES = {kind: kind.value for kind, feed in FEEDS.items() if feed.shown}
_new = tuple.__new__  # makes a named tuple without its constructor, which takes three times as long


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


def contract_statuses(store: MarketStore) -> dict[str, str]:
    """Return the status of every followed symbol that does not trade normally."""
    statuses = store.contract_statuses(store.symbols)
    return {symbol: status for symbol, status in statuses.items() if status not in ("", TRADING)}


def _age(exchange: float, event: int) -> float | None:
    age = exchange - event / 1000.0
    return None if not event else age if age > 0.0 else 0.0


def _overdue(age: float | None, bound: float | None, *, streamed: bool) -> str:
    """Return why a series is doubted for the age of its newest event or answer, "" where that is within the bound (both
    in seconds; None: no event yet, no bound)."""
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
    """One look at every series. There are thousands, so what they have in common is determined once."""

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
        """Return the kinds and feeds of :func:`~ats_sync.status.summary_of`, without an object for each series that is
        plainly live or polled."""
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
        """Return, for each kind whose series have streams of their own, the connections that are alive by its policy;
        nothing where streams are not trusted."""
        if self.untrusted or not self.engine.streams:
            return {}
        links = [each.link for each in self.engine.connections.connections.values() if each.link is not None]
        return {
            kind: frozenset(link for link in links if link.alive(self.exchange, feed.stream_timeout))
            for kind, feed in FEEDS.items()
            if feed.own_stream
        }

    def _polled_since(self) -> dict[Kind, int]:
        """Return, for each kind that is polled even while streams are used, since when (exchange ms) an answer must
        have been requested to be surely fresh."""
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
            # No answer makes them live: their stream does, by its frames or, where it may be silent, by its existence.
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
