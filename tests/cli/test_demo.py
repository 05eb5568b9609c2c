"""The demo: from its first line to its last, and what it leaves behind."""

from __future__ import annotations

import io
import itertools
import re

import pytest
import requests

from ats_sync import Config
from ats_sync.cli import main
from ats_sync.cli.busiest import busiest
from ats_sync.cli.demo import _Demo
from ats_sync.cli.exits import CommandFailed
from ats_sync.cli.screen import Screen
from ats_sync.simulator import SimulatedExchange

from .command import finish, start, until_line
from .test_scanner import Market

SCAN = re.compile(r"^(.+): (\d+) symbols in \d+ ms, requests caused by the scan: (\d+)$", re.MULTILINE)


def scans(out: str) -> list[tuple[str, int, int]]:
    """Return title, symbols and requests of each scan that is shown."""
    return [(title, int(symbols), int(requests)) for title, symbols, requests in SCAN.findall(out)]


def test_the_whole_demo_on_its_own_exchange() -> None:
    with start("-m", "ats_sync", "demo", "--symbols", "6", "--seconds", "3") as process:
        out = until_line(process, "in a browser at ")
        page = requests.get(out.split()[-1], timeout=10)
        code, rest, err = finish(process)
    assert code == 0, err
    out += rest
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    shown = scans(out)
    assert [title for title, _, _ in shown] == [
        "Scan 1 of 2",
        "Scan 2 of 2",
        "Served by REST, within its budget",
        "From memory again",
    ]
    assert [symbols for _, symbols, _ in shown] == [6, 6, 6, 6]
    first, second, outage, restored = (requests for _, _, requests in shown)
    # (Where the machine is busy, a stream may be late when it is read: that costs one request.)
    assert max(first, second, restored) < 6
    # At least the candles of two intervals had to be requested, and nothing was requested twice.
    assert 12 <= outage <= 20
    assert "6 symbols × 4 intervals (1h, 4h, 15m, 1d)" in out
    order = [
        "warming up: candles 24/24",
        "Ready after",
        "Now all stream connections",
        "degraded",
        "restoring",
        "restored",
        "The figures",
    ]
    places = [out.index(text) for text in order]
    assert places == sorted(places)
    assert re.search(r"requests refused by the rate limit +0$", out, re.MULTILINE)
    assert "stream connection" in err
    assert "Traceback" not in err


def test_live_follows_the_busiest_of_the_exchange_in_the_environment(
    at_exchange: SimulatedExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", "--live", "--symbols", "3", "--seconds", "0.5", "--intervals", "1h"]) == 0
    out = capsys.readouterr().out
    assert f"The exchange at {at_exchange.fapi_url}: 3 symbols × 1 intervals (1h)" in out
    assert [(symbols, requests) for _, symbols, requests in scans(out)] == [(3, 0), (3, 0)]
    assert "cut" not in out
    tickers = at_exchange.rest("/fapi/v1/ticker/24hr")
    first = max(tickers, key=lambda each: float(each["quoteVolume"]))["symbol"]
    assert first in out


def test_without_websocket_each_scan_makes_requests(
    at_exchange: SimulatedExchange, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["demo", "--live", "--symbols", "3", "--seconds", "0.5", "--intervals", "1h", "--no-websocket"]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    assert all(requests >= 3 for _, _, requests in scans(out))
    assert re.search(r"stream frames +0$", out, re.MULTILINE)
    assert at_exchange.stats().connections_now == 0


def test_the_busiest_are_those_of_the_trading_contracts_with_the_most_turnover(exchange: SimulatedExchange) -> None:
    turnover = {each["symbol"]: float(each["quoteVolume"]) for each in exchange.rest("/fapi/v1/ticker/24hr")}
    found = busiest(exchange.config(), 12)
    assert sorted(found) == sorted(exchange.symbols)
    # Trading goes on between the two looks, so only clear differences are certain to keep their order.
    assert all(turnover[a] > 0.9 * turnover[b] for a, b in itertools.pairwise(found))
    assert busiest(exchange.config(), 2) == found[:2]


def test_an_answer_of_another_shape_is_a_plain_failure(at_exchange: SimulatedExchange) -> None:
    at_exchange.fail_rest("wrong_shape", path="/fapi/v1/exchangeInfo", count=1)
    with pytest.raises(CommandFailed, match=re.escape(at_exchange.fapi_url)):
        busiest(Config.from_env(), 2)


def test_unreadable_symbols_are_counted_and_all_of_them_are_a_failure() -> None:
    out = io.StringIO()
    demo = _Demo(Screen(out), Market(), None, 1.0)  # type: ignore[arg-type]
    demo._scan("Scan", ["BADUSDT", "AUSDT"])
    assert "Scan: 1 of 2 symbols in" in out.getvalue()
    assert "1 symbols could not be read; BADUSDT: nothing is known" in out.getvalue()
    with pytest.raises(CommandFailed, match="not one symbol could be read; BADUSDT: nothing is known"):
        demo._scan("Scan", ["BADUSDT"])
