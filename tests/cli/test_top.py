"""``top``: what it puts together, what it prints into a pipe, and that it leaves a terminal as it found it."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.cli import main
from ats_sync.cli.top import split_keys
from ats_sync.cli.top_model import MOST_EVENTS, OLD_AFTER, Choice, Model
from ats_sync.endpoint import Endpoint
from ats_sync.simulator import SimulatedExchange

from ..support import until
from .command import PATIENCE, ROOT, environment, interrupts, kill

pytestmark = pytest.mark.shared_threads

TOKEN = "a long secret"
LEFT = b"\x1b[?1049l"
"""What gives the screen back that was there before."""


# --- what it knows --------------------------------------------------------------------------------


def message(at: float, **more: Any) -> dict[str, Any]:
    return {"at": at, "frames": int(100 * at), "rows": [], "events": [], **more}


def whole(at: float) -> dict[str, Any]:
    rows = [
        [0, "98000.1", "-2.5", 0, 100, "live"],
        [1, "0.0061", "4.0", 3, 80, "degraded"],
        [2, "", "", None, None, ""],
        [3, "9", "0.1", 0, 99, "live"],
    ]
    return message(at, symbols=["BTCUSDT", "1000PEPEUSDT", "NEWUSDT", "ABCUSDT"], rows=rows)


def test_changes_are_merged_and_a_whole_state_replaces_everything() -> None:
    model = Model()
    assert model.is_old(0.0)
    model.take(whole(1.0), now=10.0)
    model.take(message(3.0, rows=[[3, "10", "0.2", 1, 98, "live"]]), now=12.0)
    assert (model.rows(Choice())[3].price, model.rows(Choice())[0].price) == ("10", "98000.1")
    assert model.frames_a_second == 100.0
    assert not model.is_old(12.0 + OLD_AFTER)
    assert model.is_old(12.1 + OLD_AFTER)
    model.take(message(4.0, symbols=["XUSDT"], rows=[[0, "1", "", 0, None, "live"]]), now=13.0)
    assert [row.symbol for row in model.rows(Choice())] == ["XUSDT"]


def test_rows_are_sorted_by_numbers_and_what_is_not_known_comes_last() -> None:
    model = Model()
    model.take(whole(1.0), now=0.0)

    def names(choice: Choice) -> list[str]:
        return [row.symbol.removesuffix("USDT") for row in model.rows(choice)]

    assert names(Choice()) == ["BTC", "1000PEPE", "NEW", "ABC"]
    assert names(Choice("price", down=True)) == ["BTC", "ABC", "1000PEPE", "NEW"]
    assert names(Choice("price")) == ["1000PEPE", "ABC", "BTC", "NEW"]
    assert names(Choice("quality")) == ["1000PEPE", "ABC", "BTC", "NEW"]
    assert names(Choice("symbol")) == ["1000PEPE", "ABC", "BTC", "NEW"]
    assert names(Choice(find="bc")) == ["ABC"]
    choice = Choice()
    seen = []
    for _ in range(6):
        choice.next_column()
        seen.append((choice.by, choice.down))
    assert seen == [
        ("symbol", False), ("price", True), ("change", True), ("age", True), ("quality", False), ("", False),
    ]  # fmt: skip


def test_the_newest_events_are_kept_and_one_that_grows_replaces_itself() -> None:
    model = Model()
    model.take(whole(1.0), now=0.0)
    for number in range(2 * MOST_EVENTS):
        model.take(message(2.0, events=[[number, 1.0, "lost", "market-1", "reset", 1]]), now=0.0)
    last = 2 * MOST_EVENTS - 1
    model.take(message(3.0, events=[[last, 2.0, "repaired", "BTCUSDT trades", "", 7]]), now=0.0)
    events = model.events(1000)
    assert len(events) == MOST_EVENTS
    assert events[0] == [last, 2.0, "repaired", "BTCUSDT trades", "", 7]


@pytest.mark.parametrize(
    ("typed", "keys"),
    [
        (b"sr/", ["s", "r", "/"]),
        (b"\x1b[A\x1b[6~q", ["up", "page down", "q"]),
        (b"\x1b", ["escape"]),
        (b"\r\n\x7f", ["enter", "enter", "backspace"]),
        ("币".encode(), ["币"]),
        (b"\xff", ["\ufffd"]),
    ],
)
def test_keys(typed: bytes, keys: list[str]) -> None:
    assert split_keys(typed) == keys


# --- piped ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def manager() -> Iterator[DataManager]:
    with (
        SimulatedExchange(6, seed=5, activity=0.1) as exchange,
        DataManager(exchange.symbols, ["1h"], config=exchange.config()) as manager,
    ):
        yield manager


@pytest.fixture(scope="module")
def endpoint(manager: DataManager) -> Iterator[Endpoint]:
    with Endpoint(manager, port=0, token=TOKEN) as endpoint:
        yield endpoint


def test_piped_it_prints_one_status_and_ends(endpoint: Endpoint, capsys: pytest.CaptureFixture[str]) -> None:
    def shown() -> str | None:
        assert main(["top", "--url", endpoint.url + "/", "--token", TOKEN]) == 0
        out = capsys.readouterr().out
        return out if out.startswith("LIVE since") else None

    # (It is only noticed that a viewer has gone when there is something to show.)
    lines = until(shown, what="a live state", every=1.0).splitlines()
    assert "You may trade on this data" in lines[0]
    assert [line for line in lines if re.match(r" +klines +6 live, oldest", line)]
    assert [line for line in lines if "futures weight" in line]
    assert "\x1b" not in "".join(lines)


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["top", *arguments]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err.count("\n") == 1
    return output.err


def test_what_cannot_be_shown_is_reported_in_one_sentence(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ATS_SYNC_TOKEN", raising=False)
    assert "cannot be reached" in refusal(["--url", "http://127.0.0.1:9"], capsys)
    assert "cannot be reached" in refusal(["--url", "http://no-such-host.invalid"], capsys)
    for wrong in ("127.0.0.1:8787", "ftp://127.0.0.1", "http://"):
        assert "not the address" in refusal(["--url", wrong], capsys)
    assert "--token" in refusal(["--url", endpoint.url], capsys)
    assert "--token" in refusal(["--url", endpoint.url, "--token", "another secret"], capsys)
    with SimulatedExchange(1) as exchange:
        assert "not an endpoint" in refusal(["--url", exchange.config().fapi_base], capsys)
    monkeypatch.setenv("ATS_SYNC_TOKEN", TOKEN)
    assert main(["top", "--url", endpoint.url]) == 0


# --- on a terminal --------------------------------------------------------------------------------


class Terminal:
    """A program on a terminal of 100 columns and 40 lines."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = os.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        self._theirs = theirs
        self.before = termios.tcgetattr(theirs)
        self.out = b""
        env = {"TERM": "xterm-256color", "ATS_SYNC_TOKEN": TOKEN}
        plain = {
            name: value for name, value in environment(env).items() if name not in ("COLUMNS", "LINES", "NO_COLOR")
        }
        with interrupts():
            self.process = subprocess.Popen(
                [sys.executable, "-m", "ats_sync", *arguments],
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                cwd=ROOT,
                env=plain,
                start_new_session=True,
            )

    def read(self) -> None:
        """Read what has been written meanwhile."""
        while select.select([self._ours], [], [], 0.05)[0]:
            self.out += os.read(self._ours, 65536)

    def screen(self) -> str:
        """Return the newest whole screen, without colours."""
        self.read()
        newest = self.out[self.out.rfind(b"\x1b[H") :].decode("utf-8", "replace")
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", newest)

    def until(self, text: str) -> str:
        """Wait until the screen shows a text; return the screen."""
        return until(lambda: screen if text in (screen := self.screen()) else None, what=f"{text!r}")  # type: ignore[no-any-return]

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def finish(self) -> int:
        """Wait for the end; return the exit status."""
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            self.read()
        self.read()
        return self.process.returncode

    def is_as_before(self) -> bool:
        """Return whether the terminal's mode is what it was."""
        return termios.tcgetattr(self._theirs) == self.before

    def close(self) -> None:
        kill(self.process)  # type: ignore[arg-type]
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def terminal(*arguments: str) -> Iterator[Terminal]:
    made = Terminal(*arguments)
    too_late = threading.Timer(PATIENCE, kill, (made.process,))
    too_late.daemon = True
    too_late.start()
    try:
        yield made
    finally:
        too_late.cancel()
        made.close()


