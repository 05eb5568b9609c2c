"""The polls: what is requested again and again, whether anything is missing or not.

The exchange's time is polled before everything else: what was requested while it was not sure counts as older than it
is.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping

from ..feeds import CLOCK, Cause, Feed, Key
from ..store.series import Series
from ..venue.endpoints import Host
from .jobs import Fetch
from .moment import Moment
from .schedule import DueQueue
from .state import State

CLOCK_AGAIN_AFTER = 5.0
LISTINGS_AGAIN_AFTER = 20.0
UNCERTAIN, UNCERTAIN_AGAIN_AFTER = 500, 15.0
"""Where slow answers leave the exchange's time open by more than so many ms, it is requested again after so many
seconds: everything looks older by as much, and the path may have become quicker."""
VERY_UNCERTAIN = 5_000
SLEPT = 5.0
FRESH = 0.9
"""A poll is due again after this part of the time for which an answer counts as fresh, if not sooner."""
LEAST_PAUSE = 1.0
"""Seconds between two polls of a series, however old its answer was when it came."""
PATIENCE_WITH_CLOCK = 3
"""After so many failures of ``/time`` the rest is requested without it."""


class Polls:
    """Schedules the polls of the series in ``states``. ``streams``: whether streams are used, so that only some are
    polled."""

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
        """Poll at once what concerns every symbol and has failed, since the host answers again. Everything else is
        retried by itself, spread over time."""
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

    def since(self, state: State, at: Moment) -> int | None:
        """Return from when on (exchange ms) an answer serves that another process has requested, None where none does.

        It serves where it would not be due again at once, had this process requested it at that time. Only kinds that
        share a limit are spared requests: of others there are few.
        """
        bound = state.feed.poll.max_age if state.feed.poll is not None else None
        if not state.feed.shares_limit or bound is None or not at.proven:
            return None
        return max(state.outdated_until, at.exchange - round((FRESH * bound - LEAST_PAUSE) * 1000))

    def check(self, at: Moment) -> None:
        """Poll the exchange's time where it is not sure, and everything where the machine has slept."""
        if not at.proven:
            self.again(CLOCK, at, CLOCK_AGAIN_AFTER)
        elif at.uncertain > UNCERTAIN:
            self.again(CLOCK, at, UNCERTAIN_AGAIN_AFTER if at.uncertain < VERY_UNCERTAIN else CLOCK_AGAIN_AFTER)
        self._check_sleep(at)

    def _check_sleep(self, at: Moment) -> None:
        """Poll everything where the steady clock stood still while the machine slept: polls are late without being due
        then."""
        if not at.proven:
            return
        offset = at.exchange / 1000.0 - at.steady
        slept = self._offset is not None and offset - self._offset > SLEPT
        self._offset = offset
        if slept:
            self._wake(at, self._states)

    def _wake(self, at: Moment, keys: Iterable[Key]) -> None:
        """Poll at once those of these series that are polled and known."""
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

    An answer is as old as its request: one that reached a process which was stopped meanwhile may be old already, and
    so may one that another process has requested.
    """
    bound, requested_at = feed.poll.max_age if feed.poll is not None else None, series.state(at.exchange).answered
    if bound is None or not requested_at or not at.proven:
        return math.inf
    return max(LEAST_PAUSE, FRESH * bound - (at.exchange - requested_at) / 1000.0)
