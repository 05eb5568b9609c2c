"""Collectors, readers and stores that die while the others run: real processes, and never a stale value."""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from ats_sync import DataError, DataManager
from ats_sync.cli import main
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease import Lease
from ats_sync.shared.publish import FEED_KEY
from ats_sync.simulator import SimulatedExchange

from ..cli.command import finish, run, start, until_line
from ..support import until
from .feed import config_of, managed, requests, served
from .servers import StoreServer

BOUND = 3.5
"""The age (seconds) beyond which a trade that the exchange has is missing from what counts as fresh: the bound of its
stream, and what the truth takes to be looked up."""


@contextmanager
def collector(
    exchange: SimulatedExchange, url: str, *more: str, line: str = "following"
) -> Iterator[subprocess.Popen[str]]:
    """Run a collector in a process of its own until the end of the block, which begins once it has printed a line."""
    command = ("-m", "ats_sync", "collect", "--shared", url, "--intervals", "1m", "--symbols")
    with start(*command, ",".join(exchange.symbols), *more, env=exchange.environment()) as process:
        until_line(process, line)
        yield process


def show(text: str) -> None:
    """Print a figure in the output of the tests."""
    sys.stdout.write(f"{text}\n")


class Watcher(threading.Thread):
    """Reads all the time and compares with the exchange's own truth; notes what was stale, and the last request."""

    def __init__(self, exchange: SimulatedExchange, reader: DataManager) -> None:
        super().__init__(daemon=True)
        self.stale: list[str] = []
        self.reads = self.raised = 0
        self.last_request = 0.0
        self.requests = 0
        self._exchange = exchange
        self._reader = reader
        self._stop_it = threading.Event()

    def run(self) -> None:
        symbol = self._exchange.symbols[0]
        while not self._stop_it.wait(0.05):
            newest = self._exchange.rest("/fapi/v1/aggTrades", symbol=symbol, limit=1)[0]
            closed = self._exchange.rest("/fapi/v1/klines", symbol=symbol, interval="1m", limit=3)
            now = self._exchange.now() / 1000.0
            before = requests(self._reader)
            self.reads += 1
            try:
                trades = self._reader.get_agg_trades(symbol, 50)
                rows = self._reader.rest_shaped.klines(symbol, "1m", 5)
                book = self._reader.get_orderbook(symbol)
            except DataError:  # others may have used up the minute
                self.raised += 1
                self.last_request = time.monotonic()
                continue
            if requests(self._reader) > before:
                self.requests += 1
                self.last_request = time.monotonic()
            if trades[-1]["time"] / 1000.0 < newest["T"] / 1000.0 - BOUND:
                self.stale.append(f"trades end {newest['T'] - trades[-1]['time']} ms before the truth")
            if rows[-1][0] < closed[-1][0] and now - closed[-1][0] / 1000.0 > BOUND:
                self.stale.append(f"the candles end at {rows[-1][0]}, the truth at {closed[-1][0]}")
            truth = {row[0]: row for row in closed[:-1]}
            if any(row != truth.get(row[0], row) for row in rows[:-2]):
                self.stale.append("a closed candle is not that of the exchange")
            if now - book["timestamp"] / 1000.0 > BOUND:
                self.stale.append(f"the book is {now - book['timestamp'] / 1000.0:.1f} s old")

    def stop(self) -> None:
        self._stop_it.set()
        self.join(60)


@contextmanager
def watched(exchange: SimulatedExchange, url: str) -> Iterator[Watcher]:
    """Watch a reader until the end of the block, and assert that nothing it returned was stale."""
    with managed(config_of(exchange, url), exchange.symbols) as reader:
        served(reader, lambda dm: dm.get_agg_trades(exchange.symbols[0], 50))
        watcher = Watcher(exchange, reader)
        watcher.start()
        try:
            yield watcher
        finally:
            watcher.stop()
        assert watcher.stale == []
        assert watcher.reads > watcher.raised + 20


def quiet_again(watcher: Watcher, since: float) -> float:
    """Wait until reads have caused no request for a second; return how long after ``since`` the last one was."""
    until(lambda: time.monotonic() - max(watcher.last_request, since) > 1.0, what="no requests any more")
    return max(0.0, watcher.last_request - since)


