"""Marks and funding, spot prices, open interest, forced orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from operator import itemgetter
from typing import Any, Final

import orjson

from ..errors import MalformedAnswer
from .envelope import frame_data
from .listings import is_coin_margined
from .payload import DECIMAL, DecodeError, decimal, each_of, field, json_answer, text_of, whole


@dataclass(frozen=True, slots=True)
class Mark:
    """Mark price and funding of a symbol; ``time`` is the event's, ms."""

    symbol: str
    mark_price: str
    funding_rate: str
    next_funding_time: int
    """0 if the contract has no funding (a quarterly, for example)."""
    time: int
    answer: dict[str, Any] | None = None
    """The REST answer it came from, if it did."""
    streamed: dict[str, Any] | None = dataclass_field(default=None, compare=False, repr=False)
    """The stream row it came from, if it did."""


def _stream_mark(values: dict[str, Any]) -> Mark:
    rate = field(values, "r")
    return Mark(
        text_of(field(values, "s")),
        decimal(field(values, "p")),
        decimal(rate) if rate != "" else "0",
        whole(field(values, "T")),
        whole(field(values, "E")),
        streamed=values,
    )


def _rest_mark(values: dict[str, Any]) -> Mark:
    rate = field(values, "lastFundingRate")
    return Mark(
        text_of(field(values, "symbol")),
        decimal(field(values, "markPrice")),
        decimal(rate) if rate != "" else "0",
        whole(field(values, "nextFundingTime")),
        whole(field(values, "time")),
        values,
    )


def stream_marks(frame: bytes, is_superseded: Callable[[dict[str, Any]], bool] | None = None) -> tuple[list[Mark], int]:
    """Return the USDⓈ-M marks of a ``!markPrice@arr`` frame, except those whose rows are superseded, and how many
    elements were unusable.

    The exchange sends one second's rows in several frames, with rows of the COIN-M market among them.
    """
    rows = frame_data(frame)
    if isinstance(rows, list):
        rows = [row for row in rows if not is_coin_margined(row)]
        if is_superseded is not None:
            rows = [row for row in rows if not is_superseded(row)]
    return each_of(rows, _stream_mark)


_OF_STREAM: Final = (
    ("markPrice", "p"),
    ("indexPrice", "i"),
    ("estimatedSettlePrice", "P"),
    ("lastFundingRate", "r"),
)


def premium_text(mark: Mark, interest_rate: str) -> bytes:
    """Return a mark as premiumIndex writes it for one symbol. Its stream has all fields except ``interest_rate``.

    Raises :class:`~ats_sync.venue.payload.DecodeError` if a field is missing.
    """
    if mark.answer is not None:
        return orjson.dumps(mark.answer)
    values = mark.streamed or {}
    prices = {name: field(values, short) for name, short in _OF_STREAM}
    rest = {"interestRate": interest_rate, "nextFundingTime": mark.next_funding_time, "time": mark.time}
    return orjson.dumps({"symbol": mark.symbol, **prices, **rest})


def rest_marks(body: bytes) -> list[Mark]:
    """Return the marks of a premiumIndex answer for all symbols or for one."""
    return _all_or_one(body, _rest_mark, "premium index")


def rest_spot_prices(body: bytes) -> dict[str, str]:
    """Return ``{symbol: price}`` of a spot price answer for all symbols or for one."""

    def one(values: dict[str, Any]) -> tuple[str, str]:
        return text_of(field(values, "symbol")), decimal(field(values, "price"))

    return dict(_all_or_one(body, one, "spot price"))


def _all_or_one(body: bytes, decode_one: Callable[[dict[str, Any]], Any], what: str) -> list[Any]:
    """Return the good elements of an answer for all symbols or for one; there must be at least one."""
    values = json_answer(body, (list, dict))
    good, _ = each_of(values if isinstance(values, list) else [values], decode_one)
    if not good:
        raise MalformedAnswer(f"the exchange sent no usable {what}", status=200)
    return good


def rest_open_interest(body: bytes) -> list[dict[str, Any]]:
    """Return the rows of an open interest answer, oldest first, as the exchange wrote them."""
    rows = json_answer(body, list)
    try:
        if not _are_open_interest(rows):
            for row in rows:
                decimal(field(row, "sumOpenInterest"))
                decimal(field(row, "sumOpenInterestValue"))
                whole(field(row, "timestamp"))
    except DecodeError as error:
        raise MalformedAnswer(f"the exchange sent an unusable open interest row: {error}", status=200) from None
    return sorted(rows, key=itemgetter("timestamp"))


def _are_open_interest(rows: list[Any]) -> bool:
    """Return whether every row is plainly usable; False if each has to be examined."""
    try:
        numbers = [*map(itemgetter("sumOpenInterest"), rows), *map(itemgetter("sumOpenInterestValue"), rows)]
        stamps = list(map(itemgetter("timestamp"), rows))
    except (KeyError, TypeError, IndexError):
        return False
    return set(map(type, numbers)) <= {str} and set(map(type, stamps)) <= {int} and all(map(DECIMAL.match, numbers))


@dataclass(frozen=True, slots=True)
class Liquidation:
    """One forced order as ``!forceOrder@arr`` reported it."""

    symbol: str
    time: int
    order: dict[str, Any]
    """The object as received: optional fields may be missing."""

    @property
    def side(self) -> str:
        """``BUY`` or ``SELL``."""
        return str(self.order["S"])

    @property
    def price(self) -> str:
        return str(self.order.get("p", "0"))

    @property
    def average_price(self) -> str:
        return str(self.order.get("ap", "0"))

    @property
    def quantity(self) -> str:
        return str(self.order.get("q", "0"))

    @property
    def filled(self) -> str:
        """The total quantity of all its fills."""
        return str(self.order.get("z", "0"))

    @property
    def status(self) -> str:
        return str(self.order.get("X", ""))

    @property
    def time_in_force(self) -> str:
        return str(self.order.get("f", ""))

    @property
    def order_type(self) -> str:
        return str(self.order.get("o", ""))


def stream_liquidation(frame: bytes) -> Liquidation | None:
    """Return the forced order of a ``!forceOrder@arr`` frame, None if it belongs to the COIN-M market."""
    data = frame_data(frame)
    order = field(data, "o")
    if is_coin_margined(data) or is_coin_margined(order):
        return None
    for key in ("p", "q", "ap", "z"):
        decimal(order.get(key, "0") if isinstance(order, dict) else None)
    text_of(field(order, "S"))
    return Liquidation(text_of(field(order, "s")), whole(field(order, "T")), order)
