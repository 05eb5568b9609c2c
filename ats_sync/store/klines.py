"""One kline series: its candles as stream and REST show them, and whether they can be trusted.

How its candles are merged and closed: :mod:`~ats_sync.store.kline_sequencer`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Iterable
from operator import ge
from typing import NamedTuple

from ..feeds import FEEDS, Cause, Key, Kind
from ..venue import endpoints, scan
from ..venue.endpoints import Request
from ..venue.intervals import candles_between, next_open, open_time
from ..venue.klines import (
    Row,
    flat_text,
    float_row,
    is_final,
    kline_text,
    open_times,
    scan_kline,
    scan_kline_last_trade,
    string_rows,
    text_open_time,
)
from ..venue.payload import DecodeError
from . import dump
from .assess import OTHER_CONTRACT, Evidence, assess
from .closed import ClosedCandles, Closing, Dumped
from .kline_copy import Known, copy_of, event_in, form_of, only_frame, take_copy
from .kline_sequencer import FINAL_IN_REST_AFTER, KlineSequencer
from .link import FirstFrame, Link
from .order import LAGS_AT_MOST, is_to_come, shown_until
from .pending import FINAL_BY_STREAM, OPEN, Candle
from .remembered import Column
from .series import FIRST_FRAME_WITHIN, Copied, Counts, Origin, Restored, Series, SeriesState, StoreEvent
from .snapshot import LEAST_REMEMBERED, KlineSnapshot, KlineText, extent

AUDIT_ROWS = 100
"""The most rows that a request of weight 1 brings."""
WARM_UP_ROWS = 499
MOST_DECODED = 4
"""The most candles beyond the closed ones that are remembered decoded."""
USUAL_ROWS = 300
"""The rows of a read that does not say how many it takes."""

_new = tuple.__new__
"""Makes a named tuple without its constructor, which takes longer than all the rest of merging."""


class Since(NamedTuple):
    """What a series knows from one candle on, and its state, at one and the same moment."""

    state: SeriesState
    heard: int
    """Exchange time (ms) of its newest event."""
    version: int
    """A new number whenever its closed candles change."""
    begins: int
    """The open time (ms) from which on none of them is missing, 0 where they reach back to the listing."""
    oldest: int
    """The open time (ms) of the oldest one, 0 where there is none."""
    following: int
    """The open time (ms) after the newest closed one, 0 where nothing is known."""
    closed: list[bytes] | None
    """The texts of the closed candles from there on, None where the caller knows that version."""
    chain: list[Candle]
    """The candles beyond the closed ones."""
    recomputed: tuple[int, int]
    """The open time (ms) of the candle that last lost trades, and the exchange time (ms) by which it had lost them; 0
    where none ever did."""
    unchanged_until: int
    """Up to when (exchange ms) nothing of all this changes by time alone, 0 where it may at once."""


def no_time() -> int:
    """Return 0, where nobody needs to know when candles became final."""
    return 0


class KlineSeries(Series):
    """The candles of one symbol and interval.

    It is live once a REST answer, requested after the subscription was acknowledged, has closed the gap before it, or
    where the first frame of the subscription shows that there is none: a frame contains its whole candle.
    """

    source: KlineSeries | None = None
    """The series from which its candles are derived, None where it has a stream of its own."""

    def __init__(
        self,
        symbol: str,
        interval: str,
        depth: int,
        *,
        kind: Kind = Kind.KLINES,
        warm_up: int = WARM_UP_ROWS,
        exchange_ms: Callable[[], int] = no_time,
    ) -> None:
        super().__init__(Key(kind, symbol, interval))
        self._exchange_ms = exchange_ms
        self.interval = interval
        self._final_within = self.feed.final_within
        self._warm_up = warm_up
        # What the open candle's frames look like. Replaced whole, since during a hand-over two threads deliver.
        self._shape: tuple[int, scan.KlineShape | None] = (0, None)
        # By open time. Just after a turn there are two: the one before may not be final yet. Of two readers that decode
        # the same candle at once both put it here, and either is right.
        self._ahead_decoded: dict[int, tuple[Candle, bytes, Row, Row]] = {}
        self._lock = threading.Lock()  # guards everything below; heard_final() alone reads the last frame without it
        self._closed = ClosedCandles(interval, depth)
        self._sequencer = KlineSequencer(self.key, self._closed, exchange_ms)
        self._pending, self._halt = self._sequencer.pending, self._sequencer.halt
        self._ahead = self._pending.candles
        self._stream_event = 0
        self._last_frame = b""
        self._scanned: tuple[bytes, int] = b"", -1  # the frame that was scanned last for its newest trade, and that
        self._answered = 0  # up to when (exchange ms) the newest answer has shown the candles
        self._requested = 0  # when (exchange ms) it was requested: later, where it lacks some
        self._loaded_until = 0  # when (exchange ms) the newest candle closed that was loaded
        self._distrusted = False  # of what was loaded, something differed from REST
        # By when (exchange ms) trade ids had begun again, until REST has shown the history of since then; and whether
        # the name may belong to another contract.
        self._recounted, self._may_be_other = 0, False
        self._first_frame = FirstFrame()  # in order by event time; it begins with its candle
        self._until = 0, 0  # the open time of the open candle, and of the next

    @property
    def depth(self) -> int:
        return self._closed.depth

    def deepen(self, rows: int) -> None:
        with self._lock:
            self._closed.depth = max(self._closed.depth, rows)

    @property
    def complete(self) -> bool:
        """Whether the history reaches back to the listing."""
        return self._closed.complete

    def counts(self) -> Counts:
        closed, sequencer = self._closed, self._sequencer
        return Counts(self.received, sequencer.lost, sequencer.out_of_order, closed.audited, closed.mismatches)

    # --- merging -------------------------------------------------------------------------------

    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        """Merge one kline frame."""
        # Nearly every frame is one more of a candle that stays open: a scan shows that without decoding it.
        opened, shape = self._shape
        scanned = scan.scan_open_kline(frame, shape) if shape is not None else None
        if scanned is None:
            return self._apply_any(frame, link)
        trades, event = scanned
        with self._lock:
            known = self._ahead.get(opened)
            if known is not None and known[1] == OPEN:
                self.received += 1
                first = self._first_frame
                if link is first.awaited_on and event > first.after:
                    first.came(opened)
                if event >= self._stream_event:
                    self._stream_event = event
                    self._last_frame = frame
                    if self.suspected:
                        self.suspected = ""
                if trades > known[2] or (trades == known[2] and event > known[3]):
                    pending = self._pending
                    if event < pending.recomputed_at and pending.was_recomputed_after(opened, event):
                        return None  # (Nearly always the first tells, and a call for each frame would be dear.)
                    self._ahead[opened] = _new(Candle, (opened, OPEN, trades, event, frame, True))
                elif trades < known[2] and event > known[3]:
                    return self._sequencer.contradicted(known, Candle(opened, OPEN, trades, event, frame, True))
                return None
        return self._apply_any(frame, link)

    def _apply_any(self, frame: bytes, link: Link) -> StoreEvent | None:
        opened, trades, final, event = scan_kline(frame)
        if final:
            # The candle's last word is checked now: an unusable one must not close it.
            candle = Candle(opened, FINAL_BY_STREAM, trades, event, kline_text(frame), False)
        else:
            candle = Candle(opened, OPEN, trades, event, frame, True)
            self._shape = opened, scan.kline_shape(frame, opened)
        with self._lock:
            self.received += 1
            first = self._first_frame
            if link is first.awaited_on and event > first.after:
                first.came(opened)
            before = self._last_frame
            if event >= self._stream_event:
                self._stream_event = event
                self._last_frame = frame
                if self.suspected:
                    self.suspected = ""
            return self._sequencer.apply(candle, frame, before)

    def replace(self, answer: list[bytes], origin: Origin) -> None:
        """Merge the texts of the newest rows; fewer than ``origin.rows`` are the whole history.

        Raises :class:`DecodeError` where the rows are not in order.
        """
        at = origin.requested_at
        opens = open_times(answer)
        rows = list(zip(opens, answer, strict=True))
        if any(map(ge, opens, opens[1:])):
            raise DecodeError("the rows of a klines answer are not in order")
        if not rows:
            self._note_untraded(at)
            return
        after_newest = next_open(self.interval, rows[-1][0])
        whole = len(rows) < origin.rows
        with self._lock:
            closed, mismatches = self._closed, self._closed.mismatches
            # What closed before it was followed did not close here.
            begins = self.unaudited and not self._answered and self.link is None
            self._answered = max(self._answered, min(at, after_newest - 1))
            self._requested = max(self._requested, at)
            if shown_until(at) >= self._recounted and (whole or origin.rows >= self._first_rows()):
                self._recounted, self._may_be_other = 0, False
            self._sequencer.replace(rows, at, whole=whole, begins=begins, streaming=self.streaming())
            self._audit_restored(rows[0][0], mismatches)
            if whole and closed.first <= rows[0][0]:
                closed.complete = True  # An answer that came late may end before what is known begins.

    def _note_untraded(self, at: int) -> None:
        """Note that the exchange has no candle at all: the contract has not traded yet."""
        with self._lock:
            if not self.feed.spot and self._sequencer.note_untraded():
                self._answered, self._requested = max(self._answered, at), max(self._requested, at)

    def check_empty(self, origin: Origin, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        if self.following() or not (self.feed.spot or may_be_new()):
            self.refuse_empty()

    def decode_ahead(self) -> None:
        with self._lock:
            closed = self._closed
            count, floats, version = min(closed.count, USUAL_ROWS), closed.floats, closed.version
            if count < LEAST_REMEMBERED or floats.take(count) is not None:
                return
            text = closed.slice(count)
        self.remember(floats.columns(floats.decode(text)), version)

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return the closed candles; those beyond them may still change."""
        with self._lock:
            texts, facts = self._closed.texts(), self._closed.facts()
        body = b"[[" + b"],[".join(texts) + b"]]"
        return dump.write(self.key, [body], rows=len(texts), **facts) if texts else ()

    def dump_mark(self) -> object:
        return self._closed.version

    def prepare(self, parts: Iterable[bytes]) -> Restored | None:
        written = dump.read(self.key, parts)
        if written is None:
            return None
        found = Dumped.of(written, self.interval)
        return Restored(found.following, lambda: self._begin_restored(found))

    def _begin_restored(self, found: Dumped) -> None:
        with self._lock:
            if self._closed.following:
                return
            self.answers += 1
            self._loaded_until = found.until
            self.unaudited = True
            self._sequencer.restore(found)

    def _audit_restored(self, first: int, mismatches: int) -> None:
        """Note that an answer which begins with the candle ``first`` was merged; so many rows differed before.

        Where it covers the newest loaded rows, they have been compared with REST. If one of them differed, the others
        are not to be trusted either. The caller holds the lock.
        """
        assert self._lock.locked()
        if not self.unaudited or (first > self._loaded_until >= self._closed.first):
            return
        self.unaudited = False
        if self._closed.mismatches > mismatches:
            self._distrusted = True
            self._closed.drop_before(first)
            self._closed.complete = False

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied:
        with self._lock:
            return copy_of(self._sequencer, self._known(), self.link, self.suspected, mark)

    def frame_alone(self, form: object) -> bytes | None:
        with self._lock:
            if form != form_of(self._sequencer, self._answered, self._may_be_other):
                return None
            return only_frame(self._sequencer, self._stream_event)

    def take_copy(self, copied: Copied) -> bool:
        with self._lock:
            self.link, self.suspected = copied.link, copied.suspected
            known = take_copy(copied, self._sequencer)
            self._stream_event, self._answered, self._loaded_until, self._may_be_other = known
        return True

    event_in = staticmethod(event_in)

    def _known(self) -> Known:
        """The caller holds the lock."""
        assert self._lock.locked()
        return Known(self._stream_event, self._answered, self._loaded_until, self._may_be_other)

    # --- liveness and what it needs -------------------------------------------------------------

    def subscribed_on(self, link: Link) -> None:
        with self._lock:
            self._first_frame.expect(link, self._stream_event)

    def patience(self, *, live_once: bool) -> float:
        # A repair of candles weighs little and is not put off.
        begun = self._first_frame.place > 0
        return 0.0 if begun or not len(self) or live_once or self._is_short() else FIRST_FRAME_WITHIN

    def is_contiguous(self) -> bool:
        """Return whether every candle before the first one of the newest subscription is closed here."""
        with self._lock:
            return 0 < self._first_frame.place <= self._closed.following and bool(self._closed)

    def resume(self, link: Link, now: int) -> bool:
        if self.link is link or not self.is_contiguous() or self._is_short() or self.unsettled(now):
            return False
        self.go_live(link)
        return True

    def begin_with(self, rows: int) -> None:
        self._warm_up = rows

    def _is_short(self, tail: int = 0) -> bool:
        """Return whether rows are lacking, also after an answer of so many of the newest, which goes on from the closed
        ones: an early read may have begun the history with a few only."""
        kept = self._closed.count + tail if tail else len(self) + 1
        return not self._closed.complete and kept < self._first_rows()

    def _first_rows(self) -> int:
        return min(self._warm_up, self._closed.depth)

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[list[bytes]]:
        limit = self.tail_limit(now)
        if limit is None or limit > self._closed.depth or self._is_short(limit) or self._recounted:
            limit = self._first_rows()
        elif cause is Cause.AUDIT:
            limit = max(limit, AUDIT_ROWS)
        elif self.unaudited:
            limit = max(limit, min(AUDIT_ROWS, self._first_rows()))  # it weighs no more
        elif self.stopped():
            limit = min(limit, AUDIT_ROWS)  # a halt of hours is no reason to ask for rows of hours
        return self.newest_rows(limit)

    def newest_rows(self, limit: int) -> Request[list[bytes]]:
        """Return the request for the newest ``limit`` rows."""
        return newest_klines(self.key, limit)

    def tail_limit(self, now: int) -> int | None:
        """Return how many of the newest rows reach back to the first that is not closed here, None where nothing is
        known."""
        following = self.following()
        if not following:
            return None
        current = open_time(self.interval, now, known_open=following)
        return max(1, candles_between(self.interval, following, current)) + 1

    def unsettled(self, now: int) -> str:
        if self._distrusted and self._is_short():
            return "what was loaded differs from what REST shows"
        doubt = self.state(now).doubt
        return doubt or (OTHER_CONTRACT if self._recounted else "")

    def answerable_from(self, now: int) -> int:
        with self._lock:
            self._date_back(now)
            recounted = self._recounted
            halt = self._halt
            if halt.is_over(self._stream_event):
                return max(now, halt.resumed)
        if recounted and self.state(now).doubt in ("", OTHER_CONTRACT):
            return max(now, recounted + LAGS_AT_MOST)
        following = self.following()
        if not following or next_open(self.interval, following) > now:
            return now
        return max(now, next_open(self.interval, following) + FINAL_IN_REST_AFTER + 50)

    def last_heard(self, now: int | None = None) -> tuple[int, int, int]:
        """``(id of the last trade its stream has shown, that event's time, when the newest answer was requested)``, ms.

        The id is -1 where no frame came yet, or where the candle has no trade. An event that bears a time to come at
        ``now`` (exchange ms) counts as of now, so that what comes next is newer.
        """
        with self._lock:
            if now is not None and (self._stream_event > now or self._recounted > now):
                self._date_back(now)  # (rarely: a comparison costs less than the call)
            frame, event, requested = self._last_frame, self._stream_event, self._requested
            if frame is not self._scanned[0]:
                self._scanned = frame, (scan_kline_last_trade(frame) if frame else -1)
            return self._scanned[1], event, requested

    def _date_back(self, now: int) -> None:
        """Count what bears a time to come at ``now`` (exchange ms) as of now. The caller holds the lock."""
        assert self._lock.locked()
        if is_to_come(self._stream_event, now):
            self.answers += 1
            self._stream_event = now
        if is_to_come(self._recounted, now):
            self._recounted = now

    def trade_shown(self, now: int) -> tuple[int, int]:
        return self.last_heard(now)[:2]

    def heard_final(self) -> bool:
        """Return whether the newest frame was the last one of its candle."""
        return is_final(self._last_frame)

    # --- reading -------------------------------------------------------------------------------

    def state(self, now: int) -> SeriesState:
        with self._lock:
            state = self._plain_state(now)
            if state is not None:
                return state
            chain = self._pending.chain(self._closed.following)
            evidence = self._evidence(chain)
        return assess(evidence, now)

    def sound_event(self, now: int, alive: Container[Link | None]) -> int:
        with self._lock:
            return self._plain_event(now) if self.link in alive and not self.suspected else -1

    def look(self, limit: int, now: int, surely: int, exact: bool) -> tuple[SeriesState, KlineSnapshot]:
        """Return :meth:`state` and the newest ``limit`` rows at one and the same moment, decoded when they are taken.

        Where the stream has not begun a candle whose time has come, the provisional flat row that REST shows
        stands in. ``surely``: the exchange's time (ms) at the earliest, ``now`` at the latest.
        """
        with self._lock:
            state = self._plain_state(now)
            if state is not None:
                candle = self._ahead[self._closed.following]
                closed = min(self._closed.count, limit - 1)
                return state, KlineSnapshot(self, self._closed, limit, exact, [candle], 0, 0, closed)
            chain = self._sequencer.chain()
            evidence = self._evidence(chain)
            shown = extent(self._closed, chain, limit, None if self.stopped() else surely)
            snapshot = KlineSnapshot(self, self._closed, limit, exact, chain, *shown)
        return assess(evidence, now), snapshot

    def _plain_state(self, now: int) -> SeriesState | None:
        """Return the state where there is no more to it than :meth:`_plain_event` looks at. The caller holds the
        lock."""
        assert self._lock.locked()
        event = self._plain_event(now)
        if event < 0:
            return None
        closed = self._closed
        return SeriesState(self.link, self.suspected, event, self._answered, closed.count + 1, closed.complete)

    def _plain_event(self, now: int) -> int:
        """Return up to when (exchange ms) the candles are known where the first one beyond the closed ones is open and
        nothing else is to be assessed, as at nearly every read; -1 where there is more to it. The caller holds the
        lock."""
        assert self._lock.locked()
        closed = self._closed
        candle = self._ahead.get(closed.following)
        if candle is None:
            return -1
        if self._until[0] != candle[0]:
            self._until = candle[0], next_open(self.interval, candle[0])
        if (
            now >= self._until[1]
            or len(self._ahead) != 1
            or self._pending.contradiction is not None
            or self._halt.shown_at
            or self._may_be_other
            or self._sequencer.untraded
            or self._pending.unusable > closed.following
        ):
            return -1
        event, answered = self._stream_event, self._answered
        return event if event > answered else answered

    def doubted_from(self) -> int:
        with self._lock:
            return self._pending.doubted_from()

    def stopped(self) -> int:
        """Return when (exchange ms) the exchange last showed that it has no candles any more, as in a halt; 0 where it
        has, or where one has begun since."""
        return self._halt.lasts(self._stream_event)

    def note_paused(self, since: int) -> None:
        """Note that the contract is said not to trade since exchange time ``since`` (ms) at most."""
        with self._lock:
            self.answers += 1
            self._halt.note_paused(since)

    def note_trading(self, since: int) -> bool:
        """Note that the contract is said to trade since exchange time ``since`` (ms); return whether an answer from
        before then showed that it has no candles any more, so that another answer is needed."""
        with self._lock:
            self.answers += 1
            self._halt.note_trading(since)
            return self._halt.is_over(self._stream_event)

    def note_recounted(self, now: int) -> None:
        """Note that trade ids had begun again by exchange time ``now`` (ms): the name may belong to another contract,
        and REST is to show its history."""
        with self._lock:
            self.answers += 1
            self._recounted, self._may_be_other = now, True

    def note_listed(self) -> None:
        """Note that exchangeInfo has shown the same contract as before since then."""
        with self._lock:
            self.answers += 1
            self._may_be_other = False

    def _evidence(self, chain: list[Candle]) -> Evidence:
        """Return what the state is assessed from. The caller holds the lock."""
        assert self._lock.locked()
        closed, pending = self._closed, self._pending
        return Evidence(
            self.interval,
            self._final_within,
            self.link,
            self.suspected,
            event=max(self._stream_event, self._answered, self._loaded_until),
            answered=self._answered,
            complete=closed.complete,
            closed=closed.count,
            following=closed.following,
            chain=chain,
            stray=pending.has_strays(closed.following, chain),
            spoilt=pending.unusable >= closed.following > 0 and pending.unusable not in self._ahead,
            doubted_from=pending.doubted_from(),
            may_be_other=self._may_be_other,
            untraded=self._sequencer.untraded,
            stopped=self.stopped() > 0,
            resumed=self._halt.is_over(self._stream_event),
        )

    def rows(self, limit: int, now: int | None, *, exact: bool) -> list[Row]:
        """Return the newest ``limit`` rows at exchange time ``now`` (ms), the caller's own, oldest first.

        ``exact``: strings as REST writes them; otherwise floats. Provisional rows as in :meth:`look`, but none
        where ``now`` is None: then the rows are what was known last. Raises :class:`DecodeError` where the open
        candle turns out to be unusable (it is then forgotten).
        """
        with self._lock:
            chain = self._sequencer.chain()
            shown = extent(self._closed, chain, limit, None if self.stopped() else now)
            snapshot = KlineSnapshot(self, self._closed, limit, exact, chain, *shown)
        return snapshot.rows()

    def look_text(self, limit: int, now: int, surely: int) -> tuple[SeriesState, KlineText]:
        """As :meth:`look`, of the rows' text, which is neither decoded nor copied row by row."""
        with self._lock:
            state = self._plain_state(now)
            if state is not None:
                candle = self._ahead[self._closed.following]
                return state, KlineText(self, self._closed, limit, [candle], 0, 0, min(self._closed.count, limit - 1))
            chain = self._sequencer.chain()
            evidence = self._evidence(chain)
            shown = extent(self._closed, chain, limit, None if self.stopped() else surely)
            text = KlineText(self, self._closed, limit, chain, *shown)
        return assess(evidence, now), text

    def decoded(self, candle: Candle) -> tuple[Candle, bytes, Row, Row]:
        """Return a candle beyond the closed ones, its text, and its row in strings and in floats, remembered until a
        newer version is read.

        Raises :class:`DecodeError` where it turns out to be unusable; it is then forgotten.
        """
        remembered = self._ahead_decoded.get(candle.opened)
        if remembered is None or remembered[0] is not candle:
            try:
                text = candle.text()
            except DecodeError:
                with self._lock:
                    self._pending.discard(candle)
                raise
            row = string_rows((text,))[0]
            remembered = (candle, text, row, float_row(row))
            self._ahead_decoded[candle.opened] = remembered
            for opened in sorted(self._ahead_decoded.copy())[:-MOST_DECODED]:
                self._ahead_decoded.pop(opened, None)
        return remembered

    def remember(self, columns: list[Column], version: int) -> None:
        """Keep closed rows as numbers, if no candle has closed since ``version``."""
        with self._lock:
            if self._closed.version == version:
                self._closed.floats.put(columns)

    def following(self) -> int:
        """Return the open time (ms) of the first candle that is not closed here, 0 before the first answer."""
        with self._lock:
            return self._closed.following

    def closed_after(self, after: int) -> bytes | None:
        """Return the text of the newest closed row if it opened later than ``after`` (ms)."""
        with self._lock:
            if self._closed and text_open_time(self._closed.last()) > after:
                return self._closed.last()
            return None

    def closed_from(self, opened: int) -> tuple[int, bytes | None, Closing | None]:
        """Return the open time (ms) from which on memory has every closed candle (0: it lacks none), the text of the
        first that opened at ``opened`` or later, and how that became final (None: before it was followed).

        The text is None where none has closed yet, and before the history has come.
        """
        with self._lock:
            closed = self._closed
            begins = closed.begins
            if opened < begins and len(closed) + 1 < self._first_rows():
                return 0, None, None  # an early read has begun the history; the rest is on its way
            text = closed.at_or_after(opened)
            return begins, text, self._sequencer.closings.get(text_open_time(text)) if text is not None else None

    def first_to_close(self) -> int:
        """Return the open time (ms) of the first candle that has closed since the history is here, or that will; 0
        before the history has come."""
        with self._lock:
            if self.unaudited and self.link is None and not self._answered:
                return 0  # what has closed since it was written down is on its way
            return self._sequencer.closings.first() or (self._closed.following if self._closed else 0)

    def since(self, opened: int, now: int, known: int) -> Since:
        """Return what is known from the candle that opened at ``opened`` on, and the state at exchange time ``now``
        (ms); without the closed candles where their version is ``known``."""
        with self._lock:
            closed = self._closed
            chain = self._sequencer.chain()
            evidence = self._evidence(chain)
            texts: list[bytes] | None = None
            if closed.version != known:
                newest = closed.newest(candles_between(self.interval, opened, closed.following))
                texts = [text for text in newest if text_open_time(text) >= opened]
            bounds = closed.begins, closed.oldest, closed.following
            heard, version = self._stream_event, closed.version
            recomputed = self._pending.recomputed, self._pending.recomputed_at
            until = self._until[1] if self._plain_event(now) >= 0 else 0
        return Since(assess(evidence, now), heard, version, *bounds, texts, chain, recomputed, until)

    def changes(self) -> list[object]:
        """Return what differs as soon as anything of it, or of what it is derived from, may have changed but by time;
        without a lock."""
        return [self.received, self.answers, self._closed.version, self.link, self.suspected, self._halt.resumed]

    def closing(self, opened: int) -> Closing | None:
        """Return how the candle that opened at ``opened`` became final, None where that was before it was followed."""
        with self._lock:
            return self._sequencer.closings.get(opened)

    def reach_back(self, rows: int) -> bool:
        with self._lock:
            self._closed.depth = max(self._closed.depth, rows)
            self._warm_up = max(self._warm_up, rows)
        return self._is_short()

    def unconfirmed(self, opened: int) -> bytes | None:
        """Return the text of a candle that is over and not final yet, as it is known; flat where it has no trade.

        None where it is not the first that is not closed here, or where nothing keeps it up to date.
        """
        if not self.streaming():
            return None
        with self._lock:
            if opened != self._closed.following:
                return None
            candle = self._ahead.get(opened)
            if candle is None:
                spoilt = self._pending.unusable >= opened or not self._closed
                return None if spoilt else flat_text(opened, next_open(self.interval, opened) - 1, self._closed.last())
        try:
            return self.decoded(candle)[1]
        except DecodeError:
            return None

    def size(self) -> int:
        """Return the bytes that the closed rows take, those of remembered numbers included."""
        with self._lock:
            return self._closed.size

    def closed_rows(self) -> list[bytes]:
        """Return the texts of the closed rows, oldest first (a copy)."""
        with self._lock:
            return self._closed.texts()

    def newest_closed(self, count: int) -> list[bytes]:
        """Return the texts of the newest ``count`` closed rows, oldest first; fewer where there are not so many."""
        with self._lock:
            return self._closed.newest(count)

    def __len__(self) -> int:
        with self._lock:
            closed, ahead = self._closed, self._ahead
            if len(ahead) <= 1:  # nearly always
                return closed.count + (closed.following in ahead)
            return closed.count + len(self._pending.chain(closed.following))


def newest_klines(key: Key, limit: int) -> Request[list[bytes]]:
    """Return the request for the newest ``limit`` rows of the candles of a contract or a spot pair."""
    ask = endpoints.spot_klines if FEEDS[key.kind].spot else endpoints.klines
    return ask(key.symbol, key.interval, limit)