READS = """
import os, sys, threading
from ats_sync import get_data_manager
dm = get_data_manager().initialize(sys.argv[1:], ["1m"])
def read():
    rows = {symbol: dm.get_klines(symbol, "1m", 50)[-1][0] for symbol in dm.symbols}
    # What only REST needs is most of what a short script would wait for.
    return len(rows), dm.get_stats()["rest_calls"], threading.active_count(), "requests" in sys.modules
read()
child = os.fork()
found = read()
if not child:
    print("child", *found, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("parent", *found)
"""


FORKS = """
import os, sys, threading, warnings
# From Python 3.12 on it warns of each fork of a process that has threads.
warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)
from dataclasses import replace
from ats_sync import Config, DataManager
from ats_sync.engine import quality as meter
meter.SAMPLE_EVERY = 0.5  # a reader has a quality once there were two samples
config = Config.from_env()
dm = DataManager(sys.argv[1:], ["1m"], config=replace(config, role="collector")).start(60)
calls = []
dm.on_state(lambda *change: calls.append(change))
child = os.fork()
if child:
    assert os.waitpid(child, 0)[1] == 0
    leads = dm.status().shared.role == "leader"
    dm.close()
    print("parent", leads, len(calls) > 0)
else:
    threads = [thread.name for thread in threading.enumerate()]
    requests, wait = -1, threading.Event()
    while requests != (requests := dm.get_stats()["rest_calls"]):
        rows = {symbol: dm.get_klines(symbol, "1m", 50) for symbol in dm.symbols}
        trades = {symbol: dm.get_agg_trades(symbol, 50) for symbol in dm.symbols}
        wait.wait(0.05)
    symbol = dm.symbols[0]
    with dm.closed([symbol], ["1m"], since=rows[symbol][-3][0], timeout=30) as candles:
        first = next(candles).row == rows[symbol][-3]
    live = threading.Event()
    dm.on_state(lambda old, new, since, reason: live.set() if new.value == "live" else None)
    silent = dm.get_stats()["rest_calls"] == requests
    print("child", dm.status().shared.role, len(rows), first, silent, threads, flush=True)
    assert live.wait(60) and not calls
    while True:
        try:
            quality = dm.quality(symbol)
            break
        except OSError:
            wait.wait(0.1)
    dm.close()
    print("child", 0 < quality.score <= 1, threading.active_count(), flush=True)
    os._exit(0)
"""


