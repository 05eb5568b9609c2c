"""How a series is written down: a header, then its rows as the text that REST writes.

The header is a JSON object with the format's version, the series' key, what counts beside the rows, and a checksum of
everything.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from ..errors import MalformedAnswer
from ..feeds import Key
from ..venue.payload import DecodeError

FORMAT = 1
"""A reader refuses a greater one."""


class Dump(NamedTuple):
    """What was written down of a series."""

    facts: dict[str, Any]
    """What counts beside the rows."""
    rows: list[bytes]
    """The parts after the header."""

    def whole(self, name: str) -> int:
        """Return one of the facts that is a whole number from 0 on. Raises
        :class:`~ats_sync.venue.payload.DecodeError`."""
        value = self.facts.get(name)
        if type(value) is not int or value < 0:
            raise DecodeError("bad dump", f"the dump's {name!r} is not a whole number")
        return value

    def flag(self, name: str) -> bool:
        """Return one of the facts that is true or false. Raises :class:`~ats_sync.venue.payload.DecodeError`."""
        value = self.facts.get(name)
        if not isinstance(value, bool):
            raise DecodeError("bad dump", f"the dump's {name!r} is neither true nor false")
        return value

    def body(self) -> bytes:
        """Return the rows where they are one part. Raises :class:`~ats_sync.venue.payload.DecodeError`."""
        if len(self.rows) != 1:
            raise DecodeError("bad dump", f"the dump has {len(self.rows)} parts of rows in place of one")
        return self.rows[0]


def write(key: Key, texts: Sequence[bytes], /, **facts: Any) -> list[bytes]:
    """Return the parts: the header and the rows."""
    head = {"format": FORMAT, "key": [key.kind.value, key.symbol, key.interval], **facts}
    return [_text({**head, "checksum": _checksum(head, texts)}), *texts]


def read(key: Key, parts: Iterable[bytes]) -> Dump | None:
    """Return what was written, None where there are no parts.

    Raises :class:`~ats_sync.venue.payload.DecodeError` where it is malformed, of another key or of a newer format.
    """
    found = list(parts)
    if not found:
        return None
    header, *rows = found
    try:
        head = json.loads(header)
    except (ValueError, RecursionError):
        raise DecodeError("bad dump", "the dump's header is not JSON") from None
    if not isinstance(head, dict) or type(head.get("format")) is not int:
        raise DecodeError("bad dump", "the dump's header names no format")
    if head["format"] > FORMAT:
        raise DecodeError("newer dump", f"the dump has format {head['format']}, which is newer than {FORMAT}")
    if head.pop("checksum", None) != _checksum(head, rows):
        raise DecodeError("bad dump", "the dump's checksum does not fit")
    if head.get("key") != [key.kind.value, key.symbol, key.interval]:
        raise DecodeError("dump of another key", f"the dump is of {head.get('key')} and not of {key}")
    return Dump(head, rows)


def as_decode_error(error: MalformedAnswer) -> DecodeError:
    """Return what is raised where the rows of a dump are not what REST would write."""
    return DecodeError("bad dump", f"the dump's rows are unusable: {error}")


def _text(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _checksum(head: dict[str, Any], rows: Sequence[bytes]) -> int:
    checksum = zlib.crc32(_text(head))
    for part in rows:
        checksum = zlib.crc32(b"%d:" % len(part) + part, checksum)
    return checksum
