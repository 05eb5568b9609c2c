"""The best 20 levels of one order book, as the partial-depth stream sends them whole."""

from __future__ import annotations

import threading
from collections.abc import Container, Iterable

from ..feeds import Cause, Key, Kind
from ..venue import endpoints, scan
from ..venue.books import Book, Level, partial_book, scan_diff_time
from ..venue.endpoints import Request
from ..venue.payload import DecodeError
from .link import Link
from .order import MOST_LATE, is_to_come, shown_until
from .series import FIRST_FRAME_WITHIN, Copied, Counts, Origin, Series, SeriesState

STREAMED_LEVELS = 20
DOWN_AFTER = 1.5
"""A connection without a sign of life for so long (seconds) does not keep what a book promises."""

AS_FRAME = "frame"
"""The form of a copy whose update id and event time stand in its frame."""
FloatLevels = list[tuple[float, float]]


def float_levels(levels: Iterable[Level]) -> FloatLevels:
    """Return the levels as numbers. (Tuples of them soon cost the garbage collection nothing.)"""
    return [(float(level[0]), float(level[1])) for level in levels]


class FloatCache:
    """The levels of the book that was last requested, as floats."""

    def __init__(self) -> None:
        self._newest: tuple[Book, FloatLevels, FloatLevels] | None = None

    def of(self, book: Book) -> tuple[FloatLevels, FloatLevels]:
        """Bids and asks (shared: not to be changed)."""
        newest = self._newest
        if newest is not None and newest[0] is book:
            return newest[1], newest[2]
        bids, asks = float_levels(book.bids), float_levels(book.asks)
        self._newest = (book, bids, asks)
        return bids, asks


