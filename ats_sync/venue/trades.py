"""Aggregated trades."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from ..errors import MalformedAnswer
from .envelope import frame_data
from .payload import DECIMAL, DecodeError, decimal, field, json_answer, number_after, whole


def scan_trade(frame: bytes) -> tuple[int, int]:
    """``(aggregated trade id, event time)`` of an aggTrade frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated aggTrade frame")
    return number_after(frame, b'"a":'), number_after(frame, b'"E":')


def scan_trade_end(frame: bytes) -> tuple[int, int]:
    """``(id of the last trade it sums up, time of trading in ms)`` of an aggTrade frame."""
    return number_after(frame, b'"l":'), number_after(frame, b'"T":')


class Trade(NamedTuple):
    """One aggregated trade; decimals as the exchange wrote them."""

    id: int
    price: str
    quantity: str
    first_trade: int
    last_trade: int
    time: int
    buyer_is_maker: bool
    normal_quantity: str | None


_TRADE_FIELDS: Final = itemgetter("a", "p", "q", "f", "l", "T", "m")
_TRADE_TYPES: Final = [int, str, str, int, int, int, bool]


def _trade(values: dict[str, Any]) -> Trade:
    try:
        fields = _TRADE_FIELDS(values)
        normal = values.get("nq", "0")
    except (KeyError, TypeError, AttributeError):
        return _trade_by_field(values)
    number, price, quantity, first, last, time, maker = fields
    good = DECIMAL.match
    if (
        list(map(type, fields)) == _TRADE_TYPES
        and type(normal) is str
        and good(price)
        and good(quantity)
        and good(normal)
    ):
        return Trade(number, price, quantity, first, last, time, maker, values.get("nq"))
    return _trade_by_field(values)


def _trade_by_field(values: dict[str, Any]) -> Trade:
    """As :func:`_trade`, field by field, so that the error names the one that is wrong."""
    maker = field(values, "m")
    if not isinstance(maker, bool):
        raise DecodeError("bad boolean", "'m' is not a boolean")
    normal = values.get("nq")
    return Trade(
        whole(field(values, "a")),
        decimal(field(values, "p")),
        decimal(field(values, "q")),
        whole(field(values, "f")),
        whole(field(values, "l")),
        whole(field(values, "T")),
        maker,
        None if normal is None else decimal(normal),
    )


def stream_trade(frame: bytes) -> Trade:
    """Return the trade of an aggTrade frame."""
    return _trade(frame_data(frame))


def trade_text(found: Trade) -> bytes:
    """A trade as a JSON object."""
    normal = "" if found.normal_quantity is None else f',"nq":"{found.normal_quantity}"'
    return (
        f'{{"a":{found.id},"p":"{found.price}","q":"{found.quantity}"{normal},"f":{found.first_trade},'
        f'"l":{found.last_trade},"T":{found.time},"m":{"true" if found.buyer_is_maker else "false"}}}'
    ).encode()


def trade_of(text: bytes) -> Trade:
    """Return the trade of a JSON object."""
    try:
        values = orjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad JSON", f"the trade is not JSON: {error}") from None
    return _trade(values)


def trades_of(texts: Sequence[bytes], first: int) -> list[Trade]:
    """Return the trades of JSON objects with the ids ``first``, ``first + 1``, …, much faster than one by one.

    Raises :class:`DecodeError` where any is not what it should be; :func:`trade_of` tells which.
    """
    try:
        values = orjson.loads(b"[" + b",".join(texts) + b"]")
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad JSON", f"the trades are not JSON: {error}") from None
    found = [_trade(each) for each in values]
    if [each.id for each in found] != list(range(first, first + len(texts))):
        raise DecodeError("gap between trades", "the ids of the trades are not consecutive")
    return found


def rest_trades(body: bytes) -> list[Trade]:
    """Return the trades of a REST aggTrades answer, ordered by id."""
    try:
        found = [_trade(values) for values in json_answer(body, list)]
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable trade: {error}", status=200) from None
    return sorted(found, key=lambda each: each.id)
