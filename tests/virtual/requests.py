"""requests.py and courier.py of the runtime on virtual time: the queue, and request threads as generators."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from requests.structures import CaseInsensitiveDict

from ats_sync.clock import Clock
from ats_sync.engine.budget import Usage
from ats_sync.engine.jobs import Fetch, Job, JobQueue
from ats_sync.errors import (
    AtsSyncError,
    ConnectionFailed,
    RateLimited,
    RequestError,
    RequestTimeout,
)
from ats_sync.feeds import Cause, Kind
from ats_sync.runtime.courier import moment
from ats_sync.runtime.requests import OTHER_ATTEMPTS, READ_ATTEMPTS
from ats_sync.store.absorb import absorb
from ats_sync.transport.rest import classify
from ats_sync.venue.endpoints import Bucket, Host

if TYPE_CHECKING:
    from .process import Process

HOST = {Host.FUTURES: "fapi", Host.SPOT: "spot"}


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
    lead: float


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

    def candles(self, count: int, lacking: int) -> None:
        self._process.budget.candles(count, lacking)
        if len(self.queue):
            self._staff()

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
            deadline = clock.now() + process.config.request_timeout
            if job.deadline is not None:
                deadline = max(deadline, job.deadline) if job.for_engine else job.deadline
            attempts = READ_ATTEMPTS if fetch.cause is Cause.READ else OTHER_ATTEMPTS
            value = yield from self._carry(fetch, deadline, attempts)
        except RateLimited as limited:
            error = limited
            free = process.budget.free_at(fetch.request, job.payer, clock.now())
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
        used = int(text) if text.isdigit() else None
        process.budget.answered(fetch.request, used, moment(clock), got.sent_at)
        value = absorb(
            process.store, fetch.key, got.body, asked=asked, limit=fetch.limit, link=fetch.link, from_id=fetch.from_id
        )
        if fetch.key.kind is Kind.CLOCK:
            told, slept = value / 1000.0, max(0.0, clock.lead() - got.lead)
            clock.set_exchange(told + clock.now() - received, told + clock.now() - got.sent_at + slept)
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
            unsent = lost = False
            try:
                try:
                    return (yield Get(HOST[request.host], request.path, params, timeout))
                except ConnectionFailed as failure:
                    unsent = failure.unsent
                    raise
                except RequestTimeout:
                    lost = True
                    raise
                finally:
                    process.budget.ended(request, moment(clock), unsent=unsent, lost=lost)
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
                process.budget.spend(fetch.request, at, fetch.cause)
                return
            if free > deadline:
                raise self._too_late(fetch, free)
            yield Sleep(free - at.steady)

    def _too_late(self, fetch: Fetch, free: float) -> RateLimited:
        clock = self._process.clock
        return RateLimited(f"{fetch.request.path} cannot be asked in time", retry_at=clock.to_wall(free))

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
        sent_at, lead = clock.now(), clock.lead()
        answered = False

        def go_on(result: Callable[[], Any]) -> None:
            nonlocal answered
            if not answered:
                answered = True
                process.do(thread, lambda: self._drive(thread, work, result()))

        def reply(status: int, body: bytes, headers: dict[str, str]) -> None:
            go_on(lambda: _result(status, body, CaseInsensitiveDict(headers), sent_at, lead, clock, wish.path))

        timed_out = process.clocks.moment_of(sent_at + wish.timeout)
        process.line.at(timed_out, lambda: go_on(lambda: RequestTimeout(f"{wish.path}: not answered")))
        process.exchange.request(wish.host, wish.path, wish.params, reply)


def _result(
    status: int, body: bytes, headers: CaseInsensitiveDict[str], sent_at: float, lead: float, clock: Clock, path: str
) -> Got | RequestError:
    if status == 0:
        return ConnectionFailed(f"{path}: reset")
    problem = classify(status, body, headers, now_wall=clock.wall(), what=path)
    return Got(body, headers, sent_at, lead) if problem is None else problem
