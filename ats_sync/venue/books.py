"""Order books: the partial book of the stream, the snapshot of REST."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from ..errors import MalformedAnswer
from .envelope import frame_data
from .payload import QUOTED, DecodeError, decimal, field, json_answer, number_after, whole

Level = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Book:
    """Levels best first, as the exchange wrote them; ``time`` is the event's, ms."""

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
    """Bids and asks. One look at the text they came from tells that all levels are good; else each is checked."""
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
    """``(last update id, event time)`` of a depth frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated depth frame")
    return number_after(frame, b'"u":'), number_after(frame, b'"E":')


def partial_book(frame: bytes) -> Book:
    """The book of a ``depth20`` frame."""
    data = frame_data(frame)
    bids, asks = _sides(data, frame, ("b", "a"), _STREAMED_SIDES)
    return Book(whole(field(data, "u")), whole(field(data, "E")), whole(field(data, "T")), bids, asks)


def book_snapshot(body: bytes) -> Book:
    """The book of a REST depth answer."""
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
