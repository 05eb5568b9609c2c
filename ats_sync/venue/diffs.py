"""The events of the diff depth stream: what changed in an order book.

They are many and long, and none of them may be left out, so they are read without building objects where they are
written as the exchange writes them.
"""

from __future__ import annotations

from .books import checked_levels
from .envelope import frame_data
from .payload import DecodeError, field, number_after

Pair = tuple[str, str]
"""Price and quantity, as the exchange wrote them."""


def scan_diff(frame: bytes) -> tuple[int, int, int, int]:
    """``(first update id, last update id, last update id of the event before, event time)`` of a depth event."""
    if not frame.endswith(b"}}"):
        raise DecodeError("truncated depth frame")
    first, last = number_after(frame, b'"U":'), number_after(frame, b'"u":')
    previous = number_after(frame, b'"pu":')
    if max(first, previous) > last:
        raise DecodeError("update ids out of order")
    return first, last, previous, number_after(frame, b'"E":')


def scan_diff_time(frame: bytes) -> int:
    """The transaction time of a depth event, ms."""
    return number_after(frame, b'"T":')


def diff_levels(frame: bytes) -> tuple[dict[float, Pair], dict[float, Pair]]:
    """The changed bids and the changed asks of a depth event, by price; the last of one price."""
    at, asks_at = frame.find(b'"b":['), frame.find(b'],"a":[')
    bids = _pairs(frame[at + 4 : asks_at + 1])
    asks = _pairs(frame[asks_at + 6 : frame.rfind(b"]") + 1])
    if at < 0 or asks_at < 0 or bids is None or asks is None:
        data = frame_data(frame)
        bids, asks = (_checked_pairs(field(data, key)) for key in "ba")
    return by_price(*bids), by_price(*asks)


def _pairs(levels: bytes) -> tuple[list[str], list[str]] | None:
    """Prices and quantities where they stand there as the exchange writes them, None elsewhere."""
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
    """``{price: (price, quantity)}``, the texts as they are."""
    try:
        return dict(zip(map(float, prices), zip(prices, quantities, strict=True), strict=True))
    except ValueError as error:
        raise DecodeError("bad decimal", f"price is not a decimal: {error}") from None


def quantity_of(level: Pair) -> float:
    """The quantity as a number."""
    try:
        return float(level[1])
    except ValueError as error:
        raise DecodeError("bad decimal", f"quantity is not a decimal: {error}") from None
