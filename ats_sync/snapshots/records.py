"""One file per series: a line of JSON, then the parts of the series' dump. Pure: bytes in, bytes out.

The line contains the exchange and the contract of the rows, when they were written, and a checksum of itself; the dump
has its own checksum.
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
"""A reader refuses greater numbers."""
MAGIC = "ats-sync snapshot"
MOST_HEADER = 16_384
"""Bytes."""
MOST_AGE = 7 * 86_400_000
"""A record written longer ago (ms) is not loaded."""
DEMANDED_FOR = 1_800_000
"""A start follows series again that were read within this time (ms), as they would have been without a restart."""
SLACK = 5_000
"""Two starts may differ by this much (ms) in what they take for the exchange's time."""


class Record(NamedTuple):
    """The content of one file. Times are exchange ms."""

    exchange: tuple[str, ...]
    """The base URLs that the rows come from."""
    onboarded: int
    """When the contract was listed; 0 for data that belongs to no contract."""
    written: int
    parts: tuple[bytes, ...]
    """The series' dump."""
    demanded: int = 0
    """How many of its rows were kept, if it was followed because it was read; 0 if it was followed anyway."""


def folder_of(config: Config) -> str:
    """Return the name of the folder for the rows of one exchange; a simulated exchange gets another folder."""
    exchange = config.exchange
    host = exchange[0].partition("://")[2]
    return f"{quote(host, safe='')[:100]}-{zlib.crc32(json.dumps(exchange).encode()):08x}"


def is_kept(key: Key) -> bool:
    """Return whether a series is written: the listings are, and so are rows of a contract."""
    feed = FEEDS.get(key.kind)
    return feed is not None and feed.write_order is not None and (feed.shared or bool(key.symbol))


def key_of(record: Record) -> Key | None:
    """Return the key of a record's series, or None if the record does not name one."""
    try:
        kind, symbol, interval = json.loads(record.parts[0])["key"]
        return Key(Kind(kind), str(symbol), str(interval))
    except (ValueError, LookupError, TypeError):
        return None


def is_demanded(record: Record, exchange: Sequence[str], now: int) -> bool:
    """Return whether a series was followed because it was read, at exchange time ``now`` (ms) or shortly before."""
    return record.demanded > 0 and not refusal(record, exchange, now) and record.written >= now - DEMANDED_FOR


def file_name(key: Key) -> str:
    """Return the file name of a series, which differs from all others in more than upper and lower case."""
    interval = "1mo" if key.interval == "1M" else key.interval
    parts = (quote(part, safe="").replace(".", "%2E") for part in (key.symbol, key.kind.value, interval) if part)
    return ".".join(parts) + ".rows"


def pack(record: Record) -> bytes:
    """Return the bytes of a record's file."""
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
    """Return the record in a file.

    Raises :class:`~ats_sync.venue.payload.DecodeError` if the file is truncated, changed, or of a newer format. (The
    rows themselves are checked when the dump is loaded.)
    """
    line, newline, body = text[: MOST_HEADER + 1].partition(b"\n")
    if not newline:
        raise DecodeError("bad snapshot", "its first line is incomplete")
    body = text[len(line) + 1 :]
    try:
        head = json.loads(line)
    except (ValueError, RecursionError):
        raise DecodeError("bad snapshot", "its first line is not JSON") from None
    if not isinstance(head, dict) or head.get("magic") != MAGIC or type(head.get("format")) is not int:
        raise DecodeError("bad snapshot", "it is not a snapshot")
    if head["format"] > FORMAT:
        raise DecodeError("newer snapshot", f"it was written by a newer version (format {head['format']})")
    head.pop("checksum", None)
    if line != _first_line(head):
        raise DecodeError("bad snapshot", "its first line was changed, or its checksum does not match")
    lengths = head["lengths"]
    if sum(lengths) != len(body):
        raise DecodeError("bad snapshot", f"it has {len(body)} bytes of rows instead of {sum(lengths)}")
    parts, begin = [], 0
    for length in lengths:
        parts.append(body[begin : begin + length])
        begin += length
    return Record(tuple(head["exchange"]), head["onboarded"], head["written"], tuple(parts), head["demanded"])


def _first_line(head: dict[str, Any]) -> bytes:
    checksum = zlib.crc32(json.dumps(head, separators=(",", ":")).encode())
    return json.dumps({**head, "checksum": checksum}, separators=(",", ":")).encode()


def refusal(record: Record, exchange: Sequence[str], now: int) -> str:
    """Return why a record cannot be used at exchange time ``now`` (ms), "" if it can."""
    if record.exchange != tuple(exchange):
        return f"it was written for {record.exchange[0] if record.exchange else 'another exchange'}"
    if record.written > now + SLACK:
        return "it was written in the future: the clock was set back"
    if record.written < now - MOST_AGE:
        return f"it is older than {MOST_AGE // 86_400_000} days"
    return ""


def contract_refusal(record: Record, until: int, listed: int, announced: int) -> str:
    """Return why the rows of a contract are not loaded, "" if they are.

    ``until`` is the time (ms) up to which the rows were known, ``listed`` the listing time of the contract that has the
    name now (0: there is none), ``announced`` the same according to the newest event (0: there was none).
    """
    if until > record.written:
        return "its rows are newer than the time it was written"
    if not listed or not record.onboarded:
        return "it is not known whether the contract is the same"
    if record.onboarded != listed or announced > listed:
        return "the name now belongs to another contract"
    return ""
