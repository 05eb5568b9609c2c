"""Events in a reader: the collector's notices say where to look, and what has closed is read from the shared store.

A notice is a hint and no more: one that is lost, or a stream of notices that was cut meanwhile, makes a consumer look
at everything it follows. So nothing that has closed is left out in silence.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from .clock import Clock
from .errors import SharedStoreUnavailable
from .events.queues import EventQueue
from .feeds import Key
from .publisher.iterator import EventIterator, MissedCount
from .reentry import refuse_reentry
from .shared.layout import MalformedFeed, key_of
from .shared.publish import EVERYTHING
from .shared.replica import Replica

T = TypeVar("T")

BLOCKED = 0.5
"""The longest (seconds) that one request for notices waits: so soon a closed iterator ends."""
AWAY = 0.2
"""The pause after a store that does not answer."""
LOOK_AGAIN = 5.0
"""After so many seconds (since the last answer) everything is looked at again."""
MOST = 1000
"""Notices of one answer; where there may be more, everything is looked at."""
_never = threading.Event()  # a wait for it ends by its timeout


class Listener:
    """Brings what the collector has closed to one queue, on the threads of those who wait for it."""

    def __init__(self, replica: Replica, clock: Clock, keys: Callable[[], Sequence[Key]]) -> None:
        """``keys()`` is what the queue follows by now."""
        self._replica = replica
        self._clock = clock
        self._keys = keys
        self._after = b"0"  # the newest notice that was read
        self._heard = float("-inf")

    @property
    def away(self) -> bool:
        """Whether the store did not answer the last time."""
        return self._replica.feed is None

    @property
    def series(self) -> object:
        """Another object whenever the replica has other series."""
        return self._replica.series

    def look(self) -> list[Key]:
        """Bring everything that is followed up to date, and return it."""
        self._after = self._replica.newest_notice()
        keys = list(self._keys())
        if not self._replica.pull(keys):
            return []
        self._heard = self._clock.now()
        return keys

    def listen(self, seconds: float) -> list[Key]:
        """Wait at most so long for notices; return the series that may have news, brought up to date."""
        try:
            if self._clock.now() - self._heard > LOOK_AGAIN:
                return self.look()
            notices = self._replica.notices(self._after, min(seconds, BLOCKED), MOST)
        except SharedStoreUnavailable:
            self._heard = float("-inf")
            return []
        self._heard = self._clock.now()
        if not notices:
            return []
        self._after = notices[-1][0]
        if len(notices) >= MOST or any(fields == EVERYTHING for _, fields in notices):
            return self.look()
        followed = set(self._keys())
        named = {key for _, fields in notices for key in _keys_in(fields)}
        keys = [key for key in named if key in followed]
        return keys if not keys or self._replica.pull(keys) else []


def _keys_in(fields: bytes) -> list[Key]:
    """Return the series that a notice names; none where it cannot be read."""
    try:
        return [key_of(field) for field in fields.split(b"\n")]
    except MalformedFeed:
        return []


class SharedIterator(EventIterator[T]):
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
        self._series: object = None  # those that the replica had when the queue was last notified of them
        self._looked_for: int | None = None  # what was due when everything was last looked at

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

    def _look_where_due(self) -> None:
        """Before time alone brings an event: whatever has closed by then is brought here first."""
        with self._condition:
            due = self._queue.due()
            if due is None or due == self._looked_for or self._clock.exchange_ms() < due:
                return
            self._looked_for = due
        with contextlib.suppress(SharedStoreUnavailable):
            self._note(self._listener.look())

    def _listen(self, seconds: float) -> None:
        began = self._clock.now()
        keys = self._listener.listen(seconds)
        if keys:
            self._note(keys)
        elif self._listener.away and not self._closed:
            self._clock.wait(_never, min(seconds, AWAY, max(0.0, began + AWAY - self._clock.now())))

    def _note(self, keys: Sequence[Key]) -> None:
        with self._condition:
            series = self._listener.series
            if series is not self._series:
                self._series = series
                self._queue.followed(keys, self._clock.exchange_ms())
            self._queue.mark(keys)
