"""The closed candles of one series, as REST shows them, when and by what each became final, and what is remembered of
them as numbers.

Where the exchange's own history has a hole (a halt of hours), theirs has it, too; a hole that is only ours is never
kept.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Sequence
from enum import Enum
from operator import gt
from typing import Any, NamedTuple

from ..errors import MalformedAnswer
from ..venue.intervals import candles_between, next_open, next_opens
from ..venue.klines import kline_texts, open_times, text_open_time
from ..venue.payload import DecodeError
from . import dump
from .packed import PackedRows
from .remembered import FloatColumns


class Source(str, Enum):
    """What made a candle final."""

    STREAM = "stream"
    """The exchange's own final event."""
    REST = "rest"
    """An answer that was requested at least 5 s after the close."""
    FLAT = "flat"
    """No event came: the first trade of a later candle directly follows the last one of an earlier candle, so this one
    had no trade."""


SOURCES = tuple(Source)


class Closing(NamedTuple):
    """How one candle became final."""

    at: int
    """When (exchange ms) that was known here."""
    source: Source


class Closings:
    """How the newest candles became final. Not thread-safe: the series that owns it holds its lock.

    They are kept as two numbers per candle, which the garbage collector does not visit.
    """

    __slots__ = ("_noted", "_opened")

    def __init__(self) -> None:
        self._opened = array("q")
        self._noted = array("q")

    def __len__(self) -> int:
        return len(self._opened)

    def note(self, opened: int, closing: Closing, most: int) -> None:
        """Note how the candle that opened at ``opened`` became final, and keep at least the newest ``most``. A candle
        that is not newer than the last one changes nothing."""
        if self._opened and opened <= self._opened[-1]:
            return
        self._opened.append(opened)
        self._noted.append(closing.at * len(SOURCES) + SOURCES.index(closing.source))
        if len(self._opened) > most + most // 4 + 1:
            del self._opened[:-most], self._noted[:-most]

    def text(self, most: int) -> bytes:
        """Return the newest ``most``, as :meth:`of` reads them."""
        return self._opened[-most:].tobytes() + self._noted[-most:].tobytes()

    @classmethod
    def of(cls, text: bytes) -> Closings:
        """Return what :meth:`text` wrote."""
        closings, half = cls(), len(text) // 2
        closings._opened.frombytes(text[:half])
        closings._noted.frombytes(text[half:])
        return closings

    def first(self) -> int:
        """Return the open time (ms) of the first one noted, 0 where there is none."""
        return self._opened[0] if self._opened else 0

    def get(self, opened: int) -> Closing | None:
        """Return how a candle became final, None where that was before the series was followed."""
        place = bisect_left(self._opened, opened)
        if place == len(self._opened) or self._opened[place] != opened:
            return None
        at, source = divmod(self._noted[place], len(SOURCES))
        return Closing(at, SOURCES[source])


class Dumped(NamedTuple):
    """The closed candles of a dump: all from ``first`` until ``following`` (open times, ms)."""

    texts: list[bytes]
    first: int
    following: int
    complete: bool
    until: int
    """When (exchange ms) the newest closed."""

    @classmethod
    def of(cls, written: dump.Dump, interval: str) -> Dumped:
        """Return the candles of a dump. Raises :class:`~ats_sync.venue.payload.DecodeError` where they are malformed,
        overlap, or are not those that the header names."""
        try:
            texts = kline_texts(written.body())
        except MalformedAnswer as error:
            raise dump.as_decode_error(error) from None
        first, following = written.whole("first"), written.whole("following")
        count, complete = written.whole("rows"), written.flag("complete")
        opens = open_times(texts)
        ends = next_opens(interval, opens)
        if not opens or len(opens) != count or not first <= opens[0] or following < ends[-1]:
            raise DecodeError("bad dump", "the dump's candles are not those that its header names")
        if any(map(gt, ends, opens[1:])):
            raise DecodeError("bad dump", "the dump's candles overlap")
        return cls(texts, first, following, complete, ends[-1] - 1)