def test_the_child_of_a_running_collector_is_a_reader(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    environment = {**exchange.environment(), "ATS_SYNC_SHARED": valkey.url}
    assert run("-c", FORKS, *exchange.symbols, env=environment)[1:] == (
        "child reader 2 True True ['MainThread']\nchild True 1\nparent True True\n",
        "",
    )


def test_a_reader_never_reads_stale_data_while_collectors_succeed_each_other(
    exchange: SimulatedExchange, valkey: StoreServer
) -> None:
    """A leader starts in a store, and reads of a script and its child cost no request; the store is paused, and comes
    back empty; the leader hands over, is stopped, and goes on, and its successor is killed."""
    store = SharedStore(valkey.url)
    lease = Lease(store, "", name="collector")
    environment = {**exchange.environment(), "ATS_SYNC_SHARED": valkey.url}
    with ExitStack() as stack:
        first = stack.enter_context(collector(exchange, valkey.url))
        watcher = stack.enter_context(watched(exchange, valkey.url))
        said = "child 2 0 1 False\nparent 2 0 1 False\n"
        until(lambda: run("-c", READS, *exchange.symbols, env=environment)[1] == said)

        for disturb in (valkey.pause, valkey.restart):
            seen = watcher.requests
            disturb()
            until(lambda seen=seen: watcher.requests > seen, what="a read by REST")  # type: ignore[misc]
            began = time.monotonic()
            if disturb == valkey.pause:
                valkey.resume()
            show(f"healed {quiet_again(watcher, began):.1f} s after the store was back")

        seen, began = watcher.requests, time.monotonic()
        second = stack.enter_context(collector(exchange, valkey.url, "--take-over", line="leads"))
        took, seen = quiet_again(watcher, began), watcher.requests - seen
        show(f"{seen} reads by REST during a planned hand-over, the last {took:.1f} s after its start")
        first.send_signal(signal.SIGTERM)
        assert finish(first)[0] == 0

        third = stack.enter_context(collector(exchange, valkey.url, "--standby", "cold", line="standing by"))
        assert any(label.endswith("(cold)") for label in lease.view().standbys)
        epoch, began = lease.view().epoch, time.monotonic()
        second.send_signal(signal.SIGSTOP)
        assert "leads" in until_line(third, "following")
        assert lease.view().epoch > epoch
        show(f"readers were served by a cold successor {quiet_again(watcher, began):.1f} s after SIGSTOP")
        life, seen = store.run(lambda redis: redis.hget(FEED_KEY, "life")), watcher.reads
        second.send_signal(signal.SIGCONT)
        until(lambda: watcher.reads > seen + 20)
        until(lambda: lease.view().standbys, what="that the one that was stopped stands by")
        assert store.run(lambda redis: redis.hget(FEED_KEY, "life")) == life

        seen, began = watcher.requests, time.monotonic()
        third.kill()
        until(lambda: watcher.requests > seen, what="a read by REST while nobody leads")
        show(f"readers were served by a hot successor {quiet_again(watcher, began):.1f} s after SIGKILL")
    store.close()


# --- the command --------------------------------------------------------------------------------------


def test_a_cold_standby_is_shown_and_outlives_a_restart_of_the_store(
    exchange: SimulatedExchange, valkey: StoreServer, capsys: pytest.CaptureFixture[str]
) -> None:
    store = SharedStore(valkey.url)
    leader = Lease(store, "somebody", label="elsewhere:1")
    assert leader.acquire(0, ttl=600).mine
    with collector(exchange, valkey.url, "--standby", "cold", line="elsewhere:1 leads") as cold:

        def shown() -> str:
            assert main(["shared-status", valkey.url]) == 0
            return capsys.readouterr().out

        assert f":{cold.pid} (cold)" in next(line for line in shown().splitlines() if line.startswith("standbys"))
        valkey.kill()
        until_line(cold, "does not answer")
        valkey.start()
        assert "leads" in until_line(cold, "following")
        assert f":{cold.pid}, epoch" in shown()
        assert "standbys  none" in shown()
    store.close()


def test_without_a_url_the_environment_names_the_store(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ATS_SYNC_SHARED", valkey.url)
    assert main(["shared-status"]) == 1
    assert "readers   none" in capsys.readouterr().out
    monkeypatch.delenv("ATS_SYNC_SHARED")
    assert main(["shared-status"]) == 2
    assert "ATS_SYNC_SHARED" in capsys.readouterr().err


def test_the_command_starts_a_store_of_its_own_and_ends_with_it(capsys: pytest.CaptureFixture[str]) -> None:
    command = ("-m", "ats_sync", "collect", "--simulate", "--top", "2", "--intervals", "1m")
    with (
        tempfile.TemporaryDirectory(prefix="ats-one-") as temporary,
        start(*command, env={"ATS_SYNC_SHARED": "", "ATS_SYNC_STATE_DIR": "", "TMPDIR": temporary}) as process,
    ):
        lines = until_line(process, "following").splitlines()
        url = next(line for line in lines if "ATS_SYNC_SHARED" in line).partition("=")[2]

        def shows_all() -> bool:
            assert main(["shared-status", url]) == 0
            out, err = capsys.readouterr()
            assert err == ""
            return "epoch" in out and "age" in out  # a leader that has just begun has no age

        until(shows_all)
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert finish(process)[::2] == (0, "")
        show(f"ended within {time.monotonic() - began:.1f} s")
    assert main(["shared-status", url]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--shared", "http://x"], "shared"),
        (["--shared", "unix:///nowhere/at/all.sock"], "does not answer"),
        (["--flush", "5"], "flush"),
    ],
)
def test_wrong_input_is_answered_in_one_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["collect", "--symbols", "BTCUSDT", *arguments]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
