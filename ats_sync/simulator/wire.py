"""Server-side WebSocket frames, built once and written to every subscriber."""

from __future__ import annotations

from dataclasses import dataclass

from .market import Frame

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def ws_frame(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    """Return one unmasked frame."""
    first = (0x80 if final else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 65536:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame with its code and reason."""
    return ws_frame(code.to_bytes(2, "big") + reason.encode()[:123], CLOSE)


def combined_text(stream: str, payload: str) -> bytes:
    """Return the message of a combined stream."""
    return f'{{"stream":"{stream}","data":{payload}}}'.encode()


@dataclass(slots=True)
class Wire:
    """The bytes of one message of ``stream``, for combined connections and for bare ones."""

    stream: str
    spot: bool
    combined: bytes
    bare: bytes


def wire_of(frame: Frame) -> Wire:
    """Return the bytes of ``frame``."""
    return Wire(
        frame.stream,
        frame.spot,
        ws_frame(combined_text(frame.stream, frame.payload)),
        ws_frame(frame.payload.encode()),
    )
