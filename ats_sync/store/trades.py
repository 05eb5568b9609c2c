"""The newest aggregated trades of one symbol.

They are kept as *segments*: runs of consecutive ids (see :mod:`~ats_sync.store.segments`). Only the newest segment
is served; an older one waits beyond a hole until a repair has filled it, then they become one.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Container, Iterable, Sequence
from contextlib import suppress

from ..errors import MalformedAnswer
from ..feeds import Cause, Key, Kind
from ..venue import endpoints, scan
from ..venue.endpoints import AGG_TRADES_MOST, Request
from ..venue.envelope import STREAM, data_text
from ..venue.payload import DecodeError
from ..venue.trades import (
    Trade,
    is_written_as_by_rest,
    rest_trades,
    scan_trade_end,
    trade_of,
    trade_text,
    trades_of,
    trades_of_text,
    written_numbers,
)
from . import dump
from .link import FirstFrame, Link
from .packed import BETWEEN_OBJECTS, PackedRows
from .segments import MOST_SEGMENTS, Segment, Taken, inserted, trimmed
from .series import FIRST_FRAME_WITHIN, Change, Copied, Counts, Origin, Restored, Series, SeriesState, StoreEvent
from .trade_columns import TradeColumns

LEFT_TO_STREAM_FOR = 300.0
"""How long (seconds) at least the trades that are missing after a load are left to the stream, where nobody reads them;
twice that at most."""

USUAL_TRADES = 500
"""The trades of a read that does not say how many it takes."""
SPARE = 64
"""Trades kept beyond the capacity, so that not each new one drops an old one."""
_new = tuple.__new__
"""Makes a named tuple without its constructor, which takes several times as long."""


class TradeSeries(Series):
    """At most ``capacity`` trades of a symbol.

    It is live as candles are, even while older trades are still to come.
    """

    def __init__(self, symbol: str, capacity: int) -> None:
        super().__init__(Key(Kind.TRADES, symbol))
        self.capacity = capacity
        self.complete = False
        self._missed = self._out_of_order = 0
        self._answered = 0
        self.counted_since = 0
        """Exchange time (ms) before which ids were those of an old count, 0 where they never began again."""
        self._left_to_stream = False  # what is missing is not requested yet: the stream brings as much by itself
        self._page_was_empty = False  # the newest page of older trades was empty
        # Where a frame has the usual form, only what describes the trade is kept.
        self._head = STREAM + endpoints.agg_trade_stream(symbol).encode() + b'","data":{'
        self._shorter = scan.shorter_trades(symbol)
        self._lock = threading.Lock()  # guards everything below
        self._segments: list[Segment] = []
        self._columns: TradeColumns | None = None
        # The full pages and the tail of the series that this one is a copy of.
        self._copied_pages: list[bytes] = []
        self._copied_tail = b""
        self._copied_entries: PackedRows | None = None  # what the newest copy brought, as long as nobody rewrites it
        self._event = 0
        self._first_frame = FirstFrame()  # in order by id
        self._has_gap = StoreEvent(Change.GAP, self.key)
        self._has_begun = StoreEvent(Change.BEGUN, self.key)

    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        """Take one aggTrade frame."""
        number, event = scan.scan_trade(frame)
        head = self._head
        entry = scan.trade_entry(frame, len(head)) if frame.startswith(head) else data_text(frame)
        if BETWEEN_OBJECTS in entry:
            raise DecodeError("aggTrade frame with a zero byte")
        with self._lock:
            self.received += 1
            known = self._event
            if event > known:
                self._event = event
            if self.suspected:
                self.suspected = ""
            first = self._first_frame
            begins = link is first.awaited_on and number > first.after
            if begins:
                first.came(number)
            if self._segments:
                newest = self._segments[-1]
                entries = newest.entries
                after = newest.first + len(entries)
                if number == after:
                    entries.append(entry)
                    if len(entries) >= self.capacity + SPARE:
                        self._trim()
                    return self._has_begun if begins else None
                if number < after:
                    self._out_of_order += 1
                    traded = scan_trade_end(frame)[1]
                    if newest.is_of_new_count(number, traded):
                        self._restart(traded)
                        self._insert(self._segment(number, [entry]))
                        if link is first.awaited_on:
                            first.came(number)
                        return self._has_gap
                    # What does not count must not make later ones of the new count look as if nothing were between.
                    self._event = known
                    if number >= newest.first:
                        return None
                else:
                    self._missed += number - after
                    if not begins:
                        self._left_to_stream = False
            elif self.complete:
                # The first trade; REST is to show whether it is the very first.
                self.complete = False
                self._insert(self._segment(number, [entry]))
                return self._has_gap
            self._insert(self._segment(number, [entry]))
            if begins:
                return self._has_begun
            return self._has_gap if self._segments[0].after <= number else None

    def _restart(self, since: int) -> None:
        """Forget the trades of an old count: at exchange time ``since`` (ms) ids were found to have begun again. The
        caller holds the lock."""
        assert self._lock.locked()
        self.counted_since = since
        self._segments, self._columns = [], None
        self._first_frame.restart()
        self.complete = False

    def replace(self, answer: Sequence[Trade], origin: Origin) -> None:
        """Merge an answer (ordered by id): from an id on, or the newest.

        There is no more where the newest are fewer than were requested, or where a page begins later than it was to.
        (An answer that lags behind what is known shows nothing.)
        """
        found, from_id = answer, origin.from_id
        self._answered = max(self._answered, origin.requested_at)
        self._page_was_empty = not found and from_id is not None
        self._left_to_stream = False
        if not found:
            self.complete = self.complete or (from_id is None and not len(self))
            return
        with self._lock:
            if self._segments and self._segments[-1].shows_new_count(found):
                self._restart(origin.requested_at)
        oldest = self.first_id()
        if from_id is None:
            no_more = len(found) < origin.rows and found[-1].id >= self.last_id()
        else:
            no_more = from_id < found[0].id <= oldest
        no_more = no_more or found[0].id == 0
        run: list[bytes] = []
        first = found[0].id
        with self._lock:
            # An answer without trades says nothing about those that have come since.
            self.complete = (self.complete and bool(self._segments)) or no_more
            self._event = max(self._event, min(origin.requested_at, found[-1].time))
            for trade in found:
                if run and trade.id != first + len(run):
                    self._insert(self._segment(first, run, checked=True))
                    run = []
                if not run:
                    first = trade.id
                run.append(trade_text(trade))
            self._insert(self._segment(first, run, checked=True))
            if no_more:
                # Older trades can no longer be joined: the exchange has forgotten what was between, or they are of a
                # contract that had the name before.
                self._segments = [segment for segment in self._segments if segment.after > found[0].id]
            self._trim()

    def check_empty(self, origin: Origin, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        if origin.from_id is None and (len(self) or not (may_be_new() or shows_no_trade())):
            self.refuse_empty()

    def _insert(self, added: Segment) -> None:
        """Join a run of trades with those it touches or overlaps. The caller holds the lock."""
        assert self._lock.locked()
        kept = inserted(self._segments, added)
        if len(kept) > MOST_SEGMENTS:
            self.complete = False
        self._segments = kept[-MOST_SEGMENTS:]

    def _trim(self) -> None:
        """Drop the oldest beyond the capacity. The caller holds the lock."""
        assert self._lock.locked()
        self._segments, cut = trimmed(self._segments, self.capacity)
        if cut:
            self.complete = False

    def _segment(self, first: int, entries: Iterable[bytes], *, checked: bool = False) -> Segment:
        return Segment(first, entries, self._shorter, checked=checked)

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return the trades that are served."""
        while True:
            with self._lock:
                taken = self._take(self._count(self.capacity))
                complete = self.complete and len(self._segments) <= 1
                complete = complete and taken is not None and taken.rows == len(self._segments[0].entries)
            if taken is None:
                return ()
            try:
                if self._is_sound(taken):
                    body = b"[" + taken.text + b"]"
                    return dump.write(self.key, [body], rows=taken.rows, first=taken.first, complete=complete)
            except DecodeError:
                continue  # The ring is cut behind it: there are fewer now.

    def dump_mark(self) -> object:
        return self.last_id(), self.first_id()

    def prepare(self, parts: Iterable[bytes]) -> Restored | None:
        written = dump.read(self.key, parts)
        if written is None:
            return None
        try:
            found = rest_trades(written.body())
        except MalformedAnswer as error:
            raise dump.as_decode_error(error) from None
        first, count, complete = written.whole("first"), written.whole("rows"), written.flag("complete")
        if not found or [trade.id for trade in found] != list(range(first, first + count)):
            raise DecodeError("bad dump", "the dump's trades are not those that its header names")
        return Restored(found[-1].time, lambda: self._begin_restored(found, complete=complete))

    def _begin_restored(self, found: Sequence[Trade], *, complete: bool) -> None:
        with self._lock:
            if self._answered:
                return
            if not self._segments:
                self.complete = complete
            elif found[-1].id >= self._segments[0].first and not self._has_one_of(found):
                return  # the ids have begun again since
            self.answers += 1
            self._event = max(self._event, found[-1].time)
            self._insert(self._segment(found[0].id, map(trade_text, found), checked=True))
            self._trim()

    def _has_one_of(self, found: Sequence[Trade]) -> bool:
        """Return whether the oldest id that is here and among these bears the same trade. The caller holds the lock."""
        assert self._lock.locked()
        for segment in self._segments:
            number = max(segment.first, found[0].id)
            if number < segment.after and number <= found[-1].id:
                with suppress(DecodeError):
                    return trade_of(segment.entries.newest(segment.after - number)[0]) == found[number - found[0].id]
        return False

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied | None:
        with self._lock:
            newest = self._segments[-1] if self._segments else Segment(0, ())
            complete = self.complete and len(self._segments) <= 1
            entries = newest.entries
            tail, pages = entries.tail(), entries.pages()
            run = newest.first, entries.skipped, newest.checked
            facts = self._event, self._answered, complete, self.counted_since, run
            # Pages are added at the end and dropped at the beginning; whatever else happens makes other entries.
            now = entries, len(pages), pages[0] if pages else None
            body = pages.copy() if mark != now else None
            return _new(Copied, (self.link, self.suspected, facts, [tail], body, now, None))

    def take_copy(self, copied: Copied) -> bool:
        event, answered, complete, counted_since, (first, skipped, checked) = copied.facts
        with self._lock:
            self.link, self.suspected = copied.link, copied.suspected
            self._event, self._answered, self.complete = event, answered, complete
            self.counted_since = counted_since
            before = self._segments[-1] if self._segments else None
            if not self._goes_on(copied):
                self._columns = self._copied_entries = None
            if copied.body is not None:
                self._copied_pages = copied.body
            self._copied_tail = copied.texts[0]
            newest = self._segment(first, ())
            newest.entries.restore(self._copied_pages, skipped, copied.texts[0])
            newest.check(*checked)
            if before is not None and before.entries is self._copied_entries:
                newest.check(*before.checked)  # none of them had to be written in another way
            self._copied_entries = newest.entries
            self._segments = [newest] if len(newest.entries) else []
        return True

    @staticmethod
    def event_in(copied: Copied) -> int:
        return int(copied.facts[0])

    def _goes_on(self, copied: Copied) -> bool:
        """Return whether a copy has the trades of the one before it and newer ones. The ids alone do not show that:
        they may have begun again, or belong to another contract. The caller holds the lock."""
        assert self._lock.locked()
        known, pages = self._copied_pages, copied.body
        if pages is None:
            pages = known
        if pages:
            return bool(known) and (pages is known or known[-1] in pages)
        return not known and bool(copied.texts[0].startswith(self._copied_tail))

    # --- liveness and what it needs -------------------------------------------------------------

    def subscribed_on(self, link: Link) -> None:
        last = self.last_id()
        with self._lock:
            if self._first_frame.place >= 0:
                self._left_to_stream = False
            self._first_frame.expect(link, last)

    def patience(self, *, live_once: bool) -> float:
        if self._left_to_stream:
            # Every request weighs as much as one for all that is kept. Those of different symbols are spread, so that
            # they do not come all at once.
            return LEFT_TO_STREAM_FOR * (1.0 + zlib.crc32(self.key.symbol.encode()) / 0xFFFFFFFF)
        return 0.0 if self._first_frame.place >= 0 or not len(self) else FIRST_FRAME_WITHIN

    def is_contiguous(self) -> bool:
        """Return whether all that came later follows on the first trade of the newest subscription: then nothing is
        missing since (before it, there may be a hole)."""
        with self._lock:
            newest = self._segments[-1] if self._segments else None
            return newest is not None and newest.first <= self._first_frame.place < newest.after

    def resume(self, link: Link, now: int) -> bool:
        if self.link is not link and self.is_contiguous():
            self.go_live(link)
        return self.link is link and not self.lacks_older()

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[list[Trade]] | None:
        symbol = self.key.symbol
        if link is None or self.link is not link:
            return endpoints.agg_trades(symbol, min(AGG_TRADES_MOST, self.capacity))
        if not self.lacks_older():
            return None
        if self._page_was_empty:
            # The newest show whether ids have begun again.
            return endpoints.agg_trades(symbol, min(AGG_TRADES_MOST, self.capacity))
        first, hole = self.first_id(), self.hole()
        start = max(hole[0] if hole is not None else 0, first - AGG_TRADES_MOST)
        limit = min(AGG_TRADES_MOST, max(1, first - start))
        return endpoints.agg_trades(symbol, limit, from_id=start)

    def leave_to_stream(self) -> None:
        self._left_to_stream = not self._answered

    def end_patience(self) -> None:
        super().end_patience()
        self._left_to_stream = False

    def lacks_older(self) -> bool:
        if self._left_to_stream or self.expecting:
            return False
        with self._lock:
            return self._is_short()

    def _is_short(self) -> bool:
        """Return whether there are fewer than one answer brings, and older ones. The caller holds the lock."""
        assert self._lock.locked()
        rows, complete = self._extent()
        return not complete and rows < min(self.capacity, AGG_TRADES_MOST)

    def trade_shown(self, now: int) -> tuple[int, int]:
        return self.last_heard()[0], 0

    def unsettled(self, now: int) -> str:
        return f"the newest {len(self)} are here, older ones are to come" if self.lacks_older() else ""

    def reached(self) -> int | None:
        return self.first_id() if len(self) else None

    def is_down(self, exchange: float) -> bool:
        return False  # No time is promised by which trades are complete, and their warm-up is long.

    def counts(self) -> Counts:
        return Counts(self.received, self._missed, self._out_of_order)

    # --- reading -------------------------------------------------------------------------------

    def last_heard(self) -> tuple[int, int]:
        """``(id of the last trade, its time in ms)`` as far as is known here, -1 and 0 where nothing is.

        (Of the trade itself, of which an aggregated trade sums up several.)
        """
        with self._lock:
            newest = self._segments[-1].entries.last() if self._segments else None
        if newest is None:
            return -1, 0
        try:
            return scan_trade_end(newest)
        except DecodeError:
            return -1, 0

    def state(self, now: int) -> SeriesState:
        with self._lock:
            rows, complete = self._extent()
            return SeriesState(self.link, self.suspected, self._event, self._answered, rows, complete)

    def sound_event(self, now: int, alive: Container[Link | None]) -> int:
        with self._lock:
            if self.link not in alive or self.suspected:
                return -1
            return self._event if self._left_to_stream or self.expecting or not self._is_short() else -1

    def _extent(self) -> tuple[int, bool]:
        """Return how many rows can be read, and whether they are the whole history. The caller holds the lock."""
        assert self._lock.locked()
        segments = self._segments
        rows = min(len(segments[-1].entries), self.capacity) if segments else 0
        return rows, self.complete and len(segments) <= 1

    def hole(self) -> tuple[int, int] | None:
        """Return the first and last id missing before the newest run of trades, None where no older one is known."""
        with self._lock:
            if len(self._segments) < 2:
                return None
            return self._segments[-2].after, self._segments[-1].first - 1

    def last_id(self) -> int:
        """Return the id of the newest trade, -1 where none is known."""
        with self._lock:
            return self._segments[-1].after - 1 if self._segments else -1

    def first_id(self) -> int:
        """Return the id of the oldest trade that is served, -1 where none is known."""
        with self._lock:
            return self._segments[-1].first if self._segments else -1

    def read(self, limit: int) -> list[Trade]:
        """Return the newest ``limit`` trades without a hole, oldest first.

        Raises :class:`DecodeError` where one turns out unusable; the ring is then cut behind it.
        """
        return trades_of_text(self.text(limit)[1:-1])

    def text(self, limit: int) -> bytes:
        """As :meth:`read`, as REST writes them; only what came by the stream since the last call is looked into."""
        while True:
            with self._lock:
                taken = self._take(self._count(limit))
            if taken is None:
                return b"[]"
            if self._is_sound(taken):
                return b"[" + taken.text + b"]"

    def columns(self, limit: int) -> TradeColumns:
        """As :meth:`read`, as columns of numbers, the caller's own; only what came since the last call is decoded."""
        while True:
            with self._lock:
                count = whole = self._count(limit)
                known = before = self._columns
                segments = self._segments
                after = segments[-1].after if segments else 0
                if known is not None and known.first <= after - count <= known.after <= after:
                    count = after - known.after
                else:
                    known = None
                taken = self._take(count)
            numbers = None
            if taken is not None and taken.unchecked == taken.first:
                numbers = written_numbers(taken.text, taken.first, taken.rows)
            if taken is None or self._is_sound(taken, surely=numbers is not None):
                break
        if taken is not None:
            found = TradeColumns.of(taken.first, taken.text, taken.rows, numbers)
            if known is not None:
                found = known.joined(found)
        elif known is not None:
            return known.last(whole)
        else:
            return TradeColumns.of(after, b"", 0)
        if len(found) > self.capacity + SPARE:
            found = found.last(self.capacity)
        with self._lock:
            # Meanwhile everything may have been forgotten, and what was decoded with it.
            if self._columns is before and self._segments is segments:
                self._columns = found
        return found.last(whole)

    def decode_ahead(self) -> None:
        with suppress(DecodeError):  # what is unusable is cut off, and requested again
            self.columns(USUAL_TRADES)

    def _count(self, limit: int) -> int:
        """Return how many the newest ``limit`` trades are. The caller holds the lock."""
        assert self._lock.locked()
        return min(limit, self.capacity, len(self._segments[-1].entries)) if self._segments else 0

    def _take(self, count: int) -> Taken | None:
        """Return the newest ``count`` trades, None for none. The caller holds the lock."""
        assert self._lock.locked()
        if not count:
            return None
        return self._segments[-1].taken(count)

    def _is_sound(self, taken: Taken, *, surely: bool = False) -> bool:
        """Return whether all are written as by REST, which is known already if ``surely``; if not, they are from now
        on, and have to be taken again.

        Raises :class:`DecodeError` as :meth:`read`.
        """
        segment, first, after = taken.segment, taken.unchecked, taken.first + taken.rows
        if first == after:
            return True
        sound = surely or is_written_as_by_rest(taken.suspect, first, after - first)
        texts: list[bytes] = []
        if not sound:
            with self._lock:
                first = max(first, segment.first)  # the oldest may have been dropped meanwhile
                texts = segment.entries.newest(segment.after - first)[: after - first]
            texts = list(map(trade_text, self._decoded(first, texts)))
        with self._lock:
            if sound:
                segment.check(first, after)
            else:
                segment.rewrite(first, texts)
        return sound

    def _decoded(self, first: int, picked: Sequence[bytes]) -> list[Trade]:
        try:
            return trades_of(picked, first)
        except DecodeError:
            # Which of them it is; where none is by itself, only their ids are wrong.
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
            self._columns = None
            if not self._segments:
                return
            newest = self._segments.pop()
            self._segments += newest.without(number)

    def __len__(self) -> int:
        with self._lock:
            return self._extent()[0]
