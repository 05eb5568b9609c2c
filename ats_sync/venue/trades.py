"""Aggregated trades."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import Any, Final, NamedTuple

import orjson

from ..errors import MalformedAnswer
from .payload import DECIMAL, QUOTED, DecodeError, decimal, field, json_answer, number_after, whole

_WHOLE: Final = rb"(?:0|[1-9]\d{0,17})"
_HEAD: Final = rb'\{"a":' + _WHOLE + rb',"p":' + QUOTED + rb',"q":' + QUOTED
_TAIL: Final = rb',"f":' + _WHOLE + rb',"l":' + _WHOLE + rb',"T":' + _WHOLE + rb',"m":(?:true|false)\}'
_TRADES: Final = re.compile(rb"(?:," + _HEAD + rb'(?:,"nq":' + QUOTED + rb")?" + _TAIL + rb")*")
_IDS: Final = re.compile(rb'\{"a":(\d+)')
_AS_NUMBERS: Final = bytes.maketrans(b"tse", b"10 ")
"""Makes 1 of true and 0 of false, once their other letters are removed; a number with an exponent becomes two."""
_NO_NUMBERS: Final = b'":{}apqnflTmru'
"""The rest of an object in REST's form: names, and the punctuation of JSON."""

_FORMS: Final = {
    7 + len(more): re.compile(
        rb'(?:,\{"a":[0-9]+,"p":"[0-9.]+","q":"[0-9.]+"'
        + b"".join(more)
        + rb',"f":[0-9]+,"l":[0-9]+,"T":[0-9]+,"m":(?:true|false)\})*'
    )
    for more in ((), (b',"nq":"[0-9.]+"',))
}
"""Trades in REST's form with plain numbers, by how many numbers each has: twice as fast as one pattern for all."""


def scan_trade(frame: bytes) -> tuple[int, int]:
    """Return ``(aggregated trade id, event time)`` of an aggTrade frame."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated aggTrade frame")
    return number_after(frame, b'"a":'), number_after(frame, b'"E":')


def scan_trade_end(frame: bytes) -> tuple[int, int]:
    """Return ``(id of the last trade it includes, trade time in ms)`` of an aggTrade frame."""
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


class TradeNumbers(NamedTuple):
    """The numbers of consecutive trades."""

    prices: list[float]
    """Those without a point are int."""
    quantities: list[float]
    """Those without a point are int."""
    times: array[int]
    """In ms."""
    makers: list[int]
    """1 if the buyer was the maker."""


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
    """Like :func:`_trade`, but field by field, so that the error names the wrong one."""
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


def trade_text(found: Trade) -> bytes:
    """Return a trade as a JSON object."""
    normal = "" if found.normal_quantity is None else f',"nq":"{found.normal_quantity}"'
    return (
        f'{{"a":{found.id},"p":"{found.price}","q":"{found.quantity}"{normal},"f":{found.first_trade},'
        f'"l":{found.last_trade},"T":{found.time},"m":{"true" if found.buyer_is_maker else "false"}}}'
    ).encode()


def trades_text(found: Iterable[Trade]) -> bytes:
    """Return trades as REST writes them."""
    return b"[" + b",".join(map(trade_text, found)) + b"]"


def trade_of(text: bytes) -> Trade:
    """Return the trade of a JSON object."""
    try:
        values = orjson.loads(text)
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad JSON", f"the trade is not JSON: {error}") from None
    return _trade(values)


def is_written_as_by_rest(text: bytes, first: int, count: int) -> bool:
    """Return whether ``text`` is ``count`` trades with the ids ``first``, ``first + 1``, … exactly as in REST's array:
    then nothing in it has to be decoded to be passed on."""
    if not text or _TRADES.fullmatch(b"," + text) is None:
        return not text and not count
    return list(map(int, _IDS.findall(text))) == list(range(first, first + count))


def written_numbers(text: bytes, first: int, count: int) -> TradeNumbers | None:
    """Return the numbers of ``count`` trades with the ids ``first``, ``first + 1``, … if they are certainly written as
    in REST's array; None if a closer look is needed. Both together cost no more than the check alone."""
    found = _numbers_in(text, count)
    if found is None:
        return None
    numbers, fields = found
    if numbers[::fields] != list(range(first, first + count)) or _FORMS[fields].fullmatch(b"," + text) is None:
        return None
    return _columns(numbers, fields)


def trade_numbers(text: bytes, count: int) -> TradeNumbers | None:
    """Return the numbers of ``count`` trades in REST's form, many times as fast as one by one.

    None if a number is written in an uncommon way, or if only some of the trades have a normal quantity.
    """
    found = _numbers_in(text, count)
    return None if found is None else _columns(*found)


def _columns(numbers: list[Any], fields: int) -> TradeNumbers | None:
    try:
        times = array("q", numbers[fields - 2 :: fields])
    except (TypeError, OverflowError):
        return None
    return TradeNumbers(numbers[1::fields], numbers[2::fields], times, numbers[fields - 1 :: fields])


def _numbers_in(text: bytes, count: int) -> tuple[list[Any], int] | None:
    """Return all numbers in the text of ``count`` trades, and how many each of them has."""
    if b"-" in text:
        return None
    try:
        numbers: list[Any] = orjson.loads(b"[" + text.translate(_AS_NUMBERS, _NO_NUMBERS) + b"]")
    except ValueError:
        return None
    fields, rest = divmod(len(numbers), count) if count else (8, 0)
    return None if rest or fields not in _FORMS else (numbers, fields)


def trades_of_text(text: bytes) -> list[Trade]:
    """Return the trades of a text in the form that REST's array has, without its brackets."""
    return list(map(_trade, orjson.loads(b"[" + text + b"]")))


def trades_of(texts: Sequence[bytes], first: int) -> list[Trade]:
    """Return the trades of JSON objects with the ids ``first``, ``first + 1``, …, much faster than one by one.

    Raises :class:`DecodeError` if any of them is malformed; :func:`trade_of` shows which.
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