class ClosedCandles:
    """At most ``depth`` closed candles. Not thread-safe: the series that owns it holds its lock."""

    def __init__(self, interval: str, depth: int) -> None:
        self.interval = interval
        self.depth = depth
        self.following = 0
        """The open time (ms) after the newest one; 0 before the first answer."""
        self.complete = False
        """Whether they reach back to the listing."""
        self.audited = 0
        """Closed rows that a later answer covered again."""
        self.mismatches = 0
        """Of those, rows that differed."""
        self.version = 0
        """A new number whenever they change."""
        self.count = 0
        """How many there are."""
        self._first = 0
        self._history = PackedRows(b"],[")
        self.floats = FloatColumns()
        """What is remembered of them as numbers."""

    def __len__(self) -> int:
        return self.count

    def begin(self, first: int) -> None:
        """Begin with the candle that opened at ``first``, the oldest of an answer, unless one has closed already."""
        if not self.following or (not self._history and first < self.following):
            self._first = self.following = first

    def drop_before(self, first: int) -> None:
        """Drop the candles that opened before ``first``: the history begins there."""
        if not self._history or self._first >= first:
            return
        kept = [text for text in self._history.texts() if text_open_time(text) >= first]
        self._replace(kept, first, max(first, self.following) if kept else first)

    def facts(self) -> dict[str, Any]:
        """Return what a dump states beside the rows."""
        return {"first": self.first, "following": self.following, "complete": self.complete}

    def restore(self, written: Dumped) -> None:
        """Begin with the candles of a dump."""
        self.complete = written.complete
        self._replace(written.texts, written.first, written.following)

    def body(self) -> list[bytes]:
        """Return the full pages and the rows after them, each the same object as long as it does not change."""
        return [*self._history.pages(), self._history.tail()]

    def bounds(self) -> tuple[int, int, bool, int]:
        """Return what :meth:`take_facts` takes, and how many rows of the first page are dropped."""
        return self._first, self.following, self.complete, self._history.skipped

    def take_body(self, body: Sequence[bytes], skipped: int) -> None:
        """Take over the rows that :meth:`body` returned, of which ``skipped`` are dropped."""
        *pages, tail = body
        self._history.restore(pages, skipped, tail)
        self.count = len(self._history)
        self.version += 1
        self.floats.forget()

    def take_facts(self, first: int, following: int, complete: bool) -> None:
        """Take over the bounds of the copied candles."""
        self._first, self.following, self.complete = first, following, complete

    @property
    def first(self) -> int:
        """The open time (ms) from which on nothing is missing."""
        return self._first

    def append(self, text: bytes) -> None:
        """Add the candle that follows, which has closed."""
        if not self._history:
            self._first = self.following
        self._history.append(text)
        self.count += 1
        self.following = next_open(self.interval, self.following)
        self.version += 1
        self.floats.closed(text)
        self._trim()

    def merge(self, rows: Sequence[tuple[int, bytes]], after: int) -> list[tuple[int, bytes]]:
        """Merge final rows of one answer, by open time: all that the exchange has between the first of them and
        ``after``, the open time of the row that follows the last.

        Returns those that cannot be joined until the rows between have come (older ones are of no use).
        """
        first = rows[0][0]
        texts = [text for _, text in rows]
        if not self._history and first <= self.following <= after:
            self._replace(texts, first, after)
        elif first > self.following and self._outgrown(rows):
            # What is known would be trimmed away: begin again.
            self.complete = False
            self._replace(texts, first, after)
        elif first > self.following or after < self._first:
            return [each for each in rows if each[0] >= self.following]
        else:
            self._overlay(rows, after)
        return []

    def _outgrown(self, rows: Sequence[tuple[int, bytes]]) -> bool:
        last = rows[-1][0]
        return candles_between(self.interval, self.following, last) >= self.depth - 2

    def _overlay(self, rows: Sequence[tuple[int, bytes]], after: int) -> None:
        texts = self._history.texts()
        known = dict(zip(open_times(texts), texts, strict=True))
        first = rows[0][0]
        shown = dict(rows)
        changed = 0
        for opened in [opened for opened in known if first < opened < after and opened not in shown]:
            # The exchange has no such candle: it was of a contract that had the name before, or was taken back.
            del known[opened]
            self.audited += 1
            self.mismatches += 1
            changed += 1
        for opened, text in rows:
            before = known.get(opened)
            if before is None and opened < self.following:
                changed += 1
            elif before is not None:
                self.audited += 1
                if before != text:
                    self.mismatches += 1
                    changed += 1
            known[opened] = text
        if changed:
            merged = [known[opened] for opened in sorted(known)]
            self._replace(merged, min(first, self._first), max(after, self.following))
        elif after > self.following:
            for opened, text in rows:
                if opened >= self.following:
                    self.following = opened
                    self.append(text)
            self.following = after

    def _replace(self, texts: Sequence[bytes], first: int, after: int) -> None:
        self._history.replace(texts)
        self.count = len(texts)
        self._first, self.following = first, after
        self.version += 1
        self.floats.forget()
        self._trim()

    def _trim(self) -> None:
        surplus = self.count - self.depth
        if surplus > 0:
            self._history.drop_oldest(surplus)
            self.count -= surplus
            self._first = text_open_time(self._history.first())
            self.floats.keep(self.depth)
            self.complete = False

    # --- reading -------------------------------------------------------------------------------

    def last(self) -> bytes:
        """Return the text of the newest one (IndexError where there is none)."""
        return self._history.last()

    def slice(self, count: int) -> bytes:
        """Return the newest ``count`` rows as they stand in their JSON array."""
        return self._history.slice(count)

    def newest(self, count: int) -> list[bytes]:
        """Return the texts of at most ``count`` of the newest, oldest first."""
        return self._history.newest(count)

    @property
    def begins(self) -> int:
        """The open time (ms) from which on none is missing, 0 where they reach back to the listing."""
        return 0 if self.complete else self._first

    @property
    def oldest(self) -> int:
        """The open time (ms) of the oldest one, 0 where there is none."""
        return text_open_time(self._history.first()) if self._history else 0

    def at_or_after(self, opened: int) -> bytes | None:
        """Return the text of the first one that opened at ``opened`` or later, None where there is none."""
        history = self._history
        if not history:
            return None
        last = history.last()
        newest = text_open_time(last)
        if newest <= opened:
            return last if newest == opened else None
        index = max(0, len(history) - candles_between(self.interval, opened, newest))
        while text_open_time(text := history.row(index)) < opened:
            index += 1  # the exchange's own history has a hole
        return text

    def texts(self) -> list[bytes]:
        """Return all texts, oldest first."""
        return self._history.texts()

    @property
    def size(self) -> int:
        """Bytes in use, those of remembered numbers included."""
        return self._history.size + self.floats.size
