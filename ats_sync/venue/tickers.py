"""The statistics of the last 24 hours of every symbol, and the best quotes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from ..errors import MalformedAnswer
from .envelope import frame_data, scan_event_time
from .listings import is_coin_margined
from .payload import DecodeError, decimal, each_of, field, json_answer, number_after, text_of, whole

TickerRow = dict[str, Any]
"""A 24-hour ticker as a stream (``s``, ``c``, …) or REST (``symbol``, ``lastPrice``, …) writes it."""
DECIMALS = {
    "p": "priceChange",
    "P": "priceChangePercent",
    "w": "weightedAvgPrice",
    "c": "lastPrice",
    "Q": "lastQty",
    "o": "openPrice",
    "h": "highPrice",
    "l": "lowPrice",
    "v": "volume",
    "q": "quoteVolume",
}
"""The decimals of a ticker: as a stream names them, and as REST does, in the order of REST."""
WHOLES = {"O": "openTime", "C": "closeTime", "F": "firstId", "L": "lastId", "n": "count"}
"""The whole numbers of a ticker, in the same way."""


def tickers_of(values: object) -> dict[str, TickerRow]:
    """Return the rows of an array of 24-hour tickers by symbol, without those that lack a symbol or the id of a last
    trade, and without those of the COIN-M market."""

    def one(ticker: TickerRow) -> tuple[str, TickerRow]:
        streamed = "s" in ticker if isinstance(ticker, dict) else False
        whole(field(ticker, "L" if streamed else "lastId"))
        return text_of(field(ticker, "s" if streamed else "symbol")), ticker

    if isinstance(values, list):
        values = [ticker for ticker in values if not is_coin_margined(ticker)]
    good, _ = each_of(values, one)
    return dict(good)


def last_trade(row: TickerRow) -> int:
    """Return the id of the last trade in a row of :func:`tickers_of`."""
    trade: int = row["L"] if "s" in row else row["lastId"]
    return trade


def last_trades(rows: Mapping[str, TickerRow]) -> dict[str, int]:
    """Return ``{symbol: id of its last trade}`` of such rows."""
    return {symbol: last_trade(row) for symbol, row in rows.items()}


def rest_tickers(body: bytes) -> dict[str, TickerRow]:
    """Return the rows of an answer of the 24-hour tickers, for all symbols or for one, by symbol."""
    values = json_answer(body, (list, dict))
    return tickers_of(values if isinstance(values, list) else [values])


def stream_tickers(frame: bytes) -> tuple[int, dict[str, TickerRow]]:
    """Return ``(event time, rows by symbol)`` of an ``!ticker@arr`` frame."""
    return scan_event_time(frame), tickers_of(frame_data(frame))


def as_rest_ticker(row: TickerRow) -> TickerRow:
    """Return a row as REST writes it, a new object. Raises :class:`DecodeError` for one that lacks a number."""
    streamed = "s" in row
    written: TickerRow = {"symbol": row["s"]} if streamed else dict(row)
    for names, check in ((DECIMALS, decimal), (WHOLES, whole)):
        for short, name in names.items():
            written[name] = check(field(row, short if streamed else name))
    return written


def best_quotes(frame: bytes) -> tuple[str, str, str, str]:
    """Return ``(bid, its quantity, ask, its quantity)`` of a bookTicker frame."""
    data = frame_data(frame)
    bid, bid_quantity, ask, ask_quantity = (decimal(field(data, key)) for key in "bBaA")
    return bid, bid_quantity, ask, ask_quantity


class BestQuote(NamedTuple):
    """The best bid and ask of a symbol; times in ms."""

    bid: str
    bid_quantity: str
    ask: str
    ask_quantity: str
    time: int
    transaction_time: int = 0
    update_id: int = 0
    """0 if it is not known, like ``transaction_time``."""


def streamed_quote(frame: bytes) -> BestQuote:
    """Return the quote of a bookTicker frame."""
    transaction_time = number_after(frame, b'"T":') if b'"T":' in frame else 0
    return BestQuote(*best_quotes(frame), scan_event_time(frame), transaction_time, number_after(frame, b'"u":'))


def quote_text(symbol: str, quote: BestQuote) -> bytes | None:
    """Return a quote as ``/fapi/v1/ticker/bookTicker`` writes it, None if it lacks a number of that."""
    if not (quote.transaction_time and quote.update_id):
        return None
    return orjson.dumps(
        {
            "symbol": symbol,
            "bidPrice": quote.bid,
            "bidQty": quote.bid_quantity,
            "askPrice": quote.ask,
            "askQty": quote.ask_quantity,
            "time": quote.transaction_time,
            "lastUpdateId": quote.update_id,
        }
    )


def rest_quote(body: bytes) -> BestQuote:
    """Return the answer of bookTicker for one symbol."""
    values = json_answer(body, dict)
    names = ("bidPrice", "bidQty", "askPrice", "askQty")
    try:
        bid, bid_quantity, ask, ask_quantity = (decimal(field(values, name)) for name in names)
        return BestQuote(bid, bid_quantity, ask, ask_quantity, whole(field(values, "time")))
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable best quote: {error}", status=200) from None


def scan_quotes(frame: bytes) -> tuple[str, int]:
    """Return ``(symbol, update id)`` of a bookTicker frame."""
    at = frame.find(b'"s":"')
    end = frame.find(b'"', at + 5)
    name = frame[at + 5 : end]
    if at < 0 or end < 0 or b"\\" in name:
        return text_of(field(frame_data(frame), "s")), number_after(frame, b'"u":')
    try:
        return name.decode(), number_after(frame, b'"u":')
    except UnicodeDecodeError:
        raise DecodeError("bad text", "the symbol is not UTF-8") from None
