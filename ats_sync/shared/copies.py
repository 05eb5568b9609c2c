"""What has changed in a market store since it was last written into the shared one.

Nothing is added to the way in of frames: the counts that each series keeps anyway show which have changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from operator import is_
from typing import Any, NamedTuple

from ..feeds import Key
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Board, Copied, Series
from .layout import field_of, head_text, part_of, ranges

ROUND = 200
"""Every series is compared whole once in so many turns, whatever its counts say."""
LOOK_EVERY = 4
"""Turns between two looks for answers of REST."""
BOARDS_EVERY = 0.2
"""Boards are copied no more often than this (seconds), ..."""
BOARDS_SHARE = 0.05
"""... nor for more than this part of the time: the frames of all symbols are long, and decoded here."""
BOARDS_LATEST = 1.0


class Changes(NamedTuple):
    """What is to be written. All of it becomes true at once."""

    heads: list[bytes]
    """Fields and heads in turn."""
    parts: list[bytes]
    """Fields and parts in turn."""
    gone_heads: list[bytes]
    gone_parts: list[bytes]
    closed: list[bytes]
    """The fields of series whose closed candles have changed."""


class _Tracked:
    """One series as it was last written."""

    __slots__ = (
        "answers",
        "body",
        "field",
        "head",
        "link",
        "mark",
        "numbers",
        "parts",
        "received",
        "series",
        "written",
    )

    def __init__(self, series: Series) -> None:
        self.series = series
        self.field = field_of(series.key)
        self.received = self.answers = -1
        self.mark: object = None
        self.link: Link | None = None
        self.head = b""
        self.body: list[bytes] = []
        self.numbers: list[int] = []
        self.parts = b""
        self.written = 0  # parts so far


class Copies:
    """The series and boards of one store, as they were last written. Not thread-safe: one thread owns it."""

    def __init__(self, store: MarketStore, now: Callable[[], float]) -> None:
        """``now()`` is the steady clock (seconds)."""
        self._store = store
        self._now = now
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
        self._boards_due = 0.0
        self._turn = 0

    def changes(self) -> Changes:
        """Return what has changed since the last call.

        A connection's watermark that was read before holds for what this returns: whatever had arrived by then is in
        it.
        """
        found = Changes([], [], [], [], [])
        if self._store.series is not self._series:
            self._track(found)
        tracked = self._list
        # (A series that is suspected loses its connection.)
        for each in [
            each
            for each in tracked
            if (series := each.series).received != each.received or series.link is not each.link
        ]:
            self._copy(each, found)
        if self._turn % LOOK_EVERY == 0:
            for each in [each for each in tracked if each.series.answers != each.answers]:
                self._copy(each, found)
        for each in tracked[self._turn % ROUND :: ROUND]:
            self._copy(each, found)
        if (began := self._now()) >= self._boards_due:
            self._copy_boards(found)
            took = (done := self._now()) - began
            self._boards_due = done + min(BOARDS_LATEST, max(BOARDS_EVERY, took / BOARDS_SHARE))
        if self._turn % ROUND == 0:
            self.links = {each.link.connection: each.link for each in self._list if each.link is not None}
        self._turn += 1
        return found

    def _copy_boards(self, found: Changes) -> None:
        for board, own, entries in self._boards:
            if (board.received, board.answers) == (own.received, own.answers):
                continue
            # Its own head first: what it says of the entries is true of later ones, too.
            self._copy(own, found)
            self._copy_entries(board, entries, found)

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
                # Another contract of the same name.
                tracked.series, tracked.received, tracked.mark = one, -1, None
            of_all = self._store.boards.get(key)
            if of_all is not None and all(board is not of_all for board, _, _ in self._boards):
                self._boards.append((of_all, tracked, {}))
        self._list = [each for each in self._tracked.values() if not each.series.feed.shared]

    def _copy(self, each: _Tracked, found: Changes) -> None:
        series = each.series
        # What comes while it is copied counts as not seen.
        each.received, each.answers = series.received, series.answers
        each.link = series.link
        copied = series.copied(each.mark)
        if copied is None:
            if each.head:
                self._drop(each, found)
            return
        if copied.body is not None:
            self._number(each, copied.body, found)
            each.mark = copied.mark
            if series.feed.notifies:
                found.closed.append(each.field)
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
        # (Two parts may be one object: all empty ones are.)
        before: dict[int, list[int]] = {}
        for part, number in zip(reversed(known), reversed(each.numbers), strict=True):
            before.setdefault(id(part), []).append(number)
        numbers: list[int] = []
        for part in body:
            if same := before.get(id(part)):
                number = same.pop()
            else:
                each.written = number = each.written + 1
                found.parts.extend((part_of(each.field, number), part))
                self.parts += 1
            numbers.append(number)
        gone = [part_of(each.field, number) for left in before.values() for number in left]
        found.gone_parts.extend(gone)
        self.parts -= len(gone)
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
        each.head, each.body, each.numbers, each.parts, each.mark = b"", [], [], b"", None
