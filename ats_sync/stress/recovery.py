"""How soon after a fault everything is live again and equals REST."""

from __future__ import annotations

import time
from dataclasses import dataclass

from ..errors import AtsSyncError
from ..feeds import Kind
from ..simulator import ApiError
from ..status import FeedState, FeedStatus
from ..venue.intervals import nominal_length
from .accounts import Accountant
from .options import CONVERGED_WITHIN, FINAL_AFTER
from .tally import Finding, Promise
from .truth import KLINES
from .world import World

LOOK_EVERY = 0.25
STEADY_FOR = 4.0
"""Seconds without a problem before everything counts as recovered: a dead stream is not noticed at once."""
GIVEN_UP_AFTER = 150.0
SOUND = (FeedState.LIVE, FeedState.POLLED, FeedState.GONE)
AWAITED = tuple(kind.value for kind in (Kind.KLINES, Kind.BOOK, Kind.MARK, Kind.OPEN_INTEREST, Kind.SPOT))
CLOSED = 6

Series = tuple[str, str]


@dataclass
class Recovery:
    """Seconds from the end of a fault until …"""

    live: float | None = None
    """… all series except trades were live again. None if that did not happen before the wait ended."""
    equal: float | None = None
    """… and their closed candles equal those of REST."""
    trades: float | None = None
    """… and all trades were live as well; None if they were not by then."""
    delayed: float = 0.0
    """Seconds in which the minute's budget, already used up, had no room for repairing all candles."""
    last: str = ""
    """The last series to be live again."""


def wait_for_recovery(world: World, ended: float, accountant: Accountant, grace: float = 0.0) -> Recovery:
    """Watch until everything has recovered; whatever takes too long is a finding."""
    recovery = Recovery()
    config = world.manager.config
    allowed = int(config.futures_weight_limit * config.weight_share)
    # All candles may have to be requested; weight used before the fault's end does not count against the recovery.
    recovery.delayed = accountant.room_in(len(all_series(world)), allowed)
    bound = CONVERGED_WITHIN + grace + recovery.delayed
    differing: set[Series] | None = None
    diverged: set[Series] = set()
    overdue = False
    while not world.stop.is_set():
        unsound = note_feeds(world)
        passed = time.monotonic() - ended
        if not unsound:
            recovery.live = passed if recovery.live is None else recovery.live
        else:
            recovery.live = None
            recovery.last = _shown(unsound[-1])
        if recovery.live is not None and passed >= recovery.live + STEADY_FOR:
            differing = different(world, all_series(world) if differing is None else differing, CLOSED)
            passed = time.monotonic() - ended
            if differing is None:
                recovery.live = None
            elif not differing:
                recovery.equal = max(recovery.live, passed if overdue else recovery.live)
                break
        if passed > bound and not overdue:
            overdue = True
            if unsound:
                shown = "; ".join(map(_shown, unsound[:3]))
                text = (
                    f"{len(unsound)} series not live after {passed:.0f} s: {shown}; "
                    f"weight of the last minute: {accountant.last_minute()}"
                )
                world.tally.found(Finding(Promise.CONVERGENCE, text))
        if overdue:
            for symbol, interval in (differing or set()) - diverged:
                diverged.add((symbol, interval))
                world.tally.found(Finding(Promise.DIVERGENCE, f"{symbol} klines {interval} differ from REST"))
        if passed > GIVEN_UP_AFTER:
            break
        world.stop.wait(LOOK_EVERY)
    feeds = [feed for feed in world.manager.status().feeds if feed.kind == Kind.TRADES.value]
    if all(feed.state in SOUND or feed.symbol in world.delisted for feed in feeds):
        recovery.trades = time.monotonic() - ended
    return recovery


def _shown(feed: FeedStatus) -> str:
    return f"{feed.symbol} {feed.kind} {feed.interval} {feed.state.value}: {feed.reason}"


def note_feeds(world: World) -> list[FeedStatus]:
    """Return the series (except trades) that are not in order. Also notes whose trades are warm by now."""
    status = world.manager.status()
    trades = {feed.symbol for feed in status.feeds if feed.kind == Kind.TRADES.value and feed.state is FeedState.LIVE}
    if not trades <= world.warm:
        world.warm |= trades
    return [
        feed
        for feed in status.feeds
        if feed.kind in AWAITED and feed.state not in SOUND and feed.symbol not in world.delisted
    ]


def all_series(world: World) -> set[Series]:
    return {(symbol, interval) for symbol in world.symbols for interval in world.options.intervals}


class _NotFromMemory(Exception):
    """There is nothing in memory to compare: the series is no longer live."""


def different(world: World, series: set[Series], closed: int) -> set[Series] | None:
    """Return those of ``series`` whose newest ``closed`` closed candles in memory differ from REST.

    None if a series turned out not to be answered from memory.
    """
    try:
        return {each for each in sorted(series) if not world.stop.is_set() and not _equal(world, *each, closed)}
    except _NotFromMemory:
        return None


def _equal(world: World, symbol: str, interval: str, closed: int) -> bool:
    exchange, manager = world.exchange, world.manager
    try:
        final_before = exchange.now() - FINAL_AFTER * 1000
        shown = manager.rest_shaped.klines(symbol, interval, closed + 1)
        if manager.sources.by_rest():
            raise _NotFromMemory
        true = {row[0]: row for row in exchange.rest(KLINES, symbol=symbol, interval=interval, limit=closed + 2)}
    except AtsSyncError:
        if symbol in world.delisted:
            return True
        raise _NotFromMemory from None
    except ApiError:
        return True  # it was delisted
    length = nominal_length(interval)
    rows = [row for row in shown[:-1] if row[0] + length <= final_before]
    return all(row == true.get(row[0], row) for row in rows)
