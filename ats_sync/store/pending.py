"""The candles that are not closed here yet: which version of each counts."""

from __future__ import annotations

from typing import NamedTuple

from ..venue.intervals import next_open
from ..venue.klines import flat_text, kline_text
from ..venue.payload import DecodeError
from .order import MOST_LATE, REORDERED_WITHIN, is_new_count

OPEN, FINAL_BY_STREAM, FINAL_BY_REST = range(3)


class Candle(NamedTuple):
    """One version of a candle beyond the closed ones. ``source`` is a frame or a row's text."""

    opened: int
    rank: int
    trades: int
    event: int
    source: bytes
    is_frame: bool

    @property
    def final(self) -> bool:
        return self.rank != OPEN

    @property
    def streamed(self) -> bool:
        """Whether its stream has shown it (and not only a REST answer)."""
        return self.is_frame or self.rank == FINAL_BY_STREAM

    def text(self) -> bytes:
        """Return the row's text; :class:`DecodeError` where the frame turns out unusable."""
        return kline_text(self.source) if self.is_frame else self.source


ANSWERED_WITHIN = 10_000
"""How long (ms) after its request an answer may have been true, and how far a replica may lag."""
MOST_PENDING = 1600
AT_ONCE = 1
"""An exchange time (ms) before any other."""


