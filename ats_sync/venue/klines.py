"""Candles: scanned when a frame arrives, decoded when they are kept or read.

A row is kept as the text of one REST row without its brackets, such as
``1499040000000,"0.0163","0.8","0.0157","0.0158","148.1",1499644799999,"2.4",308,"17.3","2.8","0"``:
small, and exactly what REST wrote.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final

import orjson

from ..errors import MalformedAnswer
from .envelope import frame_data
from .payload import QUOTED, DecodeError, decimal, field, json_answer, number_after, whole

Row = list[Any]
"""``[open_time, open, high, low, close, volume, close_time, quote_volume, trades, taker_buy_base,
taker_buy_quote, ignore]``."""
SKEW: Final = 5_000
"""How much later (ms) than its event a candle may open."""
_WHOLE: Final = rb"(?:0|[1-9]\d{0,17})"
_ROW: Final = b",".join([_WHOLE, *[QUOTED] * 5, _WHOLE, QUOTED, _WHOLE, *[QUOTED] * 3])
_CANDLE_FIELDS: Final = itemgetter(*"tohlcvTqnVQ")
_DECIMALS: Final = [(place, itemgetter(place)) for place in (11, 5, 9, 1, 2, 3, 4, 7, 10)]
"""The decimals of a row; those that are often whole numbers come first."""
_ROW_TYPES: Final = [int, *[str] * 5, int, str, int, *[str] * 3]
_ONE_ROW: Final = re.compile(_ROW)
_ROWS: Final = re.compile(rb"\[\[" + _ROW + rb"(?:\],\[" + _ROW + rb")*\]\]")
EARLIEST, LATEST = 1_000_000_000_000, 4_000_000_000_000
"""Times (ms) from 2001 to 2096; anything else is not a time."""


def scan_kline(frame: bytes) -> tuple[int, int, bool, int]:
    """Return ``(open time, trades, final, event time)`` of a kline frame."""
    k = frame.find(b'"k":{')
    if k < 0 or not frame.endswith(b"}}"):
        raise DecodeError("kline frame without a candle")
    final = is_final(frame)
    if not final and b'"x":false' not in frame:
        raise DecodeError("kline frame without a final flag")
    opened, event = number_after(frame, b'"t":', k), number_after(frame, b'"E":')
    if not EARLIEST <= opened <= min(event + SKEW, LATEST):
        raise DecodeError("candle with an impossible open time", "the candle opens after its event")
    return opened, number_after(frame, b'"n":', k), final, event


def is_final(frame: bytes) -> bool:
    """Return whether a kline frame is the last one of its candle."""
    return b'"x":true' in frame


def scan_kline_last_trade(frame: bytes) -> int:
    """Return the id of the last trade in a kline frame's candle (-1 if there is none)."""
    try:
        return number_after(frame, b'"L":', frame.find(b'"k":{'))
    except DecodeError:
        return -1


def scan_kline_first_trade(frame: bytes) -> int:
    """Return the id of the first trade in a kline frame's candle (-1 if there is none)."""
    try:
        return number_after(frame, b'"f":', frame.find(b'"k":{'))
    except DecodeError:
        return -1


def kline_text(frame: bytes) -> bytes:
    """Return the candle of a kline frame as the text of a REST row, with every field checked."""
    k = field(frame_data(frame), "k")
    if not isinstance(k, dict):
        raise DecodeError("kline frame without a candle", "the candle of the kline frame is not an object")
    try:
        fields = _CANDLE_FIELDS(k)
    except KeyError as error:
        raise DecodeError("missing field", f"the field {error} is missing") from None
    return kline_text_of((*fields, k.get("B", "0")))


def kline_text_of(row: Sequence[Any]) -> bytes:
    """Return a parsed REST kline row as its text, with every field checked."""
    if not isinstance(row, (list, tuple)) or len(row) < 12:
        raise DecodeError("short kline row", "the kline row has fewer than 12 items")
    if list(map(type, row[:12])) == _ROW_TYPES:
        t, o, h, low, c, v, close_time, q, n, taker_base, taker_quote, ignore = row[:12]
        text = (
            f'{t},"{o}","{h}","{low}","{c}","{v}",{close_time},"{q}",{n},"{taker_base}","{taker_quote}","{ignore}"'
        ).encode()
        if _ONE_ROW.fullmatch(text):
            return text
    d = decimal
    return (
        f'{whole(row[0])},"{d(row[1])}","{d(row[2])}","{d(row[3])}","{d(row[4])}","{d(row[5])}",'
        f'{whole(row[6])},"{d(row[7])}",{whole(row[8])},"{d(row[9])}","{d(row[10])}","{d(row[11])}"'
    ).encode()


