"""Iterators over events, which block on their own threads."""

# Without postponed annotations, so that typing.get_type_hints() works although a class shows as ats_sync.EventIterator.
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, TypeVar

from ..clock import Clock
from ..conditions import Condition
from ..events.queues import EventQueue
from ..events.values import Missed, Turn
from ..reentry import hand_over, interrupts_itself, refuse_reentry

T = TypeVar("T")

LONGEST_WAIT = 60.0
"""Seconds after which a wait looks again, whatever is due."""


class MissedCount:
    """How many times a consumer was given ``Missed`` for closed candles that memory no longer had."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the one below
        self.value = 0

    def given(self, event: T) -> T:
        """Return an event that a consumer is given, counted where it says so."""
        if isinstance(event, Missed) or (isinstance(event, Turn) and event.missed is not None):
            with self._lock:
                self.value += 1
        return event


class EventIterator(Generic[T]):
    """Blocks for the next event: ``for event in …``, or ``async for``, which blocks no event loop.

    Each event is given once, to whichever thread comes first. It ends when it or the manager is closed, and a ``for``
    loop also when nothing has come for ``timeout`` seconds; the next loop goes on where that one ended. It keeps the
    manager alive. Dropped without :meth:`close`, it costs nothing more.
    """

    def __init__(
        self, queue: EventQueue[T], clock: Clock, timeout: float | None, keeps: object, missed: MissedCount
    ) -> None:
        self._clock = clock
        self._missed = missed
        self._timeout = timeout
        self._keeps = keeps
        self._lock = threading.Lock()  # guards everything below
        self._condition = Condition(self._lock)
        self._queue = queue
        self._wakers: list[Callable[[], None]] = []
        self._closed = False

    def __iter__(self) -> "EventIterator[T]":
        return self

    def __next__(self) -> T:
        """Block for the next event and return it."""
        refuse_reentry()
        deadline = None if self._timeout is None else self._clock.now() + self._timeout
        with self._condition:
            while (found := self._take()) is None:
                left = None if deadline is None else deadline - self._clock.now()
                if self._closed or (left is not None and left <= 0):
                    raise StopIteration
                self._condition.wait(_sooner(self._until_due(), left))
        return self._missed.given(found())

    def __aiter__(self) -> "EventIterator[T]":
        return self

    async def __anext__(self) -> T:
        """Wait for the next event and return it. Cancelled, it loses none."""
        import asyncio

        loop, timeout = asyncio.get_running_loop(), self._timeout
        deadline = None if timeout is None else self._clock.now() + timeout
        news = asyncio.Event()

        def wake() -> None:
            with contextlib.suppress(RuntimeError):  # the loop was closed while it waited
                loop.call_soon_threadsafe(news.set)

        with self._condition:
            self._wakers.append(wake)
        try:
            while True:
                news.clear()
                with self._condition:
                    found = self._take()
                    closed, until_due = self._closed, self._until_due()
                if found is not None:
                    return self._missed.given(found())
                left = None if deadline is None else deadline - self._clock.now()
                if closed or (left is not None and left <= 0):
                    raise StopAsyncIteration
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(news.wait(), _sooner(until_due, left))
        finally:
            with self._condition:
                self._wakers.remove(wake)

    def _take(self) -> Callable[[], T] | None:
        assert self._lock.locked()
        return None if self._closed else self._queue.take(self._clock.exchange_ms())

    def _until_due(self) -> float:
        return until(self._queue.due(), self._clock)

    def close(self) -> None:
        """End every loop over it, on whatever thread. Safe in a signal handler."""
        if interrupts_itself():
            hand_over(self._close)
        else:
            self._close()

    def _close(self) -> None:
        with self._condition:
            self._closed = True
        self._wake()

    @property
    def closed(self) -> bool:
        """Whether it or its manager was closed."""
        return self._closed

    def __enter__(self) -> "EventIterator[T]":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # --- from the publisher ------------------------------------------------------------------------

    def _tell(self, change: Callable[[EventQueue[T]], bool | None]) -> None:
        with self._condition:
            concerned = change(self._queue)
        if concerned is not False:
            self._wake()

    def _wake(self) -> None:
        with self._condition:
            self._condition.notify_all()
            wakers = self._wakers[:]
        for wake in wakers:
            wake()

    def _after_fork(self) -> None:
        # Another thread of the parent may have had the lock, and here nothing will ever come.
        self._lock = threading.Lock()
        self._condition = Condition(self._lock)
        self._closed = True


def until(due: int | None, clock: Clock) -> float:
    """Return how long (seconds) to wait for what is due at an exchange time (ms)."""
    return LONGEST_WAIT if due is None else min(LONGEST_WAIT, max(0.001, due / 1000.0 - clock.exchange()))


def _sooner(wait: float, left: float | None) -> float:
    return wait if left is None else min(wait, left)
