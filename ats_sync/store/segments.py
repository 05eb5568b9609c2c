"""Runs of consecutive ids: how those that touch become one, and what is dropped where there are too many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .packed import Pages

MOST_SEGMENTS = 8


class Segment:
    """Trades ``first``, ``first + 1``, … as JSON objects, checked when read. They are made ``shorter`` (see
    :class:`~ats_sync.store.packed.Pages`)."""

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
        self.entries = Pages(entries, shorter)
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
        joined = Segment(a.first, a.entries.all() + b.entries.all()[overlap:], self.shorter)
        # What both have is kept as the older run has it.
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
        """Write those from ``first`` on as REST does."""
        entries = self.entries.all()
        offset = first - self.first
        if offset < 0:
            texts, offset, first = texts[-offset:], 0, self.first
        entries[offset : offset + len(texts)] = texts
        self.entries = Pages(entries, self.shorter)
        self.check(first, first + len(texts))

    def without(self, number: int) -> list[Segment]:
        """Return what is left of it without one trade: the runs before and after."""
        offset = number - self.first
        if not 0 <= offset < len(self.entries):
            return [self]
        entries = self.entries.all()
        older, younger = entries[:offset], entries[offset + 1 :]
        parts = (self.first, older), (number + 1, younger)
        return [Segment(first, texts, self.shorter) for first, texts in parts if texts]


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
