"""The newest aggregated trades of one symbol.

They are kept as *segments*: runs of consecutive ids. Only the newest segment is served; an older one
waits beyond a hole until a repair has filled it, then they become one.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import NamedTuple

from ..feeds import Key, Kind
from ..venue import decode, scan
from ..venue.decode import DecodeError, Trade
from .link import Link
from .notices import Event, Notice

MOST_SEGMENTS = 8
MOST_IN_ANSWER = 1000

Entry = bytes | Trade


class _Segment:
    """Trades ``first``, ``first + 1``, … as frames, decoded when first read."""

    __slots__ = ("entries", "first")

    def __init__(self, first: int, entries: list[Entry]) -> None:
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
        self._lock = threading.Lock()  # guards everything below
        self._segments: list[_Segment] = []
        self._event = 0
        self._gap_notice = Notice(Event.GAP, self.key)

    def ingest(self, frame: bytes, link: Link) -> Notice | None:
        """Take one aggTrade frame."""
        number, event = scan.scan_trade(frame)
        with self._lock:
            self.received += 1
            if event > self._event:
                self._event = event
            if self.suspected:
                self.suspected = ""
            if self._segments:
                newest = self._segments[-1]
                entries = newest.entries
                after = newest.first + len(entries)
                if number == after:
                    entries.append(frame)
                    if len(entries) >= 2 * self.capacity:
                        self._trim()
                    return None
                if number < after:
                    self.out_of_order += 1
                    if number >= newest.first:
                        return None
                else:
                    self.missed += number - after
            self._insert(_Segment(number, [frame]))
            return self._gap_notice if self._segments[0].after <= number else None

    def merge_rest(self, found: Sequence[Trade], *, asked: int, limit: int) -> None:
        """Merge a REST answer (ordered by id) asked for at exchange time ``asked`` (ms) with ``limit``.

        One that is shorter than that, or that goes back no further than what is held, shows that there is no more.
        """
        self.answered = max(self.answered, asked)
        oldest = self.first_id()
        if len(found) < limit or found[0].id == 0 or (0 <= oldest <= found[0].id and limit < MOST_IN_ANSWER):
            self.complete = True
        if not found:
            return
        run: list[Entry] = []
        first = found[0].id
        with self._lock:
            self._event = max(self._event, min(asked, found[-1].time))
            for trade in found:
                if run and trade.id != first + len(run):
                    self._insert(_Segment(first, run))
                    run = []
                if not run:
                    first = trade.id
                run.append(trade)
            self._insert(_Segment(first, run))
            self._trim()

    def _insert(self, added: _Segment) -> None:
        """Join a run of trades with those it touches or overlaps. The lock is held."""
        assert self._lock.locked()
        kept: list[_Segment] = []
        for segment in self._segments:
            if segment.after < added.first or segment.first > added.after:
                kept.append(segment)
            else:
                added = _joined(segment, added)
        kept.append(added)
        kept.sort(key=lambda segment: segment.first)
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
                del segment.entries[:surplus]
                segment.first += surplus
                self.complete = False
            room -= len(segment.entries)
            kept.append(segment)
        self._segments = kept[::-1]

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
            entry = self._segments[-1].entries[-1] if self._segments else None
        if entry is None:
            return -1, 0
        if isinstance(entry, Trade):
            return entry.last_trade, entry.time
        try:
            return decode.scan_trade_end(entry)
        except DecodeError:
            return -1, 0

    def standing(self) -> TradeStanding:
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            hole = None
            if newest is not None and len(self._segments) > 1:
                hole = (self._segments[-2].after, newest.first - 1)
            rows = min(len(newest.entries), self.capacity) if newest else 0
            return TradeStanding(self.link, self.suspected, rows, self.complete, hole, self._event)

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
            if not self._segments:
                return []
            newest = self._segments[-1]
            picked = newest.entries[-min(limit, self.capacity) :]
            first = newest.after - len(picked)
        decoded: list[Trade] = []
        fresh = False
        for offset, entry in enumerate(picked):
            if isinstance(entry, bytes):
                fresh = True
                try:
                    entry = decode.trade(entry)
                except DecodeError:
                    self._cut_behind(first + offset)
                    raise
            decoded.append(entry)
        if fresh:
            self._remember(first, decoded)
        return decoded

    def _remember(self, first: int, decoded: list[Trade]) -> None:
        with self._lock:
            if not self._segments:
                return
            newest = self._segments[-1]
            offset = first - newest.first
            if offset >= 0 and first + len(decoded) <= newest.after:
                newest.entries[offset : offset + len(decoded)] = decoded

    def _cut_behind(self, number: int) -> None:
        with self._lock:
            self.undecodable += 1
            if not self._segments:
                return
            newest = self._segments[-1]
            offset = number - newest.first
            if 0 <= offset < len(newest.entries):
                older, younger = newest.entries[:offset], newest.entries[offset + 1 :]
                first = newest.first
                self._segments.pop()
                if older:
                    self._segments.append(_Segment(first, older))
                if younger:
                    self._segments.append(_Segment(number + 1, younger))

    def __len__(self) -> int:
        return self.standing().rows


def _joined(a: _Segment, b: _Segment) -> _Segment:
    """One run out of two that touch or overlap; of a trade held twice, the decoded one stays."""
    if b.first < a.first:
        a, b = b, a
    overlap = a.after - b.first
    if overlap <= 0:
        return _Segment(a.first, a.entries + b.entries)
    if b.after <= a.after:
        return a
    return _Segment(a.first, a.entries + b.entries[overlap:])
