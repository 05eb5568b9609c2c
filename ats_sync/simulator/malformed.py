"""Malformed messages that a client must survive, made from a good one."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .market import Frame
from .wire import BINARY, CONTINUATION, PING, TEXT, Wire, combined_text, ws_frame

HUGE = 10 * 1024 * 1024
_DEPTH = 100_000
_CORE_FIELDS = ("c", "p", "b", "r", "q", "i")


def _loads(payload: str) -> Any:
    return json.loads(payload)


def _dumps(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _first_object(value: Any) -> dict[str, Any]:
    """Return the object with the values: ``k`` of a kline, ``o`` of a forced order, the first of an array."""
    if isinstance(value, list):
        value = value[0] if value else {}
    for name in ("k", "o"):
        if isinstance(value.get(name), dict):
            inner: dict[str, Any] = value[name]
            return inner
    found: dict[str, Any] = value
    return found


def _wrong_types(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: item if key in ("e", "s") else _wrong_types(item) if key in ("k", "o") else _swapped(item)
            for key, item in value.items()
        }
    return [_wrong_types(item) for item in value] if isinstance(value, list) else _swapped(value)


def _swapped(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes"
    if isinstance(value, int):
        return {"value": value}
    if isinstance(value, str):
        return [value]
    return 7


def _edited(payload: str, edit: Callable[[dict[str, Any], str], None]) -> str:
    value = _loads(payload)
    fields = _first_object(value)
    name = next((field for field in _CORE_FIELDS if field in fields), None)
    if name is not None:
        edit(fields, name)
    return _dumps(value)


def _drop(fields: dict[str, Any], name: str) -> None:
    del fields[name]


def _empty(fields: dict[str, Any], name: str) -> None:
    fields[name] = ""


def _nan(fields: dict[str, Any], name: str) -> None:
    fields[name] = "NaN"


def _bad_element(payload: str, replace: bool) -> str:
    value = _loads(payload)
    elements = value if isinstance(value, list) else value["b"]
    bad: Any = {"e": "markPriceUpdate", "p": None} if isinstance(value, list) else ["x", None]
    if replace and elements:
        elements[len(elements) // 2] = bad
    else:
        elements.insert(len(elements) // 2, bad)
    return _dumps(value)


_PAYLOADS: dict[str, Callable[[str], str]] = {
    "wrong_types": lambda payload: _dumps(_wrong_types(_loads(payload))),
    "missing_field": lambda payload: _edited(payload, _drop),
    "empty_field": lambda payload: _edited(payload, _empty),
    "nan": lambda payload: _edited(payload, _nan),
    "unknown_event": lambda payload: _dumps({"e": "somethingNew", "E": 1, "s": "BTCUSDT", "x": {"y": [1]}}),
    "null": lambda payload: "null",
    "big_int": lambda payload: '{"e":"kline","E":' + "9" * 6000 + "}",
    "huge": lambda payload: _dumps({"e": "padding", "pad": "x" * HUGE}),
    "deep": lambda payload: "[" * _DEPTH + "]" * _DEPTH,
}
"""Bad ``data`` inside a good message."""

_TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "not_json": lambda text: b"upstream connect error or disconnect/reset before headers",
    "truncated": lambda text: text[: len(text) * 2 // 3],
    "invalid_utf8": lambda text: text[:-2] + b'\xff\xfe\xc3"' + text[-2:],
    "empty_message": lambda text: b"",
}
"""Bad message text."""


def _fragments(text: bytes) -> bytes:
    third = max(1, len(text) // 3)
    return b"".join(
        (
            ws_frame(text[:third], TEXT, final=False),
            ws_frame(b"between", PING),
            ws_frame(text[third : 2 * third], CONTINUATION, final=False),
            ws_frame(text[2 * third :], CONTINUATION),
        )
    )


def fits(kind: str, frame: Frame) -> bool:
    """Return whether ``frame`` can be malformed in that way."""
    return kind != "bad_element" or frame.payload.startswith("[") or '"b":[' in frame.payload


def malform(kind: str, frame: Frame, replace: bool) -> list[Frame | Wire]:
    """Return the messages to send for ``frame``: the bad one, then the good one unless ``replace``.

    "fragmented" is the good message in three fragments with a ping between them. "bad_element" has one bad element
    in its array: in addition to the good ones, or with ``replace`` instead of one of them.
    """
    if kind == "bad_element":
        return [Frame(frame.stream, frame.event_time, _bad_element(frame.payload, replace), frame.spot)]
    combined = combined_text(frame.stream, frame.payload)
    bare = frame.payload.encode()
    bad: Frame | Wire
    if kind == "fragmented":
        return [Wire(frame.stream, frame.spot, _fragments(combined), _fragments(bare))]
    if kind == "binary":
        noise = ws_frame(bytes(range(256)), BINARY)
        bad = Wire(frame.stream, frame.spot, noise, noise)
    elif kind in _TEXTS:
        change = _TEXTS[kind]
        bad = Wire(frame.stream, frame.spot, ws_frame(change(combined)), ws_frame(change(bare)))
    else:
        bad = Frame(frame.stream, frame.event_time, _PAYLOADS[kind](frame.payload), frame.spot)
    return [bad] if replace else [bad, frame]