def kline_texts(body: bytes) -> list[bytes]:
    """Return the rows of a REST klines answer, each as its text, oldest first.

    Raises :class:`~ats_sync.errors.MalformedAnswer` if any row is incomplete: history must not have holes.
    """
    if body == b"[]":
        return []
    if _ROWS.fullmatch(body):
        return _checked_times(body[2:-2].split(b"],["))
    rows = json_answer(body, list)
    try:
        return _checked_times([kline_text_of(row) for row in rows])
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable kline row: {error}", status=200) from None


def _checked_times(texts: list[bytes]) -> list[bytes]:
    opens = open_times(texts)
    if opens and not EARLIEST <= min(opens) <= max(opens) <= LATEST:
        raise MalformedAnswer("the exchange sent a kline row with an impossible open time", status=200)
    return texts


def string_rows(texts: Iterable[bytes]) -> list[Row]:
    """Return rows as REST does: whole numbers at 0, 6 and 8, exact strings elsewhere."""
    rows: list[Row] = orjson.loads(b"[[" + b"],[".join(texts) + b"]]")
    return rows if rows != [[]] else []


def float_rows(texts: Iterable[bytes]) -> list[Row]:
    """Return rows with floats instead of the strings."""
    return list(map(float_row, string_rows(texts)))


def packed_string_rows(text: bytes) -> list[Row]:
    """Like :func:`string_rows`, for texts that are joined with ``],[``."""
    return orjson.loads(b"[[" + text + b"]]") if text else []


def packed_float_rows(text: bytes) -> list[Row]:
    """Like :func:`float_rows`, for texts that are joined with ``],[``; several times as fast."""
    if not text:
        return []
    try:
        if b"-" in text:
            raise ValueError("JSON has no negative zero among its whole numbers")
        rows: list[Row] = orjson.loads((b"[[" + text + b"]]").translate(None, b'"'))
    except ValueError:  # not valid in JSON, such as "007.5"
        return list(map(float_row, packed_string_rows(text)))
    # Decimals without a point have become int. The points tell how many there are, since no decimal has two.
    whole_numbers = len(_DECIMALS) * len(rows) - text.count(b".")
    for place, item in _DECIMALS:
        if not whole_numbers:
            return rows
        if found := list(map(type, map(item, rows))).count(int):
            whole_numbers -= found
            if not any(map(item, rows)):  # the usual case for the last item of a row
                for row in rows:
                    row[place] = 0.0
                continue
            for row in rows:
                row[place] = float(row[place])
    return rows


def float_row(row: Row) -> Row:
    """Return a row of strings as a row of floats."""
    t, o, h, low, c, v, close_time, q, n, tb, tq, ignore = row
    return [
        t,
        float(o),
        float(h),
        float(low),
        float(c),
        float(v),
        close_time,
        float(q),
        n,
        float(tb),
        float(tq),
        float(ignore),
    ]


def text_open_time(text: bytes) -> int:
    return int(text[: text.index(b",")])


def open_times(texts: Sequence[bytes]) -> list[int]:
    """Return the open times (ms) of rows' texts."""
    # Times between EARLIEST and LATEST all have 13 digits and can be parsed at once: at a start there are many.
    heads = b"".join([text[:14] for text in texts])
    if heads[13::14] == b"," * len(texts) and heads.count(b",") == len(texts) and heads.replace(b",", b"").isdigit():
        return list(map(int, heads[:-1].split(b",")))
    return list(map(text_open_time, texts))


def text_close(text: bytes) -> float:
    """Return the close of a row's text."""
    return float(text.split(b",", 5)[4].strip(b'"'))


def text_trades(text: bytes) -> int:
    """Return the trade count of a row's text."""
    return int(text.split(b",", 9)[8])


def flat_text(opened: int, close_time: int, previous: bytes) -> bytes:
    """Return the row that REST shows for a candle without trades after the candle ``previous``."""
    close = previous.split(b",", 5)[4]
    return b'%d,%s,%s,%s,%s,"0",%d,"0",0,"0","0","0"' % (opened, close, close, close, close, close_time)
