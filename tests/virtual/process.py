"""The client as one process on virtual time: ``ats_sync.runtime`` without its threads.

Everything that decides or remembers is the library's own: engine, its turn and who executes what of it, dispatcher,
stream sessions, stores, clock, reads. Only what waits is written here (threads as tasks), and a network to the virtual
exchange.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.connection import Connect, Disconnect, Send
from ats_sync.engine.engine import Engine
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import moment
from ats_sync.engine.stream_session import StreamSession, Wait
from ats_sync.engine.turn import (
    CandleCount,
    Changed,
    EngineEvent,
    Inbox,
    Lost,
    Opened,
    Replied,
    carry_out,
    sort,
    take_turn,
)
from ats_sync.errors import AtsSyncError, ConnectionFailed
from ats_sync.events.queues import EventQueue
from ats_sync.feeds import ACTIVITY, SHARED, Key
from ats_sync.reads import Reads
from ats_sync.runtime.counters import Counters
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import StoreEvent
from ats_sync.transport.frames import StreamClosed

from .exchange import BrokenPromise, Closed, Exchange, Item, Pong, Session
from .requests import VirtualRequests
from .timeline import MachineClocks, Timeline

MOST_TURNS_AN_INSTANT = 60

Task = Callable[[], None]


class Process:
    """The library running, and what a fault can do to the process as a whole."""

    def __init__(
        self, line: Timeline, clocks: MachineClocks, exchange: Exchange, config: Config, rng: random.Random
    ) -> None:
        self.line = line
        self.clocks = clocks
        self.exchange = exchange
        self.config = config
        self.rng = rng
        self.clock = Clock(clocks)
        self.store = MarketStore(config, self.clock.now, self.clock.exchange_ms)
        self.budget = Budget(config)
        self.counters = Counters()
        self.engine = Engine(config, self.store, streams=True, rng=random.Random(rng.random()))
        self.requests = VirtualRequests(self)
        self.reads = Reads(config, self.clock, self.store, self.requests, self.counters, streams=True)
        self.stopped = False
        self.sluggish = 0
        """How long (ms) threads wait for their turn at most: other threads keep the processor busy."""
        self.looked: list[Callable[[], None]] = []
        """Called after every step that may have changed what a reader sees."""
        self.queues: list[EventQueue[Any]] = []
        """Of the consumers of events."""
        self._deferred: dict[str, deque[Task]] = {}
        self._ready: dict[str, int] = {}
        self._streams: dict[int, VirtualStream] = {}
        self._inbox = Inbox()
        self._awake = False
        self._timer = 0
        self._turns = (0, 0)
        self._candle_count = CandleCount()
        self.engine_turns = 0

    # --- the scheduler of the operating system -------------------------------------------------------

    def do(self, thread: str, task: Task) -> None:
        """Let a thread run a task now, or when the process runs again."""
        if self.stopped:
            self._deferred.setdefault(thread, deque()).append(task)
        elif self.sluggish:
            at = max(self._ready.get(thread, 0), self.line.now + self.rng.randrange(self.sluggish))
            self._ready[thread] = at
            self.line.at(at, lambda: self._do_late(thread, task))
        else:
            task()

    def _do_late(self, thread: str, task: Task) -> None:
        if self.stopped:
            self._deferred.setdefault(thread, deque()).append(task)
        else:
            task()

    def stop(self) -> None:
        """Stop the process, by SIGSTOP or because the machine sleeps."""
        self.stopped = True

    def kill(self) -> None:
        """Kill the process: no thread runs again, and the kernel closes the sockets at once."""
        self.stopped = True
        for stream in self._streams.values():
            stream.kill()

    def go_on(self) -> None:
        """Resume the process: the threads go on, in any order."""
        self.stopped = False
        deferred, self._deferred = self._deferred, {}
        while deferred:
            thread = self.rng.choice(sorted(deferred))
            task = deferred[thread].popleft()
            if not deferred[thread]:
                del deferred[thread]
            self.do(thread, task)

    # --- as the runtime ---------------------------------------------------------------------------------

    def start(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        keys = self.store.follow(keys_of(symbols, intervals, self.config.open_interest_periods))
        self.follow([*SHARED, *ACTIVITY, *keys])

    def follow(self, keys: list[Key]) -> None:
        self.engine.follow(keys, moment(self.clock))
        self.post(Changed())

    def post(self, event: EngineEvent) -> None:
        self._inbox.add(event)
        self._wake()

    def stream_replied(self, number: int, message: dict[str, Any]) -> None:
        self.post(Replied(number, message))

    def store_noticed(self, notices: list[StoreEvent]) -> None:
        events, closed = sort(notices)
        for event in events:
            self.post(event)
        self.closed(closed)

    def closed(self, keys: Sequence[Key]) -> None:
        """publisher.py: candles of these series may have closed."""
        for queue in self.queues:
            queue.mark(keys)

    def stream_lost(self, stream: VirtualStream, reason: str, error: AtsSyncError | None) -> None:
        number = stream.number
        if self._streams.get(number) is stream:
            del self._streams[number]
        self.post(Lost(number, stream.link, reason, error))

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self.line.after(0, lambda: self.do("engine", self._turn))

    def _turn(self) -> None:
        """Do what the engine's thread does from one wait to the next."""
        self._awake = False
        self._count_turn()
        engine, clock = self.engine, self.clock
        actions, candles, failures = take_turn(engine, lambda: moment(clock), self._inbox.take(), self._candle_count)
        if failures:
            raise failures[0][0]  # the engine's thread reports it and goes on
        if candles is not None:
            self.requests.candles(*candles)
        for action in actions:
            carry_out(action, self)
        due = engine.next_due(moment(clock))
        if due is not None:
            time = self.clocks.moment_of(due)
            if self._timer <= self.line.now or time < self._timer:
                self._timer = time
                self.line.at(time, lambda: self._alarm(time))
        self.look()

    def _alarm(self, at: int) -> None:
        if at == self._timer:
            self._wake()

    def _count_turn(self) -> None:
        self.engine_turns += 1
        since, turns = self._turns
        self._turns = (since, turns + 1) if since == self.line.now else (self.line.now, 1)
        if turns > MOST_TURNS_AN_INSTANT:
            raise BrokenPromise("the engine spins: it is due again and again at the same instant")

    def submit(self, fetch: Fetch) -> None:
        self.requests.submit(fetch)

    def connect(self, action: Connect) -> None:
        stream = VirtualStream(self, action.connection, action.link)
        self._streams[action.connection] = stream
        self.exchange.connect(action.route.value, stream)

    def send(self, action: Send) -> None:
        if (stream := self._streams.get(action.connection)) is not None:
            stream.send(action.text)

    def disconnect(self, action: Disconnect) -> None:
        if (stream := self._streams.get(action.connection)) is not None:
            stream.stop(action.reason)

    def look(self) -> None:
        for look in self.looked:
            look()

    def streams(self) -> int:
        return len(self._streams)


