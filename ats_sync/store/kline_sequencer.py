"""The candles of one series in order: which version of each counts, and when one that is final closes.

Merging is commutative and idempotent: of two versions of one candle the higher ``rank`` wins, among equals the greater
trade count, then the later event. So a stream, a second stream and a REST answer that is older than both may arrive in
any order. (For those not closed yet, see :mod:`~ats_sync.store.pending`.)
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Callable
from contextlib import suppress

from ..feeds import Key
from ..venue.intervals import next_open, next_opens
from ..venue.klines import (
    flat_text,
    scan_kline,
    scan_kline_first_trade,
    scan_kline_last_trade,
    text_open_time,
    text_trades,
)
from ..venue.payload import DecodeError
from .closed import ClosedCandles, Closing, Closings, Dumped, Source
from .halts import Halt
from .pending import FINAL_BY_REST, MOST_PENDING, OPEN, Candle, PendingCandles
from .series import Change, StoreEvent

FINAL_IN_REST_AFTER = 5000
"""A REST row is final when it was requested at least this long (ms) after its candle's close."""


class KlineSequencer:
    """Closes candles as soon as they are final and follow the newest closed one. Not thread-safe: the series that owns
    it holds its lock."""

    def __init__(self, key: Key, closed: ClosedCandles, exchange_ms: Callable[[], int]) -> None:
        self.interval = key.interval
        self.closed = closed
        self.pending = PendingCandles(key.interval)
        self.closings = Closings()
        self.untraded = False
        """Whether REST has shown that there is no candle yet, and no frame has come since."""
        self.lost = self.out_of_order = 0
        self.halt = Halt()
        self._exchange_ms = exchange_ms  # called once a closed candle, never for a frame
        self._has_closed = StoreEvent(Change.CLOSED, key)
        self._has_gap = StoreEvent(Change.GAP, key)

    def apply(self, candle: Candle, frame: bytes, before: bytes) -> StoreEvent | None:
        """Merge what a frame says of its candle; ``before`` is the newest frame before it."""
        closed, ahead = self.closed, self.pending.candles
        opened = candle.opened
        known = ahead.get(opened)
        if known is not None:
            if candle[1:4] <= known[1:4]:
                if candle.trades < known.trades and candle.event > known.event and known.rank == candle.rank == OPEN:
                    return self.contradicted(known, candle)
                return None
            if candle.rank == OPEN and self.pending.was_recomputed_after(opened, candle.event):
                return None
            ahead[opened] = candle
            notice = self.promote() if candle.final else None
            # REST showed this candle first; its first event means that the ones before it should be final by now.
            return notice or (self._has_gap if opened > closed.following and not known.streamed else None)
        # (Before any candle has closed here none comes too late: an answer that begins earlier joins it.)
        if closed and opened < closed.following:
            self.out_of_order += 1
            return None
        ahead[opened] = candle
        if self.untraded:
            # The first trade; REST is to show whether it is the very first.
            self.untraded = closed.complete = False
            return self._has_gap
        if len(ahead) > MOST_PENDING:
            del ahead[min(ahead)]
        if 0 < closed.following < opened:
            self._fill_flat(opened, frame, before)
        notice = self.promote()
        if notice is None and 0 < closed.following < opened:
            self.lost += 1
            return self._has_gap  # a candle before this one is missing or was never final
        return notice

    def contradicted(self, known: Candle, candle: Candle) -> StoreEvent | None:
        """Take a frame of fewer trades and a later time than ``known``, both of an open candle."""
        return self._has_gap if self.pending.contradict(known, candle) else None

    def replace(self, rows: list[tuple[int, bytes]], at: int, *, whole: bool, begins: bool, streaming: bool) -> None:
        """Merge the newest rows (open time and text, in order) of an answer that was requested at exchange time ``at``
        (ms).

        ``whole``: they are the whole history. ``begins``: what has closed by then did not close here. ``streaming``:
        a stream keeps the candles up to date.
        """
        closed = self.closed
        first, newest = rows[0][0], rows[-1][0]
        after_newest = next_open(self.interval, newest)
        # The last row is the exchange's open candle. Where that seems over already, the answer is older than its
        # request (a replica that lags), or our clock is ahead.
        final_before = min(at - FINAL_IN_REST_AFTER, newest)
        if self.untraded:
            self.untraded = closed.complete = False  # unless they are the whole history
        self.halt.note_answer(at, after_newest)
        if whole and all(next_open(self.interval, a) == b for (a, _), (b, _) in itertools.pairwise(rows)):
            closed.drop_before(first)  # of a contract that had the name before
            self.pending.forget_before(first)
        known = 0 if begins else closed.following
        closed.begin(first)
        final = bisect_right(next_opens(self.interval, [opened for opened, _ in rows]), final_before)
        if final:
            after = rows[final][0]  # up to the next row the exchange has none, whether or not time has passed
            for opened, text in closed.merge(rows[:final], after):
                self.pending.add_row(
                    Candle(opened, FINAL_BY_REST, text_trades(text), opened, text, False), streaming=streaming
                )
            for opened, _ in rows[:final] if known else ():
                if known <= opened < closed.following:
                    self._note_closing(opened, Source.REST)
        for opened, text in rows[final:]:
            if opened >= closed.following:
                self.pending.add_row(Candle(opened, OPEN, text_trades(text), at, text, False), streaming=streaming)
        self.promote()
        self._flatten()
        if closed:
            self.pending.forget_before(closed.following)

    def note_untraded(self) -> bool:
        """Note that the exchange has no candle at all; return whether that may be: none is known here."""
        if self.closed.following or self.pending.candles:
            return False
        self.untraded = self.closed.complete = True
        return True

    def restore(self, written: Dumped) -> None:
        """Begin with closed candles that were written down."""
        self.closed.restore(written)
        self.untraded = False
        self.promote()
        self.pending.forget_before(self.closed.following)

    def promote(self) -> StoreEvent | None:
        """Close the candles that are final and adjacent."""
        closed, ahead = self.closed, self.pending.candles
        notice = None
        while (candle := ahead.get(closed.following)) is not None and candle.final:
            if not closed:
                self.pending.forget_before(candle.opened)
            del ahead[candle.opened]
            closed.append(candle.text())
            if candle.rank == FINAL_BY_REST:
                source = Source.REST
            else:
                source = Source.STREAM if candle.trades else Source.FLAT
            self._note_closing(candle.opened, source)
            notice = self._has_closed
        if notice is not None:
            self._flatten()
        return notice

    def chain(self) -> list[Candle]:
        """Return the candles that follow the closed ones. Where REST has shown the newest without trades, it is flat at
        the close before it as that is known by now."""
        chain = self.pending.chain(self.closed.following)
        if len(chain) > 1 and is_flat(chain[-1]):
            with suppress(DecodeError):  # which whoever reads that one will see
                chain[-1] = self._flat(chain[-1], chain[-2].text())
        return chain

    def _flatten(self) -> None:
        """Let the first candle beyond the closed ones be flat at the newest close, where REST has shown it without
        trades: that answer may know less of the candle before it."""
        closed, ahead = self.closed, self.pending.candles
        candle = ahead.get(closed.following)
        if candle is not None and is_flat(candle) and closed:
            ahead[candle.opened] = self._flat(candle, closed.last())

    def _flat(self, candle: Candle, before: bytes) -> Candle:
        """Return a candle without trades as it is after the row ``before``. What REST does not show in between may have
        traded, and then only REST knows at which price."""
        after = next_open(self.interval, candle.opened)
        if next_open(self.interval, text_open_time(before)) != candle.opened:
            return candle
        return candle._replace(source=flat_text(candle.opened, after - 1, before))

    def _note_closing(self, opened: int, source: Source) -> None:
        # What made it final shows that it is over, even where our idea of the exchange's time lags behind.
        at = max(self._exchange_ms(), next_open(self.interval, opened))
        self.closings.note(opened, Closing(at, source), self.closed.depth)

    def _fill_flat(self, opened: int, frame: bytes, before: bytes) -> None:
        """Make final the candles without trades that came before the one that opened at ``opened``.

        They have no events. That there was no trade is proven where the first trade of the new candle follows the last
        one of the frame ``before``. Of a halt the exchange may have no candles at all: REST is to show.
        """
        closed, halt = self.closed, self.halt
        lacks_final = halt.lacks_by >= FINAL_IN_REST_AFTER
        if lacks_final or halt.may_cover(next_open(self.interval, closed.following), opened):
            return
        last = scan_kline_last_trade(before) if before else -1
        if last < 0 or not closed or scan_kline_first_trade(frame) != last + 1:
            return
        if closed.following <= scan_kline(before)[0]:
            return  # Of candles before that one it proves nothing.
        self.pending.add_flat(closed.following, opened, closed.last())


def is_flat(candle: Candle) -> bool:
    """Return whether a candle is one that REST has shown without trades, and that may still get some."""
    return candle.rank == OPEN and not candle.trades and not candle.is_frame
