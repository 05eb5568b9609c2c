"""Snapshots, differences, twenty-level frames and best prices are views of one book."""

from __future__ import annotations

from typing import Any

import pytest

from ats_sync.simulator.market import Market

from .driving import MINUTE, START, data, run

SYMBOLS = ["BTCUSDT", "DENTUSDT", "CELRUSDT", "BTCDOMUSDT"]


class LocalBook:
    """A book kept by the documented rules from a snapshot and the differences."""

    def __init__(self, snapshot: dict[str, Any]) -> None:
        self.sides: dict[str, dict[str, str]] = {"b": dict(snapshot["bids"]), "a": dict(snapshot["asks"])}
        self.last = snapshot["lastUpdateId"]
        self.started = False
        self.inside = False

    def apply(self, event: dict[str, Any]) -> None:
        if event["u"] < self.last and not self.started:
            return
        if self.started:
            assert event["pu"] == self.last
        else:
            assert event["U"] <= self.last <= event["u"] or event["pu"] == self.last
            self.inside = event["U"] <= self.last < event["u"]
            self.started = True
        self.last = event["u"]
        for side in "ba":
            for price, qty in event[side]:
                if float(qty):
                    self.sides[side][price] = qty
                else:
                    self.sides[side].pop(price, None)

    def best(self, side: str) -> list[list[str]]:
        levels = sorted(self.sides[side].items(), key=lambda x: float(x[0]), reverse=side == "b")
        return [[price, qty] for price, qty in levels]


@pytest.mark.parametrize("speed", ["@100ms", "", "@500ms"])
@pytest.mark.parametrize("symbol", SYMBOLS)
def test_a_snapshot_and_the_differences_give_the_next_snapshot(symbol: str, speed: str) -> None:
    market = Market(SYMBOLS, start=START, activity=3)
    name = f"{symbol.lower()}@depth{speed}"
    market.subscribed = {name}
    run(market, START + 2000)
    inside = 0
    for round_ in range(8):
        market.advance(market.now + 313 + round_ * 7)
        book = LocalBook(market.depth(symbol, 5000))
        events = []
        while len(events) < 12:
            events += data(market.advance(market.now + 50), name)
        for event in events:
            book.apply(event)
        inside += book.inside
        # The snapshot may be newer than the last event; it is requested when nothing has changed since.
        while book.last != market.depth(symbol, 5)["lastUpdateId"]:
            for event in data(market.advance(market.now + 1), name):
                book.apply(event)
        snapshot = market.depth(symbol, 5000)
        assert book.best("b") == snapshot["bids"]
        assert book.best("a") == snapshot["asks"]
    assert inside > 0 or symbol == "BTCDOMUSDT"


def test_the_differences_of_a_contract_that_begins_to_trade_name_its_whole_book() -> None:
    market = Market(SYMBOLS, start=START, activity=3)
    market.list_symbol("NEWUSDT", pending=True)
    market.subscribed = {"newusdt@depth@100ms"}
    market.advance(START + 5_000)
    book = LocalBook(market.depth("NEWUSDT", 1000))
    assert (book.best("b"), book.best("a")) == ([], [])
    market.set_status("NEWUSDT", "TRADING")
    while not book.started or book.last != market.depth("NEWUSDT", 5)["lastUpdateId"]:
        for event in data(market.advance(market.now + 1), "newusdt@depth@100ms"):
            book.apply(event)
    snapshot = market.depth("NEWUSDT", 5000)
    assert len(snapshot["bids"]) > 100
    assert book.best("b") == snapshot["bids"]
    assert book.best("a") == snapshot["asks"]


@pytest.mark.parametrize("symbol", SYMBOLS)
def test_twenty_levels_equal_rest(symbol: str) -> None:
    market = Market(SYMBOLS, start=START)
    name = f"{symbol.lower()}@depth20@100ms"
    market.subscribed = {name}
    checked = 0
    previous = None
    last_text = None
    while checked < 60:
        for frame in market.advance(market.now + 1):
            event = data([frame], name)[0]
            rest = market.depth(symbol, 20)
            assert (event["b"], event["a"]) == (rest["bids"], rest["asks"])
            assert event["u"] == rest["lastUpdateId"]
            assert previous is None or event["pu"] == previous
            assert event["U"] <= event["u"]
            assert (event["b"], event["a"]) != last_text
            previous = event["u"]
            last_text = (event["b"], event["a"])
            checked += 1


