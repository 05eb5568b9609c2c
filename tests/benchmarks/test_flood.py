from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

import pytest

from ats_sync.simulator import SimulatedExchange
from ats_sync.simulator.market import Frame

from ..simulator.plain import Stream, stream, until
from .flood import EXTENSION, Round, Source, flood

NAMES = ("btcusdt@kline_1h", "btcusdt@kline_4h", "btcusdt@aggTrade", "ethusdt@kline_1h", "ethusdt@aggTrade")
BOOKS = ("btcusdt@depth20@100ms", "ethusdt@depth@100ms")
MARKS = "!markPrice@arr@1s"


def messages(data: bytes) -> list[Any]:
    """Return the messages of server frames of at most 64 kB."""
    found = []
    while data:
        size, begin = data[1], 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4], "big"), 4
        found.append(json.loads(data[begin : begin + size]))
        data = data[begin + size :]
    return found


def test_numbers_may_grow_by_a_digit() -> None:
    frame = Frame("a@aggTrade", 1, '{"e":"aggTrade","E":1,"a":97,"p":"5%","f":998,"l":998,"T":1}')
    made = Round([Source(0, True, frame)], 1, {"aggTrade": 1.0}, 1_700_000_000_000, random.Random(1))
    seen = []
    for turn in range(5):
        data, sizes = made.parts[0].render(0, 1, turn, 1_700_000_000_000 + turn)
        assert len(data) == sum(sizes)
        [message] = messages(data)
        seen.append(message["data"])
    assert [trade["a"] for trade in seen] == [98, 99, 100, 101, 102]
    assert [trade["l"] for trade in seen] == [999, 1000, 1001, 1002, 1003]
    assert [trade["E"] - 1_700_000_000_000 for trade in seen] == [0, 1, 2, 3, 4]
    assert seen[0]["p"] == "5%"


@pytest.mark.parametrize(("tls", "rate"), [(False, 2000), (True, 2000), (False, None)])
def test_a_flood_is_a_valid_market(tls: bool, rate: float | None) -> None:
    with (
        SimulatedExchange(["BTCUSDT", "ETHUSDT"], tls=tls, in_thread=True, extensions=EXTENSION) as ex,
        stream(ex, "/market/stream?streams=" + "/".join((*NAMES, MARKS))) as market,
        stream(ex, "/public/stream?streams=" + "/".join(BOOKS)) as public,
    ):
        last: dict[str, Any] = {}
        for client, names in ((market, (*NAMES, MARKS)), (public, BOOKS)):
            while not set(names) <= set(last):
                message = client.receive()
                last[message["stream"]] = message["data"]
        begun = ex.now()
        results: list[Any] = []
        # Both are read while it runs; otherwise the sockets would fill.
        flooding = threading.Thread(target=lambda: results.append(flood(ex, None, rate, 0.5)))
        flooding.start()
        counts = [check(client, last, ex) for client in (market, public)] if rate else []
        flooding.join(30)
        [result] = results
        assert result.frames == sum(result.by_connection.values()) == sum(result.by_kind.values())
        assert result.by_kind["kline"] > result.by_kind["aggTrade"] > result.by_kind["markPrice"] > 0
        assert result.frames > 300
        if rate is not None:
            assert result.frames + result.held_back <= rate * result.seconds + 1
            assert sum(counts) <= result.frames
        assert ex.now() > begun + 500


def check(client: Stream, last: dict[str, Any], ex: SimulatedExchange) -> int:
    """Read until 150 messages of the flood have passed every test of continuity."""
    count = 0
    trades: dict[str, int] = {}
    while count < 150:
        message = client.receive()
        name, data = message["stream"], message["data"]
        before = last[name]
        last[name] = data
        if name == MARKS:
            assert {mark["s"] for mark in data if mark["st"] == 1} == {"BTCUSDT", "ETHUSDT"}
        elif "@kline" in name:
            assert data["k"]["L"] >= max(before["k"]["L"], trades.get(data["s"], 0))
            assert data["k"]["t"] >= before["k"]["t"]
            assert data["k"]["T"] > data["E"]
        elif name.endswith("@aggTrade"):
            assert data["a"] == before["a"] + 1
            assert data["f"] == before["l"] + 1
            trades[data["s"]] = data["l"]
        else:
            assert data["pu"] == before["u"]
            assert data["U"] == data["pu"] + 1 <= data["u"] or data["U"] > before["u"]
        if name != MARKS:
            assert before["E"] <= data["E"] <= ex.now()
        count += 1
    return count


@pytest.fixture(scope="module")
def ex() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(["BTCUSDT"], seed=3, extensions=EXTENSION) as exchange:
        yield exchange


def test_nothing_to_send_is_an_error(ex: SimulatedExchange) -> None:
    with pytest.raises(ValueError, match="nothing to send"):
        flood(ex, "market", 100, 0.1)
    with stream(ex, "/market/stream", "btcusdt@aggTrade") as client:
        client.data("btcusdt@aggTrade")
        with pytest.raises(ValueError, match="mix"):
            flood(ex, "market", 100, 0.1, mix={"candles": 1.0})
        with pytest.raises(ValueError, match="nothing to send"):
            flood(ex, "market", 100, 0.1, mix={"depth": 1})
        sent = [flood(ex, "market", 500, 0.2, mix={"aggTrade": 1}) for _ in range(2)]
        assert all(result.by_kind == {"aggTrade": result.frames} for result in sent)
        ids = [client.data("btcusdt@aggTrade")["a"] for _ in range(sum(result.frames for result in sent))]
        assert ids == list(range(ids[-1] - len(ids) + 1, ids[-1] + 1))
        # Afterwards the market stays silent there.
        until(lambda: client.is_silent(0.3))


def test_candles_that_turn_in_a_flood_are_closed_before_the_next_begin() -> None:
    names = ("btcusdt@kline_1m", "btcusdt@kline_15m", "btcusdt@kline_1h", "btcusdt@aggTrade")
    with (
        SimulatedExchange(
            ["BTCUSDT"], start=datetime(2026, 11, 3, 10, 14, 57), in_thread=True, extensions=EXTENSION
        ) as ex,
        stream(ex, "/market/stream?streams=" + "/".join(names)) as market,
    ):
        waiting = set(names)
        while waiting:
            waiting.discard(market.receive()["stream"])
        results: list[Any] = []
        flooding = threading.Thread(target=lambda: results.append(flood(ex, "market", 500, 6.0)))
        flooding.start()
        turn = int(datetime(2026, 11, 3, 10, 15, tzinfo=timezone.utc).timestamp() * 1000)
        seen: dict[str, list[Any]] = {name: [] for name in names}
        while not all(seen[name] and seen[name][-1]["k"]["t"] == turn for name in names[:2]):
            message = market.receive()
            seen[message["stream"]].append(message["data"])
        flooding.join(30)
        for name in names[:2]:
            assert [event["k"]["t"] for event in seen[name] if event["k"]["x"]] == [seen[name][0]["k"]["t"]]
            last, first = seen[name][-2:]
            assert last["k"]["x"]
            assert last["k"]["T"] == turn - 1
            assert not first["k"]["x"]
            before = seen[name][-3]["k"]
            assert last["k"]["L"] - before["L"] == last["k"]["n"] - before["n"] >= 0
        assert not any(event["k"]["x"] for event in seen[names[2]])
        # What has arrived is what the flood reports as sent, including the last events of the two candles.
        count = sum(map(len, seen.values()))
        [result] = results
        while count < result.frames + result.extra:
            market.receive()
            count += 1
        assert market.is_silent(0.3)
        assert result.extra >= 2
