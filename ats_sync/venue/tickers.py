"""What other streams tell besides: the last trade of every symbol, the best quotes."""

from __future__ import annotations

from typing import Any

from .envelope import frame_data, scan_event_time
from .listings import is_coin_margined
from .payload import DecodeError, decimal, each_of, field, json_answer, number_after, text_of, whole


def last_trades(values: object) -> dict[str, int]:
    """``{symbol: id of its last trade}`` of an array of 24-hour tickers, as a stream (``s``, ``L``) or REST
    (``symbol``, ``lastId``) writes them. Bad elements are left out, and so are those of the COIN-M market."""

    def one(ticker: dict[str, Any]) -> tuple[str, int]:
        streamed = "s" in ticker if isinstance(ticker, dict) else False
        return (
            text_of(field(ticker, "s" if streamed else "symbol")),
            whole(field(ticker, "L" if streamed else "lastId")),
        )

    if isinstance(values, list):
        values = [ticker for ticker in values if not is_coin_margined(ticker)]
    good, _ = each_of(values, one)
    return dict(good)


def rest_last_trades(body: bytes) -> dict[str, int]:
    """The ids of the last trades in an answer of the 24-hour tickers of all symbols."""
    return last_trades(json_answer(body, list))


def stream_tickers(frame: bytes) -> tuple[int, dict[str, int]]:
    """``(event time, last trade ids)`` of an ``!ticker@arr`` frame."""
    return scan_event_time(frame), last_trades(frame_data(frame))


def best_quotes(frame: bytes) -> tuple[str, str, str, str]:
    """``(bid, its quantity, ask, its quantity)`` of a bookTicker frame."""
    data = frame_data(frame)
    bid, bid_quantity, ask, ask_quantity = (decimal(field(data, key)) for key in "bBaA")
    return bid, bid_quantity, ask, ask_quantity


def scan_quotes(frame: bytes) -> tuple[str, int]:
    """``(symbol, update id)`` of a bookTicker frame."""
    at = frame.find(b'"s":"')
    end = frame.find(b'"', at + 5)
    name = frame[at + 5 : end]
    if at < 0 or end < 0 or b"\\" in name:
        return text_of(field(frame_data(frame), "s")), number_after(frame, b'"u":')
    try:
        return name.decode(), number_after(frame, b'"u":')
    except UnicodeDecodeError:
        raise DecodeError("bad text", "the symbol is not UTF-8") from None
