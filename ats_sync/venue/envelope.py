"""The envelope of a combined stream: which stream a frame belongs to, and when it was sent."""

from __future__ import annotations

import json
from typing import Any, Final

import orjson

from .payload import DecodeError, number_after

STREAM: Final = b'{"stream":"'
_NAME_AT: Final = len(STREAM)
SHUTDOWN: Final = b'"serverShutdown"'
"""Part of the announcement that a server will close its connections in about 10 minutes."""


def stream_name(frame: bytes) -> bytes | None:
    """Return the stream that a combined frame belongs to, if its name comes first and unescaped; otherwise None."""
    if frame.startswith(STREAM):
        end = frame.find(b'"', _NAME_AT)
        name = frame[_NAME_AT:end]
        if end > 0 and b"\\" not in name:
            return name
    return None


def normalised(frame: bytes) -> bytes | dict[str, Any]:
    """Return a frame of any key order and spacing, rewritten in the form that scanning expects.

    A message that is not a stream frame (an acknowledgement, an error) is returned as its object.
    """
    try:
        message = orjson.loads(frame)
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad JSON", f"the frame is not JSON: {error}") from None
    if not isinstance(message, dict):
        raise DecodeError("bad frame", "the frame is not an object")
    stream = message.get("stream")
    if stream is None:
        return message
    if not isinstance(stream, str) or "data" not in message:
        raise DecodeError("bad frame", "the frame has no stream name or no data")
    try:
        rewritten = json.dumps({"stream": stream, "data": message["data"]}, ensure_ascii=False, separators=(",", ":"))
        return rewritten.encode()
    except (ValueError, RecursionError) as error:
        raise DecodeError("bad frame", f"the frame cannot be rewritten: {error}") from None


def frame_data(frame: bytes) -> Any:
    try:
        return orjson.loads(frame)["data"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DecodeError("bad frame", f"the frame is not a combined frame: {error}") from None


def shutdown_in(frame: bytes) -> dict[str, Any]:
    """Return the announcement that a combined frame carries."""
    event = frame_data(frame)
    if not isinstance(event, dict) or event.get("e") != "serverShutdown":
        raise DecodeError("bad frame", "the frame is not a serverShutdown although it names one")
    return event


def data_text(frame: bytes) -> bytes:
    """Return the data of a combined frame as JSON."""
    return json.dumps(frame_data(frame), ensure_ascii=False, separators=(",", ":")).encode()


def scan_event_time(frame: bytes) -> int:
    """Return the first event time in a frame, ms."""
    return number_after(frame, b'"E":')
