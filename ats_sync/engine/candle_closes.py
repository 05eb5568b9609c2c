"""The close of a candle: traded candles end with a final event, REST confirms the quiet ones."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from ..feeds import FEEDS, Cause, Key, Kind
from ..store.derived import CONFIRMED_LATER
from ..store.market import MarketStore
from ..store.series import Series
from ..venue.intervals import next_open, nominal_length, open_time
from .due_queue import DueQueue
from .moment import Moment
from .state import State

ALL_FINAL = FEEDS[Kind.KLINES].final_within
CONFIRM_SPREAD = 1.2
"""Confirmations of quiet candles are spread over this long (seconds): a close is to be known within 7 s, and a hundred
requests of weight 1 are a twentieth of a minute's limit."""
NEARLY = 0.9
"""Months differ in length by less than that."""
OVERDUE_SPREAD = 3.0


class CandleCloses:
    """The next close of every interval that is followed."""

    def __init__(self, store: MarketStore, states: Mapping[Key, State], queue: DueQueue, rng: random.Random) -> None:
        self._store = store
        self._states = states
        self._queue = queue
        self._rng = rng
        self._closes: dict[str, int] = {}

    def add(self, interval: str, at: Moment) -> None:
        """Watch the closes of an interval."""
        if interval not in self._closes:
            self._closes[interval] = _next_close(interval, at.exchange)

    def keep(self, intervals: Collection[str]) -> None:
        """Watch the closes of these intervals only."""
        self._closes = {interval: due for interval, due in self._closes.items() if interval in intervals}

    def due(self, at: Moment) -> list[float]:
        """Return when (steady) :meth:`check` has something to do."""
        return [at.steady + (turn - at.exchange) / 1000.0 for turn in self._closes.values()]

    def check(self, at: Moment) -> None:
        """Schedule a confirmation of every candle that is over and not closed here."""
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
