"""Shapes that are convenient to compute with: dictionaries of numbers, which belong to the caller."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

from .errors import InvalidArgument
from .queries.books import ShownBook, ShownQuote
from .results import AggTrade, ForcedOrder, FundingRate, OpenInterest, OrderBook, Quote, Ratio, Ticker
from .store.periods import OpenInterestColumns
from .store.trade_columns import TradeColumns
from .venue.ratios import RATIOS
from .venue.tickers import DECIMALS, WHOLES, TickerRow
from .venue.trades import Trade
from .venue.values import Liquidation, Mark


def shape_book(shown: ShownBook, limit: int) -> OrderBook:
    """``limit`` levels a side."""
    book, bids, asks = shown
    return {
        "bids": list(map(list, bids[:limit])),
        "asks": list(map(list, asks[:limit])),
        "timestamp": book.time,
        "lastUpdateId": book.update_id,
    }


def shape_quote(shown: ShownQuote) -> Quote:
    quote = shown.quote
    return {
        "bid": float(quote.bid),
        "bidQty": float(quote.bid_quantity),
        "ask": float(quote.ask),
        "askQty": float(quote.ask_quantity),
        "timestamp": quote.time,
        "age": shown.age,
        "source": shown.source,
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


def shape_ratios(kind: str, rows: list[dict[str, Any]]) -> list[Ratio]:
    numbers = RATIOS[kind].numbers
    shaped = [
        {"timestamp": row["timestamp"], **{name: float(row[name]) if row[name] else None for name in numbers}}
        for row in rows
    ]
    return cast(list[Ratio], shaped)


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
            "side": each.side,
            "price": float(each.price),
            "averagePrice": float(each.average_price),
            "qty": float(each.quantity),
            "filledQty": float(each.filled),
            "status": each.status,
            "time": each.time,
        }
        for each in orders
    ]


RANKINGS = {"quote_volume": "quoteVolume", "price_change_percent": "priceChangePercent", "count": "count"}
"""What symbols can be ranked by, and the field of a ticker: those that compare across symbols."""


def check_ranking(by: object) -> str:
    """Return what to rank by where it is one of ``RANKINGS``, else raise ``InvalidArgument``."""
    if isinstance(by, str) and by in RANKINGS:
        return by
    raise InvalidArgument(f"by must be one of {', '.join(RANKINGS)}, not {by!r}")


def shape_ticker(row: TickerRow) -> Ticker:
    numbers: dict[str, Any] = {"symbol": row["symbol"]}
    for name in DECIMALS.values():
        numbers[name] = float(row[name])
    for name in WHOLES.values():
        numbers[name] = row[name]
    return cast(Ticker, numbers)


def shape_tickers(rows: Iterable[TickerRow]) -> list[Ticker]:
    return list(map(shape_ticker, rows))


def shape_top(rows: Iterable[TickerRow], number: int, by: str) -> list[Ticker]:
    """Return the ``number`` with the largest value first; those with equal ones by name."""
    field = RANKINGS[by]
    ranked = sorted(rows, key=lambda row: (-float(row[field]), row["symbol"]))
    return list(map(shape_ticker, ranked[:number]))
