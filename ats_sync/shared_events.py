"""Events in a reader: the collector's notices say where to look, and what has closed is read from the shared store.

A notice is a hint and no more: one that is lost, or a stream of notices that was cut meanwhile, makes a consumer look
at everything it follows. So nothing that has closed is left out in silence. Iterators listen on the threads that wait
for them; only for callbacks there is a thread.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

from .clock import Clock
from .conditions import Condition
from .errors import ConfigError, SharedStoreUnavailable
from .events.queues import EventQueue, Selection
from .feeds import Key, Kind
from .logs import RateLimitedLogger
from .publisher.iterator import LONGEST_WAIT, EventIterator, MissedCount
from .publisher.publisher import Call, CallbackHandle, EventThread, OnClosed, OnContract, Publisher
from .reentry import refuse_reentry
from .shared.replica import Replica
from .shared.wishes import WISHED_EVERY
from .status import Overall
from .store.market import MarketStore
from .venue.listings import Phase

log = RateLimitedLogger(logging.getLogger(__name__))

T = TypeVar("T")

BLOCKED = 0.5
"""The longest (seconds) that one request for notices waits: so soon a closed iterator ends."""
AWAY = 0.2
"""The pause after a store that does not answer."""
LOOK_AGAIN = 5.0
"""After so many seconds (since the last answer) everything is looked at again, ..."""
LOOK_ANYWAY = WISHED_EVERY
"""... and every so many seconds in any case: the collector follows what readers say they follow."""
_never = threading.Event()  # a wait for it ends by its timeout


class Listener:
    """Brings what the collector has closed to those who wait for it, on their threads: one at a time."""

    def __init__(self, replica: Replica, clock: Clock, keys: Callable[[], Sequence[Key]]) -> None:
        """``keys()`` is what they follow by now."""
        self._replica = replica
        self._clock = clock
        self._keys = keys
        self._notices = replica.notices()
        self._heard = self._looked = float("-inf")
        self._owed: set[Key] = set()  # may have news, and could not be brought yet
        self._again = False

    @property
    def away(self) -> bool:
        """Whether nothing could be brought the last time: the store did not answer, or nobody led."""
        return not self._replica.sources.feeds()

    @property
    def series(self) -> object:
        """Another object whenever the replica has other series."""
        return self._replica.series

    def known(self) -> list[Key]:
        """Return what is followed and has been brought before."""
        series = self._replica.series
        return [key for key in self._keys() if key in series]

    def look_again(self) -> None:
        """Let the next :meth:`listen` look at everything. Any thread may call it."""
        self._again = True

    def look(self) -> Sequence[Key]:
        """Bring everything that is followed up to date, and return what of it could be. Raises
        :class:`~ats_sync.errors.SharedStoreUnavailable`."""
        self._again = False
        self._notices.skip()
        came = self._bring(self._keys())
        self._heard = self._looked = self._clock.now()
        return came

    def listen(self, seconds: float) -> Sequence[Key]:
        """Wait at most so long for notices; return the series that may have news, brought up to date."""
        now = self._clock.now()
        try:
            if self._again or now - self._heard > LOOK_AGAIN or now - self._looked > LOOK_ANYWAY:
                return self.look()
            named = self._notices.wait(min(seconds, BLOCKED))
            self._heard = self._clock.now()
            if named is None:
                return self.look()
        except (SharedStoreUnavailable, ConfigError):
            self._heard = float("-inf")
            return ()
        named |= self._owed
        return self._bring([key for key in self._keys() if key in named]) if named else ()

    def _bring(self, keys: Sequence[Key]) -> Sequence[Key]:
        came = self._replica.pull_each(keys, 0) if keys else ()
        self._owed = set(keys).difference(came)
        return came


class _Listening:
    """Of whoever has queues: what comes for them is brought by the thread that waits for it."""

    _clock: Clock
    _condition: Condition
    _listener: Listener
    _series: object = None  # those that the replica had when the queues were last notified of them
    _looked_for: int | None = None  # what was due when everything was last looked at

    def _queues(self) -> Sequence[EventQueue[Any]]:
        """The caller holds the lock."""
        raise NotImplementedError

    def _is_over(self) -> bool:
        """Return whether nobody waits any more."""
        raise NotImplementedError

    def _look_where_due(self) -> None:
        """Before time alone brings an event: whatever has closed by then is brought here first."""
        with self._condition:
            due = min((at for queue in self._queues() if (at := queue.due()) is not None), default=None)
            if due is None or due == self._looked_for or self._clock.exchange_ms() < due:
                return
            self._looked_for = due
        with contextlib.suppress(SharedStoreUnavailable, ConfigError):
            self._note(self._listener.look())

    def _listen(self, seconds: float) -> None:
        began = self._clock.now()
        keys = self._listener.listen(seconds)
        if keys:
            self._note(keys)
        elif self._listener.away and not self._is_over():
            self._clock.wait(_never, min(seconds, AWAY, max(0.0, began + AWAY - self._clock.now())))

    def _note(self, keys: Collection[Key]) -> None:
        known: Sequence[Key] | None = None
        if self._listener.series is not self._series:
            self._series, known = self._listener.series, self._listener.known()
        with self._condition:
            for queue in self._queues():
                if known is not None:
                    queue.followed(known, self._clock.exchange_ms())
                queue.mark(keys)


class SharedIterator(_Listening, EventIterator[T]):
    """As in a collector. Whoever waits for an event listens for it: there is no thread."""

    def __init__(
        self,
        listener: Listener,
        queue: EventQueue[T],
        clock: Clock,
        timeout: float | None,
        keeps: object,
        missed: MissedCount,
    ) -> None:
        super().__init__(queue, clock, timeout, keeps, missed)
        self._listener = listener

    def _queues(self) -> Sequence[EventQueue[T]]:
        return (self._queue,)

    def _is_over(self) -> bool:
        return self._closed

    def __next__(self) -> T:
        """Block for the next event and return it."""
        refuse_reentry()
        deadline = self._deadline()
        while True:
            self._look_where_due()
            found, wait = self._next_or_wait(deadline)
            if found is not None:
                return self._missed.given(found())
            if wait <= 0:
                raise StopIteration
            self._listen(wait)

    async def __anext__(self) -> T:
        """Wait for the next event and return it. Cancelled, it loses none."""
        import asyncio  # (Not at the top: a script that has no loop does not wait for it.)

        deadline = self._deadline()
        while True:
            await asyncio.to_thread(self._look_where_due)
            found, wait = self._next_or_wait(deadline)
            if found is not None:
                return self._missed.given(found())
            if wait <= 0:
                raise StopAsyncIteration
            await asyncio.to_thread(self._listen, wait)

    def _deadline(self) -> float | None:
        return None if self._timeout is None else self._clock.now() + self._timeout

    def _next_or_wait(self, deadline: float | None) -> tuple[Callable[[], T] | None, float]:
        """Return the next event, or how long (seconds) to wait for one; 0 where there is nothing to wait for."""
        with self._condition:
            found = self._take()
            if found is not None or self._closed:
                return found, 0.0
            until_due = self._until_due()
        return None, until_due if deadline is None else min(until_due, deadline - self._clock.now())


class ReaderPublisher(_Listening, Publisher):
    """As in a collector, of what a replica has. Iterators listen for themselves; where a callback is registered, the
    thread ``ats-events`` listens for it."""

    def attach(self, store: MarketStore, assess: Callable[[], tuple[Overall, str]]) -> None:
        assert isinstance(store, Replica)
        self._replica = store
        self._listener = Listener(store, self._clock, self._called_for)
        self._series = self._looked_for = None
        super().attach(store, assess)

    def _reads(self) -> Replica | None:
        """Return what it reads, None where the reader was not started."""
        with self._condition:
            return None if self._store is None else self._replica

    def _queues(self) -> Sequence[EventQueue[Any]]:
        assert self._lock.locked()
        return [each.queue for each in self._candles if each.queue is not None]

    def _called_for(self) -> list[Key]:
        """Return the candles that callbacks are to be called for."""
        with self._condition:
            selections = [each.selection for each in self._candles]
        return [key for key in self._replica.followed() if any(each.takes(key) for each in selections)]

    def _is_over(self) -> bool:
        return self._thread is not threading.current_thread()

    # --- who waits ---------------------------------------------------------------------------------

    def iterate(
        self, make: Callable[[MarketStore, int], EventQueue[T]], timeout: float | None, keeps: object
    ) -> EventIterator[T] | None:
        replica, clock = self._reads(), self._clock
        if replica is None:
            return None
        takes = make(replica, clock.exchange_ms()).selection.takes
        listener = Listener(replica, clock, lambda: [key for key in replica.followed() if takes(key)])
        with contextlib.suppress(SharedStoreUnavailable, ConfigError):
            listener.look()  # what has closed before is not news
        iterator = SharedIterator(listener, make(replica, clock.exchange_ms()), clock, timeout, keeps, self.missed)
        with self._condition:
            if self._store is not replica:
                return None
            self._iterators.add(iterator)
        return iterator

    def on_closed(self, fn: OnClosed, selection: Selection, provisional: int | None) -> CallbackHandle:
        replica = self._reads()
        if replica is not None:
            # What has closed before is not news.
            replica.pull_each([key for key in replica.followed() if selection.takes(key)], 0)
        handle = super().on_closed(fn, selection, provisional)
        if replica is not None:
            self._listener.look_again()  # its notices may have been read already, and passed over
        return handle

    def on_contract(self, fn: OnContract, *, listed: bool) -> CallbackHandle:
        replica = self._reads()
        if replica is not None:
            self._bring_contracts(replica)
        handle = super().on_contract(fn, listed=listed)
        self.started()
        return handle

    def started(self) -> None:
        """Note that the reader is ready, or another callback registered: what happens to contracts from now on is
        news."""
        with self._condition:
            unknown = bool(self._contracts) and not self._watch.begun
        if unknown:
            self._knows_contracts()

    # --- the thread of events ----------------------------------------------------------------------

    def _until_look(self) -> float:
        assert self._lock.locked()
        return self._look_due - self._clock.now() if self._states or self._contracts else LONGEST_WAIT

    def _next_calls(self, thread: EventThread, at_once: int) -> list[Call] | None:
        while True:
            try:
                self._look_where_due()
                with self._condition:
                    if thread.stopping:
                        return None
                    until_look = self._until_look()
                # A look that fails costs no candle: those are taken after it.
                looked = self._looked(thread) if until_look <= 0 else []
                with self._condition:
                    calls, wait = self._taken(at_once)
                if until_look <= 0:
                    return calls + looked
                if calls:
                    return calls
                self._listen(min(wait, until_look))
            except Exception as failure:  # noqa: BLE001 - a dead thread would call nothing any more
                if not thread.stopping:
                    log.failure("events", failure, "events could not be brought; they are looked for again")
                    self._clock.wait(_never, AWAY)

    def _knows_contracts(self) -> bool:
        replica = self._reads()
        if replica is None or not self._bring_contracts(replica):
            return False
        with self._condition:
            if not self._watch.begun:
                self._watch.begin(replica)  # what has changed before is not news
        return True

    @staticmethod
    def _bring_contracts(replica: Replica) -> bool:
        """Bring what is known of all contracts up to date; return whether that could be done.

        Whether a contract has left is weighed by the collector where it follows that, which shows by its series.
        """
        if not replica.pull([replica.listings.key, Key(Kind.CONTRACTS)]):
            return False
        if not replica.has_listings():
            return False  # what has been delisted is written sooner than the listings that say so
        delisted = replica.delisted
        ended = {
            symbol
            for symbol in {key.symbol for key in replica.followed()} - delisted.keys()
            if replica.phase(symbol) is Phase.GONE
        }
        return not ended or replica.pull(
            [key for key in {*replica.followed(), *replica.followed_keys()} if key.symbol in ended]
        )
