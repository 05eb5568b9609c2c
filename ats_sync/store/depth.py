"""A full order book of one symbol: a REST snapshot, kept up by the stream of its changes.

Events are only queued as they come (their ids are checked) and applied when somebody reads. A snapshot shows the
best levels, so the book is exact as far as the last of them, or altogether where the snapshot was not full.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Container

from ..feeds import Cause, Key, Kind
from ..venue import books, endpoints, scan
from ..venue.books import Book, Pair
from ..venue.endpoints import Request
from ..venue.payload import DecodeError
from .book import FloatCache, FloatLevels
from .depth_sequencer import DepthSequencer, Diff
from .link import Link
from .order import LAGS_AT_MOST, is_new_count, is_to_come, shown_until
from .series import Change, Counts, Origin, Series, SeriesState, StoreEvent
from .side import Side

SNAPSHOTS = ((100, 500), (1000, 1000))
"""``(levels, size)``: the size of snapshot that serves reads of up to so many levels; the small one costs half."""
REMEMBERED = 300.0
"""How long (seconds) the most levels that were read keep their snapshot large, once fewer are read."""
MOST_QUEUED = 40
"""Events queued before some are applied though nobody reads."""
APPLIED_AT_ONCE = 20
HOLES_MOST = 3
HOLES_WITHIN = 300.0
SUSPENDED_FOR = 300.0
"""How long a book whose stream leaves out too much is served by REST."""
WIDENED_EVERY = 30.0
"""A snapshot for the sake of more levels is requested no more often than this (seconds) ..."""
WIDENED_IN_NEED = 8.0
"""... or than this, where the next step of the price may leave too few for its readers."""
READ_WITHIN = 60.0
"""And only for a book that was read not longer ago than this."""


class HoleLimit:
    """How many holes a stream may have before its book is left to REST for a while. Times are steady seconds."""

    def __init__(self) -> None:
        self.until = 0.0
        """When the rest is over."""
        self._holes: deque[float] = deque(maxlen=HOLES_MOST + 1)
        self._counted = 0

    def too_many(self, holes: int, now: float) -> str:
        """Return why a book with so many ``holes`` in all is to rest, "" where it is not."""
        self._holes.extend([now] * (holes - self._counted))
        self._counted = holes
        while self._holes and self._holes[0] <= now - HOLES_WITHIN:
            self._holes.popleft()
        if len(self._holes) <= HOLES_MOST:
            return ""
        self.until = now + SUSPENDED_FOR
        return (
            f"suspended: its stream left something out {len(self._holes)} times within "
            f"{HOLES_WITHIN / 60:.0f} minutes; REST answers"
        )

    def clear(self) -> None:
        """Count from zero."""
        self._holes.clear()


class DepthSeries(Series):
    """The order book of a symbol as far as its snapshot reached, up to date with every event that has come."""

    dies_alone = True

    def __init__(self, symbol: str) -> None:
        super().__init__(Key(Kind.DEPTH, symbol))
        self.first_read: float | None = None
        self.last_read: float | None = None
        """When (steady) it was first and last read."""
        self.subscribed = False
        """Whether it ever had a subscription: what changes after a snapshot requested from then on is delivered."""
        self.begun = False
        """Whether there ever was a book."""
        self._most_read = (0, 0.0)
        self._audited = self._mismatches = 0  # snapshots compared with the book of the same update id
        self._rest = HoleLimit()
        self._widened = -WIDENED_EVERY  # when (steady) a snapshot for the sake of more levels was last requested
        self._floats = FloatCache()
        self._lock = threading.Lock()  # guards everything below
        self._waiting: list[Callable[[], object]] = []  # for its first subscription
        self._sequencer = DepthSequencer()
        self._suspended = ""
        self._unreported = False  # whether the engine has yet to hear that there is no book any more
        self._offered: Link | None = None  # the subscription that was there before the newest snapshot was requested
        # None while something is missing; else exact at _update_id
        self._sides: tuple[Side, Side] | None = None
        self._behind: Book | None = None  # the first of the snapshots of one id that no event continues
        self._shown_until = 0
        self._update_id = -1
        self._time = 0
        self._transaction_time = 0
        self._read: tuple[int, Book] | None = None  # levels requested, and what was shown
        self._shown: Book | None = None

    # --- demand ------------------------------------------------------------------------------------

    def note_read(self, limit: int, now: float) -> None:
        """Note that somebody reads ``limit`` levels at ``now`` (steady)."""
        self.first_read = now if self.first_read is None else self.first_read
        self.last_read = now
        most, since = self._most_read
        if limit >= most or now - since > REMEMBERED:
            self._most_read = (limit, now)

    def when_subscribed(self, notify: Callable[[], object]) -> None:
        """Call ``notify`` once it has a subscription, now if it has."""
        with self._lock:
            if not self.subscribed:
                self._waiting.append(notify)
                return
        notify()

    def subscribed_on(self, link: Link) -> None:
        with self._lock:
            self.subscribed = True
            waiting, self._waiting = self._waiting, []
        for notify in waiting:
            notify()

    @property
    def levels(self) -> int:
        """How many levels are to be served from memory."""
        return self._most_read[0]

    def snapshot_limit(self) -> int:
        """Return how many levels its next snapshot should have: enough, with room for the price to move."""
        return next(size for most, size in SNAPSHOTS if self.levels <= most)

    # --- the way in ----------------------------------------------------------------------------------

    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        """Take one event of the diff stream."""
        _, last, previous, event = scan.scan_diff(frame)
        with self._lock:
            self.received += 1
            if self._suspended:
                return None
            holes = self._sequencer.holes
            known = self._sequencer.last_update_id
            if not self._sequencer.add(Diff(previous, last, event, frame), link):
                self._unreported |= self._sides is not None or self._sequencer.holes > holes
                self._sides = self._offered = None
            elif self._sequencer.last_update_id > known and self.suspected:
                self.suspected = ""
            if self._sides is not None and self._sequencer.pending > MOST_QUEUED:
                try:
                    self._apply(self._sequencer.take(APPLIED_AT_ONCE))
                except DecodeError:
                    pass  # It is counted, and there is no book any more, which is reported below.
            return self._report()

    def _report(self) -> StoreEvent | None:
        unreported, self._unreported = self._unreported, False
        return StoreEvent(Change.GAP, self.key) if unreported else None

    def replace(self, answer: Book, origin: Origin) -> None:
        """Take a REST snapshot of at most ``origin.rows`` levels a side; one that is too old for the first event to
        continue it is left out."""
        book, link, limit = answer, origin.link, origin.rows
        with self._lock:
            if self._suspended:
                return
            sequencer = self._sequencer
            order = sequencer.compare(book.update_id, book.transaction_time)
            lower = book.update_id < sequencer.last_update_id
            if order > 0 or (lower and is_new_count(book.transaction_time, sequencer.event)):
                sequencer.forget()
                self._sides = None
            elif order < 0 or self._is_of_old_count(book):
                return
            before: tuple[int, tuple[Side, Side]] | None = None
            if self._sequencer.after(book.update_id) is None:
                if not (self._sequencer.rests_at(book.update_id) or self._rests(book)):
                    return
                self._sequencer.confirm(book.update_id, book.time, book.transaction_time)
                self._offered = link
                self._shown_until = max(self._shown_until, shown_until(origin.requested_at))
            else:
                before = self._brought_up_to_date()
                # What turned out to be unusable just now was dropped, and may have continued the snapshot.
                later = self._sequencer.after(book.update_id)
                if later is None:
                    return
                self._sequencer.rebase(book.update_id, book.time)
                self._offered = None if later else link
                self._shown_until = max(self._shown_until, shown_until(origin.requested_at, book.time))
            bids, asks = Side(book.bids, sign=-1, limit=limit), Side(book.asks, sign=1, limit=limit)
            self._sides = bids, asks
            self._update_id, self._time = book.update_id, book.time
            self._transaction_time = book.transaction_time
            self._read = None
            now = self._brought_up_to_date()
            if before is not None and now is not None and before[0] == self._update_id:
                self._audited += 1
                self._mismatches += not all(map(Side.agrees, before[1], now[1]))
            if now is not None:
                self.begun = True
                self._unreported = False

    def _is_of_old_count(self, book: Book) -> bool:
        """Return whether a snapshot with a greater update id than the book is older than that: ids have begun again,
        and a replica lags. The caller holds the lock."""
        assert self._lock.locked()
        changed = min(self._transaction_time, self._sequencer.event)
        return self._sides is not None and book.update_id > self._update_id and book.transaction_time < changed

    def _rests(self, book: Book) -> bool:
        """Return whether a snapshot that no event continues is the book of a market at rest. The caller holds the lock.

        Its id is older than the newest event's, and so may a replica's be that lags. Where answers show one and the
        same for longer than that, while no event comes, there is nothing newer to wait for.
        """
        assert self._lock.locked()
        first = self._behind
        if first is None or first.update_id != book.update_id or first.time <= self._sequencer.event:
            self._behind = book
            return False
        source = self._sequencer.source
        kept_up = self._sides is not None and source is not None and source.up
        return not kept_up and book.time > first.time + LAGS_AT_MOST

    def _brought_up_to_date(self) -> tuple[int, tuple[Side, Side]] | None:
        """Return the book after every event that has come, and its update id; None where there is none."""
        try:
            self._apply(self._sequencer.take() if self._sides is not None else [])
        except DecodeError:
            return None
        return (self._update_id, self._sides) if self._sides is not None else None

    def _apply(self, events: list[Diff]) -> None:
        """Bring the book up to the last of these. The caller holds the lock."""
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
                changed_bids, changed_asks = books.diff_levels(diff.frame)
                bid_changes.update(changed_bids)
                ask_changes.update(changed_asks)
            transaction_time = books.scan_diff_time(last.frame)
            bids.apply(bid_changes)
            asks.apply(ask_changes)
            if bids.best() >= asks.best():
                raise DecodeError("crossed book", f"the book is crossed: bid {bids.best()}, ask {asks.best()}")
        except DecodeError:
            self._sides = None
            self._offered = None
            self._unreported = True
            self._sequencer.cut_after(last)
            raise
        self._update_id = last.last
        self._time = max(self._time, last.event)
        self._transaction_time = transaction_time
        self._read = None

    # --- liveness and what it needs ------------------------------------------------------------------

    def go_live(self, link: Link) -> None:
        with self._lock:
            if self._sides is not None and self._offered is link:
                self._sequencer.attach(link)
                self._offered = None
                self.suspected = ""

    def shown_until(self, link: Link) -> int | None:
        state = self.state(0)
        return None if state.doubt or state.link is link else self._shown_until

    def has_shown(self, event: int) -> bool:
        """Return whether an answer has shown whatever had happened by ``event`` (exchange ms), whatever its id."""
        return event <= self._shown_until

    def hand_over(self, old: Link, new: Link) -> bool:
        with self._lock:
            if self._sequencer.hand_over(old, new):
                return True
            self._unreported |= self._sides is not None
            self._sides = self._offered = None
        return False  # Where the market rests, no event would ever say so.

    def date_back(self, now: int) -> None:
        """Count an event that bears a time to come at ``now`` (exchange ms) as of when the book changed, which was now
        at the latest: what follows is later."""
        if is_to_come(self._sequencer.event, now):
            with self._lock:
                self._sequencer.date_back(now)

    def suspect(self, reason: str) -> None:
        with self._lock:
            self.suspected = reason
            self._offered = None
            self._sequencer.detach()

    def suspend(self, reason: str) -> None:
        """Take nothing more and serve nothing until :meth:`unsuspend`."""
        with self._lock:
            self._suspended = reason
            self._sides = self._offered = None
            self._unreported = False
            self._sequencer.forget()

    def unsuspend(self) -> None:
        """Begin again."""
        with self._lock:
            self._suspended = ""

    def gap_found(self, now: float) -> bool:
        if not self._suspended and (reason := self._rest.too_many(self.holes, now)):
            self.suspend(reason)
        return not self._suspended

    def needs_refresh(self, now: float) -> bool:
        """Return whether it needs a snapshot by ``now`` (steady): a rest is over, or too few levels are left for those
        who read them."""
        if self._suspended:
            if now < self._rest.until:
                return False
            self._rest.clear()
            self.unsuspend()
            return True
        if (
            self.last_read is not None
            and now - self.last_read <= READ_WITHIN
            and now - self._widened >= self._widened_every()
            and self.live()
            and not self.is_ample()
        ):
            self._widened = now
            return True
        return False

    def _widened_every(self) -> float:
        in_need = not self.has_enough() and self.snapshot_limit() >= 2 * self.levels
        return WIDENED_IN_NEED if in_need else WIDENED_EVERY

    def has_enough(self) -> bool:
        """Return whether the book has the levels that are read, and some to lose where its snapshot can have more."""
        return self.covers(min(self.snapshot_limit(), self.levels + self.levels // 2))

    def is_ample(self) -> bool:
        """Return whether the book has at least half of what a new snapshot would have, where that is more than
        enough."""
        return self.has_enough() and self.covers(max(self.levels, self.snapshot_limit() // 2))

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[Book] | None:
        if self._suspended or link is None:
            return None  # Without its stream a snapshot is of no use.
        return endpoints.depth(self.key.symbol, self.snapshot_limit())

    def resume(self, link: Link, now: int) -> bool:
        # The stream went on exactly where it had been, or a reader's snapshot did.
        return not self._suspended and self._sequencer.source is link and self.live() and self.is_ample()

    def unsettled(self, now: int) -> str:
        return "" if self._suspended or self.live() else "a snapshot of the book is to come"

    def is_down(self, exchange: float) -> bool:
        return self.begun and not self.live()  # One that is only just being begun takes nothing from what was promised.

    def counts(self) -> Counts:
        sequencer = self._sequencer
        return Counts(self.received, sequencer.holes, sequencer.repeats, self._audited, self._mismatches)

    @property
    def suspended(self) -> str:
        """Why it is suspended, "" where it is not."""
        return self._suspended

    @property
    def holes(self) -> int:
        """How often its stream left something out."""
        return self._sequencer.holes

    def update_id(self) -> int:
        """Return the update id up to which everything has come, -1 where nothing has."""
        return self._sequencer.last_update_id

    def state(self, now: int) -> SeriesState:
        with self._lock:
            sequencer = self._sequencer
            suspected = self._suspended or self.suspected
            doubt = "" if self._sides is not None else "a snapshot of the book is to come"
            return SeriesState(sequencer.source, suspected, sequencer.event, doubt=doubt)

    def sound_event(self, now: int, alive: Container[Link | None]) -> int:
        with self._lock:
            sequencer = self._sequencer
            doubted = self._suspended or self.suspected or self._sides is None
            return sequencer.event if sequencer.source in alive and not doubted else -1

    def live(self) -> bool:
        """Return whether there is a book, and a connection that keeps it up."""
        state = self.state(0)
        return not state.doubt and not state.suspected and state.link is not None and state.link.up

    def covers(self, limit: int) -> bool:
        """Return whether the best ``limit`` levels a side were known when events were last applied, or all there
        are."""
        with self._lock:
            return self._sides is not None and all(side.covers(limit) for side in self._sides)

    # --- reading -----------------------------------------------------------------------------------------

    def read(self, limit: int) -> Book | None:
        """Return the book with at least ``limit`` levels a side where there are so many (shared: not to be changed).

        None where there is none, or where it is not known so far. :class:`~ats_sync.venue.payload.DecodeError`
        where an event turns out unusable: then there is no book until the next snapshot.
        """
        with self._lock:
            if self._sides is None:
                return None
            self._apply(self._sequencer.take())
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
        """Return the newest that can be shown, whatever it is worth by now: where there is no book, what was last
        read."""
        try:
            return self.read(limit) or self._shown
        except DecodeError:
            return self._shown

    def floats(self, book: Book) -> tuple[FloatLevels, FloatLevels]:
        """Return the levels of ``book`` as floats (shared: not to be changed), remembered."""
        return self._floats.of(book)
