"""Managers that nothing refers to any longer are collected and closed; those in use never are."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ats_sync import DataManager, reentry
from ats_sync.simulator import SimulatedExchange

from .leftovers import our_threads
from .support import PATIENCE, from_memory, until

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=4, seed=7) as ex:
        yield ex


def started(exchange: SimulatedExchange) -> DataManager:
    return DataManager(["BTCUSDT"], ["1h"], config=exchange.config()).start(timeout=PATIENCE)


def nothing_left(before: set[threading.Thread]) -> bool:
    gc.collect()
    return our_threads() <= before


def test_threads_and_connections_end_with_the_last_reference(exchange: SimulatedExchange) -> None:
    before = our_threads()
    manager = started(exchange)
    kept = weakref.ref(manager)
    assert our_threads() > before
    del manager
    gc.collect()
    assert kept() is None
    until(lambda: nothing_left(before))
    until(lambda: not exchange.stats().connections_now)


def test_a_notebook_cell_that_runs_four_times_leaves_one_manager(exchange: SimulatedExchange) -> None:
    before = our_threads()
    manager = None
    for _ in range(4):
        manager = started(exchange)
    assert manager is not None
    # (Its request threads come and go.)
    until(lambda: gc.collect() is not None and len(of_one_kind(before, "ats-engine")) == 1)
    until(lambda: len(of_one_kind(before, "ats-stream")) == len(manager.status().connections))
    assert len(from_memory(manager, lambda: manager.get_klines("BTCUSDT", "1h", 10))) == 10
    manager.close()


def of_one_kind(before: set[threading.Thread], prefix: str) -> list[threading.Thread]:
    return [thread for thread in our_threads() - before if thread.name.startswith(prefix)]


@pytest.mark.parametrize(
    "read",
    [
        lambda manager: manager.get_klines("BTCUSDT", "1h", 10),
        lambda manager: manager.get_klines("BTCUSDT", "1h", 10, max_age=0),
        lambda manager: manager.rest_shaped.klines("BTCUSDT", "1h", 10),
    ],
)
def test_a_temporary_manager_answers_before_it_is_collected(
    exchange: SimulatedExchange, read: Callable[[DataManager], list[Any]]
) -> None:
    before = our_threads()
    assert len(read(started(exchange))) == 10
    until(lambda: nothing_left(before))


def test_reads_in_the_old_shape_keep_their_manager(exchange: SimulatedExchange) -> None:
    before = our_threads()
    rest = started(exchange).rest_shaped
    gc.collect()
    assert our_threads() > before
    assert len(rest.klines("BTCUSDT", "1h", 10)) == 10
    del rest
    until(lambda: nothing_left(before))


def test_a_manager_with_a_waiting_caller_is_not_collected(exchange: SimulatedExchange) -> None:
    before = our_threads()
    found: list[Any] = []
    waiting = threading.Thread(
        target=lambda: found.append(started(exchange).wait_closed("BTCUSDT", "1h", 0, timeout=PATIENCE))
    )
    waiting.start()
    while waiting.is_alive():
        gc.collect()
        waiting.join(0.05)
    assert found[0] is not None
    until(lambda: nothing_left(before))


def test_the_collector_may_run_while_our_locks_are_taken(exchange: SimulatedExchange) -> None:
    """An allocation in one of our critical sections, or in Thread.start(), may trigger it."""
    before = our_threads()
    manager = started(exchange)
    life, runtime = manager._life, manager._life.runtime
    assert runtime is not None
    with life.lock, runtime._engine_lock, runtime.changed, runtime.closed_candle:
        del manager
        gc.collect()
    del life, runtime
    until(lambda: nothing_left(before))


def test_the_next_launch_makes_up_for_a_thread_that_could_not_be_started(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = our_threads()

    def refused(*rest: Any) -> int:
        raise RuntimeError("can't start new thread")

    manager = started(exchange)
    with monkeypatch.context() as patch:
        patch.setattr(reentry._thread, "start_new_thread", refused)
        del manager
        gc.collect()
    assert our_threads() > before
    another = started(exchange)
    until(lambda: len(of_one_kind(before, "ats-engine")) == 1)
    another.close()


def test_a_manager_that_never_started_has_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []
    monkeypatch.setattr(reentry, "hand_over", lambda *work, **how: started.append(work))
    DataManager(["BTCUSDT"], ["1h"])
    gc.collect()
    assert not started


CHILD = """
import faulthandler, json, sys
from ats_sync import Config, DataManager

urls, how = json.loads(sys.argv[1])
faulthandler.dump_traceback_later(25, exit=True)
config = Config(fapi_base=urls[0], spot_base=urls[1], fstream_base=urls[2], spot_stream_base=urls[3], proxies={})
manager = DataManager(["BTCUSDT"], ["1h"], config=config).start(timeout=20)
if how == "dropped":
    del manager
elif how == "cycle":
    manager.itself = manager
    del manager
"""


@pytest.mark.parametrize("how", ["held", "dropped", "cycle"])
def test_the_interpreter_exits_silently(exchange: SimulatedExchange, how: str) -> None:
    config = exchange.config()
    urls = [config.fapi_base, config.spot_base, config.fstream_base, config.spot_stream_base]
    ended = subprocess.run(
        [sys.executable, "-c", CHILD, json.dumps([urls, how])], cwd=ROOT, capture_output=True, text=True, timeout=40
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
