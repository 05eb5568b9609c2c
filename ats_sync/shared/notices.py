"""Notices: the stream in the shared store by which readers learn in which series candles have closed.

A notice is a hint and no more. The server drops the oldest, and the feed may have begun again meanwhile: then whoever
reads them learns that any series may have news.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..feeds import Key
from .client import SharedStore
from .layout import MalformedFeed, key_of
from .protocol import Command

NOTICES_KEY = SharedStore.key("feed", "notices")
"""A stream: the fields of series in which a candle has closed, by lines."""
EVERYTHING = b"*"
"""In place of the fields: look at all of them."""
MOST_KEPT = 4096
AT_ONCE = 1000
"""The most notices of one answer; where there may be more, everything is looked at."""


def notice(fields: Iterable[bytes]) -> Command:
    """Return the command that sends one of these fields, or of :data:`EVERYTHING`."""
    return "XADD", NOTICES_KEY, "MAXLEN", "~", MOST_KEPT, "*", "closed", b"\n".join(fields)


class Notices:
    """Those that one reader has not read yet. Not thread-safe."""

    def __init__(self, shared: SharedStore) -> None:
        self._shared = shared
        self._after = b"0"  # the newest one that was read

    def skip(self) -> None:
        """Count all that there are as read. Raises :class:`~ats_sync.errors.SharedStoreUnavailable`."""
        found: list[tuple[bytes, Any]] = self._shared.run(lambda redis: redis.xrevrange(NOTICES_KEY, count=1))
        self._after = found[0][0] if found else b"0"

    def wait(self, seconds: float) -> set[Key] | None:
        """Wait at most so long for notices; return the series that they name, None where that may be all of them.

        Raises :class:`~ats_sync.errors.SharedStoreUnavailable`.
        """
        block = max(1, int(seconds * 1000))
        answer = self._shared.run(lambda redis: redis.xread({NOTICES_KEY: self._after}, count=AT_ONCE, block=block))
        found = [each for _, notices in answer or () for each in notices]
        if not found:
            return set()
        self._after = found[-1][0]
        texts = [fields.get(b"closed", EVERYTHING) for _, fields in found]
        if len(texts) >= AT_ONCE or EVERYTHING in texts:
            return None
        return {key for text in texts for key in _keys_in(text)}


def _keys_in(text: bytes) -> list[Key]:
    """Return the series that a notice names; none where it cannot be read."""
    try:
        return [key_of(field) for field in text.split(b"\n")]
    except MalformedFeed:
        return []
