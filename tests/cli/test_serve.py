"""``serve`` as a program: it says where it answers, ends well, and refuses in one sentence."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from ats_sync import DataManager
from ats_sync.cli import main
from ats_sync.simulator import SimulatedExchange

from ..shared.conftest import started
from ..shared.servers import StoreServer
from ..support import until
from .command import finish, start, until_line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_signalled_to_end(number: signal.Signals, tmp_path: Path) -> None:
    command = ("-m", "ats_sync", "serve", "--simulate", "--top", "2", "--intervals", "1h", "--port", "0")
    with start(*command, "--state-dir", str(tmp_path)) as process:
        line = until_line(process, "following")
        found = re.search(r"http://127\.0\.0\.1:\d+", line)
        assert found is not None
        answer = requests.get(f"{found[0]}/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=5", timeout=10)
        assert (answer.status_code, len(answer.json())) == (200, 5)
        status_page = f"{found[0]}/status"
        shown = until(lambda: requests.get(status_page, timeout=10).json()["snapshot"])
        assert shown["directory"].startswith(str(tmp_path))
        began = time.monotonic()
        process.send_signal(number)
        status, _, err = finish(process)
        assert (status, err) == (0, "")
        assert time.monotonic() - began < 30
    assert len(list(tmp_path.glob("*/*.klines.1h.rows"))) == 2


@pytest.fixture
def store() -> Iterator[StoreServer]:
    with started("valkey") as server:
        yield server


def test_a_reader_waits_for_a_collector_and_says_so_meanwhile(store: StoreServer) -> None:
    command = ("-m", "ats_sync", "serve", "--top", "2", "--intervals", "1h", "--port", "0")
    with SimulatedExchange(4, seed=7) as exchange:
        environment = {**exchange.environment(), "ATS_SYNC_SHARED": store.url}
        config = exchange.config(shared=store.url, role="collector")
        with start(*command, env=environment) as process:
            found = re.search(r"http://127\.0\.0\.1:\d+", until_line(process, "no collector leads"))
            assert found is not None
            url = found[0]

            def get(path: str) -> requests.Response:
                return requests.get(url + path, timeout=10)

            assert get("/healthz").status_code == 200
            ready = get("/readyz")
            assert (ready.status_code, ready.json()["state"]) == (503, "starting")
            assert ready.json()["reason"].startswith("no collector leads")
            status = get("/status").json()
            assert status["shared"]["reason"] == ready.json()["reason"] == status["why"][0]["reason"]
            klines = get("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=5")
            assert (klines.headers["X-Ats-Source"], len(klines.json())) == ("rest", 5)
            with DataManager(exchange.symbols, ["1h"], config=config) as collector:
                busiest = [row["symbol"] for row in collector.top(2)]
                until_line(process, "reading 2 symbols")
                until(lambda: get("/readyz").status_code == 200, what="ready")
                status = get("/status").json()
                assert status["requests_by_cause"]["read"] == 1, (
                    "only that of the candles, since the tickers are in the store"
                )
                assert status["kinds"]["klines"]["series"] == {"live": 2}
                assert status["shared"]["readers"] == 1
                for symbol in busiest:
                    answer = get(f"/fapi/v1/klines?symbol={symbol}&interval=1h&limit=5")
                    assert (answer.headers["X-Ats-Source"], len(answer.json())) == ("memory", 5)
            until(lambda: get("/readyz").json().get("reason", "").startswith("no collector leads"))
            process.send_signal(signal.SIGTERM)
            status_code, _, err = finish(process)
            assert (status_code, err) == (0, "")


def test_a_reader_that_waits_ends_on_a_signal(store: StoreServer) -> None:
    store.kill()
    command = ("-m", "ats_sync", "serve", "--symbols", "BTCUSDT", "--intervals", "1h", "--port", "0")
    environment = {"ATS_SYNC_SHARED": store.url, "BINANCE_FAPI_BASE": "http://127.0.0.1:9"}
    with start(*command, env=environment) as process:
        until_line(process, "does not answer")
        process.send_signal(signal.SIGTERM)
        status, _, err = finish(process)
        assert status == 0
        assert "Traceback" not in err


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def test_a_taken_port_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["serve", "--symbols", "BTCUSDT", "--port", str(taken.getsockname()[1])]) == 2
    assert "in use" in one_line(capsys)


def test_another_host_needs_a_token(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATS_SYNC_TOKEN", raising=False)
    assert main(["serve", "--symbols", "BTCUSDT", "--host", "192.0.2.1"]) == 2
    assert "token" in one_line(capsys)


def test_a_host_that_does_not_resolve(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["serve", "--symbols", "BTCUSDT", "--host", "no such host", "--token", "a long secret"]
    assert main(arguments) == 2
    assert "no such host" in one_line(capsys)


def test_an_exchange_that_cannot_be_found(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BINANCE_FAPI_BASE", "http://no-such-host.invalid")
    monkeypatch.setenv("NO_PROXY", "*")
    assert main(["serve", "--top", "3", "--port", "0"]) == 2
    assert "no-such-host.invalid" in one_line(capsys)


def test_a_bad_symbol(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve", "--symbols", "BTC/USDT"])
    assert ended.value.code == 2
    assert "BTC/USDT" in capsys.readouterr().err
