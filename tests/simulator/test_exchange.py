"""Start and end of an exchange, and what it accepts and reports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import pytest
import requests

from ats_sync.simulator import ApiError, SimulatedExchange, SimulatorError, before_midnight
from ats_sync.simulator.exchange import serve_forever

from ..cli.command import environment, finish, start
from .plain import rest, stream, until


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def refuses(url: str) -> bool:
    address = url.rsplit("/", 1)[1].split(":")
    try:
        socket.create_connection((address[0], int(address[1])), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


@contextmanager
def python(code: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program that can import the library, until the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
        **options,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_closing_leaves_nothing_behind() -> None:
    threads = set(threading.enumerate())
    ex = SimulatedExchange(["BTCUSDT"])
    pid, url = ex.pid, ex.fapi_url
    assert pid != os.getpid()
    with rest(ex) as client:
        assert client.get("/fapi/v1/ping").json() == {}
    ex.close()
    ex.close()
    assert not alive(pid)
    assert set(threading.enumerate()) == threads
    assert refuses(url)
    with pytest.raises(SimulatorError, match="closed"):
        ex.now()


@pytest.mark.parametrize("tls", [False, True])
def test_in_a_thread(tls: bool) -> None:
    threads = set(threading.enumerate())
    with SimulatedExchange(["BTCUSDT"], in_thread=True, tls=tls) as ex:
        assert ex.pid == os.getpid()
        with rest(ex) as client, stream(ex, "/market/stream", "btcusdt@aggTrade") as feed:
            assert client.get("/fapi/v1/ping").status_code == 200
            feed.data("btcusdt@aggTrade")
        authority = ex.ca_file
        assert (authority is not None) == tls
        url = ex.fapi_url
    assert set(threading.enumerate()) == threads
    assert authority is None or not os.path.exists(authority)
    assert refuses(url)


def test_closing_does_not_wait_for_clients_or_faults() -> None:
    ex = SimulatedExchange(["BTCUSDT"])
    ex.fail_rest("timeout")
    ex.handshake("hang", count=1)
    outcome: list[BaseException] = []

    def ask() -> None:
        with rest(ex) as client:
            try:
                client.get("/fapi/v1/ping", timeout=30)
            except requests.exceptions.RequestException as error:
                outcome.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    until(lambda: ex.stats().fapi.requests == 1)
    pid = ex.pid
    ex.freeze(what="streams")
    ex.close()
    waiting.join(10)
    assert isinstance(outcome[0], requests.exceptions.ConnectionError)
    assert not alive(pid)


PARENT = """
import sys
from ats_sync.simulator import SimulatedExchange
if __name__ == "__main__":
    ex = SimulatedExchange(["BTCUSDT"], tls=True)
    print(ex.pid, ex.ca_file, flush=True)
    sys.stdin.read()
