"""Building blocks for turning the exchange's bytes into values.

There are two depths. *Scanning* takes from a frame what merging needs (ids, times, the final flag) by looking
for keys, without building objects: it runs for every frame. *Decoding* builds the values and checks
every field: it runs when somebody reads, and for the few frames that end a candle.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

import orjson

from ..errors import MalformedAnswer

QUOTED: Final = rb'"\d+(?:\.\d+)?"'
"""A decimal as the exchange writes it, in the text of a payload."""
_SERVER_TIME: Final = re.compile(rb'"serverTime":\s*(\d{10,16})', re.ASCII)
_HEAD: Final = 4096
"""How an answer that states the time does so."""
DECIMAL: Final = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?\Z", re.ASCII)


class DecodeError(ValueError):
    """A payload cannot be decoded.

    ``reason`` is a short noun phrase without any value of the payload, so that failures can be counted by it; ``text``
    is the message, if it says more.
    """

    def __init__(self, reason: str, text: str | None = None) -> None:
        super().__init__(reason if text is None else text)
        self.reason = reason


def number_after(frame: bytes, key: bytes, start: int = 0) -> int:
    at = frame.find(key, start)
    if at < 0:
        raise DecodeError("missing field", f"the frame has no {key.decode()}")
    at += len(key)
    comma = frame.find(b",", at)
    digits = frame[at:comma] if comma > 0 else b""
    if digits.isdigit() and len(digits) <= 19:
        return int(digits)
    # The last field of an object ends with a brace.
    digits = frame[at : at + 20].split(b"}", 1)[0].split(b",", 1)[0]
    if not digits.isdigit() or len(digits) > 19:
        raise DecodeError("bad whole number", f"{key.decode()} is not a whole number")
    return int(digits)


def decimal(value: object) -> str:
    if isinstance(value, str) and DECIMAL.match(value):
        return value
    raise DecodeError("bad decimal", f"{value!r} is not a decimal")


def whole(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise DecodeError("bad whole number", f"{value!r} is not a whole number")


def field(values: dict[str, Any], key: str) -> Any:
    try:
        return values[key]
    except (KeyError, TypeError):
        raise DecodeError("missing field", f"the field {key!r} is missing") from None


def text_of(value: object) -> str:
    if isinstance(value, str) and value:
        return value
    raise DecodeError("bad text", f"{value!r} is not a text")


def each_of(values: object, decode_one: Callable[[dict[str, Any]], Any]) -> tuple[list[Any], int]:
    """Return the decoded elements, and how many were dropped: a bad element drops only itself."""
    if not isinstance(values, list):
        raise DecodeError("missing array", "the value is not an array")
    good: list[Any] = []
    bad = 0
    for value in values:
        try:
            good.append(decode_one(value))
        except DecodeError:
            bad += 1
    return good, bad


def raw_answer(body: bytes) -> bytes:
    """Return a REST body unchanged. Raises :class:`~ats_sync.errors.MalformedAnswer` if it is not JSON."""
    json_answer(body)
    return body


def as_of_now(body: bytes, elapsed: int) -> bytes:
    """Return a body that was kept for ``elapsed`` ms; if it states the exchange's time, with the time of now."""
    found = _SERVER_TIME.search(body, 0, _HEAD)
    if found is None:
        return body
    return b"%s%d%s" % (body[: found.start(1)], int(found[1]) + elapsed, body[found.end(1) :])


def json_answer(body: bytes, expected: type | tuple[type, ...] | None = None) -> Any:
    """Return a REST body as JSON of the expected type. Raises :class:`~ats_sync.errors.MalformedAnswer`."""
    try:
        value = orjson.loads(body)
    except (ValueError, RecursionError) as error:
        raise MalformedAnswer(f"the answer is not JSON: {error}", status=200) from None
    if expected is not None and not isinstance(value, expected):
        raise MalformedAnswer(f"the answer is an unexpected {type(value).__name__}", status=200)
    return value
