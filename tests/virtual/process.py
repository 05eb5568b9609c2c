"""The client as one process on virtual time: what ``ats_sync.runtime`` does, step for step, without threads.

Everything that decides or remembers is the library's own: engine, stores, budget, queue, heartbeat, clock, reads.
Only the pumping is written anew here, in the order of runtime.py (the engine's thread), streams.py (a connection's
thread), requests.py and courier.py (the request threads).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from requests.structures import CaseInsensitiveDict

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget, Usage
from ats_sync.engine.connections import Connect, Disconnect, Send
from ats_sync.engine.engine import SHARED, WITNESSES, Engine, Submit
from ats_sync.engine.heartbeat import Heartbeat
from ats_sync.engine.jobs import Fetch, Job, JobQueue
from ats_sync.engine.moment import Moment
from ats_sync.errors import (
    AtsSyncError,
    ConnectionFailed,
    RateLimited,
    RequestError,
    RequestTimeout,
)
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.reads import Reads
from ats_sync.runtime.counters import Counters
from ats_sync.runtime.courier import moment
from ats_sync.runtime.requests import OTHER_ATTEMPTS, READ_ATTEMPTS
from ats_sync.runtime.streams import FUTURE_EVENT
from ats_sync.store.absorb import absorb
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.notices import Event, Notice
from ats_sync.transport.rest import classify
from ats_sync.venue.decode import DecodeError, scan_event_time
from ats_sync.venue.endpoints import Bucket, Host

from .exchange import BrokenPromise, Closed, Exchange, Item, Pong, Session
from .timeline import MachineClocks, Timeline

MOST_TURNS_AN_INSTANT = 60
HOST = {Host.FUTURES: "fapi", Host.SPOT: "spot"}

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
        self.store = MarketStore(config, self.clock.now)
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
        self._deferred: dict[str, deque[Task]] = {}
        self._ready: dict[str, int] = {}
        self._streams: dict[int, VirtualStream] = {}
        self._events: deque[Callable[[Engine, Moment], None]] = deque()
        self._replies: deque[tuple[int, dict[str, Any]]] = deque(maxlen=10_000)
        self._notices: dict[Notice, None] = {}
        self._awake = False
        self._timer = 0
        self._turns = (0, 0)
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
        self.post(lambda engine, at: None)

    def post(self, event: Callable[[Engine, Moment], None]) -> None:
        self._events.append(event)
        self._wake()

    def stream_replied(self, number: int, message: dict[str, Any]) -> None:
        self._replies.append((number, message))
        self._wake()

    def store_noticed(self, notices: list[Notice]) -> None:
        gaps = [notice for notice in notices if notice.event is Event.GAP]
        if gaps:
            self._notices.update(dict.fromkeys(gaps))
            self._wake()

    def stream_lost(self, stream: VirtualStream, reason: str) -> None:
        number = stream.number
        if self._streams.get(number) is stream:
            del self._streams[number]
        self.post(lambda engine, at: engine.lost(number, stream.link, reason, at))

    def _wake(self) -> None:
        if not self._awake:
            self._awake = True
            self.line.after(0, lambda: self.do("engine", self._turn))

    def _turn(self) -> None:
        """What the engine's thread does from one wait to the next."""
        self._awake = False
        self._count_turn()
        engine, clock = self.engine, self.clock
        replies, events, notices = list(self._replies), list(self._events), list(self._notices)
        self._replies.clear()
        self._events.clear()
        self._notices.clear()
        for number, message in replies:
            engine.replied(number, message, moment(clock))
        for event in events:
            event(engine, moment(clock))
        if notices:
            engine.noticed(notices, moment(clock))
        engine.tick(moment(clock))
        for action in engine.take():
            self._carry_out(action)
        due = engine.next_due(moment(clock))
        if due is not None:
            at = self.clocks.moment_of(due)
            if self._timer <= self.line.now or at < self._timer:
                self._timer = at
                self.line.at(at, lambda: self._alarm(at))
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