class BookSeries(Series):
    """The newest partial book of a symbol.

    Of two states the greater update id wins, unless the exchange counts again (:mod:`~ats_sync.store.order`). A frame
    makes it live on its connection, since it bears the whole book; after an answer of REST the engine decides, by
    :meth:`shown_until`.
    """

    def __init__(self, symbol: str) -> None:
        super().__init__(Key(Kind.BOOK, symbol))
        self.newest_frame = -1, 0
        """Update id and event time (ms) of the newest frame."""
        self._out_of_order = 0
        self._lock = threading.Lock()  # guards the link, too, and everything below
        self._update_id = -1
        self._counted_since = 0  # when (exchange ms) the first book changed whose update id had begun again
        self._event = 0
        self._shown_until = 0
        self._frame: bytes | None = None
        self._book: Book | None = None
        self._floats = FloatCache()

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one partial-depth frame."""
        update_id, event = scan.scan_book(frame)
        with self._lock:
            self.received += 1
            if update_id < self._update_id:
                if not self._restarts_count(frame):
                    return
            elif self._counted_since and self._is_of_old_count(frame, event):
                return
            self._update_id, self._event = self.newest_frame = update_id, event
            self._frame = frame
            if link.up or self.link is None:
                self.link = link  # what a replaced connection still delivers takes nothing back
            if self.suspected:
                self.suspected = ""

    def _restarts_count(self, frame: bytes) -> bool:
        """Return whether a frame with a lower update id belongs to a new count. The caller holds the lock."""
        assert self._lock.locked()
        self._out_of_order += 1
        changed = scan_diff_time(frame)
        if changed <= self._changed():
            return False
        self._counted_since = changed
        return True

    def _is_of_old_count(self, frame: bytes, event: int) -> bool:
        """Return whether a frame with a greater update id is of before the count began again: it comes late, on another
        connection. The caller holds the lock."""
        assert self._lock.locked()
        if event > self._counted_since + MOST_LATE:
            self._counted_since = 0
            return False
        return scan_diff_time(frame) < self._counted_since

    def _changed(self) -> int:
        """Return when (exchange ms) the book last changed in the newest state that is known: not after it was sent. The
        caller holds the lock."""
        assert self._lock.locked()
        if self._frame is not None:
            try:
                return min(scan_diff_time(self._frame), self._event)
            except DecodeError:
                return self._event
        return min(self._book.transaction_time, self._event) if self._book is not None else 0

    def replace(self, answer: Book, origin: Origin) -> None:
        """Take a REST answer of at least as many levels as are streamed."""
        if origin.rows < STREAMED_LEVELS:
            return
        book, at = answer, origin.requested_at
        with self._lock:
            changed, lower = book.transaction_time, book.update_id < self._update_id
            if changed > self._changed() or (not lower and changed >= self._counted_since):
                if lower:
                    self._counted_since = changed
                self._update_id = book.update_id
                self._event = book.time
                self._frame = None
                self._book = book
                self._shown_until = max(self._shown_until, shown_until(at, book.time))
            else:
                self._shown_until = max(self._shown_until, shown_until(at))

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied:
        with self._lock:
            frame, book, levels = self._frame, self._book, None
            if frame is not None and (self._update_id, self._event) == self.newest_frame:
                return Copied(self.link, self.suspected, [None, None, None], [frame], form=AS_FRAME)
            if frame is None and book is not None:
                levels = [book.update_id, book.time, book.transaction_time, book.bids, book.asks]
            texts = [frame] if frame is not None else []
            return Copied(self.link, self.suspected, [self._update_id, self._event, levels], texts)

    def frame_alone(self, form: object) -> bytes | None:
        with self._lock:
            # Unless it was dated back: its own event time does not count then.
            return self._frame if (self._update_id, self._event) == self.newest_frame else None

    def take_copy(self, copied: Copied) -> bool:
        update_id, event, levels = copied.facts
        book = None
        if levels is not None:
            number, time, transaction_time, *sides = levels
            bids, asks = (list(map(tuple, side)) for side in sides)
            book = Book(number, time, transaction_time, bids, asks)
        elif update_id is None:
            update_id, event = scan.scan_book(copied.texts[0])
        with self._lock:
            self.link, self.suspected = copied.link, copied.suspected
            self._update_id, self._event = update_id, event
            self._frame, self._book = (copied.texts[0] if copied.texts else None), book
        return True

    @staticmethod
    def event_in(copied: Copied) -> int:
        update_id, event, _ = copied.facts
        return scan.scan_book(copied.texts[0])[1] if update_id is None else int(event)

    # --- liveness and what it needs -------------------------------------------------------------

    def patience(self, *, live_once: bool) -> float:
        return FIRST_FRAME_WITHIN

    def resume(self, link: Link, now: int) -> bool:
        return self.link is link

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[Book]:
        return endpoints.depth(self.key.symbol, STREAMED_LEVELS)

    def go_live(self, link: Link) -> None:
        with self._lock:
            self.suspected = ""
            self.link = link

    def shown_until(self, link: Link) -> int | None:
        return None if self.link is link else self._shown_until

    def hand_over(self, old: Link, new: Link) -> bool:
        with self._lock:
            if self.link is old:
                self.link = new
        return True

    def date_back(self, now: int) -> None:
        """Count a state that bears a time to come at ``now`` (exchange ms) as of when the book changed, which was now
        at the latest: what follows is later."""
        if is_to_come(self._event, now):
            with self._lock:
                self.answers += 1
                self._event = min(self._changed(), now)

    def suspect(self, reason: str) -> None:
        with self._lock:
            self.suspected = reason
            self.link = None

    def is_down(self, exchange: float) -> bool:
        link = self.link
        return bool(self.suspected) or link is None or not link.alive(exchange, DOWN_AFTER)

    def counts(self) -> Counts:
        return Counts(self.received, out_of_order=self._out_of_order)

    # --- reading -------------------------------------------------------------------------------

    def update_id(self) -> int:
        """Return the newest state's update id, -1 where none is known."""
        return self._update_id

    def state(self, now: int) -> SeriesState:
        with self._lock:
            return SeriesState(self.link, self.suspected, self._event)

    def sound_event(self, now: int, alive: Container[Link | None]) -> int:
        with self._lock:
            return self._event if self.link in alive and not self.suspected else -1

    def look(self) -> tuple[SeriesState, tuple[bytes | None, Book | None]]:
        """Return :meth:`state` and what :meth:`decoded` takes, at one and the same moment."""
        with self._lock:
            return SeriesState(self.link, self.suspected, self._event), (self._frame, self._book)

    def read(self) -> Book | None:
        """Return the newest book; see :meth:`decoded`."""
        with self._lock:
            newest = self._frame, self._book
        return self.decoded(newest)

    def decoded(self, newest: tuple[bytes | None, Book | None]) -> Book | None:
        """Return the book seen by :meth:`look` (shared: not to be changed), None where nothing was known.

        A frame that turns out unusable is dropped and :class:`DecodeError` raised; the last decoded
        book is then what remains.
        """
        frame, book = newest
        if frame is None:
            return book
        try:
            book = partial_book(frame)
        except DecodeError:
            with self._lock:
                if self._frame is frame:
                    self._frame = None
                    self.link = None
                    self._shown_until = 0
                    if self._book is not None:
                        self._update_id, self._event = self._book.update_id, self._book.time
                    else:
                        self._update_id, self._event = -1, 0
            raise
        with self._lock:
            if self._frame is frame:
                self._frame = None
                self._book = book
        return book

    def floats(self, book: Book) -> tuple[FloatLevels, FloatLevels]:
        """Return the levels of ``book`` as floats (shared: not to be changed), remembered."""
        return self._floats.of(book)
