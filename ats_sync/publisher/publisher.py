"""Marks what has closed for every iterator, and runs callbacks on the thread ``ats-events``."""

# Without postponed annotations, so that typing.get_type_hints() works although classes show as ats_sync.….
import logging
import threading
import weakref
from collections.abc import Callable, Iterable
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from ..clock import Clock
from ..conditions import Condition
from ..errors import ThreadUnavailable
from ..events.contracts import ContractWatch
from ..events.queues import CandleQueue, EventQueue, Selection
from ..events.values import CandleEvent, ContractChange, Missed
from ..feeds import Key
from ..logs import RateLimitedLogger
from ..reentry import hand_over, interrupts_itself
from ..status import Overall
from ..store.market import MarketStore
from .iterator import LONGEST_WAIT, EventIterator, MissedCount, until

log = RateLimitedLogger(logging.getLogger(__name__))

T = TypeVar("T")

LOOK_EVERY = 0.5
"""The state and the listings are looked at so often (seconds) at most, after turns of the engine."""

AT_ONCE, QUICK = 8, 0.001
"""So many events of each callback are taken at once where the callbacks before were over within so many seconds; else
one, so that a slow callback does not keep the others waiting."""

OnClosed = Callable[[CandleEvent | Missed], object]
OnState = Callable[[Overall, Overall, float, str], object]
OnContract = Callable[[ContractChange], object]


class CallbackHandle:
    """A callback that was registered; :meth:`close` ends its calls."""

    def __init__(self, publisher: "Publisher") -> None:
        self._publisher = publisher
        self.closed = False
        """Whether it was closed. (A call that has begun before goes on.)"""

    def close(self) -> None:
        """Call it no more. May be called on any thread, by the callback itself, and in a signal handler."""
        self.closed = True
        if interrupts_itself():
            hand_over(self._forget)
        else:
            self._forget()

    def _forget(self) -> None:
        self._publisher.forget(self)


class _Candles(CallbackHandle):
    def __init__(self, publisher: "Publisher", fn: OnClosed, selection: Selection, provisional: int | None) -> None:
        super().__init__(publisher)
        self.fn = fn
        self.selection = selection
        self.provisional = provisional
        self.queue: CandleQueue | None = None

    def follow(self, store: MarketStore, now: int) -> None:
        self.queue = CandleQueue(store, self.selection, now, provisional=self.provisional)


class _States(CallbackHandle):
    def __init__(self, publisher: "Publisher", fn: OnState) -> None:
        super().__init__(publisher)
        self.fn = fn


class _Contracts(CallbackHandle):
    def __init__(self, publisher: "Publisher", fn: OnContract, *, listed: bool) -> None:
        super().__init__(publisher)
        self.fn = fn
        self.listed = listed


Call = tuple[CallbackHandle, Callable[[], object]]


