"""What a collector has written, in the form that a reader finds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Container

from ats_sync.feeds import Key, Kind
from ats_sync.shared.copies import LOOK_EVERY, Changes, Copies
from ats_sync.shared.layout import board_of, head_in, key_of, numbers_in, part_of
from ats_sync.store.link import Link
from ats_sync.store.series import Board, Copied, Series


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