def test_keys_sort_filter_and_quit_without_a_trace(manager: DataManager, endpoint: Endpoint) -> None:
    with terminal("top", "--url", endpoint.url) as shown:
        shown.until("You may trade on this data.")
        assert not shown.is_as_before()
        shown.until(manager.symbols[0])
        shown.press("s")
        shown.until("symbol ▲")
        shown.press("r")
        shown.until("symbol ▼")
        shown.press("/btc")
        shown.until("filter: BTC▏")
        shown.press("\r")
        screen = shown.until("q quit   filter: BTC")
        assert "BTCUSDT" in screen
        assert "ETHUSDT" not in screen
        shown.press("q")
        assert shown.finish() == 0
        assert shown.is_as_before()
        assert shown.out.rstrip().endswith(LEFT)
        assert b"Traceback" not in shown.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_it_without_a_trace(endpoint: Endpoint, number: signal.Signals) -> None:
    with terminal("top", "--url", endpoint.url) as shown:
        shown.until("q quit")
        shown.process.send_signal(number)
        assert shown.finish() == 128 + number
        assert shown.is_as_before()
        assert LEFT in shown.out
        assert b"Traceback" not in shown.out


def test_data_counts_as_old_while_the_endpoint_is_closed(manager: DataManager) -> None:
    first = Endpoint(manager, port=0).start()
    port = int(first.url.rpartition(":")[2])
    with terminal("top", "--url", first.url) as shown:
        shown.until("You may trade on this data.")
        first.close()
        assert "do not trade on it" in shown.until("OLD DATA")
        with Endpoint(manager, port=port):
            shown.until("You may trade on this data.")
            shown.press("q")
            assert shown.finish() == 0
