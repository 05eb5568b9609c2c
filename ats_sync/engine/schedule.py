"""When each series is requested next: the queue of what is due, the closes of candles, and what is polled.

The exchange's time is polled too, before everything else: what was requested while it was not sure counts as older than
it is.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Collection, Iterable, Mapping

from ..errors import AccessDenied, AtsSyncError
from ..feeds import CLOCK, FEEDS, Cause, Feed, Key, Kind
from ..store.derived import CONFIRMED_LATER
from ..store.market import MarketStore
from ..store.series import Series
from ..venue.endpoints import Host
from ..venue.intervals import next_open, nominal_length, open_time
from .jobs import Fetch
from .moment import Moment
from .obstacles import ATTEMPTS
from .state import State

RETRY_FIRST, RETRY_MOST = 1.0, 10.0
BARRED_RETRY = 60.0


class DueQueue:
    """At most one moment a series, in ``State.due``: the earliest it was scheduled for. The heap may hold others,
    which are passed over when they come up."""

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
        """Make a series due at ``due`` (steady), unless it is due before anyway. What is due for another cause than an
        audit stays so, and does not go as the last of all."""
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
        """Compare a series with REST when its turn has come, or as soon as that is over already."""
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


ALL_FINAL = FEEDS[Kind.KLINES].final_within
CONFIRM_SPREAD = 1.2
"""Confirmations of quiet candles are spread over this long (seconds): a close is to be known within 7 s, and a hundred
requests of weight 1 are a twentieth of a minute's limit."""
NEARLY = 0.9
"""Months differ in length by less than that."""
OVERDUE_SPREAD = 3.0


class CandleCloses:
    """The next close of every interval that is followed, and the open candles that frames are to confirm."""

    def __init__(self, store: MarketStore, states: Mapping[Key, State], queue: DueQueue, rng: random.Random) -> None:
        self._store = store
        self._states = states
        self._queue = queue
        self._rng = rng
        self._closes: dict[str, int] = {}
        self._doubts: dict[Key, float] = {}  # when (steady) to look whether a doubt has passed

    def add(self, interval: str, at: Moment) -> None:
        """Watch the closes of an interval."""
        if interval not in self._closes:
            self._closes[interval] = _next_close(interval, at.exchange)

    def keep(self, intervals: Collection[str]) -> None:
        """Watch the closes of these intervals only."""
        self._closes = {interval: due for interval, due in self._closes.items() if interval in intervals}

    def due(self, at: Moment) -> list[float]:
        """Return when (steady) :meth:`check` has something to do."""
        return [*(at.steady + (turn - at.exchange) / 1000.0 for turn in self._closes.values()), *self._doubts.values()]

    def check(self, at: Moment) -> None:
        """Schedule a confirmation of every candle that is over and not closed here, or is in doubt."""
        self._check_doubts(at)
        for interval, due in self._closes.items():
            if due > at.exchange + nominal_length(interval) * NEARLY:
                # Perhaps it was computed while the clock was ahead: a close that has just passed may be still to come.
                self._closes[interval] = _next_close(interval, at.exchange)
                continue
            if at.exchange < due:
                continue
            self._closes[interval] = _next_close(interval, at.exchange)
            for key, state in self._states.items():
                if not state.feed.closes or key.interval != interval or state.link is None:
                    continue
                self.confirm(state, at)

    def _check_doubts(self, at: Moment) -> None:
        for key in [key for key, due in self._doubts.items() if due <= at.steady]:
            del self._doubts[key]
            state, series = self._states.get(key), self._store.candles(key)
            if state is not None and state.link is not None and series is not None and series.unsettled(at.exchange):
                self._queue.need(state, at.steady, state.repair_cause)

    def await_frames(self, state: State, at: Moment) -> bool:
        """If the open candle will be in doubt unless the next frames agree with it, look at it then. Return whether
        that is so."""
        series = self._store.candles(state.key)
        doubted_from = series.doubted_from() if series is not None else 0
        if doubted_from <= at.exchange:
            return False
        self._doubts[state.key] = at.steady + at.wait(doubted_from)
        return True

    def confirm(self, state: State, at: Moment) -> None:
        """Schedule a confirmation where the first candle that is not closed here is over.

        Whatever was fetched before REST shows it as final leaves it open: after each such answer it is due again.
        """
        series = self._store.candles(state.key)
        if series is None:
            return
        following = series.following()
        if not following or (closed := next_open(series.interval, following)) > at.exchange:
            return
        if stopped := series.stopped():
            # Nothing closes it in a halt; its end is seen by the stream, and by an answer now and then.
            again = (stopped + nominal_length(series.interval) - at.exchange) / 1000.0
            self._queue.schedule(
                state, at.steady + max(0.0, again) + self._rng.uniform(0.0, OVERDUE_SPREAD), Cause.REPAIR
            )
            return
        streamed = at.steady + (closed + series.feed.final_within - at.exchange) / 1000.0
        spread = OVERDUE_SPREAD if series.state(at.exchange).doubt else CONFIRM_SPREAD
        due = max(self.answerable(series, at), streamed) + self._rng.uniform(0.0, spread)
        if series.source is not None:
            due += CONFIRMED_LATER
        self._queue.schedule(state, due, Cause.REPAIR)

    @staticmethod
    def answerable(series: Series, at: Moment) -> float:
        """Return when (steady) a REST answer can close what is missing; now at the earliest."""
        final = series.answerable_from(at.exchange)
        return at.steady + (at.wait(final) if final > at.exchange else 0.0)

    def jittered(self, series: Series, at: Moment) -> float:
        """As :meth:`answerable`, for candles a little later at random: what lacks one candle rarely lacks it alone."""
        spread = OVERDUE_SPREAD if series.feed.closes else 0.0
        return self.answerable(series, at) + self._rng.uniform(0.0, spread)


