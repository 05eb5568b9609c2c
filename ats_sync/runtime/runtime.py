"""The engine's thread, and what it owns: stream threads, request threads, the inbox of events."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from ..clock import Clock
from ..conditions import Condition
from ..config import Config
from ..engine.budget import Budget
from ..engine.connection import Connect, Disconnect, Send
from ..engine.engine import Engine, Submit
from ..engine.jobs import Fetch
from ..engine.moment import Moment, moment
from ..engine.quality import Quality, judged
from ..engine.turn import (
    Action,
    CandleCount,
    Changed,
    EngineEvent,
    Fetched,
    Inbox,
    Lost,
    Opened,
    Replied,
    carry_out,
    closed_by,
    sort,
    take_turn,
)
from ..errors import AtsSyncError, ConnectionFailed, NotRunning, ThreadUnavailable
from ..feeds import FEEDS, Key
from ..logs import RateLimitedLogger
from ..store.market import MarketStore
from ..store.series import StoreEvent
from ..venue.endpoints import stream_url
from .counters import Counters, Traffic
from .executor import Elsewhere, Grants
from .requests import RequestThreads
from .streams import StreamThread

T = TypeVar("T")

LONGEST_WAIT = 60.0
AFTER_FAILURE = 0.2
HAND_OVER = 0.0001
"""So long (seconds) a stream thread lets others go first when a candle has closed for which a callback waits."""


class Notices(Protocol):
    """Learns what was merged, after the merge, on the thread that merged it."""

    def closed(self, keys: Iterable[Key]) -> bool:
        """Return whether a callback is to be called for it."""

    def followed(self, keys: Iterable[Key]) -> None: ...

    def unfollowed(self, keys: Iterable[Key]) -> None: ...

    def turned(self) -> None: ...


class Runtime:
    """Runs one engine until it is closed. Each start makes a new runtime, which nothing older can disturb."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        *,
        streams: bool,
        notices: Notices | None = None,
        grants: Grants | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        self._config = config
        self.log = RateLimitedLogger(logging.getLogger(__name__))
        """Its own: what another manager has logged is no reason to leave a line of this one out."""
        self._notices = notices
        self._clock = clock
        self._store = store
        self.streams = streams
        """Whether stream connections are used."""
        self._engine = Engine(config, store, streams=streams)
        self.demand = self._engine.demand
        """Which series are followed because they are read. It has a lock of its own."""
        self._engine_lock = self._engine.shared()  # guards the engine; taken by query() alone
        self.requests = RequestThreads(config, clock, store, budget, counters, self._fetched, grants, elsewhere)
        self.closed_candle = Condition(threading.Lock())
        """Notified when a candle has become final. (Plain locks: eventlet replaces existing reentrant ones.)"""
        self.changed = Condition(threading.Lock())
        """Notified after each turn of the engine."""
        self._stop = threading.Event()
        self.stopped = False
        """Whether :meth:`close` was called. (An attribute, since every read looks at it.)"""
        self._inbox = Inbox()
        self._wake = Condition(threading.Lock())  # guards _inbox
        self._streams_lock = threading.Lock()  # guards _streams, _ended and _frames_before
        self._streams: dict[int, StreamThread] = {}
        self._ended: list[StreamThread] = []
        self._frames_before = 0  # on connections that have ended
        self._counters = counters
        self._candle_count = CandleCount()
        self._thread = threading.Thread(target=self._run, name="ats-engine", daemon=True)

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine's thread. Raises :class:`~ats_sync.errors.ThreadUnavailable`."""
        try:
            self._thread.start()
        except RuntimeError as failure:
            self.stopped = True
            self._stop.set()
            raise ThreadUnavailable(f"the engine's thread could not be started: {failure}") from failure

    def close(self, timeout: float) -> list[str]:
        """Stop every thread within ``timeout`` seconds; return the names of those that did not end."""
        deadline = self._clock.now() + timeout
        self.stopped = True
        self._stop.set()
        with self._wake:
            self._wake.notify_all()
        workers = self.requests.stop()
        with self._streams_lock:
            streams = [*self._streams.values(), *self._ended]
        for stream in streams:
            stream.stop("closed by this program")
        for condition in (self.closed_candle, self.changed):
            with condition:
                condition.notify_all()
        threads: list[threading.Thread] = [self._thread, *streams, *workers]
        current = threading.current_thread()
        for thread in threads:
            if thread is not current and thread.ident is not None:
                thread.join(max(0.0, deadline - self._clock.now()))
        left = [thread.name for thread in threads if thread.is_alive() and thread is not current]
        if left:
            self.log.warning(
                "left behind", "threads still in a system call after close(), cut off from all data: %s", left
            )
        return left

    # --- for callers -----------------------------------------------------------------------------------

    def query(self, question: Callable[[Engine, Moment], T]) -> T:
        """Return the engine's answer to a question. It runs under the engine's lock, so it may only compute.

        This is the one place where that lock is taken.
        """
        with self._engine_lock:
            return question(self._engine, moment(self._clock))

    def follow(self, keys: Iterable[Key]) -> None:
        """Follow these series; they count as missing until they are complete."""
        keys = list(keys)
        if self._notices is not None:
            self._notices.followed(keys)
        self.query(lambda engine, at: engine.follow(keys, at))
        self._post(Changed())

    def watch(self, keys: Collection[Key], prepare: Callable[[Sequence[Key]], None] | None = None) -> None:
        """Follow these series, and keep them although nobody reads them. ``prepare`` is called with those that are
        new, before the engine knows of them; it must not block."""

        def follow(engine: Engine, at: Moment) -> None:
            engine.demand.forget(keys)
            added = self._store.follow(keys)
            if prepare is not None:
                prepare(added)
            engine.follow(added, at)

        self.query(follow)
        if self._notices is not None:
            self._notices.followed(keys)
        self._post(Changed())

    def restored(self, keys: Iterable[Key]) -> None:
        """Go on with these series: whatever was written down of them has been loaded."""
        keys = list(keys)
        self.query(lambda engine, at: engine.reconciler.restored(keys, at))
        if self._notices is not None:
            self._notices.closed(key for key in keys if FEEDS[key.kind].closes)
        self._post(Changed())

    def unfollow(self, keys: Iterable[Key]) -> None:
        """Stop following these series."""
        keys = list(keys)
        if self._notices is not None:
            self._notices.unfollowed(keys)
        self.query(lambda engine, at: engine.unfollow(keys, at))
        self._post(Changed())

    def reconnects(self) -> int:
        """Return how many connections were lost."""
        return self.query(lambda engine, at: engine.connections.reconnects)

    def frames(self) -> int:
        """Return the number of data frames received on all connections."""
        with self._streams_lock:
            return self._frames_before + sum(thread.link.frames for thread in self._streams.values())

    def traffic(self) -> dict[str, Traffic]:
        """Return what has come on each route, also on connections that have ended."""
        with self._streams_lock:
            traffic, _ = self._counters.streams_ended()
            for thread in self._streams.values():
                route = thread.link.route
                traffic[route] = traffic.get(route, Traffic()).plus(thread.traffic())
        return traffic

    def quality(self, symbol: str) -> Quality:
        """Return the quality of a symbol's data."""
        return self.query(lambda engine, at: engine.quality.judge(symbol, at))

    def qualities(self) -> dict[str, Quality]:
        """Return that of every followed symbol, as it was sampled (every 10 s)."""
        rounds = self.query(lambda engine, at: engine.quality.rounds())
        return {symbol: judged(rounds.of(symbol)) for symbol in rounds.symbols()}

    def still_missing(self, keys: list[Key] | None) -> list[Key]:
        """Return which of ``keys`` (None: of all series that ``start()`` awaits) are incomplete.

        The list shrinks from its end, so that calling this after every event is cheap.
        """

        def missing(engine: Engine, at: Moment) -> list[Key]:
            left = keys or engine.missing(at)
            while left and not engine.awaits(left[-1], at):
                left.pop()
            return left or engine.missing(at)

        return self.query(missing)

    def hopeless(self) -> AtsSyncError | None:
        """Return the error that makes waiting for readiness hopeless, None if waiting may help."""
        return self.query(lambda engine, at: engine.hopeless(at))

    def without_stream(self) -> tuple[list[Key], AtsSyncError | None]:
        """Return the series that REST serves for lack of their streams, and the obstacle of the first."""
        return self.query(lambda engine, at: engine.without_stream(at))

    # --- events of the threads -------------------------------------------------------------------------

    def stream_opened(self, stream: StreamThread) -> None:
        self._post(Opened(stream.number, stream.link))

    def stream_lost(self, stream: StreamThread, reason: str, error: AtsSyncError | None) -> None:
        number = stream.number
        with self._streams_lock:
            self._frames_before += stream.link.frames
            how = "" if self._stop.is_set() else stream.ending
            self._counters.stream_ended(stream.link.route, stream.traffic(), how)
            self._ended = [each for each in self._ended if each.is_alive()]
            self._ended.append(stream)
            if self._streams.get(number) is stream:  # a later attempt may already have its place
                del self._streams[number]
        if self._stop.is_set():
            return
        self.log.warning(f"lost {number}", "stream connection %d lost: %s", number, reason)
        self._post(Lost(number, stream.link, reason, error))

    def stream_replied(self, number: int, message: dict[str, Any]) -> None:
        self._post(Replied(number, message))

    def store_noticed(self, notices: list[StoreEvent]) -> None:
        events, closed = sort(notices)
        if events:
            self._post(*events)
        if closed:
            with self.closed_candle:
                self.closed_candle.notify_all()
            if self._notices is not None and self._notices.closed(closed):
                # While frames come, who is to call back may have to wait 5 ms for the interpreter's lock.
                self._clock.wait(self._stop, HAND_OVER)

    def _fetched(self, fetch: Fetch, error: AtsSyncError | None) -> None:
        closing = self._stop.is_set() or isinstance(error, NotRunning)
        if error is not None and not closing:
            self.log.warning(f"failed {fetch.key.kind}", "could not get %s: %s", fetch.key, error)
        with self.closed_candle:
            self.closed_candle.notify_all()
        if self._notices is not None and (closed := closed_by(fetch, error, self._store)):
            self._notices.closed(closed)
        self._post(Fetched(fetch, error))

    def _post(self, *events: EngineEvent) -> None:
        with self._wake:
            for event in events:
                self._inbox.add(event)
            self._wake.notify()

    # --- the engine's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception:
                # A bug of ours; with a dead engine nothing would be repaired any more.
                self.log.exception("engine", "the engine failed; it goes on")
                self._clock.wait(self._stop, AFTER_FAILURE)

    def _turn(self) -> None:
        """Receive events, and execute the actions that follow."""
        events = self._next_events()
        actions, candles, failures = self.query(
            lambda engine, _: take_turn(engine, lambda: moment(self._clock), events, self._candle_count)
        )
        if candles is not None:
            self.requests.candles(*candles)
        for failure, event in failures:
            self.log.failure("engine event", failure, "the engine failed on %s; it goes on", event)
        for action in actions:
            try:
                carry_out(action, self)
            except Exception as failure:
                self.log.exception("engine action", "an action of the engine failed: %s", action)
                self._undone(action, failure)
        with self.changed:
            self.changed.notify_all()
        if self._notices is not None:
            self._notices.turned()
        if failures:
            self._clock.wait(self._stop, AFTER_FAILURE)

    def _next_events(self) -> list[EngineEvent]:
        """Wait for events and return them, none when the engine is due."""
        due = self.query(lambda engine, at: engine.next_due(at) - at.steady)
        longest = AFTER_FAILURE if self.requests.lacks_threads() else LONGEST_WAIT
        wait = min(longest, max(0.0, due))
        with self._wake:
            if not (self._inbox or self._stop.is_set()) and wait > 0:
                self._wake.wait(wait)
            events, dropped = self._inbox.take(), self._inbox.dropped
            self._inbox.dropped = 0
        if dropped:
            self.log.warning("inbox", "%d replies of the exchange were dropped, since too many were waiting", dropped)
        return events

    def _undone(self, action: Action, failure: Exception) -> None:
        """Report to the engine that an action failed, so that it does not wait for its outcome."""
        if isinstance(action, Submit):
            error = failure if isinstance(failure, AtsSyncError) else ConnectionFailed(f"not sent: {failure!r}")
            self._post(Fetched(action.fetch, error))
            return
        number = action.connection
        if (thread := self._stream(number)) is not None:
            thread.stop(f"{type(action).__name__} failed: {failure!r}")
        elif isinstance(action, Connect):
            action.link.up = False
            self._post(Lost(number, action.link, f"not started: {failure}"))

    def submit(self, fetch: Fetch) -> None:
        self.requests.submit(fetch)

    def connect(self, action: Connect) -> None:
        url = stream_url(self._config, action.route)
        thread = StreamThread(action.connection, url, action.link, self._config, self._clock, self._store, self)
        with self._streams_lock:
            if self._stop.is_set():
                return
            thread.start()
            self._streams[action.connection] = thread

    def send(self, action: Send) -> None:
        if (thread := self._stream(action.connection)) is not None:
            thread.send(action.text)

    def disconnect(self, action: Disconnect) -> None:
        if (thread := self._stream(action.connection)) is not None:
            thread.stop(action.reason, planned=action.planned)

    def _stream(self, number: int) -> StreamThread | None:
        with self._streams_lock:
            return self._streams.get(number)
