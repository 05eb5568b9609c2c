"""What has changed in a market store since it was last written into the shared one.

Nothing is added to the way in of frames: the counts that each series keeps anyway show which have changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import is_
from typing import Any, NamedTuple

from ..feeds import Key
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Board, Copied, Series
from .layout import field_of, head_text, part_of, ranges

ROUND = 100
"""Every series is compared whole once in so many turns, whatever its counts say."""


class Changes(NamedTuple):
    """What is to be written. All of it becomes true at once."""

    heads: list[bytes]
    """Fields and heads in turn."""
    parts: list[bytes]
    """Fields and parts in turn."""
    gone_heads: list[bytes]
    gone_parts: list[bytes]


class _Tracked:
    """One series as it was last written."""

    __slots__ = ("body", "field", "head", "link", "numbers", "parts", "seen", "series", "suspected", "written")

    def __init__(self, series: Series) -> None:
        self.series = series
        self.field = field_of(series.key)
        self.seen = -1
        self.link: Link | None = None
        self.suspected = ""
        self.head = b""
        self.body: list[bytes] = []
        self.numbers: list[int] = []
        self.parts = b""
        self.written = 0  # parts so far


class Copies:
    """The series and boards of one store, as they were last written. Not thread-safe: one thread owns it."""

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self.restart()

    def restart(self) -> None:
        """Nothing is written yet: the next :meth:`changes` are everything."""
        self.heads = self.parts = 0
        """How many there are now."""
        self.links: dict[int, Link] = {}
        """The connections that heads refer to."""
        self._series: Mapping[Key, Series] = {}
        self._tracked: dict[Key, _Tracked] = {}
        self._list: list[_Tracked] = []
        self._boards: list[tuple[Board, _Tracked, dict[str, Any]]] = []
        self._board_seen: dict[Key, tuple[int, int]] = {}
        self._turn = 0

    def changes(self) -> Changes:
        """Return what has changed since the last call.

        A connection's watermark that was read before holds for what this returns: whatever had arrived by then is in
        it.
        """
        found = Changes([], [], [], [])
        if self._store.series is not self._series:
            self._track(found)
        for each in self._list:
            series = each.series
            if (
                series.received + series.answers != each.seen
                or series.link is not each.link
                or series.suspected is not each.suspected
            ):
                self._copy(each, found)
        for each in self._list[self._turn % ROUND :: ROUND]:
            self._copy(each, found)
        for board, own, entries in self._boards:
            seen = board.received, board.answers
            if self._board_seen.get(board.key) != seen or self._turn % ROUND == 0:
                self._board_seen[board.key] = seen
                # Its own head first: what it says of the entries is true of later ones, too.
                self._copy(own, found)
                self._copy_entries(board, entries, found)
        if self._turn % ROUND == 0:
            self.links = {each.link.connection: each.link for each in self._list if each.link is not None}
        self._turn += 1
        return found

    def _track(self, found: Changes) -> None:
        """Take note of which series there are now."""
        series = self._series = self._store.series
        for key in [key for key in self._tracked if key not in series]:
            self._drop(self._tracked.pop(key), found)
        for key, one in series.items():
            if type(one).copied is Series.copied:
                continue
            tracked = self._tracked.get(key)
            if tracked is None:
                self._tracked[key] = tracked = _Tracked(one)
            elif tracked.series is not one:
                tracked.series, tracked.seen = one, -1  # another contract of the same name
            if isinstance(one, Board) and all(board is not one for board, _, _ in self._boards):
                self._boards.append((one, tracked, {}))
        self._list = [each for each in self._tracked.values() if not isinstance(each.series, Board)]

    def _copy(self, each: _Tracked, found: Changes) -> None:
        series = each.series
        # What comes while it is copied counts as not seen.
        each.seen = series.received + series.answers
        each.link, each.suspected = series.link, series.suspected
        copied = series.copied()
        if copied is None:
            if each.head:
                self._drop(each, found)
            return
        if copied.body is not None:
            self._number(each, copied.body, found)
        if (link := copied.link) is not None:
            self.links[link.connection] = link
        head = head_text(copied, each.parts)
        if head != each.head:
            self.heads += not each.head
            each.head = head
            found.heads.extend((each.field, head))

    def _number(self, each: _Tracked, body: list[bytes], found: Changes) -> None:
        """Give each part of a body that is not written yet a number."""
        known = each.body
        if len(body) == len(known) and all(map(is_, body, known)):
            return
        before = {id(part): number for part, number in zip(known, each.numbers, strict=True)}
        numbers: list[int] = []
        for part in body:
            number = before.pop(id(part), 0)
            if not number:
                each.written = number = each.written + 1
                found.parts.extend((part_of(each.field, number), part))
                self.parts += 1
            numbers.append(number)
        found.gone_parts.extend(part_of(each.field, number) for number in before.values())
        self.parts -= len(before)
        each.body, each.numbers, each.parts = body, numbers, ranges(numbers)

    def _copy_entries(self, board: Board, written: dict[str, Any], found: Changes) -> None:
        kind = board.key.kind
        entries = board.entries()
        for symbol, entry in entries.items():
            known = written.get(symbol)
            if known is entry or known == entry:
                continue
            self.heads += symbol not in written
            written[symbol] = entry
            copied: Copied = board.copied_entry(symbol, entry)
            found.heads.extend((field_of(Key(kind, symbol)), head_text(copied, b"")))
        if len(written) > len(entries):
            for symbol in [symbol for symbol in written if symbol not in entries]:
                del written[symbol]
                self.heads -= 1
                found.gone_heads.append(field_of(Key(kind, symbol)))

    def _drop(self, each: _Tracked, found: Changes) -> None:
        if each.head:
            found.gone_heads.append(each.field)
            self.heads -= 1
        found.gone_parts.extend(part_of(each.field, number) for number in each.numbers)
        self.parts -= len(each.numbers)
        each.head, each.body, each.numbers, each.parts = b"", [], [], b""
