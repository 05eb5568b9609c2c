"""Arguments, exit status and what goes to stderr."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest

from ats_sync.cli import main
from ats_sync.simulator import SimulatedExchange

from .command import PATIENCE, ROOT, run, start

NOBODY = "http://127.0.0.1:9"


def status(arguments: list[str]) -> int:
    """Return the status with which the interpreter would exit."""
    try:
        return main(arguments)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else -1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "COMMAND"),
        (["nonsense"], "nonsense"),
        (["demo", "--symbols", "0"], "from 1 to 1000"),
        (["demo", "--symbols", "many"], "'many'"),
        (["demo", "--intervals", "1h,7h"], "no interval '7h'"),
        (["demo", "--intervals", ""], "no interval ''"),
        (["demo", "--seconds", "0"], "above 0"),
        (["demo", "--seconds", "nan"], "not a number"),
        (["demo", "--seconds", "soon"], "not a number"),
        (["simulate", "--port", "65532"], "from 0 to 65531"),
        (["simulate", "--latency", "-1"], "negative"),
        (["record"], "DIR"),
        (["record", "x", "--symbols", "BTC/USDT"], "cannot be a symbol"),
        (["record", "x", "--symbols", ""], "empty"),
        (["record", "x", "--streams", "kline_7h"], "no stream 'kline_7h'"),
        (["record", "x", "--streams", "btcusdt@aggTrade"], "no stream"),
    ],
)
def test_wrong_usage_exits_2_and_says_what_is_wrong(
    arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(arguments) == 2
    output = capsys.readouterr()
    assert complaint in output.err
    assert output.out == ""


def test_help_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert status(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(command in out for command in ("demo", "simulate", "record"))


@pytest.mark.parametrize("arguments", [["demo", "--live", "--symbols", "3"], ["record", "recording"]])
def test_an_unreachable_host_exits_1_with_one_line(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BINANCE_FAPI_BASE", NOBODY)
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("ats_sync: ")
    assert NOBODY in err
    assert "refused" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_url_exits_1(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("BINANCE_FAPI_BASE", "fapi.binance.com")
    assert main(["demo", "--live"]) == 1
    assert "fapi_base must be a URL" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "package"),
    [
        (["demo"], "rich"),
        (["demo"], "aiohttp"),
        (["demo", "--live"], "rich"),
        (["simulate"], "aiohttp"),
        (["simulate", "--tls"], "trustme"),
    ],
)
def test_a_missing_package_exits_2_with_one_line_on_how_to_install_it(
    arguments: list[str], package: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert main(arguments) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == f"ats_sync: {arguments[0]} needs {package}; install with: python -m pip install {package}\n"


def test_the_module_runs_as_a_program_without_a_stack_trace() -> None:
    code, out, err = run("-m", "ats_sync", "demo", "--live", env={"BINANCE_FAPI_BASE": NOBODY})
    assert (code, out) == (1, "")
    assert "Traceback" not in err
    assert NOBODY in err


def test_the_console_script_is_the_module_as_a_program() -> None:
    """This is what ``ats-sync`` runs, as installers write it; it comes from ``setup.py``, since a checkout may not be
    installed."""
    named = re.search(r'"ats-sync = ([\w.]+):(\w+)"', (ROOT / "setup.py").read_text("utf-8"))
    assert named is not None
    module, function = named.groups()
    script = f"import sys; from {module} import {function}; sys.exit({function}())"
    code, out, err = run("-c", script, "demo", "--live", env={"BINANCE_FAPI_BASE": NOBODY})
    assert (code, out) == (1, "")
    assert NOBODY in err


def test_a_closed_pipe_shows_no_stack_trace(exchange: SimulatedExchange, tmp_path: Path) -> None:
    arguments = ["record", str(tmp_path / "a"), "--seconds", "1"]
    with start("-m", "ats_sync", *arguments, env=exchange.environment()) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(PATIENCE) == 1


def test_warnings_of_the_library_are_shown_and_its_logger_is_left_as_it_was(
    at_exchange: SimulatedExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    before = list(logging.getLogger("ats_sync").handlers)
    at_exchange.handshake(503, count=1)
    assert main(["demo", "--live", "--symbols", "2", "--seconds", "0.2", "--intervals", "1h"]) == 0
    assert "ats_sync: stream connection" in capsys.readouterr().err
    assert logging.getLogger("ats_sync").handlers == before
    assert logging.getLogger("ats_sync").level == logging.NOTSET
