"""Collectors of one host and the server that they share without being given one: it survives each of them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from ats_sync.cli import collect, main
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease import Lease
from ats_sync.shared.shards import Shard
from ats_sync.simulator import SimulatedExchange

from ..shared.servers import StoreServer
from ..shared.test_feed_processes import Watcher, quiet_again, show, watched
from ..support import until
from .command import finish, start, until_line
from .test_embedded_store import run_id, servers, the_server, until_clean


class Host:
    """What one user of a host has: a temporary folder, a shell, and collectors started in it with the same command."""

    def __init__(self, exchange: SimulatedExchange, temporary: Path) -> None:
        self.exchange = exchange
        self.environment = {
            **exchange.environment(),
            "ATS_SYNC_SHARED": "",
            "ATS_SYNC_STATE_DIR": "",
            "TMPDIR": str(temporary),
        }
        self._temporary = temporary

    @contextmanager
    def collector(self, *more: str, line: str = "following") -> Iterator[subprocess.Popen[str]]:
        """Run the command until the end of the block, which begins once it has printed a line."""
        command = ("-m", "ats_sync", "collect", "--intervals", "1m", "--symbols", ",".join(self.exchange.symbols))
        with start(*command, *more, env=self.environment) as process:
            until_line(process, line)
            yield process

    @property
    def folder(self) -> Path:
        """Return the one folder that the collectors have made."""
        (found,) = self._temporary.glob(f"ats-sync-{os.getuid()}/*")
        return found

    @property
    def url(self) -> str:
        return f"unix://{self.folder}/shared.sock"


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(2, seed=5) as exchange:
        yield exchange


@pytest.fixture
def host(exchange: SimulatedExchange) -> Iterator[Host]:
    temporary = Path(tempfile.mkdtemp(prefix="ats-host-"))
    yield Host(exchange, temporary)
    until(lambda: not servers(temporary), what="the end of the server")
    shutil.rmtree(temporary)


def disturbed(watcher: Watcher, disturb: Callable[[], object], what: str) -> None:
    """Do something; wait until reads were served by REST for it, and then from the store again."""
    seen = watcher.requests
    disturb()
    until(lambda: watcher.requests > seen, what="a read by REST")
    since = watcher.last_request
    show(f"{what}: served from the store again {quiet_again(watcher, since):.1f} s after the first request")


def test_the_server_survives_the_death_of_any_process_while_a_reader_reads(host: Host) -> None:
    """The starter is killed, then the server; a leader is succeeded by one that takes over, ends by SIGTERM, and is
    succeeded by a hot one, then by a cold one. Every command is the same but for its role. The last one ends it all."""
    with ExitStack() as stack:
        enter: Callable[[AbstractContextManager[subprocess.Popen[str]]], subprocess.Popen[str]] = stack.enter_context
        first = enter(host.collector(line="leads"))
        hot = enter(host.collector())
        began = run_id(host.folder)
        store = SharedStore(host.url)
        stack.callback(store.close)
        lease = Lease(store, "", name="collector")
        watcher = stack.enter_context(watched(host.exchange, host.url))

        def until_led_by(process: subprocess.Popen[str]) -> None:
            until(lambda: str(process.pid) in lease.view().label, what=f"{process.args} leads")

        # (On a busy machine REST may answer a read for another reason, while what the leader wrote last is fresh.)
        disturbed(watcher, first.kill, "the starter was killed")
        until_led_by(hot)
        assert run_id(host.folder) == began

        disturbed(watcher, lambda: os.kill(the_server(host.folder), signal.SIGKILL), "the server was killed")
        assert run_id(host.folder) != began
        began = run_id(host.folder)

        cold = enter(host.collector("--standby", "cold", line="standing by"))
        taker = enter(host.collector("--take-over", line="leads"))
        quiet_again(watcher, watcher.last_request)
        until_led_by(taker)

        taker.send_signal(signal.SIGTERM)
        assert finish(taker)[::2] == (0, "")
        until_led_by(hot)
        disturbed(watcher, hot.kill, "the last hot one was killed")
        until_led_by(cold)
        assert run_id(host.folder) == began

        cold.send_signal(signal.SIGTERM)
        assert finish(cold)[0] == 0
        assert not (host.folder / "shared.sock").exists()
    until_clean(host.folder)


def test_a_cold_standby_leaves_the_lease_to_those_that_need_no_warm_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """This holds where a hot one takes over, where the store is away, and where it comes back empty and the leader goes
    on."""
    at = [0.0]
    monkeypatch.setattr(collect, "time", SimpleNamespace(monotonic=lambda: at[0]))
    with StoreServer() as server, closing(SharedStore(server.url)) as store:
        holders = [Lease(store, name, label=name) for name in ("first", "second")]

        def looks() -> int:
            """Return how often the server was looked at since it started."""
            return int(server.client().info("commandstats").get("cmdstat_time", {}).get("calls", 0))

        def goes_on_waiting() -> None:
            seen = looks()
            until(lambda: looks() > seen + 1 or not waiting.is_alive())  # the second one has begun since
            assert waiting.is_alive()

        epoch = holders[0].acquire(0, ttl=600.0).epoch
        waiting = threading.Thread(target=collect.wait_for_the_lease, args=(store, Shard.parse("1/1")), daemon=True)
        waiting.start()
        goes_on_waiting()
        at[0] += 60.0
        holders[0].release(epoch)
        goes_on_waiting()
        epoch = holders[1].acquire(epoch, ttl=600.0).epoch
        goes_on_waiting()
        at[0] += 60.0
        goes_on_waiting()
        server.kill()
        until(lambda: store.away)
        at[0] += 60.0
        server.start()
        until(lambda: not store.away)
        goes_on_waiting()
        epoch = holders[0].acquire(epoch, ttl=600.0).epoch
        goes_on_waiting()
        holders[0].release(epoch)
        goes_on_waiting()
        at[0] += collect.FREE_FOR
        waiting.join(60)
        assert not waiting.is_alive()
    said = [line.removeprefix("standing by, cold: ") for line in capsys.readouterr().out.splitlines()]
    first, second, away, again = said
    assert (first, second, again) == ("first leads", "second leads", "first leads")
    assert "does not answer" in away


def test_a_collector_started_where_the_printed_line_was_pasted_uses_the_server_too(host: Host) -> None:
    """It keeps the server after the first one has gone."""
    with host.collector(line="leads") as first:
        host.environment["ATS_SYNC_SHARED"] = host.url
        with host.collector() as second:
            began = run_id(host.folder)
            first.send_signal(signal.SIGTERM)
            assert finish(first)[::2] == (0, "")
            assert "leads" in until_line(second, "leads")
            assert run_id(host.folder) == began
    host.environment["ATS_SYNC_SHARED"] = ""
    until_clean(host.folder)


def test_with_a_state_dir_the_server_and_the_rows_are_in_it_and_the_successor_keeps_both(host: Host) -> None:
    folder = Path(tempfile.mkdtemp(prefix="ats-state-"))
    try:
        with (
            host.collector("--state-dir", str(folder), line="leads") as first,
            host.collector("--state-dir", str(folder)) as second,
        ):
            began = run_id(folder)
            (lock,) = folder.glob("*/lock")
            assert is_locked(lock)
            first.kill()
            until(lambda: not is_locked(lock), what="the end of the first one")
            assert "leads" in until_line(second, "leads")
            until(lambda: is_locked(lock), what="rows are kept by the second one")
            assert run_id(folder) == began
            second.send_signal(signal.SIGTERM)
            status, _, err = finish(second)
            assert status == 0
            assert "until it is free" in err
        assert not (folder / "shared.sock").exists()
        assert len(list(folder.glob("*/*.klines.1m.rows"))) == 2
    finally:
        until(lambda: not servers(folder))
        shutil.rmtree(folder)


def is_locked(file: Path) -> bool:
    """Return whether another process has a lock on a file."""
    with file.open("ab") as opened:
        try:
            os.lockf(opened.fileno(), os.F_TEST, 0)
        except OSError:
            return True
        return False


def test_a_folder_that_belongs_to_others_is_refused_in_one_sentence(
    host: Host, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in host.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tempfile, "tempdir", None)  # so the temporary folder is looked up again
    base = Path(host.environment["TMPDIR"]) / f"ats-sync-{os.getuid()}"
    base.mkdir()
    base.chmod(0o777)
    assert main(["collect", "--symbols", "BTCUSDT"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "--state-dir" in err
