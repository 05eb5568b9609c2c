"""The simulated exchange in the foreground."""

from __future__ import annotations

import signal
import socket

import pytest
import requests

from ats_sync.cli import main

from .command import finish, start, until_line


def five_free_ports() -> int:
    """Return a port that is free, as are the four after it."""
    for _ in range(50):
        with socket.create_server(("127.0.0.1", 0)) as first:
            port: int = first.getsockname()[1]
        try:
            for each in range(port, port + 5):
                socket.create_server(("127.0.0.1", each)).close()
        except (OSError, OverflowError):
            continue
        return port
    raise AssertionError("no five free ports in a row")


def test_it_serves_and_says_where() -> None:
    port = five_free_ports()
    with start("-m", "ats_sync", "simulate", "--symbols", "5", "--port", str(port)) as process:
        shown = until_line(process, "Ctrl-C")
        exports = dict(
            line[len("export ") :].split("=", 1) for line in shown.splitlines() if line.startswith("export ")
        )
        assert len(exports.pop("SIMULATOR_TOKEN")) == 32
        assert exports == {
            "BINANCE_FAPI_BASE": f"http://127.0.0.1:{port}",
            "BINANCE_SPOT_BASE": f"http://127.0.0.1:{port + 1}",
            "BINANCE_FSTREAM_BASE": f"ws://127.0.0.1:{port + 2}",
            "BINANCE_SPOT_STREAM_BASE": f"ws://127.0.0.1:{port + 3}",
            "SIMULATOR_CONTROL": f"http://127.0.0.1:{port + 4}/control",
        }
        info = requests.get(exports["BINANCE_FAPI_BASE"] + "/fapi/v1/exchangeInfo", timeout=10).json()
        assert len(info["symbols"]) == 5
        process.send_signal(signal.SIGINT)
        finish(process)


def test_a_taken_port_is_reported_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main(["simulate", "--symbols", "1", "--port", str(min(taken.getsockname()[1], 65531))]) == 1
    err = capsys.readouterr().err
    assert "in use" in err
    assert err.count("\n") == 1
