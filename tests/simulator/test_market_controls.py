"""Changing the market, the clock and the weight from outside."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.simulator import ApiError, SimulatedExchange, before_turn

from .plain import rest, stream, until


@pytest.fixture
def own() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=2, in_thread=True) as ex:
        yield ex


def test_a_trade_on_request(own: SimulatedExchange) -> None:
    own.silence("ETHUSDT")
    name = "ethusdt@aggTrade"
    with stream(own, "/market/stream", name) as client:
        until(lambda: client.is_silent(0.4))
        own.trade("ETHUSDT", qty=4321)
        trade = client.data(name)
        assert int(trade["q"].replace(".", "")) == 4321
        newest = own.rest("/fapi/v1/aggTrades", symbol="ETHUSDT", limit=1)[0]
        assert (newest["a"], newest["q"]) == (trade["a"], trade["q"])
        assert client.is_silent(0.4)
        own.silence("ETHUSDT", on=False)
        client.data(name)


def test_delisting_and_listing(own: SimulatedExchange) -> None:
    name = "ethusdt@aggTrade"
    with stream(own, "/market/stream", name, "btcusdt@aggTrade") as client, rest(own) as http:
        client.data(name)
        own.delist("ETHUSDT")
        assert own.trading() == ("BTCUSDT",)
        assert http.code("/fapi/v1/klines", symbol="ETHUSDT", interval="1h") == (400, -1121)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == [name, "btcusdt@aggTrade"]
        assert {client.receive()["stream"] for _ in range(10)} == {"btcusdt@aggTrade"}
        own.list_symbol("NEWUSDT", price=1.25)
        assert own.trading() == ("BTCUSDT", "NEWUSDT")
        client.subscribe("newusdt@aggTrade")
        own.trade("NEWUSDT")
        assert client.data("newusdt@aggTrade")["s"] == "NEWUSDT"
        rows = http.get("/fapi/v1/klines", symbol="NEWUSDT", interval="1h", limit=500).json()
        assert len(rows) == 1
        statuses = {item["symbol"]: item["status"] for item in http.get("/fapi/v1/exchangeInfo").json()["symbols"]}
        assert statuses["NEWUSDT"] == "TRADING"
        assert statuses.get("ETHUSDT") != "TRADING"


def test_a_halt_leaves_a_hole_in_the_history(own: SimulatedExchange) -> None:
    def opens(**window: int) -> list[int]:
        return [row[0] for row in own.rest("/fapi/v1/klines", symbol="ETHUSDT", interval="15m", **window)]

    quarter = 900_000
    before = opens(limit=60)
    own.halt_history("ETHUSDT", before[20] - 1, before[30] + quarter)
    after = opens(limit=49)
    assert after[-49:] == before[:20][-20:] + before[31:]
    assert opens(startTime=before[18], limit=4) == [before[18], before[19], before[31], before[32]]
    assert opens(startTime=before[22], endTime=before[25]) == []
    with pytest.raises(ValueError, match="halt"):
        own.halt_history("ETHUSDT", own.now(), own.now() + quarter)


def test_unknown_symbols_are_refused(own: SimulatedExchange) -> None:
    for act in (own.trade, own.delist, own.silence):
        with pytest.raises(ValueError, match="NOSUCHUSDT"):
            act("NOSUCHUSDT")


def test_another_program_spends_weight(own: SimulatedExchange) -> None:
    with rest(own) as client:
        assert own.spend_weight(100) >= 100
        assert int(client.get("/fapi/v1/time").headers["X-MBX-USED-WEIGHT-1M"]) >= 101
        own.spend_weight(2400)
        assert client.get("/fapi/v1/time").status_code == 429
        own.spend_weight(6001, "spot")
        assert client.get("/api/v3/time").status_code == 429
    with pytest.raises(ValueError, match="host"):
        own.spend_weight(1, "futures")  # type: ignore[arg-type]


def test_the_clock_jumps_forward() -> None:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], in_thread=True, start=before_turn("1h", 1800)) as ex:
        name = "btcusdt@aggTrade"
        with stream(ex, "/market/stream", name) as client, rest(ex) as http:
            before = client.data(name)
            ex.jump_clock(120_000)
            assert http.get("/fapi/v1/time").json()["serverTime"] > before["E"] + 119_000
            until(lambda: ex.stats().behind_ms < 500)
            after = client.wait_for(lambda message: message["data"]["E"] > before["E"] + 119_000)["data"]
            # The skipped time has passed in the market, but nothing of it was sent.
            assert after["a"] > before["a"] + 500
            rows = http.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=3).json()
            assert rows[-1][0] == after["T"] - after["T"] % 60_000
            assert all(row[8] > 0 for row in rows[:-1])


def test_the_clock_jumps_back() -> None:
    with SimulatedExchange(["BTCUSDT"], in_thread=True) as ex:
        name = "btcusdt@aggTrade"
        with stream(ex, "/market/stream", name) as client:
            client.data(name)
            then = ex.now()
            assert ex.jump_clock(-500) < then
            until(lambda: client.is_silent(0.2))
            assert client.data(name)["E"] >= then - 50


def test_a_delisted_symbols_truth_is_an_error(own: SimulatedExchange) -> None:
    own.delist("BTCUSDT")
    with pytest.raises(ApiError):
        own.rest("/fapi/v1/depth", symbol="BTCUSDT")


def test_ids_that_begin_again(own: SimulatedExchange) -> None:
    book, changes, trades = "btcusdt@depth20@100ms", "btcusdt@depth@100ms", "btcusdt@aggTrade"
    with stream(own, "/public/stream", book, changes) as public, stream(own, "/market/stream", trades) as market:
        before = public.data(book)["u"], public.data(changes)["u"], market.data(trades)["a"]
        rows = own.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5)[:-1]
        own.restart_ids("BTCUSDT")
        for number, name, client, field in (
            (before[0], book, public, "u"),
            (before[1], changes, public, "u"),
            (before[2], trades, market, "a"),
        ):
            until(lambda: client.data(name)[field] < number / 1_000)  # noqa: B023
        first, second = public.data(changes), public.data(changes)
        assert second["pu"] == first["u"] < second["U"] <= second["u"]
        shown = own.rest("/fapi/v1/depth", symbol="BTCUSDT", limit=5)
        assert second["u"] <= shown["lastUpdateId"] < before[0] / 1_000
        newest = own.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1000)
        assert newest[-1]["a"] < before[2] / 1_000
        assert [trade["a"] for trade in newest] == list(range(newest[0]["a"], newest[-1]["a"] + 1))
        assert own.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5)[:-1] == rows
        other = own.rest("/fapi/v1/depth", symbol="ETHUSDT", limit=5)["lastUpdateId"]
        assert other > 1_000_000, "another symbol goes on counting"


def test_an_open_candle_that_is_recomputed() -> None:
    with SimulatedExchange(["ETHUSDT"], seed=2, in_thread=True, start=before_turn("1m", 50.0), activity=1e-6) as own:

        def row(interval: str) -> list[Any]:
            found: list[Any] = own.rest("/fapi/v1/klines", symbol="ETHUSDT", interval=interval, limit=1)[0]
            return found

        for _ in range(30):
            own.trade("ETHUSDT")
        name = "ethusdt@kline_1h"
        with stream(own, "/market/stream", name) as client:
            minute, hour = row("1m"), row("1h")
            own.recompute_candle("ETHUSDT")
            assert row("1m")[8] == minute[8] // 10
            assert hour[8] - row("1h")[8] == minute[8] - minute[8] // 10
            assert row("1h")[:5] == hour[:5]
            left = row("1h")[8]
            own.trade("ETHUSDT")
            assert client.data(name)["k"]["n"] == left + 1
        while row("1m")[8] >= 10:
            own.recompute_candle("ETHUSDT")
        with pytest.raises(ValueError, match="fewer than ten trades"):
            own.recompute_candle("ETHUSDT")


def test_a_halt_without_candles() -> None:
    with SimulatedExchange(["ETHUSDT"], seed=2, in_thread=True, start=before_turn("1m", 0.5)) as own:

        def opens(limit: int) -> list[int]:
            return [row[0] for row in own.rest("/fapi/v1/klines", symbol="ETHUSDT", interval="1m", limit=limit)]

        before = opens(5)
        turn = before[-1] + 60_000
        own.set_status("ETHUSDT", "TRADING_HALT", candles=False)
        until(lambda: own.now() > turn + 300)
        assert opens(5) == before, "as many as before, and none of the halt"
        own.set_status("ETHUSDT", "TRADING")
        until(lambda: opens(5) == [*before[1:], turn])
