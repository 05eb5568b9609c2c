"""Without a fault every read is answered from memory, at candle turns, in thin markets and while connections change."""

from __future__ import annotations

import pytest

from ..virtual.tape import SETTINGS
from ..virtual.world import Read, Schedule, run

WARM = 5_000
WHOLE_TAPE = tuple(Read(at, "klines", 0, 0, 50) for at in (60_000, 140_000, 250_000))


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.parametrize("age", [23 * 3600.0, 25.0], ids=["one connection", "hand-overs"])
def test_memory_always_answers(setting: int, age: float) -> None:
    world = run(Schedule(setting, seed=setting, reads=WHOLE_TAPE, connection_max_age=age))
    assert [each for each in world.not_fresh if each[0] > WARM] == []
    assert world.served["memory"] == len(WHOLE_TAPE)
    assert world.served["fresh"] > 1_000
    assert world.process.counters.requests()["read"] == 0
    suspected = [state.key for state in world.process.engine.upkeep.states.values() if state.remedies]
    assert suspected == []


def test_hand_overs_happen() -> None:
    world = run(Schedule(0, reads=WHOLE_TAPE, connection_max_age=25.0))
    assert world.exchange.counts["connects"] > 12
