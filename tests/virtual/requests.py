"""The request threads on virtual time: the library's dispatcher and executor, and a network to the virtual exchange."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from requests.structures import CaseInsensitiveDict

from ats_sync.engine.budget import Usage
from ats_sync.engine.dispatch import Dispatcher, Done, Send
from ats_sync.engine.jobs import Fetch, JobQueue, PendingRead
from ats_sync.engine.moment import moment
from ats_sync.engine.turn import Fetched, closed_by
from ats_sync.errors import AtsSyncError, ConnectionFailed, RateLimited, RequestError, RequestTimeout
from ats_sync.runtime.executor import RequestExecutor
from ats_sync.transport.answer import Answer
from ats_sync.venue.endpoints import Bucket, Host
from ats_sync.venue.responses import classify

if TYPE_CHECKING:
    from .process import Process

HOST = {Host.FUTURES: "fapi", Host.SPOT: "spot"}


class VirtualRequests:
    """Does what ``RequestThreads`` does: it has a limited number of threads, each with one request under way."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lock = process.budget.shared()
        self._dispatcher = Dispatcher(
            process.config, process.budget, process.clock.to_wall, random.Random(process.rng.random())
        )
        self._executor = RequestExecutor(process.config, process.clock, process.store, process.budget, process.counters)
        self._timer = 0
        self._number = 0

    @property
    def queue(self) -> JobQueue:
        return self._dispatcher.queue

    @property
    def under_way(self) -> int:
        return self._dispatcher.under_way

    def submit(self, fetch: Fetch) -> None:
        with self._lock:
            self._dispatcher.submit(fetch)
        self._ensure_worker()

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Wait in the reader's thread while everything else goes on."""
        process, line = self._process, self._process.line
        with self._lock:
            reader = self._dispatcher.ask(fetch, process.clock.now() + timeout, moment(process.clock))
        self._ensure_worker()
        line.run_until(line.now + int(timeout * 1000), lambda: reader.settled and not process.stopped)
        line.run_until(line.now + 600_000, lambda: not process.stopped)
        return self._result(reader)

    def _result(self, reader: PendingRead) -> Any:
        if not reader.settled:
            with self._lock:
                raise self._dispatcher.gave_up(reader, moment(self._process.clock))
        if reader.error is not None:
            raise reader.error
        return reader.value

    def candles(self, count: int, lacking: int) -> None:
        with self._lock:
            self._process.budget.candles(count, lacking)
        if len(self._dispatcher):
            self._ensure_worker()

    def usage(self, bucket: Bucket) -> Usage:
        with self._lock:
            return self._process.budget.usage(bucket, moment(self._process.clock))

    # --- the threads ----------------------------------------------------------------------------------------

    def _ensure_worker(self) -> None:
        self._process.line.after(0, lambda: self._process.do("rest", self._send_all))

    def _send_all(self) -> None:
        """Let as many threads as there may be take what is to be sent."""
        process = self._process
        while self.under_way < process.config.max_rest_threads:
            with self._lock:
                found = self._dispatcher.next(moment(process.clock))
            if found is None:
                return
            if not isinstance(found, Send):
                at = process.clocks.moment_of(found)
                if self._timer <= process.line.now or at < self._timer:
                    self._timer = at
                    process.line.at(at, self._ensure_worker)
                return
            self._number += 1
            self._executor.sending(found)
            self._get(f"rest-{self._number}", found)

    def _delivered(self, send: Send, outcome: Answer | AtsSyncError) -> None:
        """Do what a request thread does with what the network has delivered."""
        process = self._process
        done = self._executor.delivered(self._dispatcher, send, outcome)
        if isinstance(outcome, RateLimited):
            self._must_wait(send.request.host)
        if isinstance(done, Done):
            if type(done.error) is RequestError:
                raise done.error  # a bug of ours, which a request thread survives
            process.closed(closed_by(done.fetch, done.error, process.store))
            process.post(Fetched(done.fetch, done.error))
            process.look()
        self._ensure_worker()

    def _must_wait(self, host: Host) -> None:
        process = self._process
        now = process.clock.now()
        until = process.budget.blocked_until(host, now)
        if until is not None:
            process.exchange.must_wait(HOST[host], process.line.now + int((until - now) * 1000))

    # --- the network ----------------------------------------------------------------------------------------

    def _get(self, thread: str, send: Send) -> None:
        process = self._process
        clock = process.clock
        request = send.request
        sent_at = clock.now()
        over = False

        def deliver(status: int | None, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
            nonlocal over
            if not over:
                over = True
                process.do(thread, lambda: self._delivered(send, received(status, body, headers or {})))

        def received(status: int | None, body: bytes, headers: dict[str, str]) -> Answer | AtsSyncError:
            if status is None:
                return RequestTimeout(f"{request.path}: not answered")
            if status == 0:
                return ConnectionFailed(f"{request.path}: reset")
            found = CaseInsensitiveDict(headers)
            problem = classify(
                status, body, found, now_wall=clock.wall(), now_exchange=clock.exchange(), what=request.path
            )
            return problem if problem is not None else Answer(body, status, found, sent_at, clock.now())

        process.line.at(process.clocks.moment_of(sent_at + send.timeout), lambda: deliver(None))
        params = {name: str(value) for name, value in request.params}
        process.exchange.request(HOST[request.host], request.path, params, deliver)
