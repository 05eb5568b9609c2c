"""A full order book of one symbol: a REST snapshot, kept up by the stream of its changes.

Events are only queued as they come (their ids are checked) and applied when somebody reads. A snapshot shows the
best levels, so the book is exact as far as the last of them, or altogether where the snapshot was not full.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import NamedTuple

from ..feeds import Key, Kind
from ..venue import diffs, scan
from ..venue.books import Book
from ..venue.diffs import Pair
from ..venue.payload import DecodeError
from .book import FloatCache, FloatLevels
from .chain import Diff, DiffChain
from .link import Link
from .notices import Event, Notice
from .order import LAGS_AT_MOST, counts_anew, shown_until
from .side import Side

SNAPSHOTS = ((100, 500), (1000, 1000))
"""Up to how many levels asked for which snapshot is taken: a small one costs half."""
REMEMBERED = 300.0
"""How long (seconds) the most levels ever asked for count, once less is asked for."""
MOST_QUEUED = 40
"""Events queued before some are applied though nobody reads."""
APPLIED_AT_ONCE = 20


class DepthStanding(NamedTuple):
    link: Link | None
    """The connection that delivers what changes."""
    suspected: str
    event: int
    """Exchange time (ms) of the newest event or snapshot, 0 where there is none."""
    doubt: str
    """Why there is no book; "" where there is one."""


class DepthBook:
    """The order book of a symbol as far as its snapshot reached, up to date with every event that has come."""

    def __init__(self, symbol: str) -> None:
        self.key = Key(Kind.DEPTH, symbol)
        self.received = 0
        self.undecodable = 0
        self.audited = 0
        """Snapshots compared with the book of the same update id."""
        self.mismatches = 0
        self.first_read: float | None = None
        self.last_read: float | None = None
        """When (steady) it was first and last asked for."""
        self.subscribed = False
        """Whether it ever had a subscription: what changes after a snapshot asked for from then on is delivered."""
        self.begun = False
        """Whether there ever was a book."""
        self._most_asked = (0, 0.0)
        self._floats = FloatCache()
        self._lock = threading.Lock()  # guards everything below
        self._waiting: list[Callable[[], object]] = []  # for its first subscription
        self._chain = DiffChain()
        self._suspected = ""
        self._suspended = ""
        self._untold = False  # whether the engine has yet to hear that there is no book any more
        self._offered: Link | None = None  # the subscription that was there before the newest snapshot was asked for
        # None while something is missing; else exact at _update_id
        self._sides: tuple[Side, Side] | None = None
        self._behind: Book | None = None  # the first of the snapshots of one id that no event continues
        self._shown_until = 0
        self._update_id = -1
        self._time = 0
        self._transaction_time = 0
        self._read: tuple[int, Book] | None = None  # levels asked for, and what was shown
        self._shown: Book | None = None

    # --- what is asked of it -----------------------------------------------------------------------

    def asked(self, limit: int, now: float) -> None:
        """Somebody reads ``limit`` levels at ``now`` (steady)."""
        self.first_read = now if self.first_read is None else self.first_read
        self.last_read = now
        most, since = self._most_asked
        if limit >= most or now - since > REMEMBERED:
            self._most_asked = (limit, now)

    def when_subscribed(self, tell: Callable[[], object]) -> None:
        """Call ``tell`` once it has a subscription, now if it has."""
        with self._lock:
            if not self.subscribed:
                self._waiting.append(tell)
                return
        tell()

    def acknowledged(self) -> None:
        """It has a subscription."""
        with self._lock:
            self.subscribed = True
            waiting, self._waiting = self._waiting, []
        for tell in waiting:
            tell()

    @property
    def wanted(self) -> int:
        """How many levels are to be served from memory."""
        return self._most_asked[0]

    def snapshot_limit(self) -> int:
        """How many levels its next snapshot should have: enough, with room for the price to move."""
        return next(size for most, size in SNAPSHOTS if self.wanted <= most)

    # --- the way in ----------------------------------------------------------------------------------

    def ingest(self, frame: bytes, link: Link) -> Notice | None:
        """Take one event of the diff stream."""
        _, last, previous, event = scan.scan_diff(frame)
        with self._lock:
            self.received += 1
            if self._suspended:
                return None
            holes = self._chain.holes
            tip = self._chain.tip
            if not self._chain.add(Diff(previous, last, event, frame), link):
                self._untold |= self._sides is not None or self._chain.holes > holes
                self._sides = self._offered = None
            elif self._chain.tip > tip and self._suspected:
                self._suspected = ""
            if self._sides is not None and self._chain.pending > MOST_QUEUED:
                try:
                    self._apply(self._chain.take(APPLIED_AT_ONCE))
                except DecodeError:
                    pass  # It is counted, and there is no book any more, which is told below.
            return self._tell()

    def _tell(self) -> Notice | None:
        untold, self._untold = self._untold, False
        return Notice(Event.GAP, self.key) if untold else None

    def merge_rest(self, book: Book, link: Link | None, limit: int, *, asked: int) -> None:
        """Take a REST snapshot of at most ``limit`` levels a side, asked for at exchange time ``asked`` (ms).

        ``link`` is the living subscription there was before it was asked for, if any. One that is too old for
        the first event to continue it is left out.
        """
        with self._lock:
            if self._suspended:
                return
            if book.update_id < self._chain.tip and counts_anew(book.transaction_time, self._chain.event):
                self._chain.forget()
                self._sides = None
            before: tuple[int, tuple[Side, Side]] | None = None
            if self._chain.after(book.update_id) is None:
                if not self._rests(book):
                    return
                self._chain.settle_on(book.update_id, book.time)
                self._offered = link
                self._shown_until = max(self._shown_until, shown_until(asked))
            else:
                before = self._brought_up_to_date()
                # What turned out to be unusable just now was dropped, and may have continued the snapshot.
                later = self._chain.after(book.update_id)
                if later is None:
                    return
                self._chain.rest_on(book.update_id, book.time)
                self._offered = None if later else link
                self._shown_until = max(self._shown_until, shown_until(asked, book.time))
            bids, asks = Side(book.bids, sign=-1, limit=limit), Side(book.asks, sign=1, limit=limit)
            self._sides = bids, asks
            self._update_id, self._time = book.update_id, book.time
            self._transaction_time = book.transaction_time
            self._read = None
            now = self._brought_up_to_date()
            if before is not None and now is not None and before[0] == self._update_id:
                self.audited += 1
                self.mismatches += not all(map(Side.agrees, before[1], now[1]))
            if now is not None:
                self.begun = True
                self._untold = False

    def _rests(self, book: Book) -> bool:
        """Whether a snapshot that no event continues is the book of a market at rest. The lock is held.

        Its id is older than the newest event's, and so may a replica's be that lags. Where answers show one and the
        same for longer than that, while no event comes, there is nothing newer to wait for.
        """
        assert self._lock.locked()
        first = self._behind
        if first is None or first.update_id != book.update_id or first.time <= self._chain.event:
            self._behind = book
            return False
        return self._sides is None and book.time > first.time + LAGS_AT_MOST

    def shown_until(self) -> int:
        """The exchange time (ms) by which, as REST has shown, nothing had happened that the book lacks."""
        return self._shown_until

    def go_live(self, link: Link) -> None:
        """A snapshot that was asked for after ``link`` had subscribed has come: what has changed since comes there."""
        with self._lock:
            if self._sides is not None and self._offered is link:
                self._chain.await_on(link)
                self._offered = None
                self._suspected = ""

    def _brought_up_to_date(self) -> tuple[int, tuple[Side, Side]] | None:
        """The book after every event that has come, and its update id; None where there is none."""
        try:
            self._apply(self._chain.take() if self._sides is not None else [])
        except DecodeError:
            return None
        return (self._update_id, self._sides) if self._sides is not None else None

    def _apply(self, events: list[Diff]) -> None:
        """Bring the book up to the last of these. The lock is held."""
        assert self._lock.locked()
        if not events or self._sides is None:
            return
        last = events[-1]
        bids, asks = self._sides
        bid_changes: dict[float, Pair] = {}
        ask_changes: dict[float, Pair] = {}
        try:
            for diff in events:
                last = diff
                changed_bids, changed_asks = diffs.diff_levels(diff.frame)
                bid_changes.update(changed_bids)
                ask_changes.update(changed_asks)
            transaction_time = diffs.scan_diff_time(last.frame)
            bids.apply(bid_changes)
            asks.apply(ask_changes)
            if bids.best() >= asks.best():
                raise DecodeError("crossed book", f"the book is crossed: bid {bids.best()}, ask {asks.best()}")
        except DecodeError:
            self.undecodable += 1
            self._sides = None
            self._offered = None
            self._untold = True
            self._chain.cut_after(last)
            raise
        self._update_id = last.last
        self._time = max(self._time, last.event)
        self._transaction_time = transaction_time
        self._read = None

    # --- what it is worth ------------------------------------------------------------------------------

    def hand_over(self, old: Link | None, new: Link) -> None:
        """``new`` has taken over from the living connection ``old``, without a gap."""
        with self._lock:
            if not self._chain.hand_over(old, new):
                self._untold |= self._sides is not None
                self._sides = self._offered = None

    def suspect(self, reason: str) -> None:
        """Its stream seems to be dead: memory is not to be trusted until an event comes or REST answers."""
        with self._lock:
            self._suspected = reason
            self._offered = None
            self._chain.mistrust()

    def suspend(self, reason: str) -> None:
        """Take nothing more and serve nothing until :meth:`resume`."""
        with self._lock:
            self._suspended = reason
            self._sides = self._offered = None
            self._untold = False
            self._chain.forget()

    def resume(self) -> None:
        """Begin again."""
        with self._lock:
            self._suspended = ""

    @property
    def suspended(self) -> str:
        """Why it is suspended, "" where it is not."""
        return self._suspended

    @property
    def holes(self) -> int:
        """How often its stream left something out."""
        return self._chain.holes

    @property
    def out_of_order(self) -> int:
        return self._chain.repeats

    def update_id(self) -> int:
        """The update id up to which everything has come, -1 where nothing has."""
        return self._chain.tip

    def standing(self) -> DepthStanding:
        with self._lock:
            chain = self._chain
            suspected = self._suspended or self._suspected
            doubt = "" if self._sides is not None else "a snapshot of the book is to come"
            return DepthStanding(chain.source, suspected, chain.event, doubt)

    def live(self) -> bool:
        """Whether there is a book, and a connection that keeps it up."""
        standing = self.standing()
        return not standing.doubt and not standing.suspected and standing.link is not None and standing.link.up

    def covers(self, limit: int) -> bool:
        """Whether the best ``limit`` levels a side were known when events were last applied, or all there are."""
        with self._lock:
            return self._sides is not None and all(side.covers(limit) for side in self._sides)

    # --- reading -----------------------------------------------------------------------------------------

    def read(self, limit: int) -> Book | None:
        """The book with at least ``limit`` levels a side where there are so many (shared: not to be changed).

        None where there is none, or where it is not known so far. :class:`~ats_sync.venue.payload.DecodeError`
        where an event turns out unusable: then there is no book until the next snapshot.
        """
        with self._lock:
            if self._sides is None:
                return None
            self._apply(self._chain.take())
            shown = self._read
            if shown is not None and shown[0] >= limit:
                return shown[1]
            if not all(side.covers(limit) for side in self._sides):
                return None
            bids, asks = (side.top(limit) for side in self._sides)
            book = Book(self._update_id, self._time, self._transaction_time, bids, asks)
            self._read = limit, book
            self._shown = book
            return book

    def known(self, limit: int) -> Book | None:
        """The newest that can be shown, whatever it is worth by now: where there is no book, what was last read."""
        try:
            return self.read(limit) or self._shown
        except DecodeError:
            return self._shown

    def floats(self, book: Book) -> tuple[FloatLevels, FloatLevels]:
        """The levels of ``book`` as floats (shared: not to be changed), remembered."""
        return self._floats.of(book)
