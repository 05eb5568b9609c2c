"""The promises under schedules in which the process is killed, and the next one begins with what it had written down.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest

from ats_sync.engine.engine import SHARED, WITNESSES
from ats_sync.engine.events import Changed
from ats_sync.engine.moment import moment
from ats_sync.feeds import Key
from ats_sync.snapshots.records import is_kept
from ats_sync.store import trades
from ats_sync.store.market import keys_of

from ..virtual.faults import Fault
from ..virtual.process import Process
from ..virtual.schedules import CONNECTION_KINDS, EVENT_KINDS, PROCESS_KINDS, fixed
from ..virtual.world import World, run

LOADED_AFTER = 300
"""Exchange ms that reading the files takes."""
KINDS = (*CONNECTION_KINDS, *EVENT_KINDS, *PROCESS_KINDS, "rest")
"""What a process has learnt of a ban ends with it."""


@dataclass(frozen=True)
class Killed(Fault):
    """The process is killed, and another one is started ``lasts`` ms later. Of each series the files show what it was
    when it was last written, up to a minute before."""

    lasts: int
    loaded: list[int]
    """Collects how many series each start has begun with something."""

    def arm(self, world: World) -> None:
        written: dict[Key, list[bytes]] = {}
        begin, line = world.line.start + self.at, world.line
        chosen = random.Random(self.at)
        for key in keys_of(world.symbols, world.intervals, world.config.open_interest_periods):
            if is_kept(key):
                at = max(line.start, begin - chosen.randrange(60_000))
                line.at(at, lambda key=key: written.update({key: dumped(world, key)}))  # type: ignore[misc]
        line.at(begin, lambda: self.begin(world))
        line.at(begin + self.lasts, lambda: self.start(world, written))

    def begin(self, world: World) -> None:
        process = world.process
        for stream in list(process._streams.values()):
            stream.stop("killed")
        process.stop()

    def start(self, world: World, written: dict[Key, list[bytes]]) -> None:
        old = world.process
        process = world.process = Process(world.line, world.clocks, world.exchange, world.config, world.rng)
        process.engine.reconciler._queue.audit_every = old.engine.reconciler._queue.audit_every
        process.looked = old.looked
        keys = process.store.follow(keys_of(world.symbols, world.intervals, world.config.open_interest_periods))
        for key in keys:
            process.store.series[key].expecting = bool(written.get(key))
        process.follow([*SHARED, *WITNESSES, *keys])
        world.line.after(LOADED_AFTER, lambda: self.load(world, process, written))

    def load(self, world: World, process: Process, written: dict[Key, list[bytes]]) -> None:
        if process is not world.process:
            return
        if process.store.listings.get() is None and world.line.now < world.line.start + self.ends + 10_000:
            world.line.after(LOADED_AFTER, lambda: self.load(world, process, written))
            return
        expecting = [key for key, series in process.store.series.items() if series.expecting]
        if process.store.listings.get() is not None:
            for key in expecting:
                process.store.series[key].load(written[key])
            self.loaded.append(len(expecting))
        process.engine.reconciler.restored(expecting, moment(process.clock))
        process.post(Changed())


def dumped(world: World, key: Key) -> list[bytes]:
    series = world.process.store.get(key)
    return list(series.dump()) if series is not None else []


@pytest.mark.parametrize("number", range(30))
def test_the_promises_hold(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trades, "LEFT_TO_STREAM_FOR", 10.0)  # so that a schedule sees the end of it
    schedule = fixed("restored", number, KINDS)
    rng = random.Random(f"killed {number}")
    loaded: list[int] = []
    at = rng.randrange(8_000, 70_000)
    killed = Killed(at, rng.choice((500, 3_000, 20_000, 90_000)), loaded)
    faults = tuple(fault for fault in schedule.faults if not at - 3_000 <= fault.at <= at + killed.lasts)
    reads = tuple(read for read in schedule.reads if not at <= read.at <= at + killed.lasts + 3_000)
    # (Where weight is scarce, a new process does not know yet what the one before has used.)
    run(replace(schedule, faults=(*faults, killed), full_book=False, reads=reads, weight_limit=2400))


def test_a_start_without_other_faults_begins_with_every_series() -> None:
    loaded: list[int] = []
    schedule = replace(fixed("restored", 0, KINDS), reads=(), full_book=False, weight_limit=2400)
    killed = Killed(65_000, 3_000, loaded)
    world = run(replace(schedule, faults=(killed,)))
    keys = keys_of(world.symbols, world.intervals, world.config.open_interest_periods)
    assert loaded == [len(world.symbols) * (len(world.intervals) + 2)]
    assert len(keys) > loaded[0]
    assert not any(series.expecting for series in world.process.store.series.values())
