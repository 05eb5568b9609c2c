"""Reading the recording of the real exchange."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def frames(recording: Path) -> list[bytes]:
    """Return the frames of the combined stream, in order of arrival."""
    lines = (recording / "stream.txt").read_bytes().splitlines()
    return [line.split(b": ", 1)[1] for line in lines[1:] if line]


def of_stream(recording: Path, part: str) -> Iterator[tuple[bytes, dict[str, Any]]]:
    """Yield the frames whose stream name contains ``part``, with their payload."""
    for frame in frames(recording):
        message = json.loads(frame)
        if part in message["stream"]:
            yield frame, message["data"]


def answers(recording: Path) -> Iterator[tuple[str, bytes]]:
    """Yield ``(url, body)`` of the REST answers."""
    for line in (recording / "rest.txt").read_bytes().splitlines():
        if line:
            head, body = line.split(b": ", 1)
            yield head.split(b" -> ")[0].decode(), body


def exchange_info(recording: Path) -> bytes:
    first = (recording / "exchange_info.txt").read_bytes().splitlines()[0]
    return first[first.index(b"{") :]
