"""Restarts on the simulated exchange: what they cost, and that nothing wrong is served whatever came before."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from ats_sync import Config, DataManager
from ats_sync.simulator import SimulatedExchange
from ats_sync.snapshots.directory import PARTIAL

from ..support import PATIENCE, all_live, closed_equal, from_memory, until

INTERVALS = ("1m", "1h", "4h")
ABSENCE, MID_MINUTE = 300_000, 20_000
WEIGHT_LIMIT = 24_000
"""So much that none of many starts waits for the next minute."""
AGG_TRADES, KLINES, INTEREST = "/fapi/v1/aggTrades", "/fapi/v1/klines", "/futures/data/openInterestHist"

CLIENT = """
import sys
from ats_sync import Config, DataManager

dm = DataManager(sys.argv[2:], ["1m", "1h", "4h"], config=Config.from_env(proxies={}, close_timeout=60.0))
dm.start(60.0)
print(dm.status().snapshot.directory, flush=True)
sys.stdin.readline()
dm.close()
"""


FORKED = """
import os, sys
from ats_sync import Config, DataManager

symbol = sys.argv[2]
config = Config.from_env(proxies={})
with DataManager([symbol], ["1h"], config=config) as dm:
    child = os.fork()
    if not child:
        dm.close()  # that of the parent is not the child's to close
        with DataManager([symbol], ["1h"], config=config) as own:
            good = len(own.get_klines(symbol, "1h", 50)) == 50
            os._exit(0 if good and "another process" in own.status().snapshot.problem else 1)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, repr(dm.status().snapshot.problem), flush=True)
"""

FULL = """
import resource, sys
from ats_sync import Config, DataManager

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
with DataManager(sys.argv[2:4], ["1h"], config=Config.from_env(proxies={})) as dm:
    print(len(dm.get_klines(sys.argv[2], "1h", 300)), flush=True)
