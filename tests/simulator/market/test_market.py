"""Determinism, the built-in symbols, and shapes against recordings of the real exchange."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ats_sync.simulator.market import Market

from .driving import MINUTE, START, data, run

RECORDINGS = Path(__file__).parents[4] / "shared" / "recordings" / "binance-usdm-2021-07-22"
ALL_STREAMS = {"!markPrice@arr@1s", "!ticker@arr", "!bookTicker", "!forceOrder@arr"}


def streams(market: Market) -> set[str]:
    kinds = ("kline_1m", "kline_1h", "aggTrade", "depth20@100ms", "depth@100ms", "bookTicker", "markPrice")
    return {f"{s.lower()}@{kind}" for s in market.symbols for kind in kinds} | ALL_STREAMS


def test_steps_do_not_matter() -> None:
    steps = (70, 20, 25_000)
    markets = [Market(["BTCUSDT", "MONUSDT", "BTCDOMUSDT"], seed=11, start=START) for _ in steps]
    told = []
    for market, ms in zip(markets, steps, strict=True):
        market.subscribed = streams(market)
        told.append([(f.stream, f.event_time, f.payload) for f in run(market, START + 100_000, ms)])
    for other, step in zip(told, steps, strict=True):
        assert other == told[0], f"steps of {step} ms"
    for symbol in markets[0].symbols:
        for answer in (
            lambda m, s=symbol: m.klines(s, "1m"),
            lambda m, s=symbol: m.klines(s, "1d"),
            lambda m, s=symbol: m.depth(s, 1000),
            lambda m, s=symbol: m.agg_trades(s, limit=1000),
            lambda m, s=symbol: m.ticker_24hr(s),
            lambda m, s=symbol: m.premium_index(s),
        ):
            first, *others = map(answer, markets)
            assert others == [first] * len(others)


def test_the_market_does_not_depend_on_subscriptions() -> None:
    heard, unheard = (Market(["BTCUSDT", "DENTUSDT"], start=START) for _ in range(2))
    heard.subscribed = streams(heard)
    heard.spot_subscribed = {"btcusdt@kline_1m"}
    for market in (heard, unheard):
        run(market, START + MINUTE)
    for symbol in heard.symbols:
        assert heard.klines(symbol, "1m") == unheard.klines(symbol, "1m")
        assert heard.agg_trades(symbol) == unheard.agg_trades(symbol)
        assert heard.depth(symbol) == unheard.depth(symbol)


def test_seeds_matter() -> None:
    one, two = (Market(["BTCUSDT"], seed=seed, start=START) for seed in (1, 2))
    assert one.klines("BTCUSDT", "1h") != two.klines("BTCUSDT", "1h")


def test_the_first_twelve_symbols_cover_the_cases() -> None:
    market = Market(12, start=START)
    assert {"BTCUSDT", "ETHUSDT", "1000PEPEUSDT"} < set(market.symbols)
    assert any(not symbol.isascii() for symbol in market.symbols)
    assert "1000PEPEUSDT" not in market.spot_symbols
    assert "PEPEUSDT" in market.spot_symbols
    assert any(len(market.klines(s, "1h", limit=500)) < 20 for s in market.symbols)
    quiet = market.klines("BTCDOMUSDT", "1m", limit=1000)
    assert sum(not r[8] for r in quiet) > 500
    assert sum(not s.isascii() for s in Market(20, start=START).symbols) == 2


def test_symbols_by_number_and_by_name() -> None:
    assert len(Market(200, start=START).symbols) == 200
    many = Market(260, start=START)
    assert len(set(many.symbols)) == 260
    assert many.klines(many.symbols[-1], "1h", limit=3)[-1][8] > 0
    assert Market(["XYZUSDT", "BTCUSDT"], start=START).symbols == ("XYZUSDT", "BTCUSDT")
    with pytest.raises(ValueError, match="twice"):
        Market(["BTCUSDT", "BTCUSDT"], start=START)
    with pytest.raises(ValueError, match="at least one"):
        Market(0, start=START)


def test_decimals_are_those_of_the_exchange_info() -> None:
    market = Market(30, start=START)
    market.subscribed = streams(market)
    run(market, START + 2000)
    for info in market.exchange_info()["symbols"]:
        symbol = info["symbol"]
        places, qty_places = info["pricePrecision"], info["quantityPrecision"]
        filters = {f["filterType"]: f for f in info["filters"]}
        tick = round(float(filters["PRICE_FILTER"]["tickSize"]) * 10**places)
        price = re.compile(rf"\d+\.\d{{{places}}}")
        qty = re.compile(rf"\d+\.\d{{{qty_places}}}" if qty_places else r"\d+")
        for r in market.klines(symbol, "1h", limit=50):
            assert all(price.fullmatch(r[i]) for i in (1, 2, 3, 4))
            assert all(int(r[i].replace(".", "")) % tick == 0 for i in (1, 2, 3, 4))
            if r[8]:
                assert qty.fullmatch(r[5])
                assert re.fullmatch(rf"\d+\.\d{{{places + qty_places}}}", r[7])
        depth = market.depth(symbol, 50)
        assert all(price.fullmatch(p) and qty.fullmatch(q) for p, q in depth["bids"] + depth["asks"])


def recorded_frames() -> dict[str, dict[str, Any]]:
    """Return one recorded payload of each kind of event."""
    found: dict[str, dict[str, Any]] = {}
    for line in (RECORDINGS / "stream.txt").read_text().splitlines()[1:]:
        event = json.loads(line.split(": ", 1)[1])["data"]
        found.setdefault(event["e"], event)
    return found


def form(value: Any) -> Any:
    """Return the shape of a JSON value: keys, and the types of their values, where decimals are distinguished from
    other texts."""
    if isinstance(value, dict):
        return {key: form(item) for key, item in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    if isinstance(value, str):
        return "decimal" if re.fullmatch(r"-?\d+(\.\d+)?", value) else "text"
    return type(value).__name__


def covers(ours: Any, theirs: Any) -> bool:
    """Return whether ``ours`` has every key of ``theirs``, with the same kind of value."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(k in ours and covers(ours[k], v) for k, v in theirs.items())
    if isinstance(theirs, list):
        return isinstance(ours, list) and (not ours or not theirs or covers(ours[0], theirs[0]))
    return bool(ours == theirs)


