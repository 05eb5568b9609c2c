"""What a collector has written, in the form that a reader finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container
from typing import Any

from ats_sync.config import Config
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.copies import LOOK_EVERY, Changes, Copies
from ats_sync.shared.layout import (
    EXCHANGE,
    Feed,
    board_of,
    exchange_text,
    feed_text,
    head_in,
    key_of,
    numbers_in,
    part_of,
)
from ats_sync.shared.publish import Names
from ats_sync.shared.shards import WHOLE
from ats_sync.store.link import Link
from ats_sync.store.series import Board, Copied, Series

from .servers import time_ms

FEED = Feed(-0.1, 0.1, True, 5.0, {7: ("market", True, 4.0)}, True, {}, [], 0, "host", "live", "", 2, {})


class WrittenFeed:
    """A store in which a collector has written that it leads, and the state of its feed."""

    def __init__(self, store: SharedStore, config: Config) -> None:
        self.store = store
        self.names = Names("1-1")
        self.now = time_ms(store) // 1000
        """When (epoch s, by the store's clock) that was written."""
        self.lease = {"epoch": 1, "until": (self.now + 60) * 1_000_000}
        self.write(store.key("lease", WHOLE.lease), self.lease)
        self.write(WHOLE.feed_key, {"life": self.names.life, "epoch": 1})
        self.write(self.names.meta, {"feed": feed_text(FEED), EXCHANGE: exchange_text(config.exchange)})

    def write(self, key: str, fields: Any) -> None:
        self.store.run(lambda redis: redis.hset(key, mapping=fields))


def heads_of(changes: Changes) -> dict[bytes, bytes]:
    """Return the heads among changes by their fields."""
    found: dict[bytes, bytes] = {}
    for begin, end in itertools.pairwise((0, *changes.ends)):
        both = b"".join(changes.heads[begin:end])
        arguments = []
        while both:
            length, _, both = both[1:].partition(b"\r\n")
            arguments.append(both[: int(length)])
            both = both[int(length) + 2 :]
        field, head = arguments
        found[field] = head
    assert len(found) == len(changes.ends)
    return found


class Written:
    """The contents of the store after some changes, and a reader that takes them over as they come. ``find`` returns
    the copy of a series, or the board that has the entry of a symbol."""

    def __init__(self, find: Callable[[Key], Series]) -> None:
        self._find = find
        self.heads: dict[bytes, bytes] = {}
        self.parts: dict[bytes, bytes] = {}
        self._numbers: dict[bytes, bytes] = {}

    @classmethod
    def of(cls, copy: Series) -> Written:
        """Return a store that has one series only."""
        return cls(lambda key: copy)

    def write(self, changes: Changes) -> None:
        self.parts.update(zip(changes.parts[::2], changes.parts[1::2], strict=True))
        self.heads.update(heads_of(changes))
        for field in changes.gone_heads:
            del self.heads[field]
            self._numbers.pop(field, None)
        for field in changes.gone_parts:
            del self.parts[field]

    def write_all(self, copies: Copies) -> None:
        """Write until the next look for changes that no frame shows."""
        for _ in range(LOOK_EVERY):
            self.write(copies.changes())

    def read(self, links: dict[int, Link], kinds: Container[Kind] = frozenset(Kind)) -> None:
        for field, text in self.heads.items():
            key = key_of(field)
            if key.kind not in kinds:
                continue
            head = head_in(text)
            link = links[head.link] if head.link is not None else None
            changed = self._numbers.get(field) != head.parts
            self._numbers[field] = head.parts
            body = [self.parts[part_of(field, number)] for number in numbers_in(head.parts)] if changed else None
            copied = Copied(link, head.suspected, head.facts, head.texts, body)
            board = board_of(key)
            copy = self._find(board or key)
            if board is None:
                assert copy.take_copy(copied), f"{key} is not the copy that it goes on from"
            else:
                assert isinstance(copy, Board)
                copy.take_entry(key.symbol, copied)
