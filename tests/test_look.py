"""What the state of a series is called, on virtual time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from ats_sync.feeds import Kind
from ats_sync.look import _Look, feed_statuses, feeds_summary
from ats_sync.status import GOOD, FeedState, FeedStatus, by_kind
from ats_sync.store.link import DOWN

from .virtual.faults import Dark, Delist, Fault, Refuse
from .virtual.schedules import FAULT_KINDS, fixed
from .virtual.world import Schedule, World

SHARED = {Kind.MARK.value, Kind.TICKERS.value, Kind.QUOTES.value, Kind.CONTRACTS.value, Kind.LIQUIDATIONS.value}


def states(world: World, at: int) -> dict[str, tuple[FeedState, str]]:
    """Return the states of the series for all symbols and their reasons, ``at`` ms after the beginning."""
    found: list[FeedStatus] = []
    process = world.process

    def look() -> None:
        found.extend(feed_statuses(process.engine, process.store, process.clock))

    world.line.at(world.line.start + at, look)
    world.line.run_until(world.line.start + at + 1)
    return {each.kind: (each.state, each.reason) for each in found if each.kind in SHARED}


def started(fault: Fault) -> World:
    """Return a world that has been started, in which this fault will happen."""
    world = World(Schedule(faults=(fault,)))
    world.process.start(world.symbols, world.intervals)
    fault.arm(world)
    return world


def test_streams_of_all_symbols_that_are_cut_are_degraded_and_not_warming_up_again() -> None:
    world = started(Dark(30_000, 20_000))
    assert set(states(world, 29_000).values()) == {(FeedState.LIVE, "")}
    assert set(states(world, 48_000).values()) == {(FeedState.DEGRADED, DOWN)}


def test_streams_that_were_never_live_are_warming_up() -> None:
    world = started(Refuse(0, 30_000))
    assert set(states(world, 20_000).values()) == {(FeedState.WARMING_UP, "it is not streamed yet")}


class Compared:
    """Looks at a world again and again, in the quick way and in the plain one."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._looked = -1000
        self.counts: Counter[FeedState] = Counter()
        world.process.looked.append(self._look)

    def _look(self) -> None:
        process, now = self._world.process, self._world.line.now
        if now - self._looked < 500:
            return
        self._looked = now
        quick = feed_statuses(process.engine, process.store, process.clock)
        self.counts.update(each.state for each in quick)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(_Look, "feeds", plain)
            whole = feed_statuses(process.engine, process.store, process.clock)
        assert quick == whole
        kinds, others = feeds_summary(process.engine, process.store, process.clock)
        assert kinds == tuple(by_kind(whole))
        assert others == tuple(each for each in whole if each.state not in GOOD)


def plain(look: _Look) -> list[FeedStatus]:
    """Return every series' state, each from everything that is known of it."""
    states = look.engine.reconciler.states
    return [look.feed(key, state) for key, state in states.items() if state.feed.shown]


def test_the_quick_way_says_what_the_plain_one_does() -> None:
    counts: Counter[FeedState] = Counter()
    for number in range(5):
        schedule = fixed("status", number, FAULT_KINDS)
        if number % 3 == 0:
            schedule = replace(schedule, faults=(*schedule.faults, Delist(20_000, schedule.whole_setting.symbols[-1])))
        world = World(schedule)
        compared = Compared(world)
        world.run()
        counts += compared.counts
    assert min(counts[state] for state in FeedState) > 50, counts
