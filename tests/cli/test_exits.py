"""The command's own errors; and how Ctrl-C and SIGTERM end each command: with its exit status, nothing on stderr, and
no process left."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from ats_sync import DataUnavailableError, InvalidSymbol, RequestTimeout
from ats_sync.cli.exits import CommandFailed, asking, need
from ats_sync.simulator import SimulatedExchange

from ..leftovers import children
from ..support import until
from .command import finish, runs, start, until_line
from .test_record import frames

COMMANDS = {
    "demo": (["--symbols", "6", "--seconds", "60"], "requests caused by the scan: 0"),
    "simulate": (["--symbols", "5"], "Ctrl-C"),
    "compare": (["--symbols", "40", "--latency", "2"], "40 symbols"),
    "probe": ([], "facts on"),
    "stress": (["--symbols", "3", "--intervals", "1m", "--seconds", "600"], "3 symbols"),
}
"""For each command, arguments with which it keeps running, and a line it shows while it works."""


# (SIGTERM is an interrupt with another exit status, so one of the two is enough to show what each command does at the
# end.)
@pytest.mark.parametrize(
    ("command", "number"),
    [
        ("demo", signal.SIGINT),
        ("simulate", signal.SIGTERM),
        ("compare", signal.SIGTERM),
        ("probe", signal.SIGTERM),
        ("stress", signal.SIGTERM),
    ],
    ids=lambda value: value.name if isinstance(value, signal.Signals) else value,
)
def test_a_signal_ends_a_command_and_its_exchange(command: str, number: signal.Signals) -> None:
    arguments, shown = COMMANDS[command]
    with start("-m", "ats_sync", command, *arguments) as process:
        until_line(process, shown)
        started: set[int] = until(lambda: children(process.pid), what="the exchange's process")
        process.send_signal(number)
        code, _, err = finish(process)
        assert (code, err) == (128 + number, "")
        until(lambda: not any(map(runs, started)), what="the exchange's process ends")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_a_recording_with_whole_lines(number: signal.Signals, tmp_path: Path) -> None:
    stream = tmp_path / "a" / "stream.txt"
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=7) as exchange:
        arguments = ["record", str(stream.parent), "--seconds", "600"]
        with start("-m", "ats_sync", *arguments, env=exchange.environment()) as process:

            def records() -> bool:
                assert process.poll() is None
                return stream.exists() and stream.stat().st_size > 20_000

            until(records, 60.0)
            process.send_signal(number)
            assert finish(process) == (128 + number, "", "")
    assert frames(stream.parent)


def test_where_interrupts_are_ignored_sigterm_ends_it() -> None:
    """This is so under nohup, or in the background of a shell script."""
    with start("-m", "ats_sync", "simulate", "--symbols", "2", ignores_interrupts=True) as process:
        until_line(process, "Ctrl-C")
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        code, _, err = finish(process)
        assert (code, err) == (128 + signal.SIGTERM, "")


def test_a_second_sigterm_does_not_disturb_the_clean_up() -> None:
    with start("-m", "ats_sync", "demo", "--symbols", "3", "--seconds", "60") as process:
        until_line(process, "3 symbols")
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        code, _, err = finish(process)
        assert (code, err) == (128 + signal.SIGTERM, "")


def test_need_names_every_missing_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rich", None)
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(CommandFailed, match=r"demo needs rich and aiohttp; install with: .* rich aiohttp$") as caught:
        need("demo", "rich", "json", "aiohttp")
    assert caught.value.status == 2
    need("demo", "json")


@pytest.mark.parametrize("error", [RequestTimeout("too late"), DataUnavailableError("too late")])
def test_a_failed_request_names_its_host(error: Exception) -> None:
    with pytest.raises(CommandFailed, match=r"^http://host: too late$") as caught, asking("http://host"):
        raise error
    assert caught.value.status == 1
    assert caught.value.__cause__ is error


def test_other_errors_pass_through() -> None:
    with pytest.raises(InvalidSymbol), asking("http://host"):
        raise InvalidSymbol("no such symbol")
