"""What has changed in a market store since it was last written into the shared one.

Which series has changed is noted on the way in of frames, one addition to a set for each. What an answer of REST has
changed is found a few turns later by the count of answers that each series keeps anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import compress
from operator import attrgetter, is_, is_not, ne
from typing import Any, NamedTuple

from ..feeds import Key, Kind
from ..store.link import Link
from ..store.market import MarketStore
from ..store.series import Board, Series
from ..store.stream_router import Sink
from .layout import facts_text, field_of, head_begin, head_pieces, lead_text, part_of, ranges
from .protocol import END, pack

ROUND = 200
"""Every series is compared whole once in so many turns, whatever its counts say."""
LOOK_EVERY = 4
"""Turns between two looks for answers of REST."""
LINKS_EVERY = 2
"""Turns between two looks at the connections of all series. (That of one that gets frames is looked at with each.)"""
BOARDS_EVERY = 0.5
"""Boards are copied no more often than this (seconds): their frames come once a second, ..."""
BOARDS_SHARE = 0.05
"""... nor for more than this part of the time: the frames of all symbols are long, and decoded here."""
BOARDS_LATEST = 1.0

NO_LEAD = lead_text(None, "", b"")
"""How the heads of the symbols of boards begin: a board has neither a connection nor parts."""
_LINK, _ANSWERS = attrgetter("link"), attrgetter("answers")


class Changes(NamedTuple):
    """What is to be written. All of it becomes true at once."""

    heads: list[bytes]
    """Fields with their heads, as packed arguments in pieces."""
    ends: list[int]
    """Of each head, how many pieces there are up to its end. (Thousands of tuples would keep the collector of garbage
    busy.)"""
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
        "before",
        "body",
        "copied_link",
        "field",
        "form",
        "is_written",
        "lead",
        "mark",
        "name",
        "numbers",
        "parts",
        "received",
        "series",
        "size",
        "stem",
        "suspected",
        "text",
        "written",
    )

    def __init__(self, series: Series) -> None:
        self.series = series
        self.field = field_of(series.key)
        self.name = pack(self.field)
        self.received = self.answers = -1
        self.mark: object = None
        self.copied_link: Link | None = None  # what the head refers to
        self.suspected = ""
        self.lead = b""  # how the head begins; empty where that has to be worked out
        self.is_written = False
        self.stem = b""  # how the head begins, and its facts: all but its texts
        self.text: bytes | list[bytes] = b""  # the one text, or all
        self.form: object = None
        # All that is sent before a frame of that size.
        self.before = b""
        self.size = -1
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
        # Bounded: it holds each series once.
        self._touched: set[Sink] = set()
        store.touched = self._touched
        self.restart()

    def restart(self) -> None:
        """Nothing is written yet: the next :meth:`changes` are everything."""
        self.heads = self.parts = 0
        """How many there are now."""
        self.relinked = 0
        """How often a look has found that series had changed their connections, or that others are followed."""
        self.links: dict[int, Link] = {}
        """The connections that heads refer to."""
        self._series: Mapping[Key, Series] = {}
        self._tracked: dict[Key, _Tracked] = {}
        self._of: dict[object, _Tracked] = {}
        self._list: list[_Tracked] = []
        # Of each of the list, in order. Lists are compared by the interpreter's own loops, since there are thousands.
        self._one_by_one: list[Series] = []
        self._linked: list[Link | None] = []
        self._answers: list[int] = []
        self._boards: list[tuple[Board, _Tracked, dict[str, Any]]] = []
        self._names: dict[Kind, dict[str, bytes]] = {}  # the packed fields of boards' symbols
        self._boards_due = 0.0
        self._turn = 0

    def changes(self) -> Changes:
        """Return what has changed since the last call.

        A connection's watermark that was read before holds for what this returns: whatever had arrived by then is in
        it.
        """
        found = Changes([], [], [], [], [], [])
        if self._store.series is not self._series:
            self._track(found)
        self._copy_touched(found)
        tracked = self._list
        if self._turn % LINKS_EVERY == 0:
            linked = list(map(_LINK, self._one_by_one))
            if linked != self._linked:  # A series that is suspected loses its connection.
                for each in compress(tracked, map(is_not, linked, self._linked)):
                    self._copy(each, found)
                self._linked = linked
                self.relinked += 1
        if self._turn % LOOK_EVERY == 0:
            answers = list(map(_ANSWERS, self._one_by_one))
            if answers != self._answers:
                for each in compress(tracked, map(ne, answers, self._answers)):
                    self._copy(each, found)
                self._answers = answers
        for each in tracked[self._turn % ROUND :: ROUND]:
            self._copy(each, found)
        if (began := self._now()) >= self._boards_due:
            self._copy_boards(found)
            took = (done := self._now()) - began
            self._boards_due = done + min(BOARDS_LATEST, max(BOARDS_EVERY, took / BOARDS_SHARE))
        if self._turn % ROUND == 0:
            self.links = {link.number: link for each in self._list if (link := each.copied_link) is not None}
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
        begun: list[_Tracked] = []
        for key in [key for key in self._tracked if key not in series]:
            self._drop(self._tracked.pop(key), found)
        for key, one in series.items():
            if type(one).copied is Series.copied:
                continue
            tracked = self._tracked.get(key)
            if tracked is None:
                self._tracked[key] = tracked = _Tracked(one)
                begun.append(tracked)
            elif tracked.series is not one:
                # Another contract of the same name.
                tracked.series, tracked.mark, tracked.form = one, None, None
                begun.append(tracked)
            of_all = self._store.boards.get(key)
            if of_all is not None and all(board is not of_all for board, _, _ in self._boards):
                self._boards.append((of_all, tracked, {}))
        self._list = [each for each in self._tracked.values() if not each.series.feed.shared]
        self._one_by_one = [each.series for each in self._list]
        self._of = {each.series: each for each in self._list}
        for each in begun:
            if not each.series.feed.shared:
                self._copy(each, found)
        self._linked = [each.copied_link for each in self._list]
        self._answers = [each.answers for each in self._list]
        self.relinked += 1

    def _copy_touched(self, found: Changes) -> None:
        """Copy the series whose frames were merged since the last turn.

        Nearly always the newest frame is all that has changed since the last copy: then it is written, and nothing else
        is looked at, since a whole copy takes several times as long.
        """
        touched, of, heads, ends = self._touched, self._of, found.heads, found.ends
        for _ in range(len(touched)):
            each = of.get(touched.pop().__self__)  # type: ignore[attr-defined]
            if each is None:
                continue
            series = each.series
            # Before the frame: it is at least as new as they are.
            alone = each.form is not None and not series.suspected and series.link is each.copied_link
            frame = series.frame_alone(each.form) if alone else None
            if frame is None:
                self._copy(each, found)
                continue
            if frame is each.text:
                continue
            each.text = frame
            if len(frame) != each.size:
                each.size = len(frame)
                each.before = head_begin(each.name, each.stem, each.size)
            heads += (each.before, frame, END)
            ends.append(len(heads))

    def _copy(self, each: _Tracked, found: Changes) -> None:
        series = each.series
        # What comes while it is copied counts as not seen.
        each.received, each.answers = series.received, series.answers
        copied = series.copied(each.mark)
        if copied is None:
            if each.is_written:
                self._drop(each, found)
            return
        if copied.body is not None:
            self._number(each, copied.body, found)
            each.mark = copied.mark
            if series.feed.notifies:
                found.closed.append(each.field)
        link, suspected = copied.link, copied.suspected
        if not each.lead or link is not each.copied_link or suspected != each.suspected:
            each.copied_link, each.suspected = link, suspected
            each.lead = lead_text(link, suspected, each.parts)
            if link is not None:
                self.links[link.number] = link
        stem, texts = each.lead + facts_text(copied), copied.texts
        text = texts[0] if len(texts) == 1 else texts
        each.form = copied.form if not suspected else None
        if stem != each.stem or text != each.text:
            self.heads += not each.is_written
            each.is_written = True
            each.stem, each.text, each.size = stem, text, -1
            found.heads.extend(head_pieces(each.name, stem, texts))
            found.ends.append(len(found.heads))

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
        each.lead = b""

    def _copy_entries(self, board: Board, written: dict[str, Any], found: Changes) -> None:
        kind = board.key.kind
        names = self._names.setdefault(kind, {})
        entries = board.entries()
        for symbol, entry in entries.items():
            known = written.get(symbol)
            if known is entry or known == entry:
                continue
            self.heads += symbol not in written
            written[symbol] = entry
            copied = board.copied_entry(symbol, entry)
            name = names.get(symbol)
            if name is None:
                name = names[symbol] = pack(field_of(Key(kind, symbol)))
            found.heads.extend(head_pieces(name, NO_LEAD + facts_text(copied), copied.texts))
            found.ends.append(len(found.heads))
        if len(written) > len(entries):
            for symbol in [symbol for symbol in written if symbol not in entries]:
                del written[symbol], names[symbol]
                self.heads -= 1
                found.gone_heads.append(field_of(Key(kind, symbol)))

    def _drop(self, each: _Tracked, found: Changes) -> None:
        if each.is_written:
            found.gone_heads.append(each.field)
            self.heads -= 1
        found.gone_parts.extend(part_of(each.field, number) for number in each.numbers)
        self.parts -= len(each.numbers)
        each.is_written, each.form = False, None
        each.lead = each.stem = each.parts = b""
        each.text = b""
        each.body, each.numbers, each.mark = [], [], None