class PendingCandles:
    """The open candle, and whatever else is known beyond the closed ones. Not thread-safe: the series that owns it
    holds its lock.

    Of two versions of one candle the higher rank wins, among equals the greater trade count, then the later event.
    Where an open candle's trades become fewer as time goes on, the exchange has recomputed it, or one of the two is
    wrong: that is a *contradiction*, and the candle is in doubt until stream and REST agree.
    """

    __slots__ = ("candles", "contradiction", "follower", "interval", "recomputed", "recomputed_at", "unusable")

    def __init__(self, interval: str) -> None:
        self.interval = interval
        self.candles: dict[int, Candle] = {}
        """By open time. The series reads and writes it for each frame, without a call."""
        self.contradiction: tuple[Candle, Candle] | None = None
        """An open candle, and what is later and has fewer trades (or more, in an answer since it was recomputed)."""
        self.follower: Candle | None = None
        """The newest frame that goes on from the one that contradicts."""
        self.recomputed = self.recomputed_at = 0
        """The open time of the candle whose trades last became fewer, and when (exchange ms) they had at the latest."""
        self.unusable = 0
        """The open time of a candle whose newest version was unusable and is forgotten."""

    def contradict(self, known: Candle, candle: Candle) -> bool:
        """Take a frame of fewer trades and a later time than ``known``, both of an open candle; return whether REST is
        to show which is true.

        One that is later by more than connections differ shows a newer state and replaces it; one that is not puts
        the candle in doubt until another frame or an answer shows which is true. An answer was true at some time
        after its request, so a frame that is hardly later may have been on its way: doubt waits for the next ones. (An
        event that bears a time long after its candle has a wrong one.)
        """
        if candle.event > next_open(self.interval, known.opened) + MOST_LATE:
            return False
        before = self._of_fewer(self.contradiction if self.is_contradicted() else None)
        if before is not None and before[0].opened < known.opened:
            before = None  # It is of a candle that is over.
        agrees = before is not None and not before[1].is_frame and candle.trades >= before[1].trades
        if agrees or is_new_count(candle.event, known.event if known.is_frame else known.event + ANSWERED_WITHIN):
            self._was_right(candle if before is None else before[1])
            self.candles[known.opened] = candle
            self.contradiction = None
            return True
        if before is not None:
            if before[0] is known and candle.trades >= before[1].trades:
                self.follower = candle
            return False
        self._doubt(known, candle)
        return True

    @staticmethod
    def _of_fewer(contradiction: tuple[Candle, Candle] | None) -> tuple[Candle, Candle] | None:
        """Return a contradiction unless it is an answer that showed more trades: what shows fewer says no less."""
        if contradiction is None or contradiction[1].trades > contradiction[0].trades:
            return None
        return contradiction

    def note_recomputed(self, opened: int, event: int) -> None:
        """Note that the trades of a candle had become fewer by ``event`` (exchange ms)."""
        if (opened, event) > (self.recomputed, self.recomputed_at):
            self.recomputed, self.recomputed_at = opened, event

    def _was_right(self, first: Candle) -> None:
        """Note that the ``first`` version of fewer trades was right."""
        self.note_recomputed(first.opened, first.event)

    def was_recomputed_after(self, opened: int, event: int) -> bool:
        """Return whether a candle's trades became fewer after ``event`` (exchange ms): more of them say nothing."""
        return event < self.recomputed_at and opened == self.recomputed

    def _doubt(self, known: Candle, candle: Candle) -> None:
        self.contradiction, self.follower = (known, candle), None

    def is_contradicted(self) -> bool:
        """Return whether the version that was contradicted still counts."""
        contradiction = self.contradiction
        return contradiction is not None and self.candles.get(contradiction[0].opened) is contradiction[0]

    def _may_be_older(self) -> bool:
        """Return whether the version that contradicts is a frame that the answer it contradicts may have overtaken."""
        assert self.contradiction is not None
        known, candle = self.contradiction
        return candle.is_frame and not known.is_frame and not is_new_count(candle.event, known.event)

    def doubted_from(self) -> int:
        """Return from which exchange time (ms) on a contradiction puts the open candle in doubt, 0 where none does.

        A frame that an answer may have overtaken does once those that follow it should have come.
        """
        if self.contradiction is None:
            return 0
        if not self.is_contradicted():
            self.contradiction = None
            return 0
        return self.contradiction[1].event + REORDERED_WITHIN if self._may_be_older() else AT_ONCE

    def add_row(self, candle: Candle, *, streaming: bool) -> None:
        """Take a row of an answer; ``streaming``: whether a stream keeps the candles up to date.

        A single answer of fewer trades may come from a replica that lags: it puts the candle in doubt, the next one
        that is requested later and agrees replaces it. Where a stream keeps the candle up to date, an answer that is
        hardly later than the newest frame says nothing. Where none does, it shows less than what happened before it:
        whatever it may be, it does not show what was missed.
        """
        known = self.candles.get(candle.opened)
        before = self.contradiction
        if before is not None and before[0] is not known:
            before = None
        if known is None or candle[1:4] > known[1:4]:
            if candle.rank == OPEN and known is not None and self._leaves_out(candle, known, before):
                return
            self.candles[candle.opened] = candle
            if known is not None and self._may_have_overtaken(candle, known):
                self._doubt(candle, known)
        elif candle.trades < known.trades and known.rank == candle.rank == OPEN:
            before = self._of_fewer(before)
            if before is None:
                if is_new_count(candle.event, known.event) or (candle.event > known.event and not streaming):
                    self._doubt(known, candle)
            elif self._is_surely_later(candle, before):
                self._was_right(before[1])
                self.candles[candle.opened] = candle
            elif before[1].is_frame:
                later = candle.event > before[1].event and candle.trades >= before[1].trades
                if later and not self._may_lag(candle, before):
                    # Stream and REST agree. The stream may have gone on since, and so may both have begun again.
                    self._was_right(before[1])
                    self.candles[candle.opened] = self.follower or candle
                    if self.follower is not None:
                        self.add_row(candle, streaming=streaming)

    def _is_surely_later(self, candle: Candle, before: tuple[Candle, Candle]) -> bool:
        """Return whether a row of fewer trades than a candle that is contradicted is from later than it, since no
        replica lags by so much: than what contradicts it too, or than the candle where another answer has as few."""
        known, first = before
        newest = max([each.event for each in (known, first, self.follower or first)])
        if is_new_count(candle.event, newest + ANSWERED_WITHIN):
            return True
        agrees = not first.is_frame and first.trades <= candle.trades
        return agrees and is_new_count(candle.event, max(first.event, known.event + ANSWERED_WITHIN))

    def _leaves_out(self, candle: Candle, known: Candle, before: tuple[Candle, Candle] | None) -> bool:
        """Leave out a row of no fewer trades than the ``known`` open candle if it may be of before that was recomputed,
        or of before what contradicts it (``before``), and return whether it is. Where the stream has shown the candle
        since, such a row puts it in doubt."""
        if self.was_recomputed_after(candle.opened, candle.event):
            return True  # If it was true later than that, the stream shows the same.
        if before is not None:
            same = candle.trades == known.trades and not is_new_count(candle.event, before[1].event)
            return same or self._may_lag(candle, before)
        if not known.is_frame or not self.was_recomputed_after(candle.opened, candle.event - ANSWERED_WITHIN):
            return False
        if _is_same(candle, known):
            return False
        self._doubt(known, candle)
        return True

    @staticmethod
    def _may_have_overtaken(candle: Candle, known: Candle) -> bool:
        """Return whether a frame (``known``) may be later than a row of more trades: it came while the answer was on
        its way. Then the frames that follow have as many trades soon, unless the candle was recomputed."""
        if not known.is_frame or known.rank != OPEN or candle.rank != OPEN or candle.trades == known.trades:
            return False
        return known.event >= candle.event and not is_new_count(known.event, candle.event)

    def _may_lag(self, candle: Candle, before: tuple[Candle, Candle]) -> bool:
        """Return whether a row may come from a replica that has not got to a frame that contradicts another one: unless
        it shows the same as a frame of since then, or no replica lags by so much."""
        known, first = before
        if not (known.is_frame and first.is_frame) or candle.event >= first.event + ANSWERED_WITHIN:
            return False
        return not any(each is not None and _is_same(candle, each) for each in (first, self.follower))

    def add_flat(self, first: int, end: int, previous: bytes) -> None:
        """Add the candles without trades from ``first`` to before ``end`` (open times, ms), flat at the close of the
        row ``previous``; up to one that had trades."""
        flat = first
        while flat < end:
            candle = self.candles.get(flat)
            if candle is not None and candle.trades:
                return
            after = next_open(self.interval, flat)
            previous = flat_text(flat, after - 1, previous)
            self.candles[flat] = Candle(flat, FINAL_BY_STREAM, 0, flat, previous, False)
            flat = after

    def chain(self, following: int) -> list[Candle]:
        """Return the candles that follow each other from the open time ``following`` on."""
        candles = self.candles
        chain: list[Candle] = []
        opened = following
        while (candle := candles.get(opened)) is not None:
            chain.append(candle)
            if len(chain) == len(candles):
                break
            opened = next_open(self.interval, opened)
        return chain

    def has_strays(self, following: int, chain: list[Candle]) -> bool:
        """Return whether there are candles from the open time ``following`` on that are not in its ``chain``."""
        if len(self.candles) <= len(chain):
            return False
        return sum(opened >= following for opened in self.candles) > len(chain)

    def forget_before(self, following: int) -> None:
        """Forget the candles that opened before ``following``, which need no stream any more."""
        for opened in [opened for opened in self.candles if opened < following]:
            del self.candles[opened]

    def discard(self, candle: Candle) -> None:
        """Forget one version of an open candle that turned out to be unusable."""
        if self.candles.get(candle.opened) is candle:
            del self.candles[candle.opened]
            self.unusable = candle.opened


def _is_same(row: Candle, frame: Candle) -> bool:
    try:
        return row.trades == frame.trades and row.source == frame.text()
    except DecodeError:
        return False
