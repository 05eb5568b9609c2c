"""Without a fault every read is answered from memory: at candle closes, in thin markets and while connections
change."""

from __future__ import annotations

import pytest

from ats_sync.store.klines import KlineSeries
from ats_sync.venue.intervals import next_open

from ..virtual.recording import SETTINGS
from ..virtual.script import MINUTE, Setting
from ..virtual.world import Read, Schedule, World, run

WARM = 5_000
OVER_MINUTES = tuple(Read(at, "klines", 0, 0, 50) for at in (60_000, 140_000, 250_000))


@pytest.mark.parametrize("setting", range(len(SETTINGS)))
@pytest.mark.parametrize("age", [23 * 3600.0, 25.0], ids=["one connection", "hand-overs"])
def test_memory_always_answers(setting: int, age: float) -> None:
    world = run(Schedule(setting, seed=setting, reads=OVER_MINUTES, connection_max_age=age))
    assert [each for each in world.not_fresh if each[0] > WARM] == []
    assert world.served["memory"] == len(OVER_MINUTES)
    assert world.served["fresh"] > 1_000
    assert world.process.counters.requests()["read"] == 0
    suspected = [state.key for state in world.process.engine.reconciler.states.values() if state.remedies]
    assert suspected == []
    if age < MINUTE / 1000:
        assert world.exchange.counts["connects"] > 12, "hand-overs happen"


@pytest.mark.parametrize("seed", range(2))
def test_every_candle_is_closed_within_seven_seconds_whatever_else_is_requested(seed: int) -> None:
    """Audits and replaced connections fall between a quiet candle's close and its confirmation."""
    names = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
    setting = Setting(seed, 1_794_182_400_000 + 7_900 * seed, names, ("1m", "3m"), 0.0005, book_ticks=(3000,) * 3)
    reads = (Read(420_000, "spot"),)
    world = World(Schedule(setting=setting, seed=seed, reads=reads, connection_max_age=100.0, audit_every=12.0))

    def look() -> None:
        for series in world.process.store.of(KlineSeries):
            following = series.following()
            if following and world.line.now > world.line.start + 20_000:
                late = world.line.now - next_open(series.interval, following)
                assert late <= 7_000, f"{series.key} of {following} is open {late} ms after its close"

    world.process.looked.append(look)
    world.run()
