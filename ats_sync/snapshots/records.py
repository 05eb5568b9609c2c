"""One file a series: a line of JSON, then the parts of the series' dump. Pure: bytes in, bytes out.

The line says of which exchange and which contract the rows are and when they were written, and bears a checksum of
itself; the dump has a checksum of its own.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import quote

from ..config import Config
from ..feeds import FEEDS, Key, Kind
from ..venue.payload import DecodeError

FORMAT = 1
"""A reader refuses a greater one."""
MAGIC = "ats-sync snapshot"
MOST_HEADER = 16_384
"""Bytes."""
MOST_AGE = 7 * 86_400_000
"""What was written longer ago (ms) is not loaded."""
DEMANDED_FOR = 1_800_000
"""What was read is followed again by a start within so many ms, as it would have been kept without one."""
SLACK = 5_000
"""By so many ms two starts may differ in what they take for the exchange's time."""


class Record(NamedTuple):
    """What one file says. Times are exchange ms."""

    exchange: tuple[str, ...]
    """The base URLs that the rows come from."""
    onboarded: int
    """When the contract was listed; 0 for what belongs to no contract."""
    written: int
    parts: tuple[bytes, ...]
    """The series' dump."""
    demanded: int = 0
    """How many rows were kept of it, where it was followed because it was read; 0 where it was followed anyway."""


def exchange_of(config: Config) -> tuple[str, ...]:
    """Return what tells one exchange from another."""
    return config.fapi_base, config.spot_base, config.fstream_base, config.spot_stream_base


def folder_of(config: Config) -> str:
    """Return the name of the folder for the rows of one exchange: those of a test exchange are in another one."""
    exchange = exchange_of(config)
    host = exchange[0].partition("://")[2]
    return f"{quote(host, safe='')[:100]}-{zlib.crc32(json.dumps(exchange).encode()):08x}"


def is_kept(key: Key) -> bool:
    """Return whether a series is written down: what is listed, and rows of a contract."""
    feed = FEEDS.get(key.kind)
    return feed is not None and feed.write_order is not None and (feed.shared or bool(key.symbol))


def key_of(record: Record) -> Key | None:
    """Return the key of the series that a record is of, None where it does not say."""
    try:
        kind, symbol, interval = json.loads(record.parts[0])["key"]
        return Key(Kind(kind), str(symbol), str(interval))
    except (ValueError, LookupError, TypeError):
        return None


def is_demanded(record: Record, exchange: Sequence[str], now: int) -> bool:
    """Return whether a series was followed at exchange time ``now`` (ms), or shortly before, because it was read."""
    return record.demanded > 0 and not refusal(record, exchange, now) and record.written >= now - DEMANDED_FOR


def file_name(key: Key) -> str:
    """Return the name of a series' file, which differs from every other one's in more than the case of letters."""
    interval = "1mo" if key.interval == "1M" else key.interval
    parts = (quote(part, safe="").replace(".", "%2E") for part in (key.symbol, key.kind.value, interval) if part)
    return ".".join(parts) + ".rows"


def pack(record: Record) -> bytes:
    """Return the bytes of a file."""
    head = {
        "magic": MAGIC,
        "format": FORMAT,
        "exchange": list(record.exchange),
        "onboarded": record.onboarded,
        "written": record.written,
        "demanded": record.demanded,
        "lengths": [len(part) for part in record.parts],
    }
    return b"".join((_first_line(head), b"\n", *record.parts))


def unpack(text: bytes) -> Record:
    """Return what a file says.

    Raises :class:`~ats_sync.venue.payload.DecodeError` for one that is cut, changed, or of a newer format. (That its
    rows are whole is checked with the dump.)
    """
    line, newline, body = text[: MOST_HEADER + 1].partition(b"\n")
    if not newline:
        raise DecodeError("bad snapshot", "its first line is not whole")
    body = text[len(line) + 1 :]
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        raise DecodeError("bad snapshot", "its first line is not JSON") from None
    if not isinstance(head, dict) or head.get("magic") != MAGIC or type(head.get("format")) is not int:
        raise DecodeError("bad snapshot", "it is something else")
    if head["format"] > FORMAT:
        raise DecodeError("newer snapshot", f"it was written by a newer version (format {head['format']})")
    head.pop("checksum", None)
    if line != _first_line(head):
        raise DecodeError("bad snapshot", "its first line is not as it was written, or its checksum does not fit")
    lengths = head["lengths"]
    if sum(lengths) != len(body):
        raise DecodeError("bad snapshot", f"it has {len(body)} bytes of rows in place of {sum(lengths)}")
    parts, begin = [], 0
    for length in lengths:
        parts.append(body[begin : begin + length])
        begin += length
    return Record(tuple(head["exchange"]), head["onboarded"], head["written"], tuple(parts), head["demanded"])


def _first_line(head: dict[str, Any]) -> bytes:
    checksum = zlib.crc32(json.dumps(head, separators=(",", ":")).encode())
    return json.dumps({**head, "checksum": checksum}, separators=(",", ":")).encode()


def refusal(record: Record, exchange: Sequence[str], now: int) -> str:
    """Return why a record is of no use at exchange time ``now`` (ms), "" where it is."""
    if record.exchange != tuple(exchange):
        return f"it was written for {record.exchange[0] if record.exchange else 'another exchange'}"
    if record.written > now + SLACK:
        return "it was written later than it is now: a clock was set back"
    if record.written < now - MOST_AGE:
        return f"it is older than {MOST_AGE // 86_400_000} days"
    return ""


def contract_refusal(record: Record, until: int, listed: int, announced: int) -> str:
    """Return why the rows of a contract are not loaded, "" where they are.

    ``until`` is the time (ms) that had come when the newest of them was known, ``listed`` when the contract was listed
    that has the name now (0: none has), ``announced`` the same by the newest event (0: there was none).
    """
    if until > record.written:
        return "its rows are of later than it was written"
    if not listed or not record.onboarded:
        return "it is not known whether the contract is the same"
    if record.onboarded != listed or announced > listed:
        return "the name belongs to another contract now"
    return ""
