"""Threads that read everything, like a scan, and check the consistency of every answer."""

from __future__ import annotations

import itertools
import threading
import time

from ..errors import AtsSyncError, NoSpotPair, NotRunning
from . import checks
from .tally import Finding, Promise
from .truth import catching
from .world import World

CANDLES = 300
TRADES = 50
GONE_WITHIN = 90.0
"""Seconds after which a delisted symbol must be refused."""


class Reader(threading.Thread):
    """Scans all symbols repeatedly, with each scan taking about as long as configured."""

    def __init__(self, world: World, number: int) -> None:
        super().__init__(name=f"stress-reader-{number}", daemon=True)
        self._world = world
        self._number = number

    def run(self) -> None:
        world = self._world
        with catching(world):
            for turn in itertools.count(self._number):
                symbols = world.symbols
                began = time.monotonic()
                pace = world.options.scan_seconds / len(symbols)
                for position in range(len(symbols)):
                    # Readers begin at different symbols, so that some of their reads coincide and some do not.
                    self._symbol(symbols[(position + turn * 7) % len(symbols)])
                    if world.stop.wait(max(0.0, began + (position + 1) * pace - time.monotonic())):
                        return
                for symbol in list(world.delisted):
                    self._gone(symbol)

    def _symbol(self, symbol: str) -> None:
        for interval in self._world.options.intervals:
            self._klines(symbol, interval)
        self._book(symbol)
        self._other(symbol)
        if symbol in self._world.warm:
            self._trades(symbol)

    def _klines(self, symbol: str, interval: str) -> None:
        try:
            rows = self._world.manager.get_klines(symbol, interval, CANDLES)
        except AtsSyncError as error:
            self._refused(error)
            return
        self._answered(checks.candles_in_order(f"{symbol} klines {interval}", rows, interval))

    def _book(self, symbol: str) -> None:
        try:
            book = self._world.manager.get_orderbook(symbol)
        except AtsSyncError as error:
            self._refused(error)
            return
        self._answered(checks.levels_in_order(f"{symbol} orderbook", book))

    def _trades(self, symbol: str) -> None:
        try:
            trades = self._world.manager.get_agg_trades(symbol, TRADES)
        except AtsSyncError as error:
            self._refused(error)
            return
        self._answered(checks.trades_in_order(f"{symbol} trades", [trade["id"] for trade in trades]))

    def _other(self, symbol: str) -> None:
        manager = self._world.manager
        for read in (manager.get_funding_rate, manager.get_spot_price, manager.get_oi_history):
            try:
                read(symbol)
            except NoSpotPair:
                self._answered([])
            except AtsSyncError as error:
                self._refused(error)
            else:
                self._answered([])

    def _answered(self, findings: list[Finding]) -> None:
        tally = self._world.tally
        tally.read(memory=not self._world.manager.sources.by_rest())
        for finding in findings:
            tally.found(finding)

    def _refused(self, error: AtsSyncError) -> None:
        if isinstance(error, NotRunning) and not self._world.stop.is_set():
            raise error
        self._world.tally.refused(error)

    def _gone(self, symbol: str) -> None:
        world = self._world
        left = world.delisted[symbol]
        try:
            world.manager.get_klines(symbol, world.options.intervals[0], 10)
        except AtsSyncError:
            return
        if time.monotonic() - left > GONE_WITHIN:
            world.tally.found(Finding(Promise.DELISTED, f"{symbol} left the exchange {GONE_WITHIN:g} s ago"))
