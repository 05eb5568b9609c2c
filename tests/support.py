"""Waiting on conditions, and comparing memory with the exchange's own truth."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

LOOK_EVERY = 0.02


def until(condition: Callable[[], Any], timeout: float = 20.0, what: str = "") -> Any:
    """Wait until ``condition()`` is true and return it; fail after ``timeout`` seconds."""
    pause = threading.Event()
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        pause.wait(LOOK_EVERY)
    return value


def requests_by_cause(dm: DataManager) -> dict[str, int]:
    causes: dict[str, int] = dm.get_stats()["rest_calls_by_cause"]
    return causes


def reads(dm: DataManager) -> int:
    """Requests that reads have caused so far."""
    return requests_by_cause(dm)["read"]


def all_live(dm: DataManager, *kinds: str) -> bool:
    return all(live == count for live, count in map(dm.status().ready, kinds))


def closed_equal(dm: DataManager, ex: SimulatedExchange, symbol: str, interval: str, limit: int = 100) -> bool:
    """Whether the closed candles in memory are, string for string, what REST has."""
    held = dm.rest_shaped.klines(symbol, interval, limit)
    truth = ex.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=limit)
    known = {row[0]: row for row in truth}
    common = [row for row in held[:-1] if row[0] in known]
    return len(common) >= limit - 2 and all(row == known[row[0]] for row in common)
