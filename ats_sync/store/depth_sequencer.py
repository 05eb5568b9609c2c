"""Which depth events follow on each other: the exchange's rule of ``pu`` and ``u``, over several connections.

An event tells every change after its ``pu`` up to its ``u``, so it continues any state known up to an id from
``pu`` to ``u``: on one connection that of the event before it (``pu`` is that one's ``u``), at the beginning that of a
snapshot (``U`` ≤ lastUpdateId ≤ ``u``, or nothing has changed since ``pu``), during a hand-over that of the other
connection's newest event.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from .link import Link

RECENT = 64
"""Events kept after they were applied, so that a snapshot somewhat older than the newest event can be used."""
MOST_UNAPPLIED = 1000
"""Events kept while there is nothing to apply them to."""
MOST_AHEAD = 100
BACKWARDS = 5000
"""An event of an older id that is later by more than this (ms): the exchange counts again."""


class Diff(NamedTuple):
    """One depth event, not decoded: its ``pu``, ``u`` and ``E``, and the frame."""

    previous: int
    last: int
    event: int
    frame: bytes


class DepthSequencer:
    """The newest events without a hole. Not thread-safe: its owner holds a lock."""

    def __init__(self) -> None:
        self.source: Link | None = None
        """The connection that delivered the newest event, or on which it will be delivered."""
        self.tip = -1
        """The update id up to which everything is known."""
        self.event = 0
        """Exchange time (ms) of the newest event or snapshot."""
        self.holes = 0
        """How often a connection left something out."""
        self.repeats = 0
        """Events that came after later ones on the same connection."""
        self._events: deque[Diff] = deque()
        self._pending = 0  # how many of the newest are not applied
        self._told: Diff | None = None  # the newest event that came on the source, needed or not
        self._left: Link | None = None  # handed over: what it still delivers is welcome, and the last of it
        self._ahead: deque[tuple[Diff, Link]] = deque(maxlen=MOST_AHEAD)

    @property
    def pending(self) -> int:
        """How many events are not applied yet."""
        return self._pending

    def add(self, diff: Diff, link: Link) -> bool:
        """Take an event that came on ``link``; False where it does not continue what was known: the chain then
        begins again with it."""
        on_source = link is self.source
        told = self._told if on_source else None
        if told is not None:
            if diff.last <= told.last and diff.event <= told.event:
                self.repeats += diff.last < told.last
                return True
            if diff.previous != told.last:
                self.holes += 1
                # A snapshot may have told what was left out; ids that run backwards are nothing to go on with.
                if not told.last < diff.previous <= self.tip:
                    self._begin_with(diff, link)
                    return False
        if diff.last <= self.tip:
            if diff.event > self.event + BACKWARDS:
                self._begin_with(diff, link)
                return False
            if on_source:
                self._told = diff
            return True
        if diff.previous <= self.tip:
            self._append(diff, link)
            return True
        self._keep_ahead(diff, link)
        if not on_source and self.source is not None and self.source.up:
            # Two connections overlap, and the older one has not told as much yet.
            return True
        return self._continue_ahead()

    def _append(self, diff: Diff, link: Link) -> None:
        self._events.append(diff)
        self._pending += 1
        if len(self._events) > MOST_UNAPPLIED + RECENT:
            self._events.popleft()
            self._pending = min(self._pending, len(self._events))
        if link is not self._left:
            self.source, self._told = link, diff
        self.tip, self.event = diff.last, diff.event
        if self._ahead:
            self._catch_up()

    def _begin_with(self, diff: Diff, link: Link) -> None:
        self._events.clear()
        self._ahead.clear()
        self._pending = 0
        self._append(diff, link)

    # --- two connections ---------------------------------------------------------------------------

    def _keep_ahead(self, diff: Diff, link: Link) -> None:
        if self._ahead and (self._ahead[-1][1] is not link or self._ahead[-1][0].last != diff.previous):
            self._ahead.clear()
        self._ahead.append((diff, link))

    def _catch_up(self) -> None:
        """Go on with what came ahead on another connection, once that continues what is known."""
        while self._ahead and self._ahead[0][0].last <= self.tip:
            self._ahead.popleft()
        if self._ahead and self._ahead[0][0].previous <= self.tip:
            self._continue_ahead()

    def _continue_ahead(self) -> bool:
        """Go on with what came ahead, come what may; whether nothing is missing before it."""
        ahead, self._ahead = list(self._ahead), deque(maxlen=MOST_AHEAD)
        whole = True
        for diff, link in ahead:
            if diff.last <= self.tip:
                continue
            if diff.previous <= self.tip:
                self._append(diff, link)
            else:
                whole = False
                self._begin_with(diff, link)
        return whole

    def hand_over(self, old: Link | None, new: Link) -> bool:
        """``new`` has taken over from the living ``old``, which ends; whether nothing is missing."""
        if self.source is None or self.source is not old:
            return True
        self.source, self._left = new, old
        self._told = None
        return self._continue_ahead()

    def await_on(self, link: Link) -> None:
        """Whatever changes after the tip will come on ``link``."""
        if self.source is None or not self.source.up:
            self.source = link
            self._told = None

    def mistrust(self) -> None:
        """Nothing shows any more that the source delivers."""
        self.source = None
        self._told = None

    # --- applying ------------------------------------------------------------------------------------

    def take(self, most: int | None = None) -> list[Diff]:
        """The oldest events that are not applied, which then count as applied."""
        first = len(self._events) - self._pending
        stop = len(self._events) if most is None else min(len(self._events), first + most)
        taken = [self._events[index] for index in range(first, stop)]
        self._pending -= len(taken)
        while len(self._events) - self._pending > RECENT:
            self._events.popleft()
        return taken

    def after(self, update_id: int) -> list[Diff] | None:
        """The events that continue a state known up to ``update_id``, None where it is too old to be continued."""
        later = [diff for diff in self._events if diff.last > update_id]
        if later:
            return later if later[0].previous <= update_id else None
        return later if update_id >= self.tip else None

    def rest_on(self, update_id: int, event: int) -> None:
        """A snapshot tells everything up to ``update_id``, and :meth:`after` continues it. What follows the
        snapshot counts as not applied."""
        while self._events and self._events[0].last <= update_id:
            self._events.popleft()
        self._pending = len(self._events)
        if self._events:
            return
        self.tip = update_id
        self.event = max(self.event, event)
        self._catch_up()

    def settle_on(self, update_id: int, event: int) -> None:
        """A snapshot that is older than the events by its id tells all the same all that there is: go on from the tip.
        What of the events is later counts as not applied."""
        while self._events and self._events[0].last <= update_id:
            self._events.popleft()
        self._pending = len(self._events)
        self.event = max(self.event, event)

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
        self.tip = -1
        self.event = 0
        self.mistrust()