class VirtualStream:
    """One connection, and the task that serves it as a stream thread does."""

    def __init__(self, process: Process, number: int, link: Link) -> None:
        self.number = number
        self.link = link
        self._process = process
        self._thread = f"stream-{number}-{process.exchange.counts['connects']}"
        self._session = StreamSession(process.config, process.clock, process.store, link)
        self._wire: Session | None = None
        self._inbox: list[Item] = []
        self._closed: Closed | None = None
        self.last_pong: float | None = None
        self._run: Generator[Wait, bool, str] | None = None
        self._wait = Wait(0.0, gather=False)
        self._until = 0
        self._received = False
        self._over = False
        self._pending = False
        self._timer = 0

    # --- from the engine's thread ----------------------------------------------------------------------

    def send(self, text: str) -> None:
        self._session.send(text)
        self._wake()

    def stop(self, reason: str) -> None:
        self._session.end(reason)
        if self._wire is None:
            self.failed(reason)
        else:
            self._wake()

    def kill(self) -> None:
        """End the connection with the process, whatever this thread was about to do."""
        self._over = True
        if self._wire is not None:
            self._wire.hang_up()

    # --- from the network -------------------------------------------------------------------------------

    def connected(self, session: Session) -> None:
        if self._over:
            session.hang_up()
            return
        self._wire = session
        self._process.do(self._thread, self._begin)

    def failed(self, reason: str) -> None:
        self._process.do(self._thread, lambda: self._finish(reason, ConnectionFailed(reason)))

    def arrived(self, items: list[Item]) -> None:
        self._inbox += items
        self._wake()

    # --- on its own thread --------------------------------------------------------------------------------

    def send_text(self, text: str) -> None:
        self._on_wire.send_text(text)

    def ping(self) -> None:
        self._on_wire.ping()

    def receive(self) -> list[bytes]:
        if self._closed is not None:
            raise StreamClosed(None, self._closed.reason)
        items, self._inbox = self._inbox, []
        frames: list[bytes] = []
        for item in items:
            if isinstance(item, Closed):
                self._closed = item
                break
            if isinstance(item, Pong):
                self.last_pong = self._process.clock.now()
            else:
                frames.append(item)
        self._received = True
        return frames

    def replied(self, message: dict[str, Any]) -> None:
        self._process.stream_replied(self.number, message)

    def noticed(self, notices: list[StoreEvent]) -> None:
        self._process.store_noticed(notices)

    @property
    def _on_wire(self) -> Session:
        assert self._wire is not None
        return self._wire

    def _begin(self) -> None:
        if self._over:
            return
        self._session.opened()
        self._process.post(Opened(self.number, self.link))
        self._run = self._session.run(self, self)
        self._go_on(next, self._run)

    def _wake(self) -> None:
        """Go on where a wait may be over."""
        if not self._pending and self._run is not None and not self._over:
            self._pending = True
            self._process.do(self._thread, self._turn)

    def _turn(self) -> None:
        self._pending = False
        if self._over or self._run is None:
            return
        came = self._has_come()
        if self._wait.gather and not came and self._process.line.now < self._until:
            self._wake_at(self._until)
            return
        self._go_on(self._run.send, came)

    def _go_on(self, resume: Callable[[Any], Wait], value: Any) -> None:
        """Let the session go on up to its next wait, or to its end."""
        assert self._run is not None
        now = self._process.line.now
        while True:
            try:
                self._wait = resume(value)
            except StopIteration as over:
                self._finish(over.value)
                return
            except StreamClosed as closed:
                self._finish(closed.reason)
                return
            finally:
                if self._received:
                    self._received = False
                    self._process.look()
            if not self._has_come():
                seconds, gather = self._wait
                self._until = now + (math.ceil(seconds * 1000) if gather else max(1, int(seconds * 1000) + 1))
                self._wake_at(self._until)
                return
            resume, value = self._run.send, True

    def _has_come(self) -> bool:
        """Return whether what it waits for has happened."""
        if self._wait.gather:
            return self._session.over is not None
        return bool(self._inbox) or self._closed is not None

    def _wake_at(self, at: int) -> None:
        if self._timer <= self._process.line.now or at < self._timer:
            self._timer = at
            self._process.line.at(at, self._wake)

    def _finish(self, reason: str, error: AtsSyncError | None = None) -> None:
        if self._over:
            return
        self._over = True
        self.link.up = False
        if self._wire is not None:
            self._wire.hang_up()
        self._process.stream_lost(self, self._session.over or reason, error)
