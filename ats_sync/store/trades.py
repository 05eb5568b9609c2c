"""The newest aggregated trades of one symbol.

They are kept as *segments*: runs of consecutive ids. Only the newest segment is served; an older one
waits beyond a hole until a repair has filled it, then they become one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..feeds import Key, Kind
from ..venue import endpoints, scan
from ..venue.envelope import STREAM, data_text
from ..venue.payload import DecodeError
from ..venue.trades import Trade, scan_trade_end, trade_of, trade_text, trades_of
from .link import Link
from .notices import Event, Notice
from .order import counts_anew
from .pages import Pages
from .tape import TradeColumns

MOST_SEGMENTS = 8

SPARE = 64
"""Trades kept beyond the capacity, so that not each new one drops an old one."""


class _Segment:
    """Trades ``first``, ``first + 1``, … as JSON objects, decoded when read."""

    __slots__ = ("entries", "first")

    def __init__(self, first: int, entries: Pages) -> None:
        self.first = first
        self.entries = entries

    @property
    def after(self) -> int:
        return self.first + len(self.entries)


class TradeStanding(NamedTuple):
    link: Link | None
    suspected: str
    rows: int
    """Trades that can be served without a hole."""
    complete: bool
    """Whether there are no older trades to be had."""
    hole: tuple[int, int] | None
    """First and last id missing before the newest segment, where an older one is known."""
    event: int


class TradeRing:
    """At most ``capacity`` trades of a symbol. ``link``: see :class:`~ats_sync.store.klines.KlineSeries`."""

    def __init__(self, symbol: str, capacity: int) -> None:
        self.key = Key(Kind.TRADES, symbol)
        self.capacity = capacity
        self.link: Link | None = None
        self.suspected = ""
        self.complete = False
        self.undecodable = 0
        self.received = 0
        self.missed = 0
        self.answered = 0
        """Exchange time (ms) at which REST was last asked."""
        self.out_of_order = 0
        # Of a frame only what tells of the trade is kept, where it has the form that all have.
        self._head = STREAM + endpoints.agg_trade_stream(symbol).encode() + b'","data":{'
        self._needless = scan.needless_in_trades(symbol)
        self._lock = threading.Lock()  # guards everything below
        self._segments: list[_Segment] = []
        self._columns: TradeColumns | None = None
        self._event = 0
        self._awaited: Link | None = None  # whose first trade is to be noted
        self._begun_after = self._begun_with = -1
        self._gap_notice = Notice(Event.GAP, self.key)

    def ingest(self, frame: bytes, link: Link) -> Notice | None:
        """Take one aggTrade frame."""
        number, event = scan.scan_trade(frame)
        head = self._head
        entry = scan.trade_entry(frame, len(head)) if frame.startswith(head) else data_text(frame)
        with self._lock:
            self.received += 1
            known = self._event
            if event > known:
                self._event = event
            if self.suspected:
                self.suspected = ""
            begins = link is self._awaited and number > self._begun_after
            if begins:
                self._awaited, self._begun_with = None, number
            if self._segments:
                newest = self._segments[-1]
                entries = newest.entries
                after = newest.first + len(entries)
                if number == after:
                    entries.append(entry)
                    if len(entries) >= self.capacity + SPARE:
                        self._trim()
                    return self._gap_notice if begins else None
                if number < after:
                    self.out_of_order += 1
                    if counts_anew(scan_trade_end(frame)[1], known):
                        self._begin_anew()
                        self._insert(self._segment(number, [entry]))
                        if link is self._awaited:
                            self._awaited, self._begun_with = None, number
                        return self._gap_notice
                    # What does not count must not make later ones of the new count look as if nothing were between.
                    self._event = known
                    if number >= newest.first:
                        return None
                else:
                    self.missed += number - after
            elif self.complete:
                # The first trade; REST is to tell whether it is the very first.
                self.complete, begins = False, True
            self._insert(self._segment(number, [entry]))
            return self._gap_notice if begins or self._segments[0].after <= number else None

    def _begin_anew(self) -> None:
        """Forget what bears the ids of an old count. The lock is held."""
        assert self._lock.locked()
        self._segments, self._columns = [], None
        self._begun_after = self._begun_with = -1
        self.complete = False

    def merge_rest(self, found: Sequence[Trade], *, asked: int, limit: int, from_id: int | None = None) -> None:
        """Merge a REST answer (ordered by id) asked for at exchange time ``asked`` (ms) with ``limit``: from an id
        on, or the newest.

        There is no more where the newest are fewer than that, or where a page begins later than it was to. (An answer
        that lags behind what is held shows nothing.)
        """
        self.answered = max(self.answered, asked)
        if not found:
            self.complete = self.complete or (from_id is None and not len(self))
            return
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            if newest is not None and found[-1].id < newest.after - 1 and counts_anew(found[-1].time, self._event):
                self._begin_anew()
        oldest = self.first_id()
        if from_id is None:
            no_more = len(found) < limit and found[-1].id >= self.last_id()
        else:
            no_more = from_id < found[0].id <= oldest
        no_more = no_more or found[0].id == 0
        if no_more:
            self.complete = True
        run: list[bytes] = []
        first = found[0].id
        with self._lock:
            self._event = max(self._event, min(asked, found[-1].time))
            for trade in found:
                if run and trade.id != first + len(run):
                    self._insert(self._segment(first, run))
                    run = []
                if not run:
                    first = trade.id
                run.append(trade_text(trade))
            self._insert(self._segment(first, run))
            if no_more:
                # What is older cannot be joined any more: the exchange has forgotten what was between, or the trades
                # are those of a contract that had the name before.
                self._segments = [segment for segment in self._segments if segment.after > found[0].id]
            self._trim()

    def _insert(self, added: _Segment) -> None:
        """Join a run of trades with those it touches or overlaps. The lock is held."""
        assert self._lock.locked()
        kept: list[_Segment] = []
        for segment in self._segments:
            if segment.after < added.first or segment.first > added.after:
                kept.append(segment)
            else:
                added = self._joined(segment, added)
        kept.append(added)
        kept.sort(key=lambda segment: segment.first)
        if len(kept) > MOST_SEGMENTS:
            self.complete = False
        self._segments = kept[-MOST_SEGMENTS:]

    def _trim(self) -> None:
        """Drop the oldest beyond the capacity. The lock is held."""
        room = self.capacity
        kept: list[_Segment] = []
        for segment in reversed(self._segments):
            if room <= 0:
                break
            surplus = len(segment.entries) - room
            if surplus > 0:
                segment.entries.drop_oldest(surplus)
                segment.first += surplus
                self.complete = False
            room -= len(segment.entries)
            kept.append(segment)
        self._segments = kept[::-1]

    def _segment(self, first: int, entries: Iterable[bytes]) -> _Segment:
        return _Segment(first, Pages(entries, self._needless))

    def _joined(self, a: _Segment, b: _Segment) -> _Segment:
        """One run out of two that touch or overlap."""
        if b.first < a.first:
            a, b = b, a
        if b.after <= a.after:
            return a
        overlap = max(0, a.after - b.first)
        return self._segment(a.first, a.entries.all() + b.entries.all()[overlap:])

    def begin_on(self, link: Link) -> None:
        """Whatever happens from now on is delivered on ``link``: note with which trade it begins.

        (With one that is not known yet: what comes late or again proves nothing.)
        """
        last = self.last_id()
        with self._lock:
            self._awaited, self._begun_after, self._begun_with = link, last, -1

    def begun(self) -> bool:
        """Whether a trade has come on the link it was last told to begin on."""
        with self._lock:
            return self._begun_with >= 0

    def goes_on(self) -> bool:
        """Whether all that came later follows on that trade: then nothing is missing since (before it, there may be a
        hole)."""
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            return newest is not None and newest.first <= self._begun_with < newest.after

    def go_live(self, link: Link) -> None:
        """The newest segment is whole up to what ``link`` delivers."""
        self.suspected = ""
        self.link = link

    def suspect(self, reason: str) -> None:
        """Its stream seems to be dead: memory is not to be trusted until the series is live again."""
        self.suspected = reason
        self.link = None

    def last_heard(self) -> tuple[int, int]:
        """``(id of the last trade, its time in ms)`` as far as is known here, -1 and 0 where nothing is.

        (Of the trade itself, of which an aggregated trade sums up several.)
        """
        with self._lock:
            newest = self._segments[-1].entries.newest(1) if self._segments else []
        if not newest:
            return -1, 0
        try:
            return scan_trade_end(newest[0])
        except DecodeError:
            return -1, 0

    def standing(self) -> TradeStanding:
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            hole = None
            if newest is not None and len(self._segments) > 1:
                hole = (self._segments[-2].after, newest.first - 1)
            rows = min(len(newest.entries), self.capacity) if newest else 0
            complete = self.complete and hole is None
            return TradeStanding(self.link, self.suspected, rows, complete, hole, self._event)

    def last_id(self) -> int:
        """The id of the newest trade, -1 where none is known."""
        with self._lock:
            return self._segments[-1].after - 1 if self._segments else -1

    def first_id(self) -> int:
        """The id of the oldest trade that is served, -1 where none is known."""
        with self._lock:
            return self._segments[-1].first if self._segments else -1

    def read(self, limit: int) -> list[Trade]:
        """The newest ``limit`` trades without a hole, oldest first.

        Raises :class:`DecodeError` where one turns out unusable; the ring is then cut behind it.
        """
        with self._lock:
            first, count = self._newest(limit)
            picked = self._texts(count)
        return self._decoded(first, picked)

    def columns(self, limit: int) -> TradeColumns:
        """As :meth:`read`, as columns of numbers, the caller's own; only what came since the last call is decoded."""
        with self._lock:
            first, count = self._newest(limit)
            held = before = self._columns
            segments = self._segments
            if held is not None and held.first <= first <= held.after <= first + count:
                first, count = held.after, first + count - held.after
            else:
                held = None
            picked = self._texts(count)
        found = TradeColumns.of(first, self._decoded(first, picked)) if picked or held is None else None
        if held is not None:
            found = held if found is None else held.joined(found)
        assert found is not None
        if found is not held:
            if len(found) > self.capacity + SPARE:
                found = found.last(self.capacity)
            with self._lock:
                # Meanwhile everything may have been forgotten, and what was decoded with it.
                if self._columns is before and self._segments is segments:
                    self._columns = found
        return found.last(limit)

    def _newest(self, limit: int) -> tuple[int, int]:
        """The first one's id of the newest ``limit`` trades, and how many there are. The lock is held."""
        assert self._lock.locked()
        if not self._segments:
            return 0, 0
        newest = self._segments[-1]
        count = min(limit, self.capacity, len(newest.entries))
        return newest.after - count, count

    def _texts(self, count: int) -> list[bytes]:
        """The newest ``count``. The lock is held."""
        assert self._lock.locked()
        return self._segments[-1].entries.newest(count) if self._segments else []

    def _decoded(self, first: int, picked: Sequence[bytes]) -> list[Trade]:
        try:
            return trades_of(picked, first)
        except DecodeError:
            # Which of them it is; where none is by itself, they are told apart by nothing but their ids.
            found: list[Trade] = []
            for offset, entry in enumerate(picked):
                try:
                    found.append(trade_of(entry))
                    if found[-1].id != first + offset:
                        raise DecodeError("a trade with another id than its frame seemed to have")
                except DecodeError:
                    self._cut_behind(first + offset)
                    raise
            return found

    def _cut_behind(self, number: int) -> None:
        with self._lock:
            self.undecodable += 1
            self._columns = None
            if not self._segments:
                return
            newest = self._segments[-1]
            offset = number - newest.first
            if 0 <= offset < len(newest.entries):
                entries = newest.entries.all()
                older, younger = entries[:offset], entries[offset + 1 :]
                first = newest.first
                self._segments.pop()
                if older:
                    self._segments.append(self._segment(first, older))
                if younger:
                    self._segments.append(self._segment(number + 1, younger))

    def __len__(self) -> int:
        return self.standing().rows
