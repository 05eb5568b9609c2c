"""What is shown on a terminal, and as plain lines elsewhere."""

from __future__ import annotations

import io

import pytest

from ats_sync.cli.screen import Screen, Table

TABLE = Table("found", ("symbol", "price"), [("BTCUSDT", "98000"), ("币安人生USDT", "0.1")])


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return io.StringIO()


def test_a_plain_table_has_its_columns_below_each_other() -> None:
    out = io.StringIO()
    Screen(out).table(TABLE)
    # A Chinese character takes two columns.
    assert out.getvalue() == "found\n  symbol        price\n  BTCUSDT       98000\n  币安人生USDT    0.1\n"


def test_a_plain_table_without_headings() -> None:
    out = io.StringIO()
    Screen(out).table(Table("figures", ("", ""), [("requests", "12"), ("weight", "1234")]))
    assert out.getvalue() == "figures\n  requests    12\n  weight    1234\n"


def test_plain_lines_are_not_wrapped_and_brackets_are_not_markup() -> None:
    out = io.StringIO()
    text = "[bold] " + "x" * 300
    Screen(out).line(text)
    assert out.getvalue() == text + "\n"


def test_a_plain_meter_shows_the_last_state() -> None:
    out = io.StringIO()
    with Screen(out).meter("warming up") as meter:
        meter.show({"candles": (1, 4)})
        meter.show({"candles": (4, 4), "books": (1, 1)})
    assert out.getvalue() == "  warming up: candles 4/4, books 1/1\n"


def test_a_terminal_gets_bars_and_whole_tables(terminal: io.StringIO) -> None:
    screen = Screen(terminal)
    assert screen.terminal
    with screen.meter("warming up") as meter:
        meter.show({"candles": (4, 4)})
    screen.heading("Scan")
    screen.table(TABLE)
    shown = terminal.getvalue()
    assert "━" in shown
    assert "4/4" in shown
    assert "\x1b[1mScan" in shown
    assert "BTCUSDT" in shown
    assert "币安人生USDT" in shown
    assert "…" not in shown
