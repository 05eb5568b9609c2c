"""A process that is killed, and the next one that begins with what the first had saved."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from ats_sync.engine.moment import moment
from ats_sync.engine.turn import Changed
from ats_sync.feeds import ACTIVITY, SHARED, Key, Kind
from ats_sync.snapshots.records import is_kept
from ats_sync.store.market import keys_of

from .faults import Fault, Pause
from .process import Process
from .world import Schedule, World

LOADED_AFTER = 300
"""Exchange ms that reading the files takes."""
EARLIEST, LATEST = 8_000, 70_000
AWAY = (500, 3_000, 20_000, 90_000)
LAUNCHING = 3_000


@dataclass(frozen=True)
class Killed(Fault):
    """The process is killed, and another one is started ``lasts`` ms later. The files show each series as it was when
    it was last written, up to a minute before."""

    lasts: int

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
        world.process.kill()

    def start(self, world: World, written: dict[Key, list[bytes]]) -> None:
        old = world.process
        process = world.process = Process(world.line, world.clocks, world.exchange, world.config, world.rng)
        process.engine.reconciler._queue.audit_every = old.engine.reconciler._queue.audit_every
        process.looked = old.looked
        keys = process.store.follow(keys_of(world.symbols, world.intervals, world.config.open_interest_periods))
        for key in keys:
            process.store.series[key].expecting = bool(written.get(key))
        books = process.store.follow(Key(Kind.DEPTH, each) for each in world.recording.full_books)
        process.follow([*SHARED, *ACTIVITY, *keys, *books])
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
            world.loaded.append(len(expecting))
        process.engine.reconciler.restored(expecting, moment(process.clock))
        process.post(Changed())


def dumped(world: World, key: Key) -> list[bytes]:
    series = world.process.store.get(key)
    return list(series.dump()) if series is not None else []


def killed(schedule: Schedule, rng: random.Random) -> Schedule:
    """Return the schedule with a process that is killed in it; nothing else breaks, and nothing is read, until the next
    one runs.

    Weight is not scarce, since a new process does not know what the one before has used."""
    fault = Killed(rng.randrange(EARLIEST, LATEST), rng.choice(AWAY))
    begins, ends = fault.at - LAUNCHING, fault.ends + LAUNCHING

    def is_apart(other: Fault) -> bool:
        # (The process that goes on after a pause is the one that was stopped.)
        begun = other.ends if isinstance(other, Pause) else other.at
        return begun < begins or other.at > fault.ends

    return replace(
        schedule,
        faults=(*filter(is_apart, schedule.faults), fault),
        reads=tuple(read for read in schedule.reads if not fault.at <= read.at <= ends),
        weight_limit=2400,
    )