def test_the_book_is_never_crossed_and_trades_are_at_its_best_prices() -> None:
    market = Market(SYMBOLS, start=START, activity=2)
    for symbol in SYMBOLS:
        market.subscribed = {f"{symbol.lower()}@aggTrade"}
        market.advance(market.now + 1000)
        touches = [market.book_ticker(symbol)]
        next_id = market.agg_trades(symbol, limit=1)[0]["a"] + 1
        seen = 0
        for _ in range(600):
            market.advance(market.now + 20)
            before, after = touches[-1], market.book_ticker(symbol)
            assert isinstance(before, dict)
            assert isinstance(after, dict)
            assert float(after["bidPrice"]) < float(after["askPrice"])
            assert float(after["bidQty"]) > 0
            assert float(after["askQty"]) > 0
            low = min(float(before["bidPrice"]), float(after["bidPrice"]))
            high = max(float(before["askPrice"]), float(after["askPrice"]))
            for trade in market.agg_trades(symbol, from_id=next_id):
                assert low <= float(trade["p"]) <= high
                next_id = trade["a"] + 1
                seen += 1
            touches.append(after)
        assert seen > 5 or symbol == "BTCDOMUSDT"


def test_depth_rest_and_book_ticker_agree() -> None:
    market = Market(20, start=START)
    sizes = {}
    for symbol in market.symbols:
        depth = market.depth(symbol, 1000)
        ticker = market.book_ticker(symbol)
        assert isinstance(ticker, dict)
        assert depth["bids"][0] == [ticker["bidPrice"], ticker["bidQty"]]
        assert depth["asks"][0] == [ticker["askPrice"], ticker["askQty"]]
        assert depth["lastUpdateId"] == ticker["lastUpdateId"]
        for side, sign in (("bids", -1), ("asks", 1)):
            prices = [float(p) * sign for p, _ in depth[side]]
            assert prices == sorted(set(prices))
            assert all(float(q) > 0 for _, q in depth[side])
        sizes[symbol] = len(depth["bids"])
    assert sizes["BTCUSDT"] == 1000
    thin = Market(["DENTUSDT"], start=START).depth("DENTUSDT", 1000)
    assert len(thin["bids"]) < 1000


def test_best_prices_stream() -> None:
    market = Market(["ETHUSDT"], start=START)
    market.subscribed = {"ethusdt@bookTicker"}
    previous = None
    count = 0
    while count < 50:
        for frame in market.advance(market.now + 1):
            event = data([frame], "ethusdt@bookTicker")[0]
            rest = market.book_ticker("ETHUSDT")
            assert isinstance(rest, dict)
            told = (event["b"], event["B"], event["a"], event["A"])
            assert told == (rest["bidPrice"], rest["bidQty"], rest["askPrice"], rest["askQty"])
            assert told != previous
            previous = told
            count += 1


def test_books_differ_in_how_often_they_change() -> None:
    market = Market(120, start=START)
    busy, calm = "btcusdt@depth20@100ms", "dentusdt@depth20@100ms"
    market.subscribed = {busy, calm}
    frames = run(market, START + MINUTE // 6)
    assert len(data(frames, busy)) >= len(data(frames, calm)) > 0
    assert len(data(frames, busy)) > 90


@pytest.mark.parametrize("rests", [40, 130, 1_010])
def test_the_transaction_time_of_a_book_never_goes_back(rests: int) -> None:
    """It does not do so where trading stops and resumes either: the same state keeps its time."""
    market = Market(["BTCDOMUSDT"], seed=3, start=START)
    known: list[tuple[int, int]] = []
    for number in range(400):
        run(market, market.now + 50)
        if number % 40 == 20:
            market.silence("BTCDOMUSDT")
            run(market, market.now + rests)
            market.silence("BTCDOMUSDT", False)
        book = market.depth("BTCDOMUSDT", 5)
        known.append((book["T"], book["lastUpdateId"]))
    assert known == sorted(known)