"""


@pytest.fixture(scope="module")
def ex() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7, weight_limit=WEIGHT_LIMIT) as exchange:
        yield exchange


def config_of(ex: SimulatedExchange, directory: Path) -> Config:
    return ex.config(state_dir=directory, futures_weight_limit=WEIGHT_LIMIT)


def manager(ex: SimulatedExchange, directory: Path) -> DataManager:
    return DataManager(ex.symbols, INTERVALS, config=config_of(ex, directory))


def weight(ex: SimulatedExchange, begun: int) -> int:
    """Return what was used for single symbols since then."""
    return sum(each.weight for each in ex.request_log(begun) if "symbol" in each.params)


def requests_since(ex: SimulatedExchange, begun: int, path: str) -> list[dict[str, str]]:
    return [each.params for each in ex.request_log(begun) if each.path == path]


def go_away(ex: SimulatedExchange) -> int:
    """Let five minutes of the exchange's time pass, up to the middle of a minute, so that no candle has just closed;
    return when they are over."""
    back = ex.now() + ABSENCE
    ex.jump_clock(ABSENCE + (MID_MINUTE - back) % 60_000)
    begun = ex.now()
    until(lambda: ex.stats().behind_ms < 200 and ex.rest(KLINES, symbol=ex.symbols[0], interval="1m", limit=1))
    return begun


def loaded(dm: DataManager) -> int:
    snapshot = dm.status().snapshot
    assert snapshot is not None
    return snapshot.loaded


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.WARNING and each.name.startswith("ats_sync.snapshots")
    ]


def check_rows(dm: DataManager, ex: SimulatedExchange) -> None:
    """Compare memory with the exchange, candle by candle and trade by trade."""
    for symbol in ex.symbols:
        for interval in INTERVALS:
            truth = len(ex.rest(KLINES, symbol=symbol, interval=interval, limit=300))
            until(partial(closed_equal, dm, ex, symbol, interval, truth))
        trades = {each["a"]: each for each in ex.rest(AGG_TRADES, symbol=symbol, limit=1000)}
        read = dm.rest_shaped.agg_trades(symbol, 20)
        common = [each for each in read if each["a"] in trades]
        assert common
        assert all(trades[each["a"]] == each for each in common)


def test_a_restart_weighs_a_fraction_of_a_cold_start(
    ex: SimulatedExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = ex.now()
    with manager(ex, tmp_path) as dm:
        until(lambda: all_live(dm, "trades"))
        cold = weight(ex, begun)
        assert cold >= len(ex.symbols) * (20 + 2 * len(INTERVALS))
    begun = go_away(ex)
    *first, later = ex.symbols
    with DataManager(first, INTERVALS, config=config_of(ex, tmp_path)) as dm:
        dm.initialize([later], INTERVALS)
        until(lambda: loaded(dm) == len(ex.symbols) * (len(INTERVALS) + 2))
        begun_with = dm.status().snapshot
        assert begun_with is not None
        assert begun_with.unaudited <= len(ex.symbols) * len(INTERVALS)  # audits may be over by now
        rows = from_memory(dm, lambda: dm.get_klines(ex.symbols[0], "1h", 400))
        assert len(rows) == 400
        assert weight(ex, begun) <= 0.3 * cold
        assert requests_since(ex, begun, AGG_TRADES) == []
        # (On a busy machine the newest rows of a quiet symbol may be checked once more.)
        assert {each["limit"] for each in requests_since(ex, begun, KLINES)} <= {"100", "2", "3"}
        assert {each["limit"] for each in requests_since(ex, begun, INTEREST)} <= {"2", "3"}
        check_rows(dm, ex)
        check_the_second(ex, tmp_path, caplog)
        trades = from_memory(dm, lambda: dm.get_agg_trades(ex.symbols[0], 500))
        assert len(trades) == 500
        status = dm.status()
        assert status.snapshot is not None
        assert str(tmp_path) in str(status)
        assert status.snapshot.unaudited <= len(ex.symbols) * len(INTERVALS)
        dm.close()
        assert dm.status().snapshot is None
    assert len(warnings(caplog)) == 1


def check_the_second(ex: SimulatedExchange, directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A second manager on the directory of a running one says so once, and works as well without it."""
    assert warnings(caplog) == []
    symbol = ex.symbols[0]
    with DataManager([symbol], ["1h"], config=config_of(ex, directory)) as second:
        assert len(second.get_klines(symbol, "1h", 100)) == 100
        (warning,) = warnings(caplog)
        assert "another manager of this process" in warning
        assert "another manager of this process" in str(second.status())


def test_what_was_read_without_being_watched_is_followed_again(ex: SimulatedExchange, tmp_path: Path) -> None:
    symbols = ex.symbols[:3]

    def scan(dm: DataManager) -> None:
        for symbol in symbols:
            assert len(dm.rest_shaped.klines(symbol, "1h", 50)) == 50
            assert len(dm.rest_shaped.open_interest_hist(symbol, "1h", 30)) == 30

    with autostarted(ex, tmp_path) as dm:
        from_memory(dm, lambda: scan(dm))
    begun = ex.now()
    with autostarted(ex, tmp_path) as dm:
        until(lambda: loaded(dm) == 2 * len(symbols) and all_live(dm, "klines", "oi"))
        from_memory(dm, lambda: scan(dm))
        assert {each["limit"] for each in requests_since(ex, begun, INTEREST)} <= {"2", "3"}
        assert all(int(each["limit"]) <= 50 for each in requests_since(ex, begun, KLINES))
        assert len(requests_since(ex, begun, KLINES)) <= len(symbols)


@contextmanager
def autostarted(ex: SimulatedExchange, directory: Path) -> Iterator[DataManager]:
    """Yield a manager as the shim starts it."""
    dm = DataManager(config=config_of(ex, directory)).autostart()
    try:
        yield dm
    finally:
        dm.close()


