"""The queues of candles and turns, one for each consumer.

A queue contains *series and range*: which series have news, and from which candle on. Closed candles are read from
memory when the consumer asks for them, so a slow consumer loses nothing that memory still has, and costs a few bytes
per series. A caller of a queue's methods holds its lock.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Generic, NamedTuple, TypeVar

from ..feeds import FEEDS, Key
from ..store.closed import Closing, Source
from ..store.klines import KlineSeries
from ..store.market import MarketStore
from ..venue.intervals import next_open, open_time
from ..venue.klines import float_row, float_rows, string_rows, text_open_time
from ..venue.listings import Phase
from .values import CandleEvent, Missed, Turn

T = TypeVar("T")

FIRST = -1
"""Stands for an open time: the first candle that closes once the history is in memory."""


class Selection(NamedTuple):
    """Which candles a consumer follows. None means all that are followed."""

    symbols: frozenset[str] | None = None
    intervals: frozenset[str] | None = None

    def takes(self, key: Key) -> bool:
        """Return whether the selection includes this series."""
        return (
            FEEDS[key.kind].notifies
            and (self.symbols is None or key.symbol in self.symbols)
            and (self.intervals is None or key.interval in self.intervals)
        )


class EventQueue(Generic[T]):
    """What has not been delivered to one consumer yet. Not thread-safe: its callers hold its lock."""

    @property
    def selection(self) -> Selection:
        """Which candles the consumer follows."""
        raise NotImplementedError

    def mark(self, keys: Iterable[Key]) -> bool:
        """Note that candles may have closed in these series; return whether the queue follows any of them."""
        raise NotImplementedError

    def followed(self, keys: Iterable[Key], now: int) -> None:
        """Note that these series are followed from ``now`` (exchange ms) on."""

    def unfollowed(self, keys: Iterable[Key]) -> None:
        """Note that these series are no longer followed."""

    def take(self, now: int) -> Callable[[], T] | None:
        """Remove the next event and return a function that decodes it; None if none is due at ``now`` (exchange ms)."""
        raise NotImplementedError

    def due(self) -> int | None:
        """Return the exchange time (ms) at which an event becomes due without further data; None if none will."""
        return None


class CandleQueue(EventQueue[CandleEvent | Missed]):
    """The closed candles of some series from a time on: each once, without holes, in order within a series; if several
    series have news, the candle that closed first comes first."""

    def __init__(
        self,
        store: MarketStore,
        selection: Selection,
        now: int,
        *,
        since: int | None = None,
        provisional: int | None = None,
    ) -> None:
        self._store = store
        self._selection = selection
        self._since = since
        self._provisional = provisional
        self._next: dict[Key, int] = {}  # the open time of the next candle to deliver
        self._news: list[tuple[int, int, Key]] = []  # a heap, by the close of that candle
        self._queued: set[Key] = set()
        self._numbers = itertools.count()
        self._early: deque[Key] = deque()  # series whose provisional candle may be due
        self._shown: dict[Key, tuple[int, bytes]] = {}  # the provisional candle that was delivered
        self._due: dict[str, int] = {}
        self.followed(store.series, now)
        self.mark(self._next)

    @property
    def selection(self) -> Selection:
        return self._selection

    def followed(self, keys: Iterable[Key], now: int) -> None:
        for key in keys:
            if not self._selection.takes(key) or key in self._next:
                continue
            series = self._store.candles(key)
            following = series.following() if series is not None else 0
            if self._since == 0:
                self._next[key] = 0  # everything that memory has
            elif self._since is not None:
                first = open_time(key.interval, self._since, known_open=following or None)
                self._next[key] = first if first >= self._since else next_open(key.interval, first)
            else:
                # A candle that has ended and is not closed here yet will still close.
                self._next[key] = following or FIRST
            if self._provisional is not None:
                self._due.setdefault(key.interval, self._next_due(key.interval, now))
        self.mark(keys)

    def _next_due(self, interval: str, now: int) -> int:
        """Return when the candle that was open ``provisional`` ms before ``now`` is due."""
        assert self._provisional is not None
        known = next((opened for key, opened in self._next.items() if opened > 0 and key.interval == interval), None)
        current = open_time(interval, now - self._provisional, known_open=known)
        return next_open(interval, current) + self._provisional

    def unfollowed(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self._shown.pop(key, None)
            if self._since is None:
                self._next.pop(key, None)

    def mark(self, keys: Iterable[Key]) -> bool:
        concerned = False
        for key in keys:
            upcoming = self._next.get(key)
            if upcoming is not None:
                concerned = True
                if key not in self._queued:
                    self._push(key, upcoming)
        return concerned

    def _push(self, key: Key, upcoming: int) -> None:
        self._queued.add(key)
        heapq.heappush(self._news, (next_open(key.interval, upcoming), next(self._numbers), key))

    def take(self, now: int) -> Callable[[], CandleEvent | Missed] | None:
        while self._news:
            key = heapq.heappop(self._news)[2]
            self._queued.discard(key)
            found = self._closed(key)
            if found is not None:
                return found
        if self._provisional is None:
            return None
        self._look_for_early(now)
        while self._early:
            early = self._unconfirmed(self._early.popleft(), now)
            if early is not None:
                return early
        return None

    def _closed(self, key: Key) -> Callable[[], CandleEvent | Missed] | None:
        series = self._store.candles(key)
        while series is not None and (upcoming := self._next.get(key)) is not None:
            if upcoming == FIRST:
                upcoming = self._next[key] = series.first_to_close() or FIRST
                if upcoming == FIRST:
                    return None
            begins, text, closing = series.closed_from(upcoming)
            if text is not None and upcoming < begins:
                self._next[key] = begins
                if not upcoming:
                    continue
                self._push(key, begins)
                last = open_time(key.interval, begins - 1, known_open=begins)
                return partial(Missed, key.symbol, key.interval, upcoming, last)
            if text is None:
                return None
            opened = text_open_time(text)
            self._next[key] = next_open(key.interval, opened)
            if self._shown.pop(key, None) == (opened, text):
                continue  # delivered as provisional already, with this very text
            self._push(key, self._next[key])
            return partial(_candle, key, text, closing)
        return None

    def _look_for_early(self, now: int) -> None:
        assert self._provisional is not None
        for interval, due in self._due.items():
            foreseen = self._next_due(interval, now)
            if now >= due or due > foreseen:  # the second: it was computed while the clock was ahead
                self._due[interval] = foreseen
            if now >= due:
                self._early.extend(key for key in self._next if key.interval == interval)

    def _unconfirmed(self, key: Key, now: int) -> Callable[[], CandleEvent] | None:
        series, upcoming = self._store.candles(key), self._next.get(key)
        if series is None or upcoming is None or self._provisional is None:
            return None
        closed = next_open(key.interval, upcoming) if upcoming > 0 else math.inf
        if now < closed + self._provisional or (key in self._shown and self._shown[key][0] == upcoming):
            return None
        text = series.unconfirmed(upcoming)
        if text is None:
            return None
        self._shown[key] = (upcoming, text)
        return partial(_provisional_candle, key, text, int(now - closed))

    def due(self) -> int | None:
        return min(self._due.values(), default=None)


def _candle(key: Key, text: bytes, closing: Closing | None) -> CandleEvent:
    row = float_row(string_rows((text,))[0])
    at = closing.at if closing is not None else None
    delay = (at - row[6] - 1) / 1000.0 if at is not None else None
    source = (closing.source if closing is not None else Source.REST).value
    return CandleEvent(key.symbol, key.interval, row, f"[{text.decode()}]", True, source, at, delay)


def _provisional_candle(key: Key, text: bytes, delay: int) -> CandleEvent:
    row = float_row(string_rows((text,))[0])
    source = (Source.STREAM if row[8] else Source.FLAT).value
    return CandleEvent(key.symbol, key.interval, row, f"[{text.decode()}]", False, source, None, delay / 1000.0)


class TurnQueue(EventQueue[Turn]):
    """The turns of an interval, one after the other: each is due when every followed symbol has closed, or ``grace`` ms
    after the close. Which symbols are followed is looked up when the wait for a turn begins, and when that changes."""

    def __init__(
        self,
        store: MarketStore,
        interval: str,
        symbols: Collection[str] | None,
        now: int,
        *,
        grace: int,
        since: int | None = None,
    ) -> None:
        self._store = store
        self._interval = interval
        self._selection = Selection(None if symbols is None else frozenset(symbols), frozenset((interval,)))
        self._grace = grace
        self._since = since
        self._opened = 0  # the open time of the next turn's candles; 0 before any history is in memory
        self._begin(now)
        self._waiting: set[str] | None = None  # symbols without their candle of this turn; None: not looked up yet
        self._marked: set[str] = set()
        self._missed: Missed | None = None

    @property
    def selection(self) -> Selection:
        return self._selection

    def _begin(self, now: int) -> None:
        """Find the first turn. Before any answer has come, the exchange's time is not certain either."""
        known = next((opened for _, series in self._all() if (opened := series.following())), None)
        if known is None:
            return
        opened = open_time(self._interval, now if self._since is None else self._since, known_open=known)
        if self._since and opened < self._since:
            opened = next_open(self._interval, opened)
        self._opened = max(opened, 1)

    def _all(self) -> Iterable[tuple[str, KlineSeries]]:
        for series in self._store.of(KlineSeries):
            if self._selection.takes(series.key):
                yield series.key.symbol, series

    def _expected(self) -> dict[str, KlineSeries]:
        """Return the series that should close: those of contracts that trade, or may trade again."""
        store = self._store
        return {
            symbol: series
            for symbol, series in self._all()
            if symbol not in store.delisted and store.phase(symbol) is not Phase.PENDING
        }

    def mark(self, keys: Iterable[Key]) -> bool:
        mine = [key.symbol for key in keys if self._selection.takes(key)]
        self._marked.update(mine)
        return bool(mine)

    def followed(self, keys: Iterable[Key], now: int) -> None:
        self._waiting = None

    def unfollowed(self, keys: Iterable[Key]) -> None:
        self._waiting = None

    def due(self) -> int | None:
        return next_open(self._interval, self._opened) + self._grace if self._opened else None

    def take(self, now: int) -> Callable[[], Turn] | None:
        if not self._opened:
            self._begin(now)
            if not self._opened:
                return None
        expected = self._expected() if self._waiting is None else None
        if self._waiting is None:
            self._waiting = set(expected or ())
            candidates = self._waiting.copy()
        else:
            candidates = self._marked & self._waiting
        self._marked.clear()
        for symbol in candidates:
            series = self._store.klines(symbol, self._interval)
            if series is not None and self._row(series) is not None:
                self._waiting.discard(symbol)
        over = now >= next_open(self._interval, self._opened) + self._grace
        if not over and (self._waiting or not candidates):
            return None  # (If nothing is followed, only the grace period is awaited.)
        if expected is None:
            expected = self._expected()
        if over and not self._missed:
            self._skip_forgotten(expected)
        closes = next_open(self._interval, self._opened)
        rows = {symbol: row for symbol, series in self._all() if (row := self._row(series)) is not None}
        late = tuple(symbol for symbol in expected if symbol not in rows)
        # What has closed shows that the turn has come, even where our idea of the exchange's time lags behind.
        delay = max(0, now - closes) / 1000.0
        turn = partial(_turn, self._interval, self._opened, rows, late, delay, self._missed)
        self._opened, self._waiting, self._missed = closes, None, None
        return turn

    def _row(self, series: KlineSeries) -> bytes | None:
        text = series.closed_from(self._opened)[1]
        return text if text is not None and text_open_time(text) == self._opened else None

    def _skip_forgotten(self, expected: Mapping[str, KlineSeries]) -> None:
        """Continue with the oldest turn that memory has for any symbol."""
        begins, firsts = 0, []
        for series in expected.values():
            begin, text, _ = series.closed_from(0)
            if text is not None:
                begins = max(begins, begin)
                firsts.append(text_open_time(text))
        first = min(firsts, default=0)
        if first <= self._opened:
            return
        if begins > self._opened > 1:
            last = open_time(self._interval, first - 1, known_open=first)
            self._missed = Missed("", self._interval, self._opened, last)
        self._opened = first


def _turn(
    interval: str, opened: int, rows: Mapping[str, bytes], late: tuple[str, ...], delay: float, missed: Missed | None
) -> Turn:
    closed = dict(zip(rows, float_rows(rows.values()), strict=True))
    return Turn(interval, opened, closed, late, delay, missed)
