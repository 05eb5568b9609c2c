"""Waiting for conditions, and comparing memory with the exchange's own truth."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

T = TypeVar("T")

LOOK_EVERY, LOOK_AT_LEAST_EVERY = 0.02, 0.1
"""Seconds between two looks at a condition, at the beginning and after a long wait."""
PATIENCE = 90.0
"""Longest wait (seconds) for a condition, on a machine that is busy with other things. How soon the library must
do something is shown on virtual time, where no machine is slow."""


def until(condition: Callable[[], Any], timeout: float = PATIENCE, what: str = "", every: float | None = None) -> Any:
    """Wait until ``condition()`` is true and return it; fail after ``timeout``.

    Check every ``every`` seconds; by default less often the longer it takes: most conditions query another process, and
    there are several waits on each core.
    """
    pause = threading.Event()
    began = time.monotonic()
    while not (value := condition()):
        if (waited := time.monotonic() - began) > timeout:
            raise AssertionError(f"not within {timeout} s: {what or condition}")
        pause.wait(every or min(max(LOOK_EVERY, waited / 25), LOOK_AT_LEAST_EVERY))
    return value


def until_moment(exchange: SimulatedExchange, moment: int) -> None:
    """Wait until the clock of the exchange, which advances by itself, shows ``moment`` (epoch ms); it is not queried
    before."""
    pause = threading.Event()
    while (left := moment - exchange.now()) > 0:
        pause.wait(left / 1000)


def requests_by_cause(dm: DataManager) -> dict[str, int]:
    causes: dict[str, int] = dm.get_stats()["rest_calls_by_cause"]
    return causes


def reads(dm: DataManager) -> int:
    """Return how many requests reads have caused so far."""
    return requests_by_cause(dm)["read"]


def from_memory(dm: DataManager, body: Callable[[], T]) -> T:
    """Repeat ``body`` until its reads cause no request, and return what it then returned.

    While a machine is too busy for the streams they are late, and then reads rightly go to REST. That nothing is
    requested while they are on time is shown on virtual time (``tests/properties/test_calm.py``).
    """
    found: list[T] = []

    def silent() -> bool:
        before = reads(dm)
        found[:] = [body()]
        return reads(dm) == before

    until(silent, what="reads that cause no request")
    return found[0]


def all_live(dm: DataManager, *kinds: str) -> bool:
    return all(live == count for live, count in map(dm.status().ready, kinds))


def closed_equal(dm: DataManager, ex: SimulatedExchange, symbol: str, interval: str, limit: int = 100) -> bool:
    """Return whether the closed candles in memory are what REST has, string for string.

    A candle that closed in the last two seconds is not compared: its final event may be under way.
    """
    final = ex.now() - 2000
    held = dm.rest_shaped.klines(symbol, interval, limit)
    truth = ex.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=limit)
    known = {row[0]: row for row in truth}
    common = [row for row in held[:-1] if row[0] in known]
    return len(common) >= limit - 2 and all(row == known[row[0]] for row in common if row[6] < final)


def accepted(listener: socket.socket) -> Iterator[socket.socket]:
    """Yield each connection that comes, until the socket is closed."""
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        yield client
