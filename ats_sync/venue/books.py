"""Order books: the partial book of the stream, the snapshot of REST, and the events of the diff stream.

Events are many and long, and none of them may be skipped, so they are read without building objects if they have the
form in which the exchange writes them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ..errors import MalformedAnswer
from .envelope import frame_data
from .payload import QUOTED, DecodeError, decimal, field, json_answer, number_after, whole

Level = tuple[str, ...]
Pair = tuple[str, str]
"""Price and quantity, as the exchange wrote them."""


@dataclass(frozen=True, slots=True)
class Book:
    """A book, levels best first, as the exchange wrote them; ``time`` is the event's, ms."""

    update_id: int
    time: int
    transaction_time: int
    bids: list[Level]
    asks: list[Level]


def checked_levels(values: object) -> list[Level]:
    if not isinstance(values, list):
        raise DecodeError("missing array", "the levels are not an array")
    for level in values:
        if not isinstance(level, list) or len(level) < 2:
            raise DecodeError("bad level", "a level is not a pair")
        decimal(level[0])
        decimal(level[1])
    return list(map(tuple, values))


_PAIR: Final = rb"\[" + QUOTED + rb"," + QUOTED + rb"\]"
_SIDE: Final = rb"\[(?:" + _PAIR + rb"(?:," + _PAIR + rb")*)?\]"
_STREAMED_SIDES: Final = re.compile(rb'"b":' + _SIDE + rb',"a":' + _SIDE + rb"[,}]")
_REST_SIDES: Final = re.compile(rb'"bids":' + _SIDE + rb',"asks":' + _SIDE + rb"[,}]")


def _sides(values: dict[str, Any], raw: bytes, names: tuple[str, str], plain: re.Pattern[bytes]) -> list[list[Level]]:
    """Return bids and asks. One match on their text shows that all levels are good; otherwise each is checked."""
    sides = [field(values, name) for name in names]
    once = all(raw.count(b'"%s":' % name.encode()) == 1 for name in names)
    if once and plain.search(raw):
        sides = [list(map(tuple, side)) for side in sides]
    else:
        sides = [checked_levels(side) for side in sides]
    _check_sides(*sides)
    return sides


def _check_sides(bids: list[Level], asks: list[Level]) -> None:
    if bids and asks and float(bids[0][0]) >= float(asks[0][0]):
        raise DecodeError("crossed book", f"the book is crossed: bid {bids[0][0]}, ask {asks[0][0]}")


def scan_book(frame: bytes) -> tuple[int, int]:
    """Return ``(last update id, event time)`` of a depth frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated depth frame")
    return number_after(frame, b'"u":'), number_after(frame, b'"E":')


def partial_book(frame: bytes) -> Book:
    """Return the book of a ``depth20`` frame."""
    data = frame_data(frame)
    bids, asks = _sides(data, frame, ("b", "a"), _STREAMED_SIDES)
    return Book(whole(field(data, "u")), whole(field(data, "E")), whole(field(data, "T")), bids, asks)


def book_snapshot(body: bytes) -> Book:
    """Return the book of a REST depth answer."""
    values = json_answer(body, dict)
    try:
        bids, asks = _sides(values, body, ("bids", "asks"), _REST_SIDES)
        return Book(
            whole(field(values, "lastUpdateId")),
            whole(field(values, "E")),
            whole(field(values, "T")),
            bids,
            asks,
        )
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable book: {error}", status=200) from None


def scan_diff(frame: bytes) -> tuple[int, int, int, int]:
    """Return ``(first update id, last update id, last update id of the event before, event time)`` of a depth event."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated depth frame")
    first, last = number_after(frame, b'"U":'), number_after(frame, b'"u":')
    previous = number_after(frame, b'"pu":')
    if max(first, previous) > last:
        raise DecodeError("update ids out of order")
    return first, last, previous, number_after(frame, b'"E":')


def scan_diff_time(frame: bytes) -> int:
    """Return the transaction time of a depth event, ms."""
    return number_after(frame, b'"T":')


def diff_levels(frame: bytes) -> tuple[dict[float, Pair], dict[float, Pair]]:
    """Return the changed bids and the changed asks of a depth event, by price; of several at one price, the last."""
    at, asks_at = frame.find(b'"b":['), frame.find(b'],"a":[')
    bids = _pairs(frame[at + 4 : asks_at + 1])
    asks = _pairs(frame[asks_at + 6 : frame.rfind(b"]") + 1])
    if at < 0 or asks_at < 0 or bids is None or asks is None:
        data = frame_data(frame)
        bids, asks = (_checked_pairs(field(data, key)) for key in "ba")
    return by_price(*bids), by_price(*asks)


def _pairs(levels: bytes) -> tuple[list[str], list[str]] | None:
    """Return prices and quantities if they are written the way the exchange writes them, otherwise None."""
    skeleton = levels.translate(None, b"0123456789.")
    if skeleton != b"[" + (b'["",""],' * (len(skeleton) // 8))[:-1] + b"]":
        return None
    parts = levels.decode().split('"')
    return parts[1::4], parts[3::4]


def _checked_pairs(levels: object) -> tuple[list[str], list[str]]:
    checked = checked_levels(levels)
    prices, quantities = [level[0] for level in checked], [level[1] for level in checked]
    if any(text.startswith("-") for text in (*prices, *quantities)):
        raise DecodeError("negative level", "a price or quantity is negative")
    return prices, quantities


def by_price(prices: list[str], quantities: list[str]) -> dict[float, Pair]:
    """Return ``{price: (price, quantity)}``, with the texts unchanged."""
    try:
        return dict(zip(map(float, prices), zip(prices, quantities, strict=True), strict=True))
    except ValueError as error:
        raise DecodeError("bad decimal", f"price is not a decimal: {error}") from None


def quantity_of(level: Pair) -> float:
    """Return the quantity as a number."""
    try:
        return float(level[1])
    except ValueError as error:
        raise DecodeError("bad decimal", f"quantity is not a decimal: {error}") from None
