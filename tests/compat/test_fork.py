"""Processes that are forked from one with a running manager, in scripts of their own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.simulator import SimulatedExchange

from ..cli.command import run

COMMON = """
import json, logging, multiprocessing, os, sys, threading
from ats_sync import get_data_manager, reset_data_manager
from compat import binance

def ours():
    return sorted(thread.name for thread in threading.enumerate() if thread.name.startswith("ats-"))

class Told(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.lines = []
    def emit(self, record):
        self.lines.append(record.getMessage())

told = Told()
logging.getLogger("ats_sync").addHandler(told)

def wait_for(condition):
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.02)
    raise SystemExit("the condition never came true")

def warm():
    status = get_data_manager().status()
    return not status.waiting_requests and all(
        feed.state.value not in ("warming up", "degraded") for feed in status.feeds)

def look():
    manager = get_data_manager()
    before_threads = ours()
    del told.lines[:]
    sent = manager.get_stats()["rest_calls"]
    rows = binance.get_klines("BTCUSDT", "1h", 300)
    mark = binance.get_mark_price("BTCUSDT")
    return {
        "threads before": before_threads, "threads after": ours(), "running": manager.running,
        "rows": len(rows), "mark": mark, "sent": manager.get_stats()["rest_calls"] - sent,
        "cached": manager.get_stats()["klines_cached"], "fds": len(os.listdir("/proc/self/fd")),
        "told": told.lines[:],
    }

def start_own():
    manager = get_data_manager()
    manager.initialize(["BTCUSDT"], ["1h"])
    wait_for(warm)
    before = manager.get_stats()["rest_calls_by_cause"]["read"]
    rows = binance.get_klines("BTCUSDT", "1h", 300)
    found = {"rows": len(rows), "read": manager.get_stats()["rest_calls_by_cause"]["read"] - before,
             "engine": "ats-engine" in ours(), "symbols": manager.symbols}
    manager.close()
    found["left"] = ours()
    return found

binance.get_klines("BTCUSDT", "1h", 300)
wait_for(warm)
"""

OS_FORK = (
    COMMON
    + """
# Readers in the midst of a call hold locks while the child is made (and need not go on after that).
stop, busy, rounds = threading.Event(), threading.Event(), [0] * 4
def read_on(reader):
    while not stop.is_set():
        busy.wait()
        rounds[reader] += 1
        binance.get_klines("BTCUSDT", "1h", 300)
        binance.get_klines("ETHUSDT", "5m", 30)
        get_data_manager().get_stats()
readers = [threading.Thread(target=read_on, args=(reader,), daemon=True) for reader in range(4)]
for reader in readers:
    reader.start()
children = []
for _ in range(CHILDREN):
    inside, outside = os.pipe()
    rounds[:] = [0] * 4
    busy.set()
    wait_for(lambda: min(rounds) > 3)
    pid = os.fork()
    if pid == 0:
        try:
            os.close(inside)
            found = look()
            found["again"] = look()
            found["own"] = start_own() if not children else None
            os.write(outside, json.dumps(found).encode())
        except BaseException as error:
            os.write(outside, json.dumps({"failed": repr(error)}).encode())
        finally:
            os._exit(0)
    busy.clear()
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        children.append(json.loads(pipe.read()))
    os.waitpid(pid, 0)
stop.set()
busy.set()
for reader in readers:
    reader.join()
wait_for(warm)
parent = look()
reset_data_manager()
print(json.dumps({"children": children, "parent": parent, "left": ours()}))
"""
)

POOL = (
    COMMON
    + """
def work(symbol):
    found = look()
    found["symbol"] = len(binance.get_klines(symbol, "15m", 50))
    return found

with multiprocessing.get_context("fork").Pool(2) as pool:
    children = pool.map(work, ["ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT"], chunksize=1)
parent = look()
reset_data_manager()
print(json.dumps({"children": children, "parent": parent, "left": ours()}))
"""
)

NOT_STARTED = """
import json, logging, os, threading
from ats_sync import get_data_manager, reset_data_manager
from compat import binance

inside, outside = os.pipe()
pid = os.fork()
if pid == 0:
    rows = binance.get_klines("BTCUSDT", "1h", 300)
    os.write(outside, json.dumps([len(rows), get_data_manager().running]).encode())
    reset_data_manager()
    os._exit(0)
os.close(outside)
with os.fdopen(inside, "rb") as pipe:
    child = json.loads(pipe.read())
os.waitpid(pid, 0)
print(json.dumps({"child": child, "parent": get_data_manager().running}))
"""


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=8, seed=7) as ex:
        yield ex


def told_by(script: str, exchange: SimulatedExchange) -> Any:
    extra = {**exchange.environment(), "ATS_SYNC_AUTOSTART": "1", "NO_PROXY": "127.0.0.1"}
    code, out, err = run("-c", script, env=extra)
    assert code == 0, err
    assert "Traceback" not in err
    return json.loads(out)


def check_child(child: dict[str, Any]) -> None:
    assert "failed" not in child, child
    assert not child["running"]
    assert child["threads before"] == child["threads after"] == []
    assert child["rows"] == 300
    assert child["mark"] > 0
    assert child["sent"] == 2, "each read is one request"
    assert child["cached"] == 0, "nothing of the parent's data"


def test_a_forked_child_answers_by_rest_and_says_what_that_costs(exchange: SimulatedExchange) -> None:
    seen = len(exchange.request_log())
    told = told_by(OS_FORK.replace("CHILDREN", "3"), exchange)
    assert len(told["children"]) == 3
    for child in told["children"]:
        check_child(child)
        assert len(child["told"]) == 1
        assert "forked" in child["told"][0]
        assert "one REST request" in child["told"][0]
        assert "start()" in child["told"][0]
        again = child["again"]
        check_child(again)
        assert again["told"] == [], "it is logged once"
    own = told["children"][0]["own"]
    assert own == {"rows": 300, "read": 0, "engine": True, "symbols": ["BTCUSDT"], "left": []}
    assert told["parent"]["running"]
    assert told["parent"]["sent"] == 0, "the parent still reads from memory"
    assert told["parent"]["told"] == []
    assert told["left"] == []
    log = exchange.request_log()[seen:]
    assert not [each for each in log if each.status not in (0, 200)]


def test_the_workers_of_a_pool_that_forks(exchange: SimulatedExchange) -> None:
    told = told_by(POOL, exchange)
    assert len(told["children"]) == 4
    for child in told["children"]:
        check_child(child)
        assert child["symbol"] == 50
    warned = [child for child in told["children"] if child["told"]]
    assert 1 <= len(warned) <= 2, "once a process"
    assert told["parent"]["running"]
    assert told["parent"]["sent"] == 0
    assert told["left"] == []


def test_a_child_of_a_process_without_a_manager_starts_its_own(exchange: SimulatedExchange) -> None:
    assert told_by(NOT_STARTED, exchange) == {"child": [300, True], "parent": False}
