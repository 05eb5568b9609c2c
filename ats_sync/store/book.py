"""The best 20 levels of one order book, as the partial-depth stream sends them whole."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import NamedTuple

from ..feeds import Key, Kind
from ..venue import scan
from ..venue.books import Book, Level, partial_book
from ..venue.diffs import scan_diff_time
from ..venue.payload import DecodeError
from .link import Link
from .order import counts_anew, shown_until

STREAMED_LEVELS = 20

FloatLevels = list[tuple[float, float]]


def float_levels(levels: Iterable[Level]) -> FloatLevels:
    """The levels as numbers. (Tuples of them soon cost the garbage collection nothing.)"""
    return [(float(level[0]), float(level[1])) for level in levels]


class FloatCache:
    """The levels of the book that was last asked for, as floats."""

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


class BookStanding(NamedTuple):
    link: Link | None
    """The connection that delivered the newest state, or on which the next one will be delivered."""
    suspected: str
    event: int
    """Exchange time (ms) of the newest state, 0 where there is none."""


class BookSeries:
    """The newest partial book of a symbol.

    Of two states the greater update id wins, unless the exchange counts again (:mod:`~ats_sync.store.order`). A frame
    makes it live on its connection; after an answer of REST the engine decides, by :meth:`shown_until`.
    """

    def __init__(self, symbol: str) -> None:
        self.key = Key(Kind.BOOK, symbol)
        self.suspected = ""
        self.received = 0
        self.newest_frame = -1
        """The update id of the newest frame."""
        self.out_of_order = 0
        self.undecodable = 0
        self._lock = threading.Lock()  # guards everything below
        self._link: Link | None = None
        self._update_id = -1
        self._event = 0
        self._shown_until = 0
        self._frame: bytes | None = None
        self._book: Book | None = None
        self._floats = FloatCache()

    def ingest(self, frame: bytes, link: Link) -> None:
        """Take one partial-depth frame."""
        update_id, event = scan.scan_book(frame)
        with self._lock:
            self.received += 1
            if update_id < self._update_id and not self._begins_anew(frame):
                return
            self._update_id = self.newest_frame = update_id
            self._event = event
            self._frame = frame
            if link.up or self._link is None:
                self._link = link  # what a replaced connection still delivers takes nothing back
            if self.suspected:
                self.suspected = ""

    def _begins_anew(self, frame: bytes) -> bool:
        """Whether a frame with a lower update id belongs to a new count. The lock is held."""
        assert self._lock.locked()
        self.out_of_order += 1
        return counts_anew(scan_diff_time(frame), self._event)

    def merge_rest(self, book: Book, *, asked: int) -> None:
        """Take a REST answer that was asked for at exchange time ``asked`` (ms)."""
        with self._lock:
            if book.update_id >= self._update_id or self._is_newer(book, asked):
                self._update_id = book.update_id
                self._event = book.time
                self._frame = None
                self._book = book
                self._shown_until = max(self._shown_until, shown_until(asked, book.time))
            elif book.transaction_time > self._event:
                # A lower id of a later time: which of them is true shows in a moment, nothing is until then.
                self.suspected = "its update ids contradict those of REST"
                self._link = None
                self._shown_until = 0
            else:
                self._shown_until = max(self._shown_until, shown_until(asked))

    def _is_newer(self, book: Book, asked: int) -> bool:
        """Whether an answer with a lower update id belongs to a new count. The lock is held."""
        assert self._lock.locked()
        changed = book.transaction_time
        return counts_anew(changed, self._event) or (
            changed > self._event and counts_anew(shown_until(asked), self._event)
        )

    def shown_until(self) -> int:
        """The exchange time (ms) by which, as REST has shown, nothing had happened that is newer than what is held."""
        return self._shown_until

    def go_live(self, link: Link) -> None:
        """Whatever changes from now on comes on ``link``, and nothing is missing before it."""
        with self._lock:
            self._link = link
            self.suspected = ""

    def suspect(self, reason: str) -> None:
        """Its stream seems to be dead: memory is not to be trusted until a frame comes or REST answers."""
        with self._lock:
            self.suspected = reason
            self._link = None

    def update_id(self) -> int:
        """The newest state's update id, -1 where none is known."""
        return self._update_id

    def standing(self) -> BookStanding:
        with self._lock:
            return BookStanding(self._link, self.suspected, self._event)

    def look(self) -> tuple[BookStanding, tuple[bytes | None, Book | None]]:
        """:meth:`standing` and what :meth:`decoded` takes, at one and the same moment."""
        with self._lock:
            return BookStanding(self._link, self.suspected, self._event), (self._frame, self._book)

    def read(self) -> Book | None:
        """The newest book; see :meth:`decoded`."""
        with self._lock:
            newest = self._frame, self._book
        return self.decoded(newest)

    def decoded(self, newest: tuple[bytes | None, Book | None]) -> Book | None:
        """The book seen by :meth:`look` (shared: not to be changed), None where nothing was known.

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
                self.undecodable += 1
                if self._frame is frame:
                    self._frame = None
                    self._link = None
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
        """The levels of ``book`` as floats (shared: not to be changed), remembered."""
        return self._floats.of(book)
