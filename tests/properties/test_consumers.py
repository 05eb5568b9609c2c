"""Consumers of closed candles and turns get each one exactly once, whatever breaks meanwhile.

Fresh schedules at every run; a failure prints its seed.
"""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ..virtual.consumers import Consume, Consumers
from ..virtual.faults import Cut, HalfOpen
from ..virtual.recording import SETTINGS
from ..virtual.schedules import FAULT_KINDS, a_schedule
from ..virtual.world import Schedule, run

NO_SHRINKING = (Phase.explicit, Phase.generate)
"""A smaller seed is no simpler schedule."""


def played(schedule: Schedule, seed: int) -> Consumers:
    (consumers,) = run(replace(schedule, faults=(Consume(1, seed), *schedule.faults))).checks
    assert isinstance(consumers, Consumers)
    return consumers


@settings(max_examples=2, phases=NO_SHRINKING)
@given(seed=st.integers(0, 2**48))
def test_each_closed_candle_comes_once_in_order_and_is_true(seed: int) -> None:
    rng = random.Random(seed)
    played(a_schedule(rng, rng.choice(SETTINGS), kinds=FAULT_KINDS), seed)


@settings(max_examples=2, phases=NO_SHRINKING)
@given(seed=st.integers(0, 2**48))
def test_each_derived_candle_comes_once_in_order_and_is_true(seed: int) -> None:
    rng = random.Random(seed)
    setting = replace(rng.choice(SETTINGS), intervals=("1m", "3m", "15m"))
    played(replace(a_schedule(rng, setting, kinds=FAULT_KINDS), derive=True), seed)


@settings(max_examples=2, phases=NO_SHRINKING)
@given(setting=st.integers(0, len(SETTINGS) - 1), off=st.integers(-1_500, 1_500), abrupt=st.booleans())
def test_connections_that_end_exactly_at_the_turn_cost_no_candle(setting: int, off: int, abrupt: bool) -> None:
    turn = 60_000 - SETTINGS[setting].start % 60_000
    turn += 60_000 if turn < 30_000 else 0
    fault = Cut(turn + off, "", abrupt) if abrupt else HalfOpen(turn + off, "")
    consumers = played(Schedule(setting, seed=off & 0xFFFF, faults=(fault,)), off)
    assert len(consumers.turns.got) >= 1