needs_recordings = pytest.mark.skipif(
    not RECORDINGS.exists(), reason="the recordings of the real exchange are not beside this checkout"
)


@needs_recordings
@pytest.mark.parametrize("seed", [1, 2])
def test_frames_have_the_recorded_shapes(seed: int) -> None:
    market = Market(["SUSHIUSDT"], seed=seed, start=START)
    market.subscribed = {f"sushiusdt@{k}" for k in ("aggTrade", "kline_1m", "depth@100ms", "bookTicker")}
    ours: dict[str, Any] = {}
    for frame in run(market, START + 20_000):
        event = json.loads(frame.payload)
        ours.setdefault(event["e"], event)
    recorded = recorded_frames()
    assert set(ours) == set(recorded) == {"aggTrade", "kline", "depthUpdate", "bookTicker"}
    for kind, event in recorded.items():
        assert covers(form(ours[kind]), form(event)), kind
    assert "st" not in ours["kline"]
    for kind in ("aggTrade", "depthUpdate", "bookTicker"):
        assert ours[kind]["st"] == 1
        assert ours[kind]["ps"] == "SUSHIUSDT"


@needs_recordings
def test_rest_answers_have_the_recorded_shapes() -> None:
    market = Market(["BTCUSDT", "ETHUSDT"], start=START)
    line = (RECORDINGS / "rest.txt").read_text().splitlines()
    depth = json.loads(next(x for x in line if "{" in x).split(": ", 1)[1])
    assert covers(form(market.depth("BTCUSDT", 1000)), form(depth))
    text = (RECORDINGS / "exchange_info.txt").read_text()
    info, _ = json.JSONDecoder().raw_decode(text, text.index("{"))
    ours = market.exchange_info()
    theirs = {s["symbol"]: s for s in info["symbols"]}
    assert covers(form({**ours, "symbols": [], "assets": []}), form({**info, "symbols": [], "assets": []}))
    for contract in ours["symbols"]:
        other = theirs[contract["symbol"]]
        assert covers(form({**contract, "filters": []}), form({**other, "filters": []}))
        kinds = {f["filterType"]: f for f in contract["filters"]}
        assert all(covers(form(kinds[f["filterType"]]), form(f)) for f in other["filters"])


def test_payloads_are_json_and_carry_their_event_time() -> None:
    market = Market(["币安人生USDT", "BTCUSDT"], start=START)
    market.subscribed = streams(market)
    frames = run(market, START + 6000)
    assert {f.stream for f in frames} >= {"币安人生usdt@kline_1m", "币安人生usdt@depth20@100ms", "!bookTicker"}
    for frame in frames:
        payload = json.loads(frame.payload)
        for event in payload if isinstance(payload, list) else [payload]:
            assert event["E"] == frame.event_time
    assert data(frames, "币安人生usdt@aggTrade")[0]["s"] == "币安人生USDT"
