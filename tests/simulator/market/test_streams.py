"""What the streams say is what REST says."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from ats_sync.simulator.market import Market

from .driving import DAY, HOUR, MINUTE, START, data, row, run

INTERVALS = ("1m", "3m", "15m", "1h", "4h", "1d", "1w")
NEAR_MIDNIGHT = START - START % DAY + DAY - 90_500


@pytest.mark.parametrize("seed", [1, 2])
def test_klines_across_a_close_of_all_intervals(seed: int) -> None:
    market = Market(["BTCUSDT", "DENTUSDT", "BTCDOMUSDT"], seed=seed, start=NEAR_MIDNIGHT)
    names = {f"{s.lower()}@kline_{i}" for s in market.symbols for i in INTERVALS}
    market.subscribed = set(names)
    frames = run(market, NEAR_MIDNIGHT + 4 * MINUTE)
    assert [f.event_time for f in frames] == sorted(f.event_time for f in frames)
    finals = 0
    for symbol in market.symbols:
        for interval in INTERVALS:
            events = data(frames, f"{symbol.lower()}@kline_{interval}")
            latest: dict[int, dict[str, Any]] = {}
            for event in events:
                k = event["k"]
                assert k["L"] - k["f"] + 1 == k["n"]
                assert event["s"] == k["s"] == symbol
                assert k["i"] == interval
                old = latest.get(k["t"])
                assert old is None or not old["k"]["x"]
                assert old is None or old["k"]["n"] < k["n"] or k["x"]
                latest[k["t"]] = event
            for opened, event in latest.items():
                rest = market.klines(symbol, interval, start=opened, limit=1)[0]
                if event["k"]["x"]:
                    finals += 1
                    assert row(event) == rest
            closed = [t for t, e in latest.items() if e["k"]["T"] < market.now - 2500]
            assert all(latest[t]["k"]["x"] for t in closed)
    assert finals > 20


def test_open_candles_are_sent_after_250_ms() -> None:
    market = Market(["BTCUSDT"], start=START)
    market.subscribed = {"btcusdt@kline_1m", "btcusdt@kline_4h"}
    frames = run(market, START + 20_000, 50)
    for interval in ("1m", "4h"):
        events = data(frames, f"btcusdt@kline_{interval}")
        times = [e["E"] for e in events if not e["k"]["x"]]
        assert len(times) > 70
        assert min(b - a for a, b in pairwise(times)) >= 250
    market.silence("BTCUSDT")
    last = data(frames + run(market, market.now + 300), "btcusdt@kline_1m")[-1]
    assert row(last) == market.klines("BTCUSDT", "1m", limit=1)[0]


def test_finals_come_with_the_next_trade_or_after_two_seconds() -> None:
    market = Market(["BTCUSDT", "ETHUSDT"], start=START, activity=0)
    market.subscribed = {f"{s}@kline_{i}" for s in ("btcusdt", "ethusdt") for i in ("1m", "15m")}
    turn = START - START % MINUTE + MINUTE
    market.advance(turn - 5000)
    for symbol in ("BTCUSDT", "ETHUSDT"):
        market.trade(symbol, ticks=3)
    frames = run(market, turn + 700)
    assert not any(e["k"]["x"] for e in data(frames, "btcusdt@kline_1m"))
    frames = market.trade("BTCUSDT", ticks=-1)
    final = data(frames, "btcusdt@kline_1m")
    assert [e["k"]["x"] for e in final] == [True]
    assert final[0]["E"] == turn + 700
    assert final[0]["k"]["T"] == turn - 1
    assert not any(e["k"]["x"] for e in data(frames, "btcusdt@kline_15m"))
    frames = run(market, turn + 1900)
    opened = data(frames, "btcusdt@kline_1m")
    assert [(e["k"]["t"], e["k"]["x"], e["k"]["n"]) for e in opened] == [(turn, False, 1)]
    assert opened[0]["E"] >= final[0]["E"] + 250
    assert data(frames, "ethusdt@kline_1m") == []
    frames = run(market, turn + 3000)
    late = data(frames, "ethusdt@kline_1m")
    assert [(e["k"]["t"], e["k"]["x"]) for e in late] == [(turn - MINUTE, True)]
    assert 2000 <= late[0]["E"] - turn <= 2010
    assert row(late[0]) == market.klines("ETHUSDT", "1m", start=turn - MINUTE, limit=1)[0]
    # A minute without a trade is not streamed, and REST shows it flat.
    frames = run(market, turn + 3 * MINUTE)
    assert data(frames, "ethusdt@kline_1m") == []
    flat = market.klines("ETHUSDT", "1m", limit=2)
    assert all(r[1] == r[2] == r[3] == r[4] == late[0]["k"]["c"] for r in flat)
    assert all((r[5], r[7], r[8], r[9], r[10]) == ("0", "0", 0, "0", "0") for r in flat)


def test_a_burst_may_stay_unreported_as_in_the_recordings() -> None:
    market = Market(["BTCUSDT"], start=START, activity=0, trailing_klines=False)
    market.subscribed = {"btcusdt@kline_1m"}
    assert len(market.trade("BTCUSDT")) == 1
    market.advance(START + 100)
    assert market.trade("BTCUSDT") == []
    assert market.advance(START + 5000) == []
    frames = market.trade("BTCUSDT")
    assert [e["k"]["n"] for e in data(frames, "btcusdt@kline_1m")] == [3 + _before(market)]


def _before(market: Market) -> int:
    opened = START - START % MINUTE
    return sum(t["l"] - t["f"] + 1 for t in market.agg_trades("BTCUSDT", start=opened, end=START - 1, limit=1000))


def test_the_first_minute_is_the_sum_of_its_trades() -> None:
    market = Market(["ETHUSDT", "CELRUSDT"], start=START)
    opened = START - START % MINUTE
    for symbol in market.symbols:
        market.advance(market.now + 3000)
        first = market.klines(symbol, "1m", start=opened, limit=1)[0]
        trades = market.agg_trades(symbol, start=opened, limit=1000)
        assert sum(t["l"] - t["f"] + 1 for t in trades) == first[8] > 0
        assert first[1] == trades[0]["p"]
        assert first[4] == trades[-1]["p"]


def test_trades_have_no_hole_and_equal_rest() -> None:
    market = Market(["SOLUSDT", "DENTUSDT"], start=START)
    market.subscribed = {"solusdt@aggTrade", "dentusdt@aggTrade"}
    frames = run(market, START + MINUTE)
    run(market, market.now + 1)
    for symbol in market.symbols:
        events = data(frames, f"{symbol.lower()}@aggTrade")
        assert len(events) > 5
        rest = market.agg_trades(symbol, from_id=events[0]["a"], limit=1000)
        for event, other in zip(events, rest, strict=False):
            assert {k: event[k] for k in ("a", "p", "q", "nq", "f", "l", "T", "m")} == other
            assert 0 <= event["E"] - event["T"] <= 170
        for before, after in pairwise(events):
            assert after["a"] == before["a"] + 1
            assert after["f"] == before["l"] + 1
            assert after["T"] >= before["T"]
            assert after["E"] >= before["E"]


def test_older_trades_lead_up_to_the_live_ones() -> None:
    market = Market(["BTCUSDT", "DENTUSDT", "MONUSDT"], start=START)
    run(market, START + 10_000)
    for symbol in market.symbols:
        newest = market.agg_trades(symbol, limit=1000)
        older = market.agg_trades(symbol, from_id=newest[0]["a"] - 500, limit=500)
        trades = older + newest
        assert len(trades) == 1500
        for before, after in pairwise(trades):
            assert after["a"] == before["a"] + 1
            assert after["f"] == before["l"] + 1
            assert after["T"] >= before["T"]
        ticker = market.ticker_24hr(symbol)
        assert isinstance(ticker, dict)
        assert ticker["lastId"] == trades[-1]["l"]
        assert ticker["lastPrice"] == trades[-1]["p"]


def test_a_kline_event_goes_out_before_the_trade_it_contains() -> None:
    market = Market(["BTCUSDT"], start=START, activity=0)
    market.subscribed = {"btcusdt@kline_1m", "btcusdt@aggTrade"}
    at_once = market.trade("BTCUSDT", qty=7)
    later = market.advance(START + 500)
    assert [f.stream for f in at_once + later] == ["btcusdt@kline_1m", "btcusdt@aggTrade"]
    trade = data(later, "btcusdt@aggTrade")[0]
    assert trade["q"] == "0.007"
    assert data(at_once, "btcusdt@kline_1m")[0]["k"]["L"] == trade["l"]


def test_a_silent_symbol_sends_nothing_and_comes_back() -> None:
    market = Market(["BTCUSDT"], start=START)
    market.subscribed = {"btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@depth20@100ms", "btcusdt@depth@100ms"}
    run(market, START + 1000)
    market.silence("BTCUSDT")
    run(market, START + 1500)
    book = market.depth("BTCUSDT", 20)
    finals = run(market, START + 5 * MINUTE, 1000)
    assert {f.stream for f in finals} <= {"btcusdt@kline_1m"}
    assert len(finals) <= 1
    again = market.depth("BTCUSDT", 20)
    assert (again["bids"], again["lastUpdateId"]) == (book["bids"], book["lastUpdateId"])
    assert market.klines("BTCUSDT", "1m", limit=1)[0][8] == 0
    market.silence("BTCUSDT", False)
    frames = run(market, market.now + 2000)
    assert {f.stream for f in frames} == market.subscribed


def test_unknown_names_are_silent() -> None:
    market = Market(["BTCUSDT"], start=START)
    market.subscribed = {"nope@kline_1m", "btcusdt@kline_7m", "BTCUSDT@aggTrade", "btcusdt@nothing", "!x@arr", ""}
    assert run(market, START + 3000) == []


def test_marks_equal_rest_and_come_every_second() -> None:
    market = Market(12, start=START)
    market.subscribed = {"!markPrice@arr@1s", "!markPrice@arr", "btcusdt@markPrice@1s", "ethusdt@markPrice"}
    frames = run(market, START + 10_000)
    every = [f for f in frames if f.stream == "!markPrice@arr@1s"]
    assert [f.event_time % 1000 for f in every] == [0] * 10
    assert len(data(frames, "btcusdt@markPrice@1s")) == 10
    assert len(data(frames, "ethusdt@markPrice")) in (3, 4)
    marks: Any = data(frames, "!markPrice@arr@1s")[-1]
    rest = market.premium_index()
    assert isinstance(rest, list)
    assert len(marks) == len(rest) == 12
    for mark, premium in zip(marks, rest, strict=True):
        assert mark["s"] == premium["symbol"]
        assert mark["p"] == premium["markPrice"]
        assert mark["i"] == premium["indexPrice"]
        assert mark["r"] == premium["lastFundingRate"]
        assert mark["T"] == premium["nextFundingTime"]
        assert mark["E"] == premium["time"]


def test_spot_streams_equal_spot_rest() -> None:
    market = Market(["BTCUSDT", "1000PEPEUSDT"], start=START)
    assert market.spot_symbols == ("BTCUSDT", "PEPEUSDT")
    market.spot_subscribed = {"btcusdt@kline_1m", "btcusdt@trade", "btcusdt@aggTrade", "pepeusdt@kline_1m"}
    frames = run(market, START + 3 * MINUTE)
    assert all(f.spot for f in frames)
    for symbol in market.spot_symbols:
        events = data(frames, f"{symbol.lower()}@kline_1m")
        finals = [e for e in events if e["k"]["x"]]
        assert len(finals) == 3
        for final in finals:
            assert row(final) == market.spot_klines(symbol, "1m", start=final["k"]["t"], limit=1)[0]
        times = [e["E"] for e in events if not e["k"]["x"]]
        assert min(b - a for a, b in pairwise(times)) >= 2000
    trades = data(frames, "btcusdt@trade")
    assert [t["t"] for t in trades] == list(range(trades[0]["t"], trades[0]["t"] + len(trades)))
    assert market.spot_price("BTCUSDT") == {"symbol": "BTCUSDT", "price": trades[-1]["p"]}
    rows = market.spot_klines("BTCUSDT", "1h", limit=20)
    assert len(rows) == 20
    assert all(len(r[1].split(".")[1]) == 8 for r in rows)


def test_forced_orders_and_tickers() -> None:
    market = Market(12, start=START)
    market.subscribed = {"!forceOrder@arr", "!ticker@arr", "!bookTicker", "btcusdt@ticker", "btcusdt@forceOrder"}
    frames = run(market, START - 500 + 4 * MINUTE, 1000)
    orders = data(frames, "!forceOrder@arr")
    assert orders
    assert {o["o"]["S"] for o in orders} <= {"BUY", "SELL"}
    last = data(frames, "btcusdt@ticker")[-1]
    rest = market.ticker_24hr("BTCUSDT")
    assert isinstance(rest, dict)
    assert (last["v"], last["L"], last["c"]) == (rest["volume"], rest["lastId"], rest["lastPrice"])
    touches = [f for f in frames if f.stream == "!bookTicker"]
    assert {f.event_time % 5000 for f in touches} == {0}


def test_listing_and_delisting() -> None:
    market = Market(["BTCUSDT", "ETHUSDT"], start=START)
    names = {"ethusdt@aggTrade", "newusdt@aggTrade", "newusdt@kline_1h"}
    market.subscribed = set(names)
    assert {f.stream for f in run(market, START + 2000)} == {"ethusdt@aggTrade"}
    market.delist("ETHUSDT")
    market.list_symbol("NEWUSDT", price=1.5, activity=5)
    assert market.symbols == ("BTCUSDT", "NEWUSDT")
    status = {s["symbol"]: s["status"] for s in market.exchange_info()["symbols"]}
    assert status == {"BTCUSDT": "TRADING", "NEWUSDT": "TRADING", "ETHUSDT": "SETTLING"}
    frames = run(market, START + 60_000)
    assert {f.stream for f in frames} == {"newusdt@aggTrade", "newusdt@kline_1h"}
    rows = market.klines("NEWUSDT", "1h", limit=100)
    assert len(rows) == 1
    assert 1.3 < float(rows[0][4]) < 1.7
    assert row(data(frames, "newusdt@kline_1h")[-1])[0] == rows[0][0]
    market.list_symbol("ETHUSDT")
    assert "ethusdt@aggTrade" in {f.stream for f in run(market, market.now + 5000)}


def test_open_interest_has_a_row_a_period_that_traded() -> None:
    market = Market(["BTCUSDT", "BTCDOMUSDT"], start=START - START % HOUR + HOUR - 30_000)
    before = market.open_interest_hist("BTCUSDT", "1h", limit=500)
    assert len(before) == 500
    assert all(b["timestamp"] - a["timestamp"] == HOUR for a, b in pairwise(before))
    run(market, market.now + 40_000)
    after = market.open_interest_hist("BTCUSDT", "1h", limit=500)
    assert after[:-1] == before[1:]
    five = {r["timestamp"]: r for r in market.open_interest_hist("BTCUSDT", "5m", limit=500)}
    assert five[after[-1]["timestamp"]] == after[-1]
    quiet = market.open_interest_hist("BTCDOMUSDT", "5m", limit=500)
    times = [r["timestamp"] for r in quiet]
    assert len(times) == 500
    traded = {r[6] + 1: r[8] for r in market.klines("BTCDOMUSDT", "5m", start=times[0] - 300_000, limit=1500)}
    assert all(traded[t] for t in times)
    assert max(b - a for a, b in pairwise(times)) > 300_000


def test_funding_follows_each_contracts_interval() -> None:
    market = Market(12, start=START)
    hours = {i["symbol"]: i["fundingIntervalHours"] for i in market.funding_info()}
    assert set(hours.values()) == {1, 4}
    for symbol in ("BTCUSDT", "MONUSDT", "ASTERUSDT"):
        rows = market.funding_rate(symbol, limit=5)
        times = [r["fundingTime"] for r in rows]
        assert {b - a for a, b in pairwise(times)} == {hours.get(symbol, 8) * HOUR}
        premium = market.premium_index(symbol)
        assert isinstance(premium, dict)
        assert premium["nextFundingTime"] == times[-1] + hours.get(symbol, 8) * HOUR
    due = market.premium_index("BTCUSDT")
    assert isinstance(due, dict)
    run(market, due["nextFundingTime"] + 5, 60_000)
    assert market.funding_rate("BTCUSDT", limit=1)[0]["fundingTime"] == due["nextFundingTime"]
    settled = market.premium_index("BTCUSDT")
    assert isinstance(settled, dict)
    assert settled["lastFundingRate"] == market.funding_rate("BTCUSDT", limit=1)[0]["fundingRate"]


def test_an_impossible_forced_trade_is_refused() -> None:
    market = Market(["BTCUSDT"], start=START, activity=0)
    market.advance(START + 1000)
    market.trade("BTCUSDT", at=START + 500)
    for at in (START + 400, START + 2000):
        with pytest.raises(ValueError, match="can be made"):
            market.trade("BTCUSDT", at=at)
    market.advance(START + 3 * MINUTE)
    with pytest.raises(ValueError, match="final"):
        market.trade("BTCUSDT", at=START + 1000)
    with pytest.raises(ValueError, match="go back"):
        market.advance(START)
