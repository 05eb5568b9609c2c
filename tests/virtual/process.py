"""The client as one process on virtual time: what ``ats_sync.runtime`` does, step for step, without threads.

Everything that decides or remembers is the library's own: engine and its turn, dispatcher, stream sessions, stores,
clock, reads. Only what waits and what carries is written here: threads as tasks, and a network to the virtual exchange.
"""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable
from typing import Any

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.connection import Connect, Disconnect, Send
from ats_sync.engine.engine import SHARED, WITNESSES, Engine, Submit
from ats_sync.engine.moment import moment
from ats_sync.engine.stream_session import StreamSession
from ats_sync.engine.turn import CandleCount, Changed, EngineEvent, Inbox, Lost, Noticed, Opened, Replied, take_turn
from ats_sync.errors import AtsSyncError, ConnectionFailed
from ats_sync.events.queues import EventQueue
from ats_sync.feeds import Key
from ats_sync.reads import Reads
from ats_sync.runtime.counters import Counters
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Change, StoreEvent

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
        """Let a thread run a task: now, or when the process runs again."""
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
        """SIGSTOP, or the machine sleeps."""
        self.stopped = True

    def kill(self) -> None:
        """SIGKILL: no thread runs again, and the kernel closes the sockets at once."""
        self.stopped = True
        for stream in self._streams.values():
            stream.kill()

    def go_on(self) -> None:
        """SIGCONT: the threads go on, in whatever order."""
        self.stopped = False
        deferred, self._deferred = self._deferred, {}
        while deferred:
            thread = self.rng.choice(sorted(deferred))
            task = deferred[thread].popleft()
            if not deferred[thread]:
                del deferred[thread]
            self.do(thread, task)

    # --- runtime.py -----------------------------------------------------------------------------------

    def start(self, symbols: tuple[str, ...], intervals: tuple[str, ...]) -> None:
        keys = self.store.follow(keys_of(symbols, intervals, self.config.open_interest_periods))
        self.follow([*SHARED, *WITNESSES, *keys])

    def follow(self, keys: list[Key]) -> None:
        self.engine.follow(keys, moment(self.clock))
        self.post(Changed())

    def post(self, event: EngineEvent) -> None:
        self._inbox.add(event)
        self._wake()

    def stream_replied(self, number: int, message: dict[str, Any]) -> None:
        self.post(Replied(number, message))

    def store_noticed(self, notices: list[StoreEvent]) -> None:
        for notice in notices:
            if notice.change is not Change.CLOSED:
                self.post(Noticed(notice))
        self.closed([notice.key for notice in notices if notice.change is Change.CLOSED])

    def closed(self, keys: list[Key]) -> None:
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
        """What the engine's thread does from one wait to the next."""
        self._awake = False
        self._count_turn()
        engine, clock = self.engine, self.clock
        events = self._inbox.take()
        actions = take_turn(engine, lambda: moment(clock), events, _raise)
        quiet = not events and not actions
        if (counted := self._candle_count.take(engine, moment(clock).steady, quiet=quiet)) is not None:
            self.requests.candles(*counted)
        for action in actions:
            self._carry_out(action)
        due = engine.next_due(moment(clock))
        if due is not None:
            time = self.clocks.moment_of(due)
            if self._timer <= self.line.now or time < self._timer:
                self._timer = time
                self.line.at(time, lambda: self._alarm(time))
        self._look()

    def _alarm(self, at: int) -> None:
        if at == self._timer:
            self._wake()

    def _count_turn(self) -> None:
        self.engine_turns += 1
        since, turns = self._turns
        self._turns = (since, turns + 1) if since == self.line.now else (self.line.now, 1)
        if turns > MOST_TURNS_AN_INSTANT:
            raise BrokenPromise("the engine spins: it is due again and again at the same instant")

    def _carry_out(self, action: Connect | Send | Disconnect | Submit) -> None:
        if isinstance(action, Submit):
            self.requests.submit(action.fetch)
        elif isinstance(action, Connect):
            stream = VirtualStream(self, action.connection, action.link)
            self._streams[action.connection] = stream
            self.exchange.connect(action.route.value, stream)
        else:
            known = self._streams.get(action.connection)
            if known is None:
                return
            if isinstance(action, Send):
                known.send(action.text)
            else:
                known.stop(action.reason)

    def _look(self) -> None:
        for look in self.looked:
            look()

    def streams(self) -> int:
        return len(self._streams)


def _raise(failure: Exception, event: EngineEvent | None) -> None:
    raise failure


class VirtualStream:
    """streams.py: one connection's thread."""

    def __init__(self, process: Process, number: int, link: Link) -> None:
        self.number = number
        self.link = link
        self._process = process
        self._thread = f"stream-{number}-{process.exchange.counts['connects']}"
        self._session = StreamSession(process.config, process.clock, process.store, link)
        self._wire: Session | None = None
        self._inbox: list[Item] = []
        self._closed: Closed | None = None
        self._last_pong: float | None = None
        self._opened = False
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
        """The process is gone, whatever this thread was about to do."""
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

    def _wake(self) -> None:
        """The wait for the socket ends."""
        if not self._pending and self._opened and not self._over:
            self._pending = True
            self._process.do(self._thread, self._turn)

    def _begin(self) -> None:
        if self._over:
            return
        self._opened = True
        self._session.opened()
        self._process.post(Opened(self.number, self.link))
        self._go_on()

    def _turn(self) -> None:
        self._pending = False
        if self._over or (self._readable() and self._gathers()):
            return
        if not self._readable() or self._receive():
            self._go_on()

    def _go_on(self) -> None:
        """Up to the next wait for the socket, or to the end."""
        session, line, wire = self._session, self._process.line, self._wire
        assert wire is not None
        while session.over is None:
            wait = session.before_wait(wire)
            if session.over is None and not self._readable():
                self._wake_at(line.now + max(1, int(wait * 1000) + 1))
                return
            if self._gathers() or (session.over is None and not self._receive()):
                return
        self._finish(session.over)

    def _gathers(self) -> bool:
        """Whether it waits a moment for more frames, unless it is to end."""
        pause = self._session.pause() if self._session.over is None else 0.0
        if pause:
            self._wake_at(self._process.line.now + math.ceil(pause * 1000))
        return pause > 0

    def _wake_at(self, at: int) -> None:
        if self._timer <= self._process.line.now or at < self._timer:
            self._timer = at
            self._process.line.at(at, self._wake)

    def _readable(self) -> bool:
        return bool(self._inbox) or self._closed is not None

    def _receive(self) -> bool:
        """Take what is there; whether the connection goes on."""
        process = self._process
        if self._closed is not None:
            self._finish(self._closed.reason)
            return False
        items, self._inbox = self._inbox, []
        frames: list[bytes] = []
        for item in items:
            if isinstance(item, Closed):
                self._closed = item
                break
            if isinstance(item, Pong):
                self._last_pong = process.clock.now()
            else:
                frames.append(item)
        notices, replies = self._session.received(frames, self._last_pong)
        for reply in replies:
            process.stream_replied(self.number, reply)
        if notices:
            process.store_noticed(notices)
        process._look()
        return True

    def _finish(self, reason: str, error: AtsSyncError | None = None) -> None:
        if self._over:
            return
        self._over = True
        self.link.up = False
        if self._wire is not None:
            self._wire.hang_up()
        self._process.stream_lost(self, self._session.over or reason, error)
