"""Every stream frame that was recorded in October 2026, merged into the store and read from it again."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ats_sync.config import Config
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Origin
from ats_sync.venue.listings import Phase, exchange_info, is_perpetual

from .everything import shuffled
from .samples import compact

SYMBOL = "BTCUSDT"
NEW_FIELD = {"zz": {"deep": [1, "2", None]}, "ab": "text"}


@pytest.fixture
def store() -> MarketStore:
    store = MarketStore(Config(), lambda: 0.0)
    store.follow(keys_of([SYMBOL], ["1m"], []))
    return store


def frame_of(october_2026: Path, name: str) -> dict[str, Any]:
    message: dict[str, Any] = json.loads((october_2026 / "ws" / f"stream_{name}.json").read_bytes())
    return message


def forms(message: dict[str, Any]) -> list[bytes]:
    """Return the same frame compact, indented, with its keys in another order, and with fields that are not known
    yet."""
    data = message["data"]
    richer = [row | NEW_FIELD for row in data] if isinstance(data, list) else data | NEW_FIELD
    return [
        compact(message),
        json.dumps(message, indent=1).encode(),
        compact(shuffled(message, random.Random(5))),
        compact({"stream": message["stream"], "data": richer}),
        compact({"stream": message["stream"], "data": shuffled(richer, random.Random(6))}),
    ]


def ingest(store: MarketStore, frame: bytes, route: str = "market") -> None:
    store.ingest([frame], Link(1, route, 0.0))
    assert store.dropped() == {}


@pytest.mark.parametrize("form", range(5))
def test_marks(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "all_markPrice_arr_1s")
    ingest(store, forms(message)[form])
    for row in message["data"]:
        mark = store.marks.get(row["s"])
        assert mark is not None
        assert (mark.mark_price, mark.funding_rate, mark.next_funding_time) == (row["p"], row["r"], row["T"])
        assert mark.time == row["E"]


@pytest.mark.parametrize("form", range(5))
def test_tickers_without_those_of_the_coin_margined_market(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "all_ticker_arr")
    assert {row["s"]: row["st"] for row in message["data"]} == {"XPTUSDT": 1, "BTCUSD_PERP": 2}
    ingest(store, forms(message)[form])
    ((as_of, told, _),) = store.tickers.take(max(row["E"] for row in message["data"]))
    assert told == {"XPTUSDT": 19266957}
    assert as_of in {row["E"] for row in message["data"]}
    assert set(store.tickers.seen) == {"XPTUSDT"}


@pytest.mark.parametrize("form", range(5))
def test_a_trade(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "btcusdt_aggTrade")
    ingest(store, forms(message)[form])
    (trade,) = store.trades(SYMBOL).read(5)
    data = message["data"]
    assert (trade.id, trade.price, trade.quantity, trade.normal_quantity) == (data["a"], data["p"], "0.022", "0.022")
    assert (trade.first_trade, trade.last_trade, trade.time, trade.buyer_is_maker) == (
        data["f"], data["l"], data["T"], data["m"],
    )  # fmt: skip


@pytest.mark.parametrize("form", range(5))
def test_a_book(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "btcusdt_depth20_100ms")
    ingest(store, forms(message)[form], "public")
    book = store.book(SYMBOL).read()
    assert book is not None
    data = message["data"]
    assert [list(level) for level in book.bids] == data["b"]
    assert [list(level) for level in book.asks] == data["a"]
    assert (book.update_id, book.time, book.transaction_time) == (data["u"], data["E"], data["T"])


@pytest.mark.parametrize("form", range(5))
def test_a_candle(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "btcusdt_kline_1m")
    rows = json.loads((october_2026 / "rest" / "klines.json").read_bytes())
    series = store.klines(SYMBOL, "1m")
    series.replace([compact(row)[1:-1] for row in rows], Origin(rows[-1][0] + 1, 499))
    ingest(store, forms(message)[form])
    k = message["data"]["k"]
    assert series.rows(5, None, exact=True) == [
        rows[0],
        [k["t"], k["o"], k["h"], k["l"], k["c"], k["v"], k["T"], k["q"], k["n"], k["V"], k["Q"], "0"],
    ]
    assert series.last_heard() == (k["L"], message["data"]["E"], rows[-1][0] + 1)


@pytest.mark.parametrize("form", range(5))
def test_quotes(october_2026: Path, store: MarketStore, form: int) -> None:
    message = frame_of(october_2026, "btcusdt_bookTicker") | {"stream": "!bookTicker"}
    ingest(store, forms(message)[form], "public")
    quotes = store.quotes.get(SYMBOL)
    assert quotes is not None
    assert quotes[0] == message["data"]["u"]


def test_single_tickers_and_marks_are_counted_as_not_followed(october_2026: Path, store: MarketStore) -> None:
    for name in ("btcusdt_markPrice_1s", "btcusdt_ticker"):
        store.ingest([compact(frame_of(october_2026, name))], Link(1, "market", 0.0))
    assert store.dropped() == {"a stream that is not followed": 2}


def test_exchange_info_knows_all_kinds_of_contracts(october_2026: Path) -> None:
    body = (october_2026 / "rest" / "exchange_info.json").read_bytes()
    info = exchange_info(body)
    assert {symbol: info.phase(symbol) for symbol in info.listed} == {
        "BTCUSDT": Phase.TRADING,
        "XAUUSDT": Phase.TRADING,
        "币安人生USDT": Phase.TRADING,
        "BTCUSDT_261225": Phase.TRADING,
        "OMGUSDT": Phase.GONE,
    }
    assert info.weight_limit == 2400
    assert info.onboarded["BTCUSDT"] == 1567965300000
    kinds = {row["symbol"]: is_perpetual(row["contractType"]) for row in json.loads(body)["symbols"]}
    assert [kinds[symbol] for symbol in ("BTCUSDT", "XAUUSDT", "BTCUSDT_261225")] == [True, True, False]
