"""Fast scanning of the frames that make up nearly all of the traffic.

Each ``scan_…`` here returns what the function of the same name in ``books`` or ``trades`` returns, or passes the
frame on to it: nothing is accepted here that is refused there.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from . import books, trades
from .klines import SKEW

_COMMA: Final = 44
_END: Final = b"}}"
_TIME: Final = 13
"""Digits of a time in ms, until the year 2286."""
_TRADE: Final = b'"e":"aggTrade",'
_SLACK: Final = 24
_LONGEST: Final = 19


class KlineShape(NamedTuple):
    """What the frames of one open candle have in common: the exchange writes the keys of a stream in one order.

    ``head`` is how they begin, ``mark`` is the text at ``mark_at``; together they cover everything up to the candle's
    open time. The event time is at ``event_at``; the search for the trade count starts at ``count_from``.
    """

    head: bytes
    mark_at: slice
    mark: bytes
    event_at: slice
    least_event: int
    count_from: int


def kline_shape(frame: bytes, opened: int) -> KlineShape | None:
    """Return the shape of the frames of the open candle in ``frame``, None if its order of keys is not a known one."""
    candle = frame.find(b'"k":{')
    time = frame.find(b'"t":%d,' % opened, candle)
    event = frame.find(b'"E":')
    count = frame.find(b'"n":', candle)
    if min(candle, time, event, count) < 0 or not frame.endswith(b"}}"):
        return None
    after_time = frame.index(b",", time) + 1
    least = opened - SKEW
    count_from = max(after_time, count - _SLACK)
    if event < candle:
        stop = event + 4 + _TIME
        return KlineShape(
            frame[: event + 4],
            slice(stop, after_time),
            frame[stop:after_time],
            slice(event + 4, stop),
            least,
            count_from,
        )
    if len(frame) - event == 4 + _TIME + 2:
        return KlineShape(
            frame[:after_time], slice(-_TIME - 7, -_TIME - 2), b',"E":', slice(-_TIME - 2, -2), least, count_from
        )
    return None


def scan_open_kline(frame: bytes, shape: KlineShape) -> tuple[int, int] | None:
    """Return ``(trades, event time)`` if a frame is one more of the same candle, still open; None if it may not be."""
    head, mark_at, mark, event_at, least, count_from = shape
    if not frame.startswith(head) or frame[mark_at] != mark or not frame.endswith(b"}}"):
        return None
    at = frame.find(b'"n":', count_from) + 4
    trades = frame[at : frame.find(b',"x":false', at)]
    digits = frame[event_at]
    if not trades.isdigit() or not digits.isdigit() or len(trades) > _LONGEST or len(digits) != _TIME:
        return None
    event = int(digits)
    return (int(trades), event) if event >= least else None


def scan_book(frame: bytes) -> tuple[int, int]:
    """Return ``(last update id, event time)`` of a depth frame."""
    at = frame.find(b'"E":') + 4
    event = frame[at : at + _TIME]
    begin = frame.find(b'"u":') + 4
    end = frame.find(b",", begin)
    update = frame[begin:end]
    if (
        update.isdigit()
        and event.isdigit()
        and frame[-2:] == _END
        and frame[at + _TIME] == _COMMA
        and end - begin <= _LONGEST
    ):
        return int(update), int(event)
    return books.scan_book(frame)


def scan_diff(frame: bytes) -> tuple[int, int, int, int]:
    """Return ``(first update id, last update id, last update id of the event before, event time)`` of a depth event."""
    at = frame.find(b'"E":') + 4
    event = frame[at : at + _TIME]
    begin = frame.find(b'"U":') + 4
    first = frame[begin : frame.find(b",", begin)]
    begin = frame.find(b'"u":') + 4
    last = frame[begin : frame.find(b",", begin)]
    begin = frame.find(b'"pu":') + 5
    previous = frame[begin : frame.find(b",", begin)]
    if (
        event.isdigit()
        and first.isdigit()
        and last.isdigit()
        and previous.isdigit()
        and frame[-2:] == _END
        and frame[at + _TIME] == _COMMA
        and len(first) <= _LONGEST
        and len(last) <= _LONGEST
        and len(previous) <= _LONGEST
    ):
        update_id, since = int(last), int(previous)
        found = int(first), update_id, since, int(event)
        if found[0] <= update_id and since <= update_id:
            return found
    return books.scan_diff(frame)


def scan_trade(frame: bytes) -> tuple[int, int]:
    """Return ``(aggregated trade id, event time)`` of an aggTrade frame."""
    at = frame.find(b'"E":') + 4
    event = frame[at : at + _TIME]
    begin = frame.find(b'"a":') + 4
    end = frame.find(b",", begin)
    number = frame[begin:end]
    if (
        number.isdigit()
        and event.isdigit()
        and frame[-2:] == _END
        and frame[at + _TIME] in b",}"
        and end - begin <= _LONGEST
    ):
        return int(number), int(event)
    return trades.scan_trade(frame)


def trade_entry(frame: bytes, begin: int) -> bytes:
    """Return the object of an aggTrade frame that begins just before ``begin``, without the event's name and time if
    they are at their usual places: they say nothing about the trade."""
    start = begin + len(_TRADE)
    if frame.startswith(_TRADE, begin):
        stop = start + 4 + _TIME
        if frame.startswith(b'"E":', start) and frame[start + 4 : stop].isdigit() and frame.startswith(b",", stop):
            return b"{" + frame[stop + 1 : -1]
        if frame[-_TIME - 7 : -_TIME - 2] == b',"E":' and frame[-_TIME - 2 : -2].isdigit():
            return b"{" + frame[start : -_TIME - 7] + b"}"
    return frame[begin - 1 : -1]


def shorter_trades(symbol: str) -> tuple[tuple[bytes, bytes], ...]:
    """Return pairs of texts: parts of a symbol's trades that are the same in all of them, and their replacements, after
    which the trades are written as REST writes them."""
    name = symbol.encode()
    return (b'"s":"%s",' % name, b""), (b',"st":1,"ps":"%s"' % name, b""), (b',"st":1}', b"}")
