"""What was read in the shape that is convenient to compute with: dictionaries of numbers, the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from .errors import StaleDataError
from .results import AggTrade, ForcedOrder, FundingRate, OpenInterest, OrderBook
from .store.book import BookSeries, float_levels
from .store.depth import DepthBook
from .store.open_interest import OpenInterestColumns
from .store.tape import TradeColumns
from .venue.books import Book
from .venue.trades import Trade
from .venue.values import Liquidation, Mark

T = TypeVar("T")


def shaped(shape: Callable[[Any], T], read: Callable[[], Any]) -> T:
    """Read and shape; the data that a stale-data error carries is shaped the same way."""
    try:
        value = read()
    except StaleDataError as error:
        error.data = shape(error.data)
        raise
    return shape(value)


def shape_book(series: BookSeries | DepthBook | None, book: Book, limit: int) -> OrderBook:
    """``limit`` levels a side; ``series``, where the book is kept, remembers the numbers of its newest one."""
    if series is not None:
        bids, asks = series.floats(book)
    else:
        bids, asks = float_levels(book.bids), float_levels(book.asks)
    return {
        "bids": list(map(list, bids[:limit])),
        "asks": list(map(list, asks[:limit])),
        "timestamp": book.time,
        "lastUpdateId": book.update_id,
    }


def shape_funding(mark: Mark) -> FundingRate:
    return {
        "rate": float(mark.funding_rate),
        "nextTime": mark.next_funding_time or None,
        "markPrice": float(mark.mark_price),
        "timestamp": mark.time,
    }


def shape_open_interest(rows: list[dict[str, Any]] | OpenInterestColumns) -> list[OpenInterest]:
    if isinstance(rows, OpenInterestColumns):
        return [
            {"timestamp": stamp, "sumOpenInterest": amount, "sumOpenInterestValue": value}
            for stamp, amount, value in zip(*rows, strict=True)
        ]
    return [
        {
            "timestamp": row["timestamp"],
            "sumOpenInterest": float(row["sumOpenInterest"]),
            "sumOpenInterestValue": float(row["sumOpenInterestValue"]),
        }
        for row in rows
    ]


def shape_trades(trades: list[Trade] | TradeColumns) -> list[AggTrade]:
    if isinstance(trades, TradeColumns):
        numbers = range(trades.first, trades.after)
        items = zip(numbers, trades.prices, trades.quantities, trades.times, trades.makers, strict=True)
        return [
            {"id": number, "price": price, "qty": quantity, "time": time, "isBuyerMaker": maker == 1}
            for number, price, quantity, time, maker in items
        ]
    return [
        {
            "id": trade.id,
            "price": float(trade.price),
            "qty": float(trade.quantity),
            "time": trade.time,
            "isBuyerMaker": trade.buyer_is_maker,
        }
        for trade in trades
    ]


def shape_liquidations(orders: Iterable[Liquidation]) -> list[ForcedOrder]:
    return [
        {
            "symbol": each.symbol,
            "side": each.order["S"],
            "price": float(each.order.get("p", 0)),
            "averagePrice": float(each.order.get("ap", 0)),
            "qty": float(each.order.get("q", 0)),
            "filledQty": float(each.order.get("z", 0)),
            "status": each.order.get("X", ""),
            "time": each.time,
        }
        for each in orders
    ]
