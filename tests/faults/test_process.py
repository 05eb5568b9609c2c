"""Processes that are stopped and go on, and clocks of this machine that lie."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ats_sync import Clock, DataManager
from ats_sync.simulator import SimulatedExchange, before_turn
from ats_sync.stress import checks
from ats_sync.stress.manager import DisturbedTime

from ..support import until
from .helpers import AGG_TRADES, DEPTH, KLINES, all_well, fresh_or_loud, passed

SYMBOLS = ("BTCUSDT", "ETHUSDT")

CLIENT = """
import json, sys
from ats_sync import AtsSyncError, DataManager

def attempt(read):
    try:
        return read()
    except AtsSyncError as error:
        return {"error": str(error)}

symbol = sys.argv[1]
with DataManager([symbol], ["1m"]) as dm:
    reads = dm.rest_shaped
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps({
            "klines": attempt(lambda: reads.klines(symbol, "1m", 5)),
            "book": attempt(lambda: reads.depth(symbol, 20)),
            "trades": attempt(lambda: reads.agg_trades(symbol, 50)),
            "live": dm.status().state.value == "live",
        }), flush=True)
"""


@pytest.fixture(scope="module")
def ex() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(SYMBOLS, seed=9, start=before_turn("1m", 15.0)) as exchange:
        yield exchange


class Client:
    """The library in a process of its own."""

    def __init__(self, ex: SimulatedExchange, symbol: str) -> None:
        environment = {**os.environ, **ex.environment(), "PYTHONPATH": str(Path(__file__).parents[2])}
        self.process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, symbol],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            assert self.line() == "ready"
        except BaseException:
            self.close()
            raise

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def read(self) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write("read\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.line())
        return answer

    def close(self) -> None:
        """Let it end by itself, or end it otherwise."""
        self.process.send_signal(signal.SIGCONT)
        try:
            self.process.communicate(timeout=20)
        except BaseException:
            self.process.kill()
            self.process.communicate()
            raise


def test_this_process_is_stopped_and_goes_on(ex: SimulatedExchange) -> None:
    symbol = SYMBOLS[0]
    client = Client(ex, symbol)
    try:
        until(lambda: client.read()["live"])
        os.kill(client.process.pid, signal.SIGSTOP)
        passed(ex, 0.1)
        os.kill(client.process.pid, signal.SIGCONT)
        until(lambda: client.read()["live"])
        os.kill(client.process.pid, signal.SIGSTOP)
        rows = ex.rest(KLINES, symbol=symbol, interval="1m", limit=5)
        book = ex.rest(DEPTH, symbol=symbol, limit=20)
        newest = ex.rest(AGG_TRADES, symbol=symbol, limit=1)[-1]["a"]
        passed(ex, 5.0)
        os.kill(client.process.pid, signal.SIGCONT)
        found = client.read()
        if isinstance(found["klines"], list):
            after = ex.rest(KLINES, symbol=symbol, interval="1m", limit=7)
            assert not checks.klines("", "1m", 5, found["klines"], rows, after, ex.now())
        if "bids" in found["book"]:
            assert not checks.book("", found["book"], book, ex.rest(DEPTH, symbol=symbol, limit=20))
        if isinstance(found["trades"], list):
            assert found["trades"][-1]["a"] >= newest
        until(lambda: client.read()["live"])
        rows = client.read()["klines"]
        true = {row[0]: row for row in ex.rest(KLINES, symbol=symbol, interval="1m", limit=7)}
        assert all(row == true[row[0]] for row in rows[:-1])
    finally:
        client.close()


def test_the_steady_clock_stands_still(ex: SimulatedExchange) -> None:
    time = DisturbedTime()
    with DataManager(SYMBOLS, ["1m"], config=ex.config(), clock=Clock(time)) as dm:
        all_well(dm, ex)
        ex.freeze(what="streams")
        time.hold()
        try:
            assert fresh_or_loud(dm, ex) > 0, "the wall clock shows how old everything is"
        finally:
            time.release()
            ex.thaw()
        all_well(dm, ex)