"""


def test_it_ends_with_its_parent() -> None:
    with python(PARENT, stdin=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid, authority = parent.stdout.readline().split()
        assert alive(int(pid))
        parent.kill()
        parent.wait(10)
        until(lambda: not alive(int(pid)))
        assert not os.path.exists(authority)


def test_a_killed_exchange_says_so() -> None:
    with SimulatedExchange(["BTCUSDT"]) as ex:
        os.kill(ex.pid, 9)
        with pytest.raises(SimulatorError, match="has ended"):
            until(lambda: ex.now() < 0)


@pytest.mark.parametrize("in_thread", [False, True])
def test_a_failed_start_says_why(in_thread: bool) -> None:
    with SimulatedExchange(["BTCUSDT"], in_thread=True) as ex:
        taken = int(ex.fapi_url.rsplit(":", 1)[1])
        with pytest.raises(SimulatorError, match="in use"):
            SimulatedExchange(["BTCUSDT"], ports=(taken, 0, 0, 0), in_thread=in_thread)


def test_bad_arguments_are_refused_before_anything_starts() -> None:
    with pytest.raises(TypeError, match="weigth"):
        SimulatedExchange(weigth_limit=5)
    with pytest.raises(TypeError, match="sequence"):
        SimulatedExchange("BTCUSDT")
    with pytest.raises(ValueError, match="symbols"):
        SimulatedExchange(0)
    with pytest.raises(ValueError, match="start"):
        SimulatedExchange(3, start=-5)


def test_its_clock_starts_where_it_is_set() -> None:
    midnight = before_midnight(0.5) + 500
    with SimulatedExchange(["BTCUSDT"], start=midnight - 500, in_thread=True) as ex:
        assert midnight - 500 <= ex.now() < midnight + 60_000
        until(lambda: ex.now() > midnight + 100)
        rows = ex.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1d", limit=2)
        assert rows[-1][0] == midnight
    moment = datetime(2025, 3, 1, 12, tzinfo=timezone.utc)
    with SimulatedExchange(["BTCUSDT"], start=moment, in_thread=True) as ex:
        assert 0 <= ex.now() - moment.timestamp() * 1000 < 60_000


def test_the_same_seed_is_the_same_market() -> None:
    start = 1_700_000_000_000
    rows = []
    for _ in range(2):
        with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=9, start=start, in_thread=True) as ex:
            rows.append(ex.rest("/fapi/v1/klines", symbol="ETHUSDT", interval="1h", limit=100, endTime=start - 1))
    assert rows[0] == rows[1]


def test_clients_are_given_its_addresses(ex: SimulatedExchange) -> None:
    config = ex.config(max_klines=77)
    assert (config.fapi_base, config.spot_base) == (ex.fapi_url, ex.spot_url)
    assert (config.fstream_base, config.spot_stream_base) == (ex.fstream_url, ex.spot_stream_url)
    assert (config.ca_file, config.max_klines) == (None, 77)
    assert ex.environment() == {
        "BINANCE_FAPI_BASE": ex.fapi_url,
        "BINANCE_SPOT_BASE": ex.spot_url,
        "BINANCE_FSTREAM_BASE": ex.fstream_url,
        "BINANCE_SPOT_STREAM_BASE": ex.spot_stream_url,
    }
    assert len(set(ex.environment().values())) == 4


def test_the_truth_has_the_exchanges_errors(ex: SimulatedExchange) -> None:
    with pytest.raises(ApiError) as caught:
        ex.rest("/fapi/v1/depth", symbol="NOSUCHUSDT")
    assert (caught.value.code, caught.value.status) == (-1121, 400)


def test_calls_from_many_threads(ex: SimulatedExchange) -> None:
    seen: list[int] = []

    def ask() -> None:
        seen.extend(ex.now() for _ in range(50))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(seen) == 400


def test_a_fork_neither_ends_it_nor_disturbs_its_channel(ex: SimulatedExchange) -> None:
    reading, writing = os.pipe()
    before = ex.now()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.write(writing, str(ex.now()).encode())
            ex.close()
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with os.fdopen(reading) as told:
        assert int(told.read()) >= before
    assert os.waitpid(pid, 0)[1] == 0
    assert alive(ex.pid)
    assert ex.now() >= before


SERVER = """
from ats_sync.simulator import serve_forever
if __name__ == "__main__":
    serve_forever(symbols=["BTCUSDT"])
"""


def test_serving_until_ctrl_c() -> None:
    with start("-c", SERVER) as server:
        assert server.stdout is not None
        said = [server.stdout.readline()]
        while "Ctrl-C" not in said[-1]:
            assert said[-1], server.stderr
            said.append(server.stdout.readline())
        exports = dict(line[len("export ") :].strip().split("=", 1) for line in said if line.startswith("export "))
        with requests.Session() as session:
            session.trust_env = False
            assert session.get(exports["BINANCE_FAPI_BASE"] + "/fapi/v1/ping", timeout=5).status_code == 200
            # The README shows this with curl.
            session.headers["Authorization"] = f"Bearer {exports['SIMULATOR_TOKEN']}"
            listed = session.get(exports["SIMULATOR_CONTROL"], timeout=5).json()["controls"]
            assert "cut" in [each["name"] for each in listed]
            cut = session.post(
                exports["SIMULATOR_CONTROL"] + "/cut", json={"how": "half_open", "route": "market"}, timeout=5
            )
            assert cut.json() == {"result": 0}
            os.killpg(server.pid, signal.SIGINT)
            code, _, errors = finish(server)
            assert (code, errors) == (0, "")
            with pytest.raises(requests.exceptions.ConnectionError):
                session.get(exports["BINANCE_FAPI_BASE"] + "/fapi/v1/ping", timeout=5)


def test_a_bad_port_is_refused() -> None:
    with pytest.raises(ValueError, match="port"):
        serve_forever(port=65532)