def environment(ex: SimulatedExchange, directory: Path) -> dict[str, str]:
    here = {"PYTHONPATH": str(Path(__file__).parents[2]), "ATS_SYNC_STATE_DIR": str(directory)}
    return {**os.environ, **ex.environment(), **here}


def client(ex: SimulatedExchange, directory: Path, script: str) -> tuple[str, str]:
    """Return what a program writes to its output and to its log."""
    found = subprocess.run(
        [sys.executable, "-c", script, "x", *ex.symbols],
        env=environment(ex, directory),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return found.stdout.strip(), found.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_runs_without_the_directory_and_leaves_its_parent_alone(
    ex: SimulatedExchange, tmp_path: Path
) -> None:
    out, err = client(ex, tmp_path, FORKED)
    assert out == "0 ''"
    assert err.count("keeping no rows in") == 1
    assert len(list(tmp_path.glob("*/*.rows"))) == 4


def test_a_full_disk_causes_one_warning_and_leaves_nothing_half_written(ex: SimulatedExchange, tmp_path: Path) -> None:
    out, err = client(ex, tmp_path, FULL)
    assert out == "300"
    assert err.count("cannot be written") == 1
    assert "File too large" in err
    assert all(path.stat().st_size <= 20_000 for path in tmp_path.glob("*/*"))
    assert not list(tmp_path.glob(f"*/*{PARTIAL}"))


def killed_client(ex: SimulatedExchange, directory: Path, when: Callable[[Path], object]) -> None:
    """Run a process that is killed while it closes, as soon as ``when(its folder)`` is true."""
    process = subprocess.Popen(
        [sys.executable, "-c", CLIENT, "x", *ex.symbols],
        env=environment(ex, directory),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        folder = Path(process.stdout.readline().strip())
        process.stdin.write("close\n")
        process.stdin.flush()
        until(lambda: when(folder))
        process.send_signal(signal.SIGKILL)
        assert process.wait(PATIENCE) == -signal.SIGKILL
    finally:
        process.kill()
        process.communicate()


def test_after_a_kill_in_the_middle_of_writing_what_is_whole_is_used(
    ex: SimulatedExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    killed_client(ex, tmp_path, lambda folder: len(list(folder.glob("*.rows"))) >= 5)
    folder = next(tmp_path.iterdir())
    files = list(folder.glob("*.rows"))
    (folder / (files[0].name + PARTIAL)).write_bytes(files[0].read_bytes()[:1000])
    damaged = max(files, key=lambda path: path.stat().st_size)
    damaged.write_bytes(damaged.read_bytes()[:-1])
    with manager(ex, tmp_path) as dm:
        until(lambda: loaded(dm) > 0)
        until(lambda: not list(folder.glob(f"*{PARTIAL}")))
        check_rows(dm, ex)
    assert len(warnings(caplog)) == 1
    assert "1 of " in warnings(caplog)[0]


def test_a_name_that_came_back_for_another_contract_loads_nothing_of_the_old_one(
    ex: SimulatedExchange, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    name = ex.symbols[-1]
    with manager(ex, tmp_path) as dm:
        until(dm.clock.proven)  # before that, nothing is written
    ex.delist(name)
    ex.list_symbol(name, price=0.5)
    begun = ex.now()
    with manager(ex, tmp_path) as dm:
        until(lambda: warnings(caplog))
        assert loaded(dm) >= (len(ex.symbols) - 1) * (len(INTERVALS) + 1)
        for interval in INTERVALS:
            read = dm.rest_shaped.klines(name, interval, 300)
            truth = ex.rest(KLINES, symbol=name, interval=interval, limit=300)
            assert [row[0] for row in read][:1] == [row[0] for row in truth][:1]
            assert max(float(row[2]) for row in read) < 5.0
        assert all(each["T"] >= begun - ABSENCE for each in dm.rest_shaped.agg_trades(name, 5))
    assert len(warnings(caplog)) == 1
    assert "another contract" in warnings(caplog)[0]
