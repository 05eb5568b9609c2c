"""A few daemon threads for reads that wait for the exchange."""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from ..errors import NotRunning, ThreadUnavailable

T = TypeVar("T")

_Work = tuple["Future[Any]", Callable[[], Any]]


class Pool:
    """At most ``most`` threads, started when needed. (Those of ``concurrent.futures`` keep the interpreter from
    ending while they wait.)"""

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._lock = threading.Lock()  # guards everything below
        self._work: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        self._closed = False
        self._numbers = itertools.count(1)

    def run(self, work: Callable[[], T]) -> Future[T]:
        """Return the future of what ``work()`` returns. Raises :class:`~ats_sync.errors.ThreadUnavailable`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                raise NotRunning("the endpoint is closed")
            if self._unfinished >= len(self._threads) and len(self._threads) < self._most:
                self._start()
            self._unfinished += 1
            self._work.put((future, work))
        return future

    def _start(self) -> None:
        assert self._lock.locked()
        thread = threading.Thread(target=self._serve, name=f"{self._name}-{next(self._numbers)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as failure:
            if not self._threads:
                raise ThreadUnavailable(f"no thread could be started: {failure}") from failure
        else:
            self._threads.append(thread)

    def _serve(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(work())
                except BaseException as error:  # noqa: BLE001 -- it is raised where the future is awaited
                    future.set_exception(error)
            with self._lock:
                self._unfinished -= 1

    def close(self) -> list[threading.Thread]:
        """Take no more work; drop what has not begun. Return the threads to join."""
        with self._lock:
            self._closed = True
            try:
                while (item := self._work.get_nowait()) is not None:
                    item[0].cancel()
            except queue.Empty:
                pass
            for _ in self._threads:
                self._work.put(None)
            return list(self._threads)
