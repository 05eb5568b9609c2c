"""Another process that copies what this one knows, on virtual time."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

from ats_sync.feeds import Kind
from ats_sync.shared.copies import Copies
from ats_sync.store.book import BookSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Series
from ats_sync.store.trades import TradeSeries
from ats_sync.venue.payload import DecodeError

from ..shared.written import Written
from .exchange import BrokenPromise
from .faults import Fault
from .process import Process
from .world import World

EVERY = 700
ROWS = 40
KINDS = (Kind.KLINES, Kind.TRADES, Kind.BOOK)
"""The others are as old as they say, whoever shows them."""


@dataclass(frozen=True)
class Copy(Fault):
    """Not a fault: from then on another process copies what is known, and shows the same at each look. (A process that
    derives candles writes nothing.)"""

    def begin(self, world: World) -> None:
        _Reader(world).look()


class _Reader:
    def __init__(self, world: World) -> None:
        self._world = world
        self._follow(world.process)

    def _follow(self, process: Process) -> None:
        self._process = process
        moments = itertools.count()
        self._copies = Copies(process.store, lambda: float(next(moments)))
        self._store = MarketStore(process.config, lambda: 0.0, process.clock.exchange_ms)
        self._written = Written(lambda key: self._store.series[key])

    def look(self) -> None:
        """Take over what has been written, and compare it."""
        self._world.line.after(EVERY, self.look)
        process = self._world.process
        if process is not self._process:
            self._follow(process)
        if process.stopped:
            return
        self._written.write_all(self._copies)
        self._store.follow(process.store.series.keys() - self._store.series.keys())
        self._written.read(self._copies.links, KINDS)
        now = process.clock.exchange_ms()
        for key, series in process.store.series.items():
            if key.kind in KINDS:
                original, copy = shown(series, now), shown(self._store.series[key], now)
                if copy != original:
                    raise BrokenPromise(f"{key}: a copy shows {copy}, the original {original}")


def shown(series: Series, now: int) -> tuple[Any, ...]:
    """Return what a reader can see of a series. (The reason why one without a connection is suspected may come
    later.)"""
    state = series.state(now)
    if state.link is None:
        state = state._replace(suspected="")
    try:
        if isinstance(series, KlineSeries):
            return *state, series.stopped(), series.rows(ROWS, now, exact=True)
        if isinstance(series, TradeSeries):
            return *state, series.read(ROWS)
        return *state, series.read() if isinstance(series, BookSeries) else None
    except DecodeError as error:
        return *state, str(error)
