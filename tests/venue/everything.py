"""One good payload of every kind, and every way to read it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

from ats_sync.venue.books import book_snapshot, partial_book, scan_book
from ats_sync.venue.envelope import normalised, scan_event_time, stream_name
from ats_sync.venue.klines import kline_text, kline_texts, scan_kline, scan_kline_last_trade
from ats_sync.venue.listings import exchange_info, server_time, stream_contract
from ats_sync.venue.tickers import best_quotes, scan_quotes, stream_tickers
from ats_sync.venue.trades import Trade, rest_trades, scan_trade, scan_trade_end
from ats_sync.venue.values import rest_marks, rest_open_interest, rest_spot_prices, stream_liquidation, stream_marks

from . import samples
from .samples import MIDNIGHT, MINUTE, compact

KLINE = samples.kline_frame(samples.row(MIDNIGHT), symbol="币安人生USDT", event=MIDNIGHT + 812)

FINAL = samples.kline_frame(samples.row(MIDNIGHT), final=True)

TRADE = samples.trade_frame(77)

BOOK = samples.book_frame(4711)

MARKS = samples.marks_frame(["BTCUSDT", "币安人生USDT"])

LIQUIDATION = samples.liquidation_frame("BTCUSDT")

TICKERS = samples.tickers_frame({"BTCUSDT": 5, "ETHUSDT": 6})

QUOTES = samples.quotes_frame("BTCUSDT", 4712)

CONTRACT = samples.contract_frame("BTCUSDT", "TRADING")

FRAMES = [KLINE, FINAL, TRADE, BOOK, MARKS, LIQUIDATION, TICKERS, QUOTES, CONTRACT]

KLINES_BODY = compact([samples.row(MIDNIGHT + i * MINUTE) for i in range(3)])

ANSWERS: dict[Callable[[bytes], Any], bytes] = {
    kline_texts: KLINES_BODY,
    rest_trades: compact([samples.rest_trade(i) for i in (3, 4)]),
    book_snapshot: compact(samples.rest_book(5)),
    rest_marks: compact([samples.rest_mark("BTCUSDT"), samples.rest_mark("ETHUSDT")]),
    rest_spot_prices: compact([{"symbol": "BTCUSDT", "price": "1.5"}, {"symbol": "ETHUSDT", "price": "2"}]),
    rest_open_interest: compact([samples.open_interest_row(MIDNIGHT)]),
    exchange_info: compact(samples.exchange_info({"BTCUSDT": "TRADING", "X": "SETTLING"})),
    server_time: compact({"serverTime": MIDNIGHT}),
}

SCANS: list[Callable[[bytes], Any]] = [
    stream_name,
    normalised,
    scan_kline,
    scan_kline_last_trade,
    scan_trade,
    scan_trade_end,
    scan_book,
    scan_event_time,
    scan_quotes,
    kline_text,
    partial_book,
    stream_marks,
    stream_liquidation,
    stream_tickers,
    best_quotes,
    stream_contract,
]


def stream_trade(message: bytes) -> Trade:
    """Return the trade of an aggTrade frame, as REST would show it."""
    return rest_trades(compact([json.loads(message)["data"]]))[0]


def scanned(message: bytes, scan: Callable[[bytes], Any]) -> Any:
    """Return what scanning makes of a frame in any order and spacing."""
    whole = normalised(message)
    assert isinstance(whole, bytes)
    return scan(whole)


def shuffled(value: Any, order: random.Random) -> Any:
    """Return the same value with the keys of every object in another order."""
    if isinstance(value, dict):
        items = [(key, shuffled(item, order)) for key, item in value.items()]
        order.shuffle(items)
        return dict(items)
    if isinstance(value, list):
        return [shuffled(item, order) for item in value]
    return value
