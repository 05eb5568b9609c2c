"""Which depth events follow on each other, over several connections.

The exchange's rules for a local order book, as far as they concern the order of events. ``U`` and ``u`` are the first
and the last update id of an event, ``pu`` is the ``u`` of the event before it on the same stream:

1. An event whose ``u`` is not beyond the ``lastUpdateId`` of the snapshot is dropped.
2. The first event applied to a snapshot has ``pu`` ≤ ``lastUpdateId`` ≤ ``u``: it tells every change after its ``pu``
   up to its ``u``, so it continues any state known up to an id between them.
3. On one connection the ``pu`` of an event is the ``u`` of the event before it; where it is not, events were left out
   and a new snapshot is needed.
4. Update ids grow; where they fall as time goes on, the exchange has begun to count again.

Several connections deliver the same events, so while one takes over from another rule 2 holds between the newest
event of the one and those of the other.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from operator import attrgetter
from typing import NamedTuple

from ..venue.books import scan_diff_time
from ..venue.payload import DecodeError
from .link import Link
from .order import is_new_count

RECENT = 64
"""Events kept after they were applied, so that a snapshot somewhat older than the newest event can be used."""
MOST_UNAPPLIED = 1000
"""Events kept while there is nothing to apply them to."""
MOST_AHEAD = 100


class Diff(NamedTuple):
    """One depth event, not decoded: its ``pu``, ``u`` and ``E``, and the frame."""

    previous: int
    last: int
    event: int
    frame: bytes

    def changed(self) -> int | None:
        """Return when (exchange ms) the book changed last, which is not after that was sent; None where the frame is
        unusable."""
        try:
            return min(scan_diff_time(self.frame), self.event)
        except DecodeError:
            return None


class _Rest(NamedTuple):
    """A market at rest: the update id of its book, and until when (exchange ms) it surely rested."""

    update_id: int
    until: int


class DepthSequencer:
    """The newest events without a hole. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self.source: Link | None = None
        """The connection that delivered the newest event, or on which it will be delivered."""
        self.last_update_id = -1
        """The update id up to which everything is known."""
        self.event = 0
        """Exchange time (ms) of the newest event or snapshot."""
        self.holes = 0
        """How often a connection left something out."""
        self.repeats = 0
        """Events that came after later ones on the same connection."""
        self._events: deque[Diff] = deque()
        self._pending = 0  # how many of the newest are not applied
        self._newest_on_source: Diff | None = None  # whether it was needed or not
        self._predecessor: Link | None = None  # handed over: what it still delivers is welcome
        self._ahead: deque[tuple[Diff, Link]] = deque(maxlen=MOST_AHEAD)
        self._rest: _Rest | None = None  # since the newest event

    @property
    def pending(self) -> int:
        """Return how many events are not applied yet."""
        return self._pending

    def add(self, diff: Diff, link: Link) -> bool:
        """Take an event that came on ``link``; return False where it does not continue what was known: the chain then
        begins again with it."""
        on_source = link is self.source
        before = self._newest_on_source if on_source else None
        if before is not None:
            if diff.last <= before.last and diff.event <= before.event:
                self.repeats += diff.last < before.last
                return True
            # Rule 3: pu is the u of the event before.
            if diff.previous != before.last:
                # Ids that fall belong to a new count (rule 4): nothing was left out.
                self.holes += diff.last > before.last
                # A snapshot may have shown what was left out; ids that run backwards are nothing to go on with.
                if not before.last < diff.previous <= self.last_update_id:
                    self._begin_with(diff, link)
                    return False
        if diff.last <= self.last_update_id:
            if self._rest is not None and diff.event > self._rest.until:
                return self._end_rest(self._rest, diff, link)
            # Rule 4: ids that fall as time goes on belong to a new count.
            if is_new_count(diff.event, self.event):
                self._begin_with(diff, link)
                return False
            # Rule 1: u is not beyond what is known.
            if on_source:
                self._newest_on_source = diff
            return True
        # Rule 2: pu ≤ what is known ≤ u.
        if diff.previous <= self.last_update_id:
            self._append(diff, link)
            return True
        self._keep_ahead(diff, link)
        if not on_source and self.source is not None and self.source.up:
            # Two connections overlap, and the older one has not delivered as much yet.
            return True
        return self._continue_ahead()

    def _append(self, diff: Diff, link: Link) -> None:
        self._events.append(diff)
        self._pending += 1
        if len(self._events) > MOST_UNAPPLIED + RECENT:
            self._events.popleft()
            self._pending = min(self._pending, len(self._events))
        # (What came ahead may be of a connection that has died since, while the older one goes on.)
        if link is not self._predecessor and (link.up or self.source is None or not self.source.up):
            self.source, self._newest_on_source = link, diff
        self.last_update_id, self.event = diff.last, diff.event
        self._rest = None
        if self._ahead:
            self._catch_up()

    def date_back(self, now: int) -> None:
        """Count the newest event, which bears a time to come at ``now`` (exchange ms), as of when the book changed,
        which was now at the latest."""
        newest = self._events[-1] if self._events and self._events[-1].event == self.event else None
        changed = newest.changed() if newest is not None else None
        self.event = min(self.event, now, changed if changed is not None else now)

    def _end_rest(self, rest: _Rest, diff: Diff, link: Link) -> bool:
        """Go on after a rest with an event of a new count: nothing late has its time. Return whether it continues the
        book that rested (rule 2)."""
        self._begin_with(diff, link)
        return diff.previous <= rest.update_id <= diff.last

    def _begin_with(self, diff: Diff, link: Link) -> None:
        self._events.clear()
        self._ahead.clear()
        self._pending = 0
        self._append(diff, link)

    def compare(self, update_id: int, transaction_time: int) -> int:
        """Return -1 where a snapshot is of an older count of ids than the events, 1 where it is of a newer one, 0 where
        nothing says so: by the time of the matching engine what it shows is no later than what comes after it by id,
        and no earlier than what it contains."""
        events = self._events
        later = bisect_right(events, update_id, key=attrgetter("last"))
        if later and (contained := events[later - 1].changed()) is not None and contained > transaction_time:
            return -1
        after = events[later].changed() if later < len(events) else None
        return 1 if after is not None and after < transaction_time else 0

    # --- two connections ---------------------------------------------------------------------------

    def _keep_ahead(self, diff: Diff, link: Link) -> None:
        if self._ahead and (self._ahead[-1][1] is not link or self._ahead[-1][0].last != diff.previous):
            self._ahead.clear()
        self._ahead.append((diff, link))

    def _catch_up(self) -> None:
        """Go on with what came ahead on another connection, once it continues what is known (rule 2)."""
        while self._ahead and self._ahead[0][0].last <= self.last_update_id:
            self._ahead.popleft()
        if self._ahead and self._ahead[0][0].previous <= self.last_update_id:
            self._continue_ahead()

    def _continue_ahead(self) -> bool:
        """Go on with what came ahead, come what may; return whether nothing is missing before it."""
        ahead, self._ahead = list(self._ahead), deque(maxlen=MOST_AHEAD)
        whole = True
        for diff, link in ahead:
            if diff.last <= self.last_update_id:
                continue
            if diff.previous <= self.last_update_id:
                self._append(diff, link)
            else:
                whole = False
                self._begin_with(diff, link)
        return whole

    def hand_over(self, old: Link | None, new: Link) -> bool:
        """Go on with ``new``, which has taken over from the living ``old``; return whether nothing is missing."""
        if self.source is None or self.source is not old:
            return True
        self.source, self._predecessor = new, old
        self._newest_on_source = None
        return self._continue_ahead()

    def attach(self, link: Link) -> None:
        """Expect on ``link`` whatever changes after the last update id."""
        if self.source is None or not self.source.up:
            self.source = link
            self._newest_on_source = None

    def detach(self) -> None:
        """Expect nothing of the source any more: nothing shows that it delivers."""
        self.source = None
        self._newest_on_source = None

    # --- applying ------------------------------------------------------------------------------------

    def take(self, most: int | None = None) -> list[Diff]:
        """Return the oldest events that are not applied, which then count as applied."""
        first = len(self._events) - self._pending
        stop = len(self._events) if most is None else min(len(self._events), first + most)
        taken = [self._events[index] for index in range(first, stop)]
        self._pending -= len(taken)
        while len(self._events) - self._pending > RECENT:
            self._events.popleft()
        return taken

    def after(self, update_id: int) -> list[Diff] | None:
        """Return the events that continue a snapshot of ``update_id`` (rules 1 and 2), None where it is too old to be
        continued."""
        later = [diff for diff in self._events if diff.last > update_id]
        if later:
            return later if later[0].previous <= update_id else None
        return later if update_id >= self.last_update_id else None

    def rebase(self, update_id: int, event: int) -> None:
        """Begin from a snapshot of ``update_id`` that :meth:`after` continues; what follows it counts as not
        applied."""
        while self._events and self._events[0].last <= update_id:
            self._events.popleft()
        self._pending = len(self._events)
        if self._events:
            return
        self.last_update_id = update_id
        self.event = max(self.event, event)
        self._rest = None
        self._catch_up()

    def confirm(self, update_id: int, event: int, transaction_time: int) -> None:
        """Begin from a snapshot that shows all there is, although by its id it is older than the events; go on from
        the last update id, or from its own where ids have begun again. What of the events is later by the time of the
        matching engine counts as not applied."""
        while self._events and self._is_contained(self._events[0], update_id, transaction_time):
            self._events.popleft()
        self._pending = len(self._events)
        self.event = max(self.event, event)
        self._rest = _Rest(update_id, event)

    @staticmethod
    def _is_contained(diff: Diff, update_id: int, transaction_time: int) -> bool:
        """Return whether a snapshot of this id and time shows an event, or the event is of no use; of an older count it
        bears a higher id."""
        try:
            return diff.last <= update_id or scan_diff_time(diff.frame) <= transaction_time
        except DecodeError:
            return True

    def rests_at(self, update_id: int) -> bool:
        """Return whether the book was shown at rest with this update id, and nothing has come since."""
        return self._rest is not None and self._rest.update_id == update_id

    def cut_after(self, diff: Diff) -> None:
        """Forget everything up to ``diff``: nothing there is of use."""
        while self._events and self._events[0].last <= diff.last:
            self._events.popleft()
        self._pending = len(self._events)

    def forget(self) -> None:
        """Forget everything: what comes next begins again."""
        self._events.clear()
        self._ahead.clear()
        self._pending = 0
        self.last_update_id = -1
        self.event = 0
        self._rest = None
        self.detach()
