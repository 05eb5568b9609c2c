"""What was seen of one symbol: which trades are known to have happened, and whether trade ids have restarted.

A trade that was reported counts once it is old enough: siblings do not deliver at the same instant. Where ids restart
at lower numbers, nothing that was seen before counts any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from operator import itemgetter
from typing import NamedTuple

from ..store.order import LAGS_AT_MOST, is_new_count
from ..store.pending import ANSWERED_WITHIN
from ..store.trades import TradeSeries

GRACE = 1.5
"""Seconds that evidence must be old before it counts: siblings do not deliver at the same instant."""
TICKER_LATE = 1000
"""A ticker may lack what was traded within this long (ms) before it."""


class Report(NamedTuple):
    """What one stream has said of a trade."""

    trade: int
    earliest: int
    """When it happened (exchange ms), at the earliest."""
    latest: int
    """And at the latest."""


class Sighting(NamedTuple):
    """Evidence that ``trade`` has happened, and not before ``happened`` (exchange ms)."""

    trade: int
    happened: int
    seen: float
    by: int = 0
    """When it had happened at the latest (exchange ms)."""


NEVER = Sighting(-1, 0, 0.0)


class SymbolSightings:
    """What is known of the trades and the book of one symbol. Not thread-safe: the engine's."""

    __slots__ = (
        *("_best", "_ripening", "announced", "base", "behind", "books_due", "counted_since", "counts_again", "depth"),
        *("furthest_behind", "lowered", "open", "quote", "recounted", "refuted", "ticked", "ticker", "trades_due"),
    )

    def __init__(self) -> None:
        self.trades_due = True
        """Whether to look at the trades, since something has changed."""
        self.open = False
        """Whether the last look at them has left something open, so that time alone may show something."""
        self.books_due = True
        """Whether to look at the books: something has changed, or the last look has left something open."""
        self.furthest_behind = -1
        """The newest trade of the series that was furthest behind at the last look."""
        self.behind = False
        """Whether a series has not got to the newest trade that is known."""
        self._best = NEVER  # the newest one that is old enough to count
        self._ripening: deque[Sighting] = deque(maxlen=16)
        self.counted_since = 0  # as of the trades that were looked at last
        self.counts_again = False  # and nobody has taken note of it yet
        self.announced = -1  # the trade of a ticker that showed a new count before the trades did
        self.ticker = (0, -1)  # (as of, last trade) of the newest ticker
        self.base = (0, -1)  # (true by then at the latest, last trade) of the ticker with which the next is compared
        self.ticked = Report(-1, 0, 0)  # of the newest ticker that showed a later trade
        self.recounted = NEVER  # of a count that has restarted, while some series are still at the old one
        self.refuted = (-1, 0.0)  # (the highest trade, by when) of those that REST has shown not to be
        self.lowered = NEVER  # of a ticker that showed a lower trade than the one before it, until that was acted on
        self.quote = (-1, 0.0)  # (update id, first seen) of the newest quotes that the book lacks
        self.depth = (-1, 0.0)  # (update id, first seen) of what the full book lacks

    def follow_count(self, ring: TradeSeries | None) -> None:
        """Forget every sighting of a trade where ids have restarted since: they bear the ids of the old count."""
        if ring is not None and ring.counted_since > self.counted_since:
            self.counted_since = ring.counted_since
            self.forget_trades()
            if not 0 <= self.announced <= ring.last_heard()[0]:
                self.counts_again = True
            self.announced = -1

    def begin_count(self, lowered: Sighting) -> None:
        """Note that a ticker has shown a new count of ids: what was reported bears those of the old one."""
        self.forget_trades()
        self.counts_again = True
        self.announced, self.lowered = lowered.trade, lowered
        self.ticker = self.ticker[0], -1
        self.trades_due = True

    def note_ticker(self, as_of: int, trade: int, unchanged_until: int, now: int, *, streamed: bool) -> bool:
        """Take the last trade of a newer ticker at ``now``; return whether it shows another one, which happened after
        the ticker before, and not before ``unchanged_until`` (all in exchange ms)."""
        before, last = self.ticker
        if streamed or as_of > self.base[0]:
            self.base = as_of if streamed else as_of + LAGS_AT_MOST + ANSWERED_WITHIN, trade
        self.ticker = as_of, max(trade, last)  # an answer may have been a moment ahead of this frame
        if not 0 <= last < trade:
            return False
        earliest = max(before - TICKER_LATE, unchanged_until)  # or that one would have shown it
        self.ticked = Report(trade, earliest, now)
        return True

    def learn(self, reported: Sequence[Report], now: float) -> None:
        """Take what was reported at once."""
        refuted, by = self.refuted
        reported = [each for each in reported if each[0] > refuted or (each[0] >= 0 and each[1] > by)]
        if not reported:
            return
        ripening = self._ripening
        newest = max(reported)[0]
        if newest > (ripening[-1] if ripening else self._best).trade:
            ripening.append(Sighting(newest, 0, now, min(each[2] for each in reported if each[0] == newest)))
        # What was traded no earlier cannot have happened earlier; when it was first seen is kept.
        oldest = min(reported)[0]
        if oldest <= self._best.trade:
            self._best = _placed(self._best, reported)
        for index, each in enumerate(ripening):
            if oldest <= each.trade:
                ripening[index] = _placed(each, reported)

    def note_count(self, reported: Sequence[Report], highest: tuple[int, int], now: float) -> None:
        """Take from what was reported whether ids have restarted since the ``highest`` one (and when that had come at
        the latest)."""
        trade, traded = highest
        lower = [each for each in (*reported, self.ticked) if 0 <= each[0] < trade and is_new_count(each[1], traded)]
        if not lower:
            self.recounted = NEVER
        elif not self.recounted.seen:
            trade, happened, _ = max(lower, key=itemgetter(1))
            self.recounted = Sighting(trade, happened, now)
            self.counts_again = True

    def has_begun_again(self, now: float) -> bool:
        """Return whether that is so, and has been for long enough to count."""
        return self.recounted.seen > 0 and self.recounted.seen <= now - GRACE

    def is_outdated(self, trade: int, by: int, now: float) -> bool:
        """Return whether a series that had got to this trade ``by`` then (exchange ms) has nothing of the new count."""
        return self.has_begun_again(now) and trade > self.recounted.trade and is_new_count(self.recounted.happened, by)

    def take_lowered(self, now: float) -> Sighting:
        """Return once what a ticker has shown of a new count, as soon as the streams have had time to show it too."""
        lowered = self.lowered
        if not lowered.seen or lowered.seen > now - GRACE:
            return NEVER
        self.lowered = NEVER
        return lowered

    def of_new_count(self, reported: Sequence[Report], now: float) -> Sequence[Report]:
        """Return what was reported after ids have restarted, and forget what was seen of the old ones; all of it
        where they have not."""
        if not self.has_begun_again(now):
            return reported
        # (Some series may stay at the old count for long: a stream that is dead.)
        current = [each for each in reported if not self.is_outdated(each[0], each[1], now)]
        newest = max(current, default=NEVER)[0]
        if self._best.trade > newest:
            self._best = NEVER
        self._ripening = deque([each for each in self._ripening if each.trade <= newest], self._ripening.maxlen)
        return current

    def of_contract(self) -> SymbolSightings:
        """Return what is known where only the newest ticker is surely of the contract that has the name now. (An answer
        is not, since it may have lagged.)"""
        sightings = SymbolSightings()
        if self.base[0] == self.ticker[0]:
            sightings.base = sightings.ticker = self.ticker
        return sightings

    def look_again(self) -> None:
        """Let the next look leave out nothing."""
        self.trades_due = self.books_due = True

    def is_open(self) -> bool:
        """Return whether time alone may show something of the trades that are known by now."""
        return bool(self._ripening) or self.behind or self.recounted.seen > 0 or self.lowered.seen > 0

    def shows_more(self, now: float) -> bool:
        """Return whether a look may find something though nothing has changed: what is known by now has become old
        enough to count and a series lacks it, or more is open than that."""
        if self.behind or self.recounted.seen > 0 or self.lowered.seen > 0:
            return True
        return self.furthest_behind < self.ripe(now).trade

    def lacks_books(self) -> bool:
        """Return whether time alone may show that a book is silent."""
        return self.quote[0] >= 0 or self.depth[0] >= 0

    def forget_trades(self) -> None:
        """Forget every sighting of a trade."""
        self._best = NEVER
        self._ripening.clear()
        self.trades_due = True

    def refute_trades(self, by: float) -> None:
        """Forget every sighting of a trade: REST has none of those that are said to have happened by ``by`` (exchange
        ms). Who has shown them may go on doing so for long."""
        self.refuted = max([self._best, *self._ripening]).trade, by
        self.forget_trades()

    def ripe(self, now: float) -> Sighting:
        """Return the newest sighting that is old enough to count."""
        while self._ripening and self._ripening[0].seen <= now - GRACE:
            self._best = self._ripening.popleft()
        return self._best


def _placed(known: Sighting, reported: Sequence[Report]) -> Sighting:
    happened = known.happened
    for trade, earliest, _ in reported:
        if trade <= known.trade and earliest > happened:
            happened = earliest
    return known if happened == known.happened else known._replace(happened=happened)