class VirtualStream:
    """streams.py: one connection's thread."""

    def __init__(self, process: Process, number: int, link: Link) -> None:
        self.number = number
        self.link = link
        self._process = process
        self._thread = f"stream-{number}-{process.exchange.counts['connects']}"
        self._session: Session | None = None
        self._heartbeat: Heartbeat | None = None
        self._inbox: list[Item] = []
        self._closed: Closed | None = None
        self._outgoing: deque[str] = deque(maxlen=1000)
        self._stop_reason = ""
        self._ending = False
        self._over = False
        self._pending = False
        self._timer = 0

    # --- from the engine's thread ----------------------------------------------------------------------

    def send(self, text: str) -> None:
        self._outgoing.append(text)
        self._wake()

    def stop(self, reason: str) -> None:
        self._stop_reason = reason
        self._ending = True
        self.link.up = False
        if self._session is None:
            self._finish(reason)
        else:
            self._wake()

    # --- from the network -------------------------------------------------------------------------------

    def connected(self, session: Session) -> None:
        if self._over:
            session.hang_up()
            return
        self._session = session
        self._process.do(self._thread, self._opened)

    def failed(self, reason: str) -> None:
        self._process.do(self._thread, lambda: self._finish(reason))

    def arrived(self, items: list[Item]) -> None:
        self._inbox += items
        self._wake()

    # --- on its own thread --------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._pending and self._heartbeat is not None and not self._over:
            self._pending = True
            self._process.do(self._thread, self._turn)

    def _opened(self) -> None:
        process = self._process
        if self._over:
            return
        process.post(lambda engine, at: engine.opened(self.number, self.link, at))
        config = process.config
        self._heartbeat = Heartbeat(config.ping_interval, config.silence_limit, process.clock.now())
        self._turn()

    def _turn(self) -> None:
        """From the end of one wait for the socket to the next."""
        self._pending = False
        session, heartbeat, clock = self._session, self._heartbeat, self._process.clock
        if self._over or session is None or heartbeat is None:
            return
        while True:
            if self._inbox or self._closed is not None:
                if not self._receive(heartbeat):
                    return
            if self._ending:
                self._finish(self._stop_reason)
                return
            while self._outgoing:
                session.send(self._outgoing.popleft())
            now = clock.now()
            if heartbeat.lost(now):
                self._finish("silent")
                return
            if heartbeat.ping_due(now):
                heartbeat.pinged(clock.exchange())
                session.ping()
            if not self._inbox and self._closed is None:
                break
        at = self._process.line.now + max(1, int(heartbeat.next_check(now) * 1000) + 1)
        if self._timer <= self._process.line.now or at < self._timer:
            self._timer = at
            self._process.line.at(at, self._wake)

    def _receive(self, heartbeat: Heartbeat) -> bool:
        """Take what is there; whether the connection goes on."""
        process, link = self._process, self.link
        if self._closed is not None:
            self._finish(self._stop_reason or self._closed.reason)
            return False
        items, self._inbox = self._inbox, []
        frames: list[bytes] = []
        ponged = False
        for item in items:
            if isinstance(item, Closed):
                self._closed = item
                break
            if isinstance(item, Pong):
                ponged = True
            else:
                frames.append(item)
        now = process.clock.now()
        if frames:
            heartbeat.heard(now)
            notices, replies = process.store.ingest(frames, link)
            self._prove(frames[-1])
            for reply in replies:
                process.stream_replied(self.number, reply)
            if notices:
                process.store_noticed(notices)
        if ponged:
            proved = heartbeat.ponged(now)
            if proved is not None:
                link.proved(proved, process.clock.exchange())
        process._look()
        return True

    def _prove(self, frame: bytes) -> None:
        try:
            event = scan_event_time(frame)
        except DecodeError:
            return
        clock = self._process.clock
        clock.saw_event(event)
        exchange = clock.exchange()
        self.link.proved(min(event / 1000.0, exchange + FUTURE_EVENT), exchange)

    def _finish(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self.link.up = False
        if self._session is not None:
            self._session.hang_up()
        self._process.stream_lost(self, self._stop_reason or reason)


@dataclass
class Sleep:
    """A request thread waits for so many seconds."""

    seconds: float


@dataclass
class Get:
    """A request thread sends a request and waits for its answer."""

    host: str
    path: str
    params: dict[str, str]
    timeout: float


@dataclass
class Got:
    body: bytes
    headers: CaseInsensitiveDict[str]
    sent_at: float


Work = Generator[Sleep | Get, Any, Any]


class Ticket:
    """A reader's claim on the answer of a job."""

    def __init__(self) -> None:
        self.ready = False
        self.value: Any = None
        self.error: AtsSyncError | None = None


class VirtualRequests:
    """requests.py and courier.py: the queue and the request threads."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self.queue = JobQueue(process.budget)
        self.under_way = 0
        self._timer = 0
        self._number = 0

    # --- requests.py ------------------------------------------------------------------------------------

    def submit(self, fetch: Fetch) -> None:
        job, _ = self.queue.add(fetch)
        job.for_engine = True
        self._staff()

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """The reader's thread waits while everything else goes on."""
        process, line = self._process, self._process.line
        clock = process.clock
        deadline = clock.now() + timeout
        ticket = Ticket()
        free = process.budget.free_at(fetch.request, fetch.cause, clock.now())
        if free > deadline:
            raise self._too_late(fetch, free)
        job, _ = self.queue.add(fetch)
        job.tickets.append(ticket)
        job.deadline = max(job.deadline or deadline, deadline)
        self._staff()
        line.run_until(line.now + int(timeout * 1000), lambda: ticket.ready and not process.stopped)
        line.run_until(line.now + 600_000, lambda: not process.stopped)
        if not ticket.ready:
            if ticket in job.tickets:
                job.tickets.remove(ticket)
            if not job.tickets and not job.for_engine:
                self.queue.cancel(job)
            raise RequestTimeout(f"{fetch.request.path} was not answered within {timeout:g} s")
        if ticket.error is not None:
            raise ticket.error
        return ticket.value

    def usage(self, bucket: Bucket) -> Usage:
        return self._process.budget.usage(bucket, self._process.clock.now())

    def _staff(self) -> None:
        self._process.line.after(0, lambda: self._process.do("rest", self._serve_next))

    def _serve_next(self) -> None:
        process = self._process
        while self.under_way < process.config.max_rest_threads:
            found = self.queue.pop(moment(process.clock))
            if found is None:
                return
            if not isinstance(found, Job):
                at = process.clocks.moment_of(found)
                if self._timer <= process.line.now or at < self._timer:
                    self._timer = at
                    process.line.at(at, self._staff)
                return
            self.under_way += 1
            self._number += 1
            self._drive(f"rest-{self._number}", self._serve(found), None)

    def _serve(self, job: Job) -> Work:
        process = self._process
        fetch = job.fetch
        clock = process.clock
        value: Any = None
        error: AtsSyncError | None = None
        try:
            deadline = job.deadline if job.deadline is not None else clock.now() + process.config.request_timeout
            attempts = READ_ATTEMPTS if fetch.cause is Cause.READ else OTHER_ATTEMPTS
            value = yield from self._carry(fetch, deadline, attempts)
        except RateLimited as limited:
            error = limited
            free = process.budget.free_at(fetch.request, fetch.cause, clock.now())
            if job.deadline is None or free < job.deadline:
                self.under_way -= 1
                self.queue.again(job)
                self._staff()
                return
        except AtsSyncError as failure:
            error = failure
        self.under_way -= 1
        self.queue.done(job)
        tickets, job.tickets = job.tickets, []
        for ticket in tickets:
            assert isinstance(ticket, Ticket)
            ticket.value, ticket.error = value, error
            ticket.ready = True
        process.post(lambda engine, at: engine.fetched(fetch, error, at))
        self._staff()

    # --- courier.py ---------------------------------------------------------------------------------------

    def _carry(self, fetch: Fetch, deadline: float, attempts: int) -> Work:
        process = self._process
        clock = process.clock
        try:
            got: Got = yield from self._retrying(fetch, deadline, attempts)
        except RateLimited as error:
            until = clock.now() + error.retry_at - clock.wall()
            process.budget.block(fetch.request.host, until)
            process.exchange.told_to_wait(
                HOST[fetch.request.host], process.line.now + int((until - clock.now()) * 1000)
            )
            raise
        received = clock.now()
        asked = clock.earliest_ms() - int((received - got.sent_at) * 1000)
        text = got.headers.get("X-MBX-USED-WEIGHT-1M", "")
        process.budget.answered(fetch.request, int(text) if text.isdigit() else None, moment(clock))
        value = absorb(process.store, fetch.key, got.body, asked=asked, limit=fetch.limit, link=fetch.link)
        if fetch.key.kind is Kind.CLOCK:
            age = clock.now() - received + (received - got.sent_at) / 2
            clock.set_exchange(value / 1000.0 + age)
        elif fetch.key.kind is Kind.LISTINGS and value.weight_limit is not None:
            process.budget.set_limit(fetch.request.host, value.weight_limit)
        process._look()
        return value

    def _retrying(self, fetch: Fetch, deadline: float, attempts: int) -> Work:
        process = self._process
        clock = process.clock
        for number in range(1, attempts + 1):
            if number > 1:
                yield from self._pay(fetch, deadline)
            process.counters.request(fetch.cause)
            request = fetch.request
            timeout = max(0.05, min(deadline - clock.now(), process.config.request_timeout))
            params = {name: str(value) for name, value in request.params}
            try:
                return (yield Get(HOST[request.host], request.path, params, timeout))
            except RequestError as error:
                if not error.retryable or isinstance(error, RateLimited) or number == attempts:
                    raise
                pause = min(2.0, 0.2 * 2 ** (number - 1)) + process.rng.random() * 0.2
                if clock.now() + pause >= deadline:
                    raise
                yield Sleep(pause)
        raise AssertionError("unreachable")

    def _pay(self, fetch: Fetch, deadline: float) -> Work:
        process = self._process
        while True:
            at = moment(process.clock)
            free = process.budget.free_at(fetch.request, fetch.cause, at.steady)
            if free <= at.steady:
                process.budget.spend(fetch.request, at)
                return
            if free > deadline:
                raise self._too_late(fetch, free)
            yield Sleep(free - at.steady)

    def _too_late(self, fetch: Fetch, free: float) -> RateLimited:
        clock = self._process.clock
        return RateLimited(f"{fetch.request.path} can not be asked in time", retry_at=clock.to_wall(free))

    # --- a thread, and the wire -----------------------------------------------------------------------------

    def _drive(self, thread: str, work: Work, sent: Any) -> None:
        """Let a request thread go on until it waits again."""
        try:
            wish = work.throw(sent) if isinstance(sent, BaseException) else work.send(sent)
        except StopIteration:
            return
        process = self._process
        if isinstance(wish, Sleep):
            at = process.clocks.moment_of(process.clock.now() + wish.seconds)
            process.line.at(at, lambda: process.do(thread, lambda: self._drive(thread, work, None)))
        else:
            self._get(thread, work, wish)

    def _get(self, thread: str, work: Work, wish: Get) -> None:
        process = self._process
        clock = process.clock
        sent_at = clock.now()
        answered = False

        def go_on(result: Callable[[], Any]) -> None:
            nonlocal answered
            if not answered:
                answered = True
                process.do(thread, lambda: self._drive(thread, work, result()))

        def reply(status: int, body: bytes, headers: dict[str, str]) -> None:
            go_on(lambda: _result(status, body, CaseInsensitiveDict(headers), sent_at, clock, wish.path))

        timed_out = process.clocks.moment_of(sent_at + wish.timeout)
        process.line.at(timed_out, lambda: go_on(lambda: RequestTimeout(f"{wish.path}: not answered")))
        process.exchange.request(wish.host, wish.path, wish.params, reply)


def _result(
    status: int, body: bytes, headers: CaseInsensitiveDict[str], sent_at: float, clock: Clock, path: str
) -> Got | RequestError:
    if status == 0:
        return ConnectionFailed(f"{path}: reset")
    problem = classify(status, body, headers, now_wall=clock.wall(), what=path)
    return Got(body, headers, sent_at) if problem is None else problem
