"""Waiting until everything is healthy again, and comparing every answer with the exchange's own truth."""

from __future__ import annotations

import contextlib
from typing import Any

from ats_sync import AtsSyncError, DataError, DataManager, Overall
from ats_sync.simulator import SimulatedExchange
from ats_sync.stress import checks
from ats_sync.stress.tally import Finding

from ..support import all_live, closed_equal, until

KLINES, DEPTH, AGG_TRADES = "/fapi/v1/klines", "/fapi/v1/depth", "/fapi/v1/aggTrades"
BEHIND = 4.5
"""Seconds that an answer from memory may be behind: 3 s without life on a connection, the stream's period, and some
for a busy machine."""
MOST_BEHIND = 500
"""How far the exchange itself may be behind its clock (ms) for its streams to be in time."""


def well(dm: DataManager, ex: SimulatedExchange) -> bool:
    """Return whether everything is live and every closed candle and every trade is what REST has."""
    if dm.status().state is not Overall.LIVE or not all_live(dm, "klines", "orderbook", "trades", "mark"):
        return False
    series = [(symbol, interval) for symbol in dm.symbols for interval in dm.intervals]
    try:
        equal = all(closed_equal(dm, ex, *each, 30) for each in series)
        return equal and all(whole(dm, ex, symbol) for symbol in dm.symbols)
    except DataError:
        return False  # it raises, so it is not healthy yet


def all_well(dm: DataManager, ex: SimulatedExchange) -> None:
    """Wait until :func:`well` returns true. (That 30 s are enough is shown on virtual time, and by the stress test.)"""
    try:
        until(lambda: well(dm, ex))
    except AssertionError:
        raise AssertionError(f"not well again: {dm.status()}") from None


def whole(dm: DataManager, ex: SimulatedExchange, symbol: str, limit: int = 200) -> bool:
    """Return whether the trades in memory are those of REST, without a hole."""
    held = dm.rest_shaped.agg_trades(symbol, limit)
    return bool(held == ex.rest(AGG_TRADES, symbol=symbol, fromId=held[0]["a"], limit=len(held)))


def passed(ex: SimulatedExchange, seconds: float) -> bool:
    """Wait until this much of the exchange's time has passed; return whether the exchange was on time throughout."""
    end = ex.now() + seconds * 1000
    behind = [0]

    def over() -> bool:
        stats = ex.stats()
        behind.append(stats.behind_ms)
        return stats.time >= end

    until(over, seconds + 60.0)
    return max(behind) <= MOST_BEHIND


class Truth:
    """What the exchange had at a moment, which answers from ``BEHIND`` later must contain."""

    def __init__(self, ex: SimulatedExchange, dm: DataManager) -> None:
        self._ex, self._dm = ex, dm
        self._rows = {
            (symbol, interval): ex.rest(KLINES, symbol=symbol, interval=interval, limit=5)
            for symbol in dm.symbols
            for interval in dm.intervals
        }
        self._books = {symbol: ex.rest(DEPTH, symbol=symbol, limit=20) for symbol in dm.symbols}
        self._trades = {symbol: ex.rest(AGG_TRADES, symbol=symbol, limit=1)[-1]["a"] for symbol in dm.symbols}

    def check(self) -> int:
        """Read everything, and assert that each answer contains this truth or raises; return how many reads were
        answered."""
        answers = 0
        for (symbol, interval), before in self._rows.items():
            with contextlib.suppress(AtsSyncError):
                found = self.klines(symbol, interval, before)
                answers += 1
                assert not found, found
        for symbol, book in self._books.items():
            with contextlib.suppress(AtsSyncError):
                read = self._dm.rest_shaped.depth(symbol, 20)
                answers += 1
                found = checks.book(symbol, read, book, self._ex.rest(DEPTH, symbol=symbol, limit=20))
                assert not found, found
        for symbol, newest in self._trades.items():
            with contextlib.suppress(AtsSyncError):
                rows = self._dm.rest_shaped.agg_trades(symbol, 50)
                answers += 1
                same = self._ex.rest(AGG_TRADES, symbol=symbol, fromId=rows[0]["a"], limit=len(rows))
                found = checks.trades(symbol, rows, newest, same)
                assert not found, found
        return answers

    def klines(self, symbol: str, interval: str, before: Any) -> list[Finding]:
        """Return what is wrong with the candles read now."""
        read = self._dm.rest_shaped.klines(symbol, interval, 5)
        after = self._ex.rest(KLINES, symbol=symbol, interval=interval, limit=7)
        return checks.klines(f"{symbol} {interval}", interval, 5, read, before, after, self._ex.now())


def fresh_or_loud(dm: DataManager, ex: SimulatedExchange) -> int:
    """Sample the truth, let the bound pass and read everything; return how many reads were answered.

    It is repeated where the machine was so busy that the exchange's streams were late by themselves."""
    found: list[int] = []

    def in_time() -> bool:
        truth = Truth(ex, dm)
        if not passed(ex, BEHIND):
            return False
        found.append(truth.check())
        return True

    until(in_time)
    return found[0]