class Publisher:
    """Tells iterators and callbacks what the threads of the runtime have merged. It outlives runtimes: callbacks stay
    registered through a restart, iterators end with the runtime they were made for."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.missed = MissedCount()
        self._lock = threading.Lock()  # guards everything below
        self._condition = Condition(self._lock)
        self._iterators: weakref.WeakSet[EventIterator[Any]] = weakref.WeakSet()
        self._candles: list[_Candles] = []
        self._states: list[_States] = []
        self._contracts: list[_Contracts] = []
        self._store: MarketStore | None = None  # of the runtime that runs
        self._assess: Callable[[], tuple[Overall, str]] = _stopped
        self._thread: EventThread | None = None
        self._state = Overall.STOPPED  # as the callbacks know it
        self._watch = ContractWatch()
        self._look = False
        self._look_due = 0.0

    # --- life --------------------------------------------------------------------------------------

    def attach(self, store: MarketStore, assess: Callable[[], tuple[Overall, str]]) -> None:
        """Publish what happens in ``store`` from now on; ``assess()`` returns the state and its reason.

        Raises :class:`~ats_sync.errors.ThreadUnavailable`.
        """
        with self._condition:
            self._store, self._assess = store, assess
            self._watch, self._look, self._look_due = ContractWatch(), True, 0.0
            for each in self._candles:
                each.follow(store, self._clock.exchange_ms())
            self._ensure_thread()

    def started(self) -> None:
        """Note that whoever attached is ready."""

    def detach(self) -> "threading.Thread | None":
        """End every iterator, and the thread once it has reported the stop; return the thread to join."""
        with self._condition:
            iterators = list(self._iterators)
            self._iterators.clear()
            self._store, self._assess = None, _stopped
            thread, self._thread = self._thread, None
            if thread is not None:
                thread.stopping = True
            for each in self._candles:
                each.queue = None
            self._condition.notify_all()
        for iterator in iterators:
            iterator._close()
        return thread

    def after_fork(self) -> None:
        """In a child process: nothing comes to iterators and callbacks of the parent any more."""
        # Another thread of the parent may have had the lock.
        self._lock = threading.Lock()
        self._condition = Condition(self._lock)
        self._store, self._thread = None, None
        self._candles, self._states, self._contracts = [], [], []
        for iterator in list(self._iterators):
            iterator._after_fork()

    def _ensure_thread(self) -> None:
        assert self._lock.locked()
        if self._thread is not None or self._store is None:
            return
        if not (self._candles or self._states or self._contracts):
            return
        thread = EventThread(self)
        try:
            thread.start()
        except RuntimeError as failure:
            raise ThreadUnavailable(f"the thread of events could not be started: {failure}") from failure
        self._thread = thread

    # --- who waits ---------------------------------------------------------------------------------

    def iterate(
        self, make: Callable[[MarketStore, int], EventQueue[T]], timeout: float | None, keeps: object
    ) -> EventIterator[T] | None:
        """Return an iterator over a queue, which ``make(store, now)`` makes; None where nothing runs."""
        with self._condition:
            if self._store is None:
                return None
            queue = make(self._store, self._clock.exchange_ms())
            iterator = EventIterator(queue, self._clock, timeout, keeps, self.missed)
            self._iterators.add(iterator)
            return iterator

    def on_closed(self, fn: OnClosed, selection: Selection, provisional: int | None) -> CallbackHandle:
        """Call ``fn`` with each candle that closes."""
        handle = _Candles(self, fn, selection, provisional)
        with self._condition:
            if self._store is not None:
                handle.follow(self._store, self._clock.exchange_ms())
            self._register(self._candles, handle)
        return handle

    def on_state(self, fn: OnState) -> CallbackHandle:
        """Call ``fn`` with each change of the overall state."""
        state = self._assess()[0]
        handle = _States(self, fn)
        with self._condition:
            if not self._states:
                self._state = state
            self._register(self._states, handle)
        return handle

    def on_contract(self, fn: OnContract, *, listed: bool) -> CallbackHandle:
        """Call ``fn`` with each contract that is listed, or that leaves."""
        handle = _Contracts(self, fn, listed=listed)
        with self._condition:
            if not self._contracts:
                self._watch = ContractWatch()
                if self._store is not None:
                    self._watch.begin(self._store)
            self._look = True
            self._register(self._contracts, handle)
        return handle

    def _register(self, handles: list[Any], handle: CallbackHandle) -> None:
        handles.append(handle)
        try:
            self._ensure_thread()
        except ThreadUnavailable:
            handles.remove(handle)
            raise
        self._condition.notify_all()

    def forget(self, handle: CallbackHandle) -> None:
        """Call this callback no more."""
        with self._condition:
            for handles in (self._candles, self._states, self._contracts):
                if handle in handles:
                    handles.remove(handle)  # type: ignore[arg-type]

    # --- from the threads of the runtime -----------------------------------------------------------

    def closed(self, keys: Iterable[Key]) -> bool:
        """Candles of these series may have closed; return whether a callback is to be called for one. Called after the
        merge, on any thread."""
        keys = list(keys)
        return self._tell(lambda queue: queue.mark(keys))

    def followed(self, keys: Iterable[Key]) -> None:
        """These series are followed from now on."""
        keys, now = list(keys), self._clock.exchange_ms()
        self._tell(lambda queue: queue.followed(keys, now))

    def unfollowed(self, keys: Iterable[Key]) -> None:
        """These series are followed no longer."""
        keys = list(keys)
        self._tell(lambda queue: queue.unfollowed(keys))

    def turned(self) -> None:
        """The engine has taken a turn, so the state and the listings may have changed."""
        if self._states or self._contracts:
            with self._condition:
                self._look = True
                self._condition.notify_all()

    def _tell(self, change: Callable[[EventQueue[Any]], bool | None]) -> bool:
        """Change every queue; return whether that may be of interest to a callback."""
        with self._condition:
            iterators = list(self._iterators)
            concerned = [change(each.queue) for each in self._candles if each.queue is not None]
            of_interest = any(answer is not False for answer in concerned)
            if of_interest:
                self._condition.notify_all()
        for iterator in iterators:
            iterator._tell(change)
        return of_interest

    # --- the thread of events ----------------------------------------------------------------------

    def run(self, thread: "EventThread") -> None:
        """Call callbacks until the thread is to stop."""
        at_once = 1
        while (calls := self._next_calls(thread, at_once)) is not None:
            began = self._clock.now()
            self._call(calls)
            at_once = AT_ONCE if calls and self._clock.now() - began <= QUICK else 1
        self._call(self._last_calls())

    def _call(self, calls: Iterable[Call]) -> None:
        for handle, call in calls:
            if handle.closed:
                continue
            try:
                call()
            except Exception as failure:  # noqa: BLE001 - the user's; logged
                log.failure(f"callback {id(handle)}", failure, "a callback failed; it will be called again")

    def _next_calls(self, thread: "EventThread", at_once: int) -> list[Call] | None:
        """Wait for something to call and return it, at most ``at_once`` events a callback; None when the thread is to
        stop."""
        with self._condition:
            while True:
                if thread.stopping:
                    return None
                calls, wait = self._taken(at_once)
                until_look = self._until_look()
                if calls or until_look <= 0:
                    break
                self._condition.wait(min(wait, until_look))
        return calls if until_look > 0 else calls + self._looked(thread)

    def _taken(self, at_once: int) -> tuple[list[Call], float]:
        """Take at most so many events a callback out of the queues; return their calls, and how long (seconds) until
        time alone brings another one. The caller holds the lock."""
        assert self._lock.locked()
        calls: list[Call] = []
        now, wait = self._clock.exchange_ms(), LONGEST_WAIT
        for each in self._candles:
            if (queue := each.queue) is None:
                continue
            taken = islice(iter(partial(queue.take, now), None), at_once)
            calls += [(each, partial(self._give, each.fn, found)) for found in taken]
            wait = min(wait, until(queue.due(), self._clock))
        return calls, wait

    def _until_look(self) -> float:
        """Return how long (seconds) until the state and the listings are to be looked at. The caller holds the lock."""
        assert self._lock.locked()
        return self._look_due - self._clock.now() if self._look else LONGEST_WAIT

    def _knows_contracts(self) -> bool:
        """Return whether what is known of all contracts is up to date. Called without the lock."""
        return True

    def _looked(self, thread: "EventThread") -> list[Call]:
        """Look at the state and the listings; return the calls that their changes bring."""
        calls: list[Call] = []
        at_contracts = bool(self._contracts) and self._knows_contracts()
        with self._condition:
            self._look, self._look_due = False, self._clock.now() + LOOK_EVERY
            assess = self._assess if self._states else None
            if at_contracts and self._store is not None and self._contracts:
                calls += [
                    (each, partial(each.fn, change))
                    for listed, change in self._watch.look(self._store)
                    for each in self._contracts
                    if each.listed == listed
                ]
        if assess is not None:
            state, reason = assess()
            with self._condition:
                if not thread.stopping:
                    calls += self._changed_to(state, reason)
        return calls

    def _give(self, fn: Callable[[Any], object], found: Callable[[], Any]) -> None:
        fn(self.missed.given(found()))

    def _last_calls(self) -> list[Call]:
        with self._condition:
            restarted = self._thread is not None
            return [] if restarted else self._changed_to(Overall.STOPPED, "the manager was closed")

    def _changed_to(self, state: Overall, reason: str) -> list[Call]:
        assert self._lock.locked()
        old, self._state = self._state, state
        since = self._clock.wall()
        return [(each, partial(each.fn, old, state, since, reason)) for each in self._states if old is not state]


def _stopped() -> tuple[Overall, str]:
    return Overall.STOPPED, "the manager does not run"


class EventThread(threading.Thread):
    """The one thread on which callbacks run."""

    def __init__(self, publisher: Publisher) -> None:
        super().__init__(name="ats-events", daemon=True)
        self._publisher = publisher
        self.stopping = False

    def run(self) -> None:
        self._publisher.run(self)
