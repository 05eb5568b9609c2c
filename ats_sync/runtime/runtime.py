"""The engine's thread, and everything it owns: streams, request threads, the inbox of events."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterable
from typing import Any

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget
from ..engine.connection import Connect, Send
from ..engine.engine import Engine, Submit
from ..engine.jobs import Fetch
from ..engine.moment import Moment, moment
from ..engine.turn import Action, EngineEvent, take_turn
from ..errors import AtsSyncError, ConnectionFailed, NotRunning, ThreadUnavailable
from ..feeds import Key
from ..logs import RateLimitedLogger
from ..store.link import Link
from ..store.market import MarketStore
from ..store.notices import Event, Notice
from ..venue.endpoints import stream_url
from .counters import Counters
from .requests import RequestThreads
from .streams import StreamThread

log = RateLimitedLogger(logging.getLogger(__name__))

MOST_REPLIES = 10_000
LONGEST_WAIT = 60.0
AFTER_FAILURE = 0.2
COUNT_EVERY = 0.2


class Runtime:
    """Runs one engine until it is closed. A new start makes a new one, so nothing old can disturb it."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        *,
        streams: bool,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self.engine = Engine(config, store, streams=streams)
        self.engine_lock = self.engine.shared()
        """Guards the engine's state; held for a computation, never over I/O."""
        self.requests = RequestThreads(config, clock, store, budget, counters, self._fetched)
        self.closed_candle = threading.Condition(threading.Lock())
        """Notified when a candle has become final. (Plain locks: eventlet replaces reentrant ones that exist.)"""
        self.changed = threading.Condition(threading.Lock())
        """Notified after the engine has worked through events."""
        self.frames_before = 0
        self._stop = threading.Event()
        self._inbox_lock = threading.Lock()  # guards the inbox: the three collections below
        self._events: deque[EngineEvent] = deque()
        self._replies: deque[tuple[int, dict[str, Any]]] = deque(maxlen=MOST_REPLIES)
        self._notices: dict[Notice, None] = {}
        self._wake = threading.Condition(self._inbox_lock)
        self._streams_lock = threading.Lock()  # guards _streams and _ended
        self._streams: dict[int, StreamThread] = {}
        self._ended: list[StreamThread] = []
        self._count_due = 0.0
        self._thread = threading.Thread(target=self._run, name="ats-engine", daemon=True)

    # --- life --------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the engine's thread. Raises :class:`~ats_sync.errors.ThreadUnavailable`."""
        try:
            self._thread.start()
        except RuntimeError as failure:
            self._stop.set()
            raise ThreadUnavailable(f"the engine's thread could not be started: {failure}") from failure

    def close(self, timeout: float) -> list[str]:
        """End every thread within ``timeout`` seconds; the names of those that would not."""
        deadline = self._clock.now() + timeout
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
            log.warning("left behind", "threads still in a system call after close(), barred from all data: %s", left)
        return left

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    # --- what callers tell the engine -----------------------------------------------------------------

    def follow(self, keys: Iterable[Key]) -> None:
        """Keep these series; they count as missing from now on."""
        with self.engine_lock:
            self.engine.follow(keys, moment(self._clock))
        self._post(_look_again)

    def unfollow(self, keys: Iterable[Key]) -> None:
        """Keep these series no longer."""
        with self.engine_lock:
            self.engine.unfollow(keys, moment(self._clock))
        self._post(_look_again)

    # --- what the threads tell the engine --------------------------------------------------------------

    def stream_opened(self, stream: StreamThread) -> None:
        self._post(lambda engine, at: engine.opened(stream.number, stream.link, at))

    def stream_lost(self, stream: StreamThread, reason: str, error: AtsSyncError | None) -> None:
        number = stream.number
        with self._streams_lock:
            self.frames_before += stream.link.frames
            self._ended = [each for each in self._ended if each.is_alive()]
            self._ended.append(stream)
            if self._streams.get(number) is stream:  # a later attempt may already have its place
                del self._streams[number]
        if self._stop.is_set():
            return
        log.warning(f"lost {number}", "stream connection %d lost: %s", number, reason)
        self._post(lambda engine, at: engine.lost(number, stream.link, reason, at, error))

    def stream_replied(self, number: int, message: dict[str, Any]) -> None:
        with self._wake:
            self._replies.append((number, message))
            self._wake.notify()

    def store_noticed(self, notices: list[Notice]) -> None:
        gaps = [notice for notice in notices if notice.event is Event.GAP]
        if gaps:
            with self._wake:
                self._notices.update(dict.fromkeys(gaps))
                self._wake.notify()
        if len(gaps) < len(notices):
            with self.closed_candle:
                self.closed_candle.notify_all()

    def _fetched(self, fetch: Fetch, error: AtsSyncError | None) -> None:
        closing = self._stop.is_set() or isinstance(error, NotRunning)
        if error is not None and not closing:
            log.warning(f"failed {fetch.key.kind}", "could not get %s: %s", fetch.key, error)
        with self.closed_candle:
            self.closed_candle.notify_all()
        self._post(lambda engine, at: engine.fetched(fetch, error, at))

    def _post(self, event: EngineEvent) -> None:
        # Bounded by nature: one a fetch under way, two a connection's life, one a call of a user.
        with self._wake:
            self._events.append(event)
            self._wake.notify()

    # --- the engine's thread -----------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._turn()
            except Exception:
                # A fault of ours; with a dead engine nothing would ever be repaired again.
                log.exception("engine", "the engine failed on an event; it goes on")
                self._clock.wait(self._stop, AFTER_FAILURE)

    def _turn(self) -> None:
        """Take in what has happened, and carry out what follows."""
        events, replies, notices = self._next_events()
        failures: list[Exception] = []
        with self.engine_lock:
            actions = take_turn(
                self.engine,
                lambda: moment(self._clock),
                replies=replies,
                events=events,
                notices=notices,
                failed=failures.append,
            )
            at = moment(self._clock)
            counted = at.steady >= self._count_due
            candles = self.engine.upkeep.candles() if counted else (0, 0)
        if counted:
            self._count_due = at.steady + COUNT_EVERY
            self.requests.candles(*candles)
        for failure in failures:
            log.failure("engine event", "the engine failed on an event; it goes on", failure)
        for action in actions:
            try:
                self._carry_out(action)
            except Exception as failure:
                log.exception("engine action", "an action of the engine failed: %s", action)
                self._undone(action, failure)
        with self.changed:
            self.changed.notify_all()
        if failures:
            self._clock.wait(self._stop, AFTER_FAILURE)

    def _next_events(self) -> tuple[list[EngineEvent], list[tuple[int, dict[str, Any]]], list[Notice]]:
        """What has happened, or nothing when the engine has something to do by itself."""
        with self.engine_lock:
            at = moment(self._clock)
            due = self.engine.next_due(at)
        longest = AFTER_FAILURE if self.requests.lacks_threads() else LONGEST_WAIT
        wait = min(longest, max(0.0, due - at.steady))
        with self._wake:
            if not (self._events or self._replies or self._notices or self._stop.is_set()) and wait > 0:
                self._wake.wait(wait)
            taken = list(self._events), list(self._replies), list(self._notices)
            self._events.clear()
            self._replies.clear()
            self._notices.clear()
            return taken

    def _undone(self, action: Action, failure: Exception) -> None:
        """Let the engine know that an action came to nothing, so that no mark of it stays."""
        if isinstance(action, Submit):
            fetch = action.fetch
            error = failure if isinstance(failure, AtsSyncError) else ConnectionFailed(f"not sent: {failure!r}")
            self._post(lambda engine, at: engine.fetched(fetch, error, at))
            return
        number = action.connection
        with self._streams_lock:
            thread = self._streams.get(number)
        if thread is not None:
            thread.stop(f"{type(action).__name__} failed: {failure!r}")
        elif isinstance(action, Connect):
            link = action.link
            link.up = False
            self._post(lambda engine, at: engine.lost(number, link, f"not started: {failure}", at))

    def _carry_out(self, action: Action) -> None:
        if isinstance(action, Submit):
            self.requests.submit(action.fetch)
        elif isinstance(action, Connect):
            self._start_stream(action.connection, stream_url(self._config, action.route), action.link)
        else:
            with self._streams_lock:
                thread = self._streams.get(action.connection)
            if thread is None:
                return
            if isinstance(action, Send):
                thread.send(action.text)
            else:
                thread.stop(action.reason)

    def _start_stream(self, number: int, url: str, link: Link) -> None:
        thread = StreamThread(number, url, link, self._config, self._clock, self._store, self)
        with self._streams_lock:
            if self._stop.is_set():
                return
            thread.start()
            self._streams[number] = thread

    def frames(self) -> int:
        """Data frames received on all connections."""
        with self._streams_lock:
            return self.frames_before + sum(thread.link.frames for thread in self._streams.values())

    def still_missing(self, keys: list[Key] | None) -> list[Key]:
        """Of ``keys`` (None: of all that ``start()`` waits for) those whose turn is not past: the list shrinks
        from its end, so that asking again after every event is cheap."""
        with self.engine_lock:
            engine, at = self.engine, moment(self._clock)
            if keys is None or not keys:
                keys = engine.missing(at)
            while keys and not engine.awaits(keys[-1], at):
                keys.pop()
            return keys or engine.missing(at)

    def hopeless(self) -> AtsSyncError | None:
        """The error that makes waiting for readiness hopeless now, None where waiting may help."""
        with self.engine_lock:
            return self.engine.obstacles.hopeless()

    def without_stream(self) -> tuple[list[Key], AtsSyncError | None]:
        """What is served by REST for want of its stream, and what stands in the way of the first."""
        with self.engine_lock:
            return self.engine.without_stream(moment(self._clock))


def _look_again(engine: Engine, at: Moment) -> None:
    """No event of its own: there are actions to be taken."""
