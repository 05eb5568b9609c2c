"""When each series is requested next: the queue of what is due."""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Mapping

from ..errors import AccessDenied, AtsSyncError
from ..feeds import Cause, Key
from .moment import Moment
from .obstacles import ATTEMPTS
from .state import State

RETRY_FIRST, RETRY_MOST = 1.0, 10.0
BARRED_RETRY = 60.0


class DueQueue:
    """Keeps at most one moment per series, in ``State.due``: the earliest for which it was scheduled. The heap may hold
    others, which are passed over when they come up."""

    def __init__(
        self, states: Mapping[Key, State], rng: random.Random, repair_due: Callable[[State], None] = lambda state: None
    ) -> None:
        self._states = states
        self._rng = rng
        self._repair_due = repair_due  # called with each series for which a repair was scheduled
        self._heap: list[tuple[float, int, Key]] = []
        self._on_hold: list[tuple[float, Key]] = []
        self._numbers = itertools.count()
        self.audit_every: float | None = None
        """How often (seconds) each series is audited, None for as often as its feed says."""

    def __len__(self) -> int:
        return len(self._heap) + len(self._on_hold)

    def schedule(self, state: State, due: float, cause: Cause) -> None:
        """Make a series due at ``due`` (steady), unless it is due before that anyway. What is due for any cause but an
        audit keeps that cause, so that it is not sent last of all."""
        if state.due is not None and state.due <= due:
            if state.cause is Cause.AUDIT:
                state.cause = cause
        else:
            if state.due is None or cause is not Cause.AUDIT:
                state.cause = cause
            state.due = due
            self._push(due, state.key)
        if state.cause is Cause.REPAIR:
            self._repair_due(state)

    def need(self, state: State, due: float, cause: Cause) -> None:
        """As :meth:`schedule`, but what has just failed is tried again after its pause and no sooner."""
        if state.due is not None and state.due == state.retry_at:
            due = max(due, state.due)
        self.schedule(state, due, cause)

    def retry(self, state: State, at: Moment, error: AtsSyncError, cause: Cause) -> None:
        """Try again what has failed, after a pause that grows."""
        state.attempts += 1
        state.retry_at = at.steady + self.back_off(state, error)
        self.schedule(state, state.retry_at, cause)

    def schedule_audit(self, state: State, at: Moment) -> None:
        """Schedule the next comparison of a series with REST: at its turn, or at another one where that has passed."""
        if at.steady >= state.audit_at:
            every = self.audit_every if self.audit_every is not None else state.feed.audit_every or 0.0
            state.audit_at = at.steady + every * self._rng.uniform(0.7, 1.0)
        self.schedule(state, state.audit_at, Cause.AUDIT)

    def back_off(self, state: State, error: AtsSyncError | None) -> float:
        """Return how long (seconds) to wait before the next attempt."""
        barred = error is not None and not error.retryable
        if barred and (isinstance(error, AccessDenied) or state.attempts > ATTEMPTS):
            return BARRED_RETRY
        delay = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(state.attempts - 1, 10))
        return delay * self._rng.uniform(0.75, 1.25)

    def pop(self, now: float) -> State | None:
        """Return the next series that is due, None where none is (yet)."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            state = self._states.get(key)
            if state is not None and state.due == due and not state.delisted:
                return state
        return None

    def hold(self, state: State) -> None:
        """Keep a series that is due until :meth:`release`."""
        assert state.due is not None
        self._on_hold.append((state.due, state.key))

    def release(self) -> None:
        """Schedule at once whatever is on hold."""
        for due, key in self._on_hold:
            self._push(due, key)
        self._on_hold.clear()

    def next_due(self) -> float | None:
        """Return when (steady) :meth:`pop` has something next."""
        while self._heap:
            due, _, key = self._heap[0]
            state = self._states.get(key)
            if state is not None and state.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def _push(self, due: float, key: Key) -> None:
        heapq.heappush(self._heap, (due, next(self._numbers), key))
