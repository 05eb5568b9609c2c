"""The closes of candles: when a candle is over, and when a request is to confirm it."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from ..feeds import FEEDS, Cause, Key, Kind
from ..store.derived import CONFIRMED_LATER
from ..store.market import MarketStore
from ..store.series import Series
from ..venue.intervals import next_open, nominal_length, open_time
from .moment import Moment
from .schedule import DueQueue
from .state import State

ALL_FINAL = FEEDS[Kind.KLINES].final_within
CONFIRM_SPREAD = 1.2
"""Confirmations of quiet candles are spread over this long (seconds): a close is to be known within 7 s, and a hundred
requests of weight 1 are a twentieth of a minute's limit."""
NEARLY = 0.9
"""Months differ in length by less than this factor."""
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
                # It was perhaps computed while the clock was ahead, and an earlier close is still to come.
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
            state, series = self._states.get(key), self._store.get(key)
            if state is not None and state.link is not None and series is not None and series.unsettled(at.exchange):
                self._queue.need(state, at.steady, state.repair_cause)

    def await_frames(self, state: State, at: Moment) -> bool:
        """Return whether the open candle will be in doubt unless the next frames agree with it; look at it again
        then."""
        series = self._store.get(state.key)
        doubted_from = series.doubted_from() if series is not None else 0
        if doubted_from <= at.exchange:
            return False
        self._doubts[state.key] = at.steady + at.wait(doubted_from)
        return True

    def confirm(self, state: State, at: Moment) -> None:
        """Schedule a confirmation where the first candle that is not closed here is over.

        An answer that was requested before REST shows it as final leaves it open, and makes it due again.
        """
        series = self._store.candles(state.key)
        if series is None:
            return
        following = series.following()
        if not following or (closed := next_open(series.interval, following)) > at.exchange:
            return
        if stopped := series.stopped():
            # Nothing closes it in a halt. The stream shows the end of the halt, and so does an answer now and then.
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
        """Return :meth:`answerable`, for candles a little later at random: a candle is rarely missing in one series
        alone."""
        spread = OVERDUE_SPREAD if series.feed.closes else 0.0
        return self.answerable(series, at) + self._rng.uniform(0.0, spread)


def _next_close(interval: str, exchange: int) -> int:
    """Return when (exchange ms) the candles of this interval that have just ended must all be final."""
    return next_open(interval, open_time(interval, exchange - ALL_FINAL)) + ALL_FINAL
