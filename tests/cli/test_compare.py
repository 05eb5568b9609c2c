"""The comparison: its figures, its verdict, and what it leaves behind."""

from __future__ import annotations

import json
import re

import pytest

from ats_sync import RequestRejected
from ats_sync.cli import main
from ats_sync.cli.compare import ROWS, SCAN, Scan, _compared
from ats_sync.simulator import SimulatedExchange

from .command import run


def figures(out: str) -> dict[str, list[str]]:
    """Return the table as the figures of each line by its name (lines of the repeated scan have a 2 in theirs)."""
    table = out[out.index("Side by side") :]
    found: dict[str, list[str]] = {}
    for line in table.splitlines()[1:]:
        cells = re.split(r"\s{2,}", line.strip())
        name = cells[0] if cells[0] not in found else f"{cells[0]} 2"
        found[name] = cells[1:]
    return found


def test_side_by_side_on_its_own_exchange() -> None:
    arguments = ["--symbols", "8", "--latency", "0.02", "--scans", "2", "--threads", "8"]
    code, out, err = run("-m", "ats_sync", "compare", *arguments)
    assert code == 0, err
    assert "8 symbols, 12 calls each, 8 threads, on a simulated exchange that takes 20 ms per request" in out
    shown = figures(out)
    # Each call is one request by REST alone; two of the eight perpetuals have no spot pair, which costs two refusals.
    assert shown["requests"][0] == "96"
    # (A poll that happens to be due then does not belong to the scan.)
    alone, managed = shown["requests 2"]
    assert (alone, managed.partition(" + ")[0]) == ("96", "0")
    # 3 × 2 for candles, 5 for the book, 5 × 1, for each symbol.
    assert shown["weight"][0] == shown["weight 2"][0] == str(8 * 16)
    assert shown["weight 2"][1] == "0" or managed != "0"
    assert shown["calls answered with 429 or 418"] == ["0", "0"]
    assert shown["refused by the exchange, both sides"] == ["0"]
    assert shown["calls that failed"] == ["2", "2"]
    assert int(shown["highest weight in a minute"][0]) >= 128
    assert re.search(r"^The results are equal: \d{4,} settled rows string for string, \d+ other results", out, re.M)
    assert "Traceback" not in err


def test_live_is_the_exchange_of_the_environment(
    at_exchange: SimulatedExchange, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ats_sync.cli.compare.MINUTE", 0.1)
    monkeypatch.delenv("ATS_SYNC_AUTOSTART", raising=False)
    assert main(["compare", "--live", "--symbols", "3", "--scans", "2"]) == 0
    out = capsys.readouterr().out
    assert f"on the exchange at {at_exchange.fapi_url}" in out
    shown = figures(out)
    assert shown["requests 2"] == ["36", "0"]
    assert shown["weight"] == ["-", "-"], "the real exchange does not report it per scan"
    assert "refused by the exchange, both sides" not in shown
    assert at_exchange.stats().connections_now == 0


def test_with_autostart_turned_off(
    at_exchange: SimulatedExchange, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ats_sync.cli.compare.MINUTE", 0.1)
    monkeypatch.setenv("ATS_SYNC_AUTOSTART", "0")
    assert main(["compare", "--live", "--symbols", "1", "--scans", "1"]) == 1
    assert "ATS_SYNC_AUTOSTART=0" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--symbols", "0"], "from 1 to 1000"),
        (["--latency", "-1"], "negative"),
        (["--threads", "0"], "from 1 to 64"),
        (["--scans", "x"], "'x'"),
    ],
)
def test_wrong_usage(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["compare", *arguments])
    assert end.value.code == 2
    assert complaint in capsys.readouterr().err


def a_scan(close: str = "7.1") -> Scan:
    rows = [[1, "7", "7", "7", close], [2, "7", "7", "7", "7.2"], [3, "7", "7", "7", "7.3"]]
    scan = Scan()
    for name in SCAN:
        scan.results["AUSDT", name] = {
            **dict.fromkeys(ROWS, json.loads(json.dumps(rows))),
            "open interest": [{"timestamp": at, "sumOpenInterest": "5"} for at in (1, 2)],
        }.get(name, {"a": 1, "b": ["x"]})
    return scan


def test_the_verdict_compares_settled_rows_and_shapes() -> None:
    counts, differences = _compared(a_scan(), a_scan())
    assert not differences
    assert counts == {"rows": 4 * 2 + 1, "results": len(SCAN) - len(ROWS)}
    later = a_scan()
    for name in ("klines 1h", "spot klines"):
        later.results["AUSDT", name] = [*later.results["AUSDT", name][1:], [4, "7", "7", "7", "7.4"]]
        later.results["AUSDT", name][1][4] = "7.35"
    assert not _compared(a_scan(), later)[1], "the candle that was open may differ"


def test_the_verdict_finds_what_differs() -> None:
    assert len(_compared(a_scan(), a_scan("7.10"))[1]) == 4, "string for string"
    other = a_scan()
    other.results["AUSDT", "mark price"] = {"a": 1.0, "b": ["x"]}
    other.results["AUSDT", "open interest"] = []
    del other.results["AUSDT", "spot price"]
    other.failures["AUSDT", "spot price"] = RequestRejected("no such symbol", status=400, code=-1121)
    differences = _compared(a_scan(), other)[1]
    assert [text.split(":")[0] for text in differences] == [
        "AUSDT spot price",
        "AUSDT open interest",
        "AUSDT mark price",
    ]