def _next_close(interval: str, exchange: int) -> int:
    """Return when (exchange ms) the candles of this interval that have just ended must all be final."""
    return next_open(interval, open_time(interval, exchange - ALL_FINAL)) + ALL_FINAL


CLOCK_AGAIN_AFTER = 5.0
LISTINGS_AGAIN_AFTER = 20.0
UNCERTAIN, UNCERTAIN_AGAIN_AFTER = 500, 15.0
"""Where slow answers leave the exchange's time open by more than so many ms, it is requested again after so many
seconds: everything looks older by as much, and the path may have become quicker."""
VERY_UNCERTAIN = 5_000
SLEPT = 5.0
PATIENCE_WITH_CLOCK = 3
"""After so many failures of ``/time`` the rest is requested without it."""


class Polls:
    """The polls of the series in ``states``. ``streams``: whether streams are used, so that only some are polled."""

    def __init__(self, states: Mapping[Key, State], queue: DueQueue, rng: random.Random, *, streams: bool) -> None:
        self._states = states
        self._queue = queue
        self._rng = rng
        self._streams = streams
        self._in_doubt: set[Key] = set()  # what was answered while the time was not sure
        self._once_more = False  # the listings, as soon as their answer has come
        self._offset: float | None = None  # exchange time minus steady time at the last proven look

    def again(self, key: Key, at: Moment, pause: float) -> None:
        """Poll now, unless that was done less than ``pause`` seconds ago."""
        state = self._states.get(key)
        if state is not None and state.fetching is None and at.steady - state.audit_at >= pause:
            state.audit_at = at.steady
            self._queue.schedule(state, at.steady, state.poll_cause)

    def within(self, key: Key, at: Moment, pause: float) -> None:
        """Poll within ``pause`` seconds."""
        state = self._states.get(key)
        if state is not None:
            self._queue.schedule(state, at.steady + pause, state.poll_cause)

    def retry(self, host: Host, at: Moment) -> None:
        """Poll at once what concerns every symbol and failed: the host answers again. The rest comes by itself, spread
        as it is."""
        for state in self._states.values():
            if state.feed.shared and state.error is not None and state.feed.host is host:
                self._queue.schedule(state, at.steady, state.poll_cause)

    def put_off(self, state: State) -> None:
        """Poll the listings once more after the answer that is under way: it may not show what has happened since it
        was requested."""
        self._once_more = self._once_more or state.feed.lists_contracts

    def answered(self, state: State, at: Moment) -> None:
        """Note that an answer was merged, before the series counts as known."""
        if state.feed.sets_clock:
            for each in self._states.values():
                # Of an acknowledgement noted while the clock was ahead, all that is known is that it was before now.
                each.subscribed = min(each.subscribed, at.exchange)
            self._wake(at, self._states if not state.known else self._in_doubt)
            self._in_doubt.clear()
        elif not at.proven and state.feed.polled(streams=self._streams):
            self._in_doubt.add(state.key)

    def settled(self, state: State, series: Series, fetch: Fetch, at: Moment) -> None:
        """Schedule the next poll of a series that lacks nothing, if it is polled."""
        if state.feed.poll is None or not state.feed.polled(streams=self._streams):
            return
        # The first polls are spread over the period so that they never come as one crowd.
        first = fetch.cause is Cause.WARM_UP and not state.feed.shared
        pause = state.feed.poll.every * (self._rng.uniform(0.3, 1.0) if first else 1.0)
        pause = min(pause, _still_fresh_for(state.feed, series, at))
        if state.feed.lists_contracts and self._once_more:
            self._once_more, pause = False, 0.0
        self._queue.schedule(state, at.steady + pause, state.poll_cause)

    def check(self, at: Moment) -> None:
        """Poll the exchange's time where it is not sure, and everything where the machine has slept."""
        if not at.proven:
            self.again(CLOCK, at, CLOCK_AGAIN_AFTER)
        elif at.uncertain > UNCERTAIN:
            self.again(CLOCK, at, UNCERTAIN_AGAIN_AFTER if at.uncertain < VERY_UNCERTAIN else CLOCK_AGAIN_AFTER)
        self._check_sleep(at)

    def _check_sleep(self, at: Moment) -> None:
        """Where the steady clock stood still while the machine slept, polls are late without being due."""
        if not at.proven:
            return
        offset = at.exchange / 1000.0 - at.steady
        slept = self._offset is not None and offset - self._offset > SLEPT
        self._offset = offset
        if slept:
            self._wake(at, self._states)

    def _wake(self, at: Moment, keys: Iterable[Key]) -> None:
        """Poll at once those of them that are polled and known."""
        for key in keys:
            state = self._states.get(key)
            if state is not None and state.known and not state.delisted and state.feed.polled(streams=self._streams):
                self._queue.schedule(state, at.steady, state.poll_cause)

    def waits_for_clock(self) -> bool:
        """Return whether the first answer of ``/time`` is still to come: it goes alone, before many threads start,
        since its header tells the budget that others have left."""
        clock = self._states.get(CLOCK)
        return clock is not None and not clock.known and clock.attempts < PATIENCE_WITH_CLOCK


def _still_fresh_for(feed: Feed, series: Series, at: Moment) -> float:
    """Return how long (seconds) what was just merged counts as fresh, less a tenth of its bound; 1 at least.

    An answer is as old as its request: one that reached a process which was stopped meanwhile may be old already.
    """
    bound, requested_at = feed.poll.max_age if feed.poll is not None else None, series.state(at.exchange).answered
    if bound is None or not requested_at or not at.proven:
        return math.inf
    return max(1.0, 0.9 * bound - (at.exchange - requested_at) / 1000.0)
