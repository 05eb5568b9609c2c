"""How long reads are still served from a stream that has silently died."""

from __future__ import annotations

import threading
import time
from typing import Any

from ..errors import AtsSyncError
from ..simulator import ApiError
from .checks import same_levels
from .truth import AGG_TRADES, DEPTH, KLINES, LEVELS, catching
from .world import World

LOOK_EVERY = 0.1
PERIOD = {"klines": 0.25, "orderbook": 0.1, "trades": 0.15}
"""Seconds that an event may take at the stream's own pace."""


def watch_silence(world: World, symbol: str, kind: str, interval: str, seconds: float) -> None:
    """Start watching a series whose stream is about to fall silent, for at most this long."""
    truth = _truth(world, symbol, kind, interval)
    watcher = threading.Thread(
        target=_watch,
        args=(world, symbol, kind, interval, truth, time.monotonic() + seconds),
        name=f"stress-silence-{symbol}",
        daemon=True,
    )
    watcher.start()


def _watch(world: World, symbol: str, kind: str, interval: str, at_first: Any, until: float) -> None:
    with catching(world):
        changed_at, changed_to = 0.0, at_first
        while time.monotonic() < until and not world.stop.wait(LOOK_EVERY):
            if not changed_at:
                requested_at = time.monotonic()
                try:
                    truth = _truth(world, symbol, kind, interval)
                except ApiError:
                    return
                if not _knows(kind, at_first, truth):
                    changed_at, changed_to = requested_at, truth
                continue
            try:
                read = _read(world, symbol, kind, interval)
            except AtsSyncError:
                return
            if world.manager.sources.by_rest() or _knows(kind, read, changed_to):
                return
            behind = time.monotonic() - changed_at - PERIOD[kind]
            with world.tally.lock:
                world.unsuspected[kind] = max(world.unsuspected.get(kind, 0.0), behind)


def _truth(world: World, symbol: str, kind: str, interval: str) -> Any:
    exchange = world.exchange
    if kind == "klines":
        return exchange.rest(KLINES, symbol=symbol, interval=interval, limit=1)[-1]
    if kind == "trades":
        return exchange.rest(AGG_TRADES, symbol=symbol, limit=1)[-1]
    return exchange.rest(DEPTH, symbol=symbol, limit=LEVELS)


def _read(world: World, symbol: str, kind: str, interval: str) -> Any:
    reads = world.manager.rest_shaped
    if kind == "klines":
        return reads.klines(symbol, interval, 1)[-1]
    if kind == "trades":
        return reads.agg_trades(symbol, 1)[-1]
    return reads.depth(symbol, LEVELS)


def _knows(kind: str, read: Any, truth: Any) -> bool:
    """Return whether ``read`` is not behind ``truth``."""
    if kind == "klines":
        return (read[0], read[8]) >= (truth[0], truth[8])
    if kind == "trades":
        return bool(read["a"] >= truth["a"])
    return read["lastUpdateId"] >= truth["lastUpdateId"] or same_levels(read, truth)
