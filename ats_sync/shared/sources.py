"""Where a reader's data come from: the feed of each shard, as this process has last seen it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ..feeds import Key
from ..logs import RateLimitedLogger
from ..store.link import Link
from .client import SharedStore
from .layout import Feed, exchange_in, feed_in, field_of
from .pull import Known, link_of
from .shards import SHARDS_KEY, Shard, home, shards
from .wishes import WISHES_KEY

AT_ONCE = 64
"""The most series that one script looks up: others wait meanwhile."""


class Source:
    """What this process has of one shard's feed. Replaced by another one where the number of shards changes."""

    def __init__(self, shard: Shard) -> None:
        self.shard = shard
        self.keys = (SharedStore.key("lease", shard.lease), shard.feed_key, WISHES_KEY, SHARDS_KEY)
        self.count = str(shard.count)
        self.life = b""
        self.known: dict[Key, Known] = {}
        self.feed: Feed | None = None
        """How it was when it was last looked at; None where nobody led, or the store was away."""
        self.renewed: Mapping[str, int] = {}
        """The renewals of names that had been seen when the life began for this process: they are not news."""
        self.watched: tuple[float, float] = (0.0, float("-inf"))
        """Up to when it has looked out for silent streams, and when (steady) it said so."""
        self._decoded: tuple[bytes, Feed, Mapping[int, Link]] | None = None  # replaced whole

    def question(self, keys: Sequence[Key], wishes: Sequence[bytes]) -> tuple[list[Any], list[Known | None]]:
        """Return the arguments of the script that brings these series, and what this process has of each by now."""
        life, known = self.life, self.known
        arguments: list[Any] = [life, len(wishes), self.count, *wishes]
        had = [known.get(key) for key in keys]
        for key, one in zip(keys, had, strict=True):
            arguments += field_of(key), one.parts if one is not None and one.life == life else b""
        return arguments, had

    def look(self, keys: Sequence[Key]) -> list[Any]:
        """Return the arguments of the script that brings the heads of these series and none of their parts."""
        return [b"", 0, self.count, *(part for key in keys for part in (field_of(key), b"*"))]

    def decoded(self, text: bytes) -> tuple[Feed, Mapping[int, Link]]:
        """Return the state of the feed that a text shows, and the connections in it by number. (A collector writes some
        twenty texts a second, and a reader may read thousands of times.) Raises
        :class:`~ats_sync.shared.layout.MalformedFeed`."""
        known = self._decoded
        if known is None or known[0] != text:
            feed = feed_in(text)
            known = self._decoded = text, feed, {number: link_of(number, *each) for number, each in feed.links.items()}
        return known[1:]

    def unled(self) -> str:
        """Return what is to be said where nobody leads this shard."""
        part = f" shard {self.shard}" if self.shard.count > 1 else ""
        option = f" --shard {self.shard}" if self.shard.count > 1 else ""
        return f"no collector leads{part}; start one with: python -m ats_sync collect{option}"

    def foreign(self, exchange: bytes, own: bytes) -> str:
        """Return what is to be said where the collector that leads is one of another exchange."""
        theirs, ours = exchange_in(exchange), exchange_in(own)
        differ = next((pair for pair in zip(theirs, ours, strict=False) if pair[0] != pair[1]), ("?", ours[0]))
        return (
            f"the collector of this store is one of another exchange: it reads {differ[0]}, and here {differ[1]} is "
            "configured; let both have the same base URLs, or keep each exchange in a store of its own"
        )


class Sources:
    """The sources of one reader, one where the symbols are not shared out. Any thread may call any method."""

    def __init__(self) -> None:
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self.all: Sequence[Source] = ()
        """Replaced whole."""
        self.feed: Feed | None = None
        """The newest answer's: None where nobody led, or the store was away. With several shards, that of one of those
        that were needed."""
        self.why = "nothing was read yet"
        """Why there is none."""
        self.share_out(1)

    def share_out(self, count: int) -> None:
        """Look for each symbol where so many shards have it."""
        self.all = [Source(shard) for shard in shards(count)]

    def batches(self, keys: Sequence[Key], *, whole: bool = False) -> list[tuple[Source, Sequence[Key]]]:
        """Return keys by source, few enough for one script each. ``whole``, and where there are no keys: a source that
        has none of them is there, too."""
        sources = self.all
        by_number: Mapping[int, Sequence[Key]]
        if len(sources) == 1:
            by_number = {1: keys}
        else:
            sorted_out: dict[int, list[Key]] = {each.shard.number: [] for each in sources if whole or not keys}
            for key in keys:
                sorted_out.setdefault(home(key, len(sources)), []).append(key)
            by_number = sorted_out
        return [
            (sources[number - 1], own[start : start + AT_ONCE])
            for number, own in by_number.items()
            for start in range(0, max(1, len(own)), AT_ONCE)
        ]

    def of(self, symbol: str) -> Source:
        """Return the source of a symbol's series."""
        return next(each for each in self.all if each.shard.has_symbol(symbol))

    # --- how they are --------------------------------------------------------------------------------

    def note(self, source: Source, why: str) -> None:
        """Note whether one of them has a leader, or why it has none."""
        self.feed, self.why = source.feed, why
        if why:
            self._log.info("no feed", "reads go to REST: %s", why)

    def lose(self, why: str) -> None:
        """Note that none of them can be read."""
        self.feed, self.why = None, why
        for source in self.all:
            source.feed = None
        self._log.info("no feed", "reads go to REST: %s", why)

    def feeds(self) -> list[Feed]:
        """Return how those of them were that had a leader when they were last looked at."""
        return [feed for source in self.all if (feed := source.feed) is not None]

    def unled(self) -> str:
        """Return why some symbols, or all, are not served now, as far as it was last looked at; "" where all are."""
        unled = next((source for source in self.all if source.feed is None), None)
        return "" if unled is None else self.why or unled.unled()

    @property
    def epoch(self) -> int:
        """Return the epoch under which what was read last of the first shard has been written; 0 before."""
        return int(self.all[0].life.partition(b"-")[0] or 0)

    def ages(self, now: float) -> dict[str, float]:
        """Return by shard how long before exchange time ``now`` (seconds) a connection of the collector that leads last
        proved that it delivers."""
        proved = {str(source.shard): feed.proved_until for source in self.all if (feed := source.feed) is not None}
        return {shard: max(0.0, now - until) for shard, until in proved.items() if until}
