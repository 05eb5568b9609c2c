"""Recordings: their form, their content, and what can go wrong."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ats_sync import Config, InvalidArgument
from ats_sync.cli import main
from ats_sync.cli.record import Recorder, check_stream
from ats_sync.simulator import SimulatedExchange

LINE = re.compile(r"(\d{10}\.\d+): (.*)")
ANSWER = re.compile(r"(http\S+) -> (\d{10}\.\d+): (.*)")


def frames(directory: Path) -> list[tuple[float, dict[str, Any]]]:
    """Return the frames of ``stream.txt`` after its first line, parsed as any reader would."""
    lines = (directory / "stream.txt").read_text(encoding="utf-8").splitlines()[1:]
    found = [LINE.fullmatch(line) for line in lines]
    assert all(found)
    return [(float(each[1]), json.loads(each[2])) for each in found if each]


def answers(path: Path) -> dict[str, Any]:
    """Return the bodies by URL."""
    found = [ANSWER.fullmatch(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(found)
    return {each[1]: json.loads(each[3]) for each in found if each}


def kind(frame: dict[str, Any]) -> str:
    return str(frame["stream"]).partition("@")[2]


def test_a_recording_has_the_form_of_the_real_one_and_matches_the_exchange(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "new" / "recording"
    chinese = next(symbol for symbol in at_exchange.symbols if not symbol.isascii())
    assert main(["record", str(directory), "--seconds", "2.5", "--symbols", f"btcusdt,{chinese}"]) == 0
    assert sorted(path.name for path in directory.iterdir()) == ["exchange_info.txt", "rest.txt", "stream.txt"]

    first = (directory / "stream.txt").read_text(encoding="utf-8").partition("\n")[0]
    market, public, arrow, opened = first.split(" ")
    assert arrow == "<->"
    assert market.startswith(f"{at_exchange.fstream_url}/market/stream?streams=btcusdt@aggTrade/")
    assert public.startswith(f"{at_exchange.fstream_url}/public/stream?streams=btcusdt@depth@100ms/")
    received = frames(directory)
    times = [moment for moment, _ in received]
    assert float(opened) <= times[0]
    assert times[-1] - times[0] <= 3.5
    kinds = {kind(frame) for _, frame in received}
    assert kinds == {"aggTrade", "kline_1m", "depth@100ms", "depth20@100ms", "bookTicker", "markPrice@1s"}
    assert {frame["data"]["s"] for _, frame in received} == {"BTCUSDT", chinese}

    trades = [frame["data"] for _, frame in received if frame["stream"] == "btcusdt@aggTrade"]
    truth = at_exchange.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=trades[0]["a"], limit=len(trades))
    assert [{key: each[key] for key in ("a", "p", "q", "f", "l", "T", "m")} for each in trades] == [
        {key: each[key] for key in ("a", "p", "q", "f", "l", "T", "m")} for each in truth
    ]

    base = at_exchange.fapi_url
    rest = answers(directory / "rest.txt")
    assert len(rest[f"{base}/fapi/v1/klines?symbol=BTCUSDT&interval=1m&limit=499"]) == 499
    assert rest[f"{base}/fapi/v1/depth?symbol=BTCUSDT&limit=1000"]["lastUpdateId"] > 0
    assert abs(rest[f"{base}/fapi/v1/time"]["serverTime"] / 1000 - times[0]) < 60
    assert any(url.startswith(f"{base}/fapi/v1/aggTrades?symbol=%E5") for url in rest)
    assert f"{at_exchange.spot_url}/api/v3/ticker/price" in rest
    (info,) = answers(directory / "exchange_info.txt").values()
    assert chinese in {each["symbol"] for each in info["symbols"]}
    assert f"{len(received)} frames" in capsys.readouterr().out


def test_an_older_recording_is_never_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rest.txt").write_text("precious")
    assert main(["record", str(tmp_path)]) == 1
    assert "already contains a recording (rest.txt)" in capsys.readouterr().err
    assert (tmp_path / "rest.txt").read_text() == "precious"


def test_an_unknown_symbol_is_named_and_nothing_is_written(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["record", str(tmp_path / "a"), "--symbols", "BTCUSDT,NOPEUSDT"]) == 1
    assert "no perpetual NOPEUSDT" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_cannot_be_made_exits_1(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main(["record", str(tmp_path / "file" / "a"), "--seconds", "1"]) == 1
    assert "Not a directory" in capsys.readouterr().err


def test_silence_is_a_failure_that_names_the_symbols(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_exchange.drop_stream("ethusdt@aggTrade", everywhere=True)
    arguments = ["--seconds", "1", "--symbols", "ETHUSDT", "--streams", "aggTrade"]
    assert main(["record", str(tmp_path / "a"), *arguments]) == 1
    assert "no frame came in 1 s; are ETHUSDT traded there?" in capsys.readouterr().err


def test_too_short_for_its_answers_is_a_failure(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_exchange.latency(0.4)
    assert main(["record", str(tmp_path / "a"), "--seconds", "1", "--symbols", "BTCUSDT"]) == 1
    assert re.search(r"only [1-3] of 7 REST answers came in 1 s", capsys.readouterr().err)
    assert frames(tmp_path / "a")


def test_a_connection_that_breaks_ends_the_recording_and_keeps_what_came(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_exchange.age_limit(1.5)
    try:
        assert main(["record", str(tmp_path / "a"), "--seconds", "30", "--symbols", "BTCUSDT"]) == 1
    finally:
        at_exchange.age_limit(None)
    assert "the exchange closed the stream" in capsys.readouterr().err
    assert frames(tmp_path / "a")


def test_a_refused_stream_ends_the_recording(
    at_exchange: SimulatedExchange, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    at_exchange.handshake(451)
    assert main(["record", str(tmp_path / "a"), "--seconds", "30", "--symbols", "BTCUSDT"]) == 1
    assert "451" in capsys.readouterr().err


def test_books_go_to_their_own_route_and_a_url_has_at_most_200_streams() -> None:
    symbols = [f"S{number}USDT" for number in range(150)]
    streams = ["aggTrade", "kline_1h", "bookTicker", "!bookTicker", "!forceOrder@arr"]
    urls = Recorder(Config(fstream_base="wss://host"), symbols, streams).urls
    named = {url: url.partition("?streams=")[2].split("/") for url in urls}
    routes = ["market", "market", "public"]
    assert [url.partition("/stream?")[0] for url in urls] == [f"wss://host/{route}" for route in routes]
    assert [len(names) for names in named.values()] == [200, 101, 151]
    for url, names in named.items():
        assert all(("ookTicker" in name) == ("/public/" in url) for name in names)
    assert sum(("!forceOrder@arr" in names) for names in named.values()) == 1


@pytest.mark.parametrize(
    "good", ["aggTrade", "kline_1M", "depth", "depth20@100ms", "markPrice@1s", "!markPrice@arr@1s", "!bookTicker"]
)
def test_streams_that_exist(good: str) -> None:
    assert check_stream(good) == good


@pytest.mark.parametrize("bad", ["", "aggtrade", "kline_1x", "depth15", "depth20@50ms", "!aggTrade", "kline_1m/x"])
def test_streams_that_would_be_silent_for_ever(bad: str) -> None:
    with pytest.raises(InvalidArgument, match="no stream"):
        check_stream(bad)
