"""Runs of trades with consecutive ids: how those that touch become one, what is dropped where there are too many, and
what shows that the ids have begun again (see :mod:`~ats_sync.store.order`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..venue.endpoints import AGG_TRADES_MOST
from ..venue.payload import DecodeError
from ..venue.trades import Trade, scan_trade_end, trade_of
from .packed import packed_objects

MOST_SEGMENTS = 8
NEVER = 1 << 62


class Taken(NamedTuple):
    """The newest trades of a segment as they stood at one moment."""

    segment: Segment
    first: int
    rows: int
    text: bytes
    """As they stand in REST's array, if all of them are written as by REST."""
    unchecked: int
    """The first id of a trade of which that is not known."""
    suspect: bytes
    """The text from there on."""


class Segment:
    """Trades ``first``, ``first + 1``, … as JSON objects, checked when they are read. ``shorter`` is that of
    :class:`~ats_sync.store.packed.PackedRows`."""

    __slots__ = ("checked", "entries", "first", "shorter")

    def __init__(
        self,
        first: int,
        entries: Iterable[bytes],
        shorter: Sequence[tuple[bytes, bytes]] = (),
        *,
        checked: bool = False,
    ) -> None:
        self.first = first
        self.shorter = shorter
        self.entries = packed_objects(entries, shorter)
        self.checked = first, self.after if checked else first
        """From which id up to which (not included) they are known to stand as REST writes them."""

    @property
    def after(self) -> int:
        """The id that follows the last one."""
        return self.first + len(self.entries)

    def joined(self, other: Segment) -> Segment:
        """Return one run out of this one and one that it touches or overlaps."""
        a, b = (self, other) if self.first <= other.first else (other, self)
        if b.after <= a.after:
            return a
        overlap = max(0, a.after - b.first)
        joined = Segment(a.first, a.entries.texts() + b.entries.texts()[overlap:], self.shorter)
        # Trades that are in both are kept as the older run has them.
        joined.checked = max(a.after, b.checked[0]), max(a.after, b.checked[1])
        joined.check(*a.checked)
        return joined

    def unchecked(self, first: int) -> int:
        """Return the first id from ``first`` on that is not known to stand as REST writes it."""
        begin, end = self.checked
        return end if begin <= first < end else first

    def check(self, begin: int, end: int) -> None:
        """Note that those from ``begin`` up to ``end`` (not included) stand as REST writes them."""
        known_begin, known_end = self.checked
        if begin <= known_end and known_begin <= end:
            self.checked = min(begin, known_begin), max(end, known_end)
        elif end - begin > known_end - known_begin:
            self.checked = begin, end

    def rewrite(self, first: int, texts: Sequence[bytes]) -> None:
        """Replace those from ``first`` on by these texts, which are written as by REST."""
        entries = self.entries.texts()
        offset = first - self.first
        if offset < 0:
            texts, offset, first = texts[-offset:], 0, self.first
        entries[offset : offset + len(texts)] = texts
        self.entries = packed_objects(entries, self.shorter)
        self.check(first, first + len(texts))

    def taken(self, count: int) -> Taken:
        """Return the newest ``count`` trades (at least one)."""
        first, after = self.after - count, self.after
        unchecked = self.unchecked(first)
        text = self.entries.slice(count)
        suspect = text if unchecked == first else self.entries.slice(after - unchecked)
        return Taken(self, first, count, text, unchecked, suspect)

    def without(self, number: int) -> list[Segment]:
        """Return what is left of it without one trade: the runs before and after."""
        offset = number - self.first
        if not 0 <= offset < len(self.entries):
            return [self]
        entries = self.entries.texts()
        older, younger = entries[:offset], entries[offset + 1 :]
        parts = (self.first, older), (number + 1, younger)
        return [Segment(first, texts, self.shorter) for first, texts in parts if texts]

    # --- ids that begin again --------------------------------------------------------------------

    def is_of_new_count(self, number: int, traded: int) -> bool:
        """Return whether a trade with a lower id than the newest one here was made (exchange ms) later than the one
        that bears the same id here, or than the oldest where none does."""
        return traded > _traded(self.entries.row(max(0, number - self.first)))

    def shows_new_count(self, answer: Sequence[Trade]) -> bool:
        """Return whether an answer, ordered by id, has trades of another count than those that are here."""
        newest, last = self.after - 1, answer[-1]
        if last.id > newest:
            # The newest trade here may be another one there.
            index = newest - last.id - 1
            last = answer[index] if -len(answer) <= index and answer[index].id == newest else last
        return last.id <= newest and (self.is_of_new_count(last.id, last.time) or self._is_renumbered(last))

    def _is_renumbered(self, trade: Trade) -> bool:
        """Return whether a trade of a lower id than all that are here is the newest of them."""
        if trade.id >= self.first - AGG_TRADES_MOST:
            return False  # A replica that lags by less may show another trade of the same ms.
        try:
            last = trade_of(self.entries.last())
        except DecodeError:
            return False
        return (trade.time, trade.price, trade.quantity) == (last.time, last.price, last.quantity)


def inserted(segments: Iterable[Segment], added: Segment) -> list[Segment]:
    """Return the runs in order with one more, joined with those it touches or overlaps."""
    kept: list[Segment] = []
    for segment in segments:
        if segment.after < added.first or segment.first > added.after:
            kept.append(segment)
        else:
            added = segment.joined(added)
    kept.append(added)
    kept.sort(key=lambda segment: segment.first)
    return kept


def trimmed(segments: Sequence[Segment], room: int) -> tuple[list[Segment], bool]:
    """Return the runs without the oldest trades beyond ``room``, and whether one that is kept has lost some."""
    kept: list[Segment] = []
    cut = False
    for segment in reversed(segments):
        if room <= 0:
            break
        surplus = len(segment.entries) - room
        if surplus > 0:
            segment.entries.drop_oldest(surplus)
            segment.first += surplus
            cut = True
        room -= len(segment.entries)
        kept.append(segment)
    return kept[::-1], cut


def _traded(entry: bytes) -> int:
    """Return when a trade was made (exchange ms); where it does not say, a time that nothing is later than."""
    try:
        return scan_trade_end(entry)[1]
    except DecodeError:
        return NEVER
