"""Runs of consecutive ids: how those that touch become one, and what is dropped where there are too many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from .packed import Pages

MOST_SEGMENTS = 8


class Segment:
    """Trades ``first``, ``first + 1``, … as JSON objects, decoded when read. What is ``needless`` in them is left out
    (see :class:`~ats_sync.store.packed.Pages`)."""

    __slots__ = ("entries", "first", "needless")

    def __init__(self, first: int, entries: Iterable[bytes], needless: Sequence[bytes] = ()) -> None:
        self.first = first
        self.needless = needless
        self.entries = Pages(entries, needless)

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
        return Segment(a.first, a.entries.all() + b.entries.all()[overlap:], self.needless)

    def without(self, number: int) -> list[Segment]:
        """Return what is left of it without one trade: the runs before and after."""
        offset = number - self.first
        if not 0 <= offset < len(self.entries):
            return [self]
        entries = self.entries.all()
        older, younger = entries[:offset], entries[offset + 1 :]
        parts = (self.first, older), (number + 1, younger)
        return [Segment(first, texts, self.needless) for first, texts in parts if texts]


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
