"""The promises under schedules in which the process is killed, and the next one begins with what it had written down.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ats_sync.store import trades
from ats_sync.store.market import keys_of

from ..virtual.restart import Killed, killed
from ..virtual.schedules import RESTART_KINDS, fixed
from ..virtual.world import run


@pytest.fixture(autouse=True)
def trades_are_soon_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A schedule sees the end of the time for which they are left to the stream."""
    monkeypatch.setattr(trades, "LEFT_TO_STREAM_FOR", 10.0)


@pytest.mark.parametrize("number", range(10))
def test_the_promises_hold(number: int) -> None:
    run(killed(fixed("restored", number, RESTART_KINDS), random.Random(f"killed {number}")))


def test_a_start_without_other_faults_begins_with_every_series() -> None:
    schedule = replace(fixed("restored", 0, RESTART_KINDS), reads=(), full_book=False, weight_limit=2400)
    world = run(replace(schedule, faults=(Killed(65_000, 3_000),)))
    keys = keys_of(world.symbols, world.intervals, world.config.open_interest_periods)
    assert world.loaded == [len(world.symbols) * (len(world.intervals) + 2)]
    assert len(keys) > world.loaded[0]
    assert not any(series.expecting for series in world.process.store.series.values())
