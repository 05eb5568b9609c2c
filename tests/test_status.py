"""What the state of a series is called, on virtual time."""

from __future__ import annotations

from ats_sync.feeds import Kind
from ats_sync.status import FeedState, FeedStatus, feed_statuses
from ats_sync.store.link import DOWN

from .virtual.faults import Dark, Refuse
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


def test_streams_of_all_symbols_that_are_cut_are_degraded_and_not_warming_up_again() -> None:
    world = World(Schedule(faults=(Dark(30_000, 20_000),)))
    world.process.start(world.symbols, world.intervals)
    for fault in world.schedule.faults:
        fault.arm(world)
    assert set(states(world, 29_000).values()) == {(FeedState.LIVE, "")}
    assert set(states(world, 48_000).values()) == {(FeedState.DEGRADED, DOWN)}


def test_streams_that_never_were_there_are_warming_up() -> None:
    world = World(Schedule(faults=(Refuse(0, 30_000),)))
    world.process.start(world.symbols, world.intervals)
    for fault in world.schedule.faults:
        fault.arm(world)
    assert set(states(world, 20_000).values()) == {(FeedState.WARMING_UP, "it is not streamed yet")}
