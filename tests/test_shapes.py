from __future__ import annotations

from ats_sync.queries.books import ShownBook
from ats_sync.shapes import (
    shape_book,
    shape_funding,
    shape_liquidations,
    shape_open_interest,
    shape_trades,
)
from ats_sync.store.book import float_levels
from ats_sync.venue.books import Book
from ats_sync.venue.trades import Trade
from ats_sync.venue.values import Liquidation, Mark


def test_a_book_has_at_most_the_levels_requested() -> None:
    book = Book(7, 1_000, 999, [["3.5", "1"], ["3.4", "2"], ["3.3", "3"]], [["3.6", "4", []]])
    assert shape_book(ShownBook(book, float_levels(book.bids), float_levels(book.asks)), 2) == {
        "bids": [[3.5, 1.0], [3.4, 2.0]],
        "asks": [[3.6, 4.0]],
        "timestamp": 1_000,
        "lastUpdateId": 7,
    }


def test_funding() -> None:
    assert shape_funding(Mark("BTCUSDT", "30000.5", "-0.0001", 2_000, 1_000)) == {
        "rate": -0.0001,
        "nextTime": 2_000,
        "markPrice": 30000.5,
        "timestamp": 1_000,
    }


def test_a_contract_without_funding_has_no_next_time() -> None:
    assert shape_funding(Mark("BTCUSDT_261225", "30000.5", "0.00000000", 0, 1_000)) == {
        "rate": 0.0,
        "nextTime": None,
        "markPrice": 30000.5,
        "timestamp": 1_000,
    }


def test_open_interest() -> None:
    row = {"symbol": "BTCUSDT", "sumOpenInterest": "12.5", "sumOpenInterestValue": "375000", "timestamp": 5}
    assert shape_open_interest([row]) == [{"timestamp": 5, "sumOpenInterest": 12.5, "sumOpenInterestValue": 375000.0}]
    assert "symbol" in row, "what is shared is not changed"


def test_trades() -> None:
    assert shape_trades([Trade(4, "1.5", "2", 8, 9, 1_000, True, None)]) == [
        {"id": 4, "price": 1.5, "qty": 2.0, "time": 1_000, "isBuyerMaker": True}
    ]


def test_forced_orders_may_lack_fields() -> None:
    full = Liquidation("BTCUSDT", 5, {"S": "SELL", "p": "9.5", "ap": "9.25", "q": "3", "z": "2", "X": "FILLED"})
    bare = Liquidation("ETHUSDT", 6, {"S": "BUY"})
    assert shape_liquidations([full, bare]) == [
        {
            "symbol": "BTCUSDT",
            "side": "SELL",
            "price": 9.5,
            "averagePrice": 9.25,
            "qty": 3.0,
            "filledQty": 2.0,
            "status": "FILLED",
            "time": 5,
        },
        {
            "symbol": "ETHUSDT",
            "side": "BUY",
            "price": 0.0,
            "averagePrice": 0.0,
            "qty": 0.0,
            "filledQty": 0.0,
            "status": "",
            "time": 6,
        },
    ]
