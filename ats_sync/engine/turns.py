"""The turn of the candle: those that trade tell by themselves that they are over, the quiet ones are asked for."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping

from ..feeds import CANDLES, Cause, Key, Kind
from ..store.klines import FINAL_IN_REST_AFTER
from ..store.market import MarketStore
from ..store.standing import FINAL_EVENT_WITHIN
from ..venue.intervals import next_open, nominal_length, open_time
from .agenda import Agenda
from .moment import Moment
from .state import State

ALL_FINAL = FINAL_EVENT_WITHIN[Kind.KLINES]
CONFIRM_SPREAD = 1.2
"""Confirmations of quiet candles are spread over this long (seconds): a close is to be told of within 7 s of it, and a
hundred requests of weight 1 are a twentieth of a minute's limit."""
NEARLY = 0.9
"""Months differ in length by less than that."""
OVERDUE_SPREAD = 3.0


class Turns:
    """The next turn of every interval that is followed."""

    def __init__(self, store: MarketStore, states: Mapping[Key, State], agenda: Agenda, rng: random.Random) -> None:
        self._store = store
        self._states = states
        self._agenda = agenda
        self._rng = rng
        self._turns: dict[str, int] = {}

    def add(self, interval: str, at: Moment) -> None:
        """Watch the turns of an interval."""
        if interval not in self._turns:
            self._turns[interval] = _next_turn(interval, at.exchange)

    def keep(self, intervals: Collection[str]) -> None:
        """Watch the turns of no others any longer."""
        self._turns = {interval: due for interval, due in self._turns.items() if interval in intervals}

    def due(self, at: Moment) -> list[float]:
        """When (steady) :meth:`check` has something to do."""
        return [at.steady + (turn - at.exchange) / 1000.0 for turn in self._turns.values()]

    def check(self, at: Moment) -> None:
        """Schedule a confirmation of every candle that is over and not closed here."""
        for interval, due in self._turns.items():
            if due > at.exchange + nominal_length(interval) * NEARLY:
                # Perhaps it was foreseen while the clock was ahead: a turn that is just over may be still to come.
                self._turns[interval] = _next_turn(interval, at.exchange)
                continue
            if at.exchange < due:
                continue
            self._turns[interval] = _next_turn(interval, at.exchange)
            for key, state in self._states.items():
                if key.kind not in CANDLES or key.interval != interval or state.link is None:
                    continue
                self.confirm(state, at)

    def confirm(self, state: State, at: Moment) -> None:
        """Schedule a confirmation where the first candle that is not closed here is over.

        Whatever was fetched before REST shows it as final leaves it open: after each such answer it is due again.
        """
        key = state.key
        series = self._store.candles(key)
        following = series.following() if series is not None else 0
        if series is None or not following or (closed := next_open(key.interval, following)) > at.exchange:
            return
        if stopped := series.stopped():
            # Nothing closes it in a halt; that the halt is over is told by the stream, and shown now and then.
            again = (stopped + nominal_length(key.interval) - at.exchange) / 1000.0
            self._agenda.schedule(
                state, at.steady + max(0.0, again) + self._rng.uniform(0.0, OVERDUE_SPREAD), Cause.REPAIR
            )
            return
        streamed = at.steady + (closed + FINAL_EVENT_WITHIN[key.kind] - at.exchange) / 1000.0
        spread = OVERDUE_SPREAD if series.standing(at.exchange).doubt else CONFIRM_SPREAD
        due = max(self.confirmable(key, at), streamed) + self._rng.uniform(0.0, spread)
        self._agenda.schedule(state, due, Cause.REPAIR)

    def confirmable(self, key: Key, at: Moment) -> float:
        """When (steady) a REST answer can close the first candle that is not closed here; now at the earliest."""
        series = self._store.candles(key)
        following = series.following() if series is not None else 0
        if not following or next_open(key.interval, following) > at.exchange:
            return at.steady
        final = next_open(key.interval, following) + FINAL_IN_REST_AFTER + 50
        return at.steady + max(0, final - at.exchange + at.uncertain) / 1000.0

    def strewn(self, key: Key, at: Moment) -> float:
        """As :meth:`confirmable`, a little later at random: what lacks one candle rarely lacks it alone."""
        return self.confirmable(key, at) + self._rng.uniform(0.0, OVERDUE_SPREAD)


def _next_turn(interval: str, exchange: int) -> int:
    """When (exchange ms) candles of this interval that have just ended must all be final."""
    return next_open(interval, open_time(interval, exchange - ALL_FINAL)) + ALL_FINAL
