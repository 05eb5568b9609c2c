"""The promises under schedules in which the process is killed, and the next one begins with what it had saved.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ats_sync.store import trades
from ats_sync.store.market import keys_of

from ..virtual.faults import Dark, Recount, Sluggish
from ..virtual.restart import Killed, killed
from ..virtual.schedules import RESTART_KINDS, fixed
from ..virtual.script import Setting
from ..virtual.world import Schedule, run


@pytest.fixture(autouse=True)
def trades_are_soon_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a schedule see the end of the time for which trades are left to the stream."""
    monkeypatch.setattr(trades, "LEFT_TO_STREAM_FOR", 10.0)


@pytest.mark.parametrize("number", range(5))
def test_the_promises_hold(number: int) -> None:
    run(killed(fixed("restored", number, RESTART_KINDS), random.Random(f"killed {number}")))


def test_a_start_without_other_faults_begins_with_every_series() -> None:
    schedule = replace(fixed("restored", 0, RESTART_KINDS), reads=(), full_book=False, weight_limit=2400)
    world = run(replace(schedule, faults=(Killed(65_000, 3_000),)))
    keys = keys_of(world.symbols, world.intervals, world.config.open_interest_periods)
    assert world.loaded == [len(world.symbols) * (len(world.intervals) + 2)]
    assert len(keys) > world.loaded[0]
    assert not any(series.expecting for series in world.process.store.series.values())


def test_ids_that_have_begun_again_twice_are_distinguished_from_those_that_were_saved() -> None:
    """The answer had other trades under the same ids, and the earlier ones were served."""
    moments = (32_280, 55_700, 75_940, 92_440, 103_360, 105_300, 110_260)
    script = tuple((at, "trade", "BTCDOMUSDT") for at in moments)
    names, ticks = ("BTCUSDT", "BTCDOMUSDT"), (300, 300)
    setting = Setting(653096, 1_793_491_197_000, names, ("1m", "1h"), 0.006, book_ticks=ticks, script=script)
    faults = (Recount(25_550, "BTCDOMUSDT"), Recount(38_300, "BTCDOMUSDT"), Killed(69_607, 100))
    run(Schedule(setting=setting, seed=947890, faults=faults, audit_every=12.0))


def test_the_connections_of_a_killed_process_are_closed() -> None:
    """Its threads had no time left in which to close them, and the next process had one connection too many."""
    moments = (12_080, 35_560, 54_360, 60_960, 80_260, 109_100, 148_120, 149_200, 157_880, 171_960, 184_060, 225_180)
    script = tuple((at, "trade", "BTCUSDT") for at in (*moments, 233_480))
    names, ticks = ("1000PEPEUSDT", "币安人生USDT", "BTCUSDT"), (700, 300, 700)
    setting = Setting(354857, 1_794_185_988_000, names, ("1m", "1d"), 0.006, book_ticks=ticks, script=script)
    faults = (Sluggish(42_550, 11_550, 50), Dark(24_100, 50), Killed(49_704, 50))
    run(Schedule(setting=setting, seed=818132, faults=faults, connection_max_age=25.0))
