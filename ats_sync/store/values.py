"""Values that replace each other: marks, spot prices, forced orders, kept answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import orjson
from cachetools import TTLCache

from ..feeds import FEEDS, Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import Request
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.values import Liquidation, Mark, stream_liquidation, stream_marks
from .link import Link
from .series import Board, Copied, Origin, SeriesState

T = TypeVar("T")
MOST_PENDING = 8
EVERYBODY = "*"
"""In place of a symbol: all of them."""


class MarkBoard(Board):
    """The newest mark price and funding of every symbol; of two the later event time wins.

    Frames for all symbols come once a second and are decoded when somebody reads.
    """

    def __init__(self) -> None:
        super().__init__(Key(Kind.MARK))
        self._lock = threading.Lock()  # guards everything below
        self._pending: deque[bytes] = deque(maxlen=MOST_PENDING)
        self._marks: dict[str, Mark] = {}
        self._interest: dict[str, tuple[str, int]] = {}
        self._answered = 0

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one ``!markPrice@arr`` frame."""
        event = scan_event_time(frame)
        with self._lock:
            self._pending.append(frame)
            self.received += 1
            if event > self.event:
                self.event = event

    def replace(self, answer: Iterable[Mark], origin: Origin) -> None:
        """Take the marks of an answer."""
        with self._lock:
            self._answered = max(self._answered, origin.requested_at)
            for mark in answer:
                self._take(mark)
                if mark.answer is not None and "interestRate" in mark.answer:
                    self._interest[mark.symbol] = mark.answer["interestRate"], origin.requested_at
                if mark.time > self.event:
                    self.event = mark.time

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[list[Mark]]:
        return endpoints.premium_index()

    def state(self, now: int) -> SeriesState:
        return SeriesState(event=self.event, answered=self._answered)

    def look(self, symbol: str) -> tuple[SeriesState, Mark | None]:
        """Return the newest mark of a symbol, and how it is: it may rest while others go on."""
        mark = self.get(symbol)
        time = mark.time if mark is not None else 0
        return SeriesState(event=time, answered=time), mark

    def get(self, symbol: str) -> Mark | None:
        """Return the newest mark of a symbol."""
        self._decode_pending()
        return self._marks.get(symbol)

    def interest_rate(self, symbol: str) -> tuple[str, int]:
        """Return the interest rate of a symbol, which no stream carries, and when (exchange ms) it was requested; ""
        and 0 where it is not known."""
        return self._interest.get(symbol, ("", 0))

    def everything(self) -> dict[str, Mark]:
        self._decode_pending()
        with self._lock:
            return dict(self._marks)

    def forget_ahead(self, until: int) -> None:
        """Forget the marks that bear a time later than ``until`` (exchange ms): it is wrong, and would keep out all
        that come."""
        with self._lock:
            self.event = min(self.event, until)
            self._marks = {symbol: mark for symbol, mark in self._marks.items() if mark.time <= until}

    def forget(self, symbol: str) -> None:
        """Forget the mark of a symbol whose name now belongs to another contract."""
        self._decode_pending()
        with self._lock:
            self._marks.pop(symbol, None)
            self._interest.pop(symbol, None)

    def entries(self) -> Mapping[str, Mark]:
        return self.everything()

    def copied(self, mark: object = None) -> Copied:
        return Copied(None, "", [self.event, self._answered], [])

    def take_copy(self, copied: Copied) -> bool:
        event, answered = copied.facts
        with self._lock:
            self.event, self._answered = max(self.event, event), max(self._answered, answered)
        return True

    def copied_entry(self, symbol: str, entry: Mark) -> Copied:
        values = entry.answer if entry.answer is not None else entry.streamed
        own = entry.mark_price, entry.funding_rate, entry.next_funding_time, entry.time
        return Copied(None, "", [own, entry.answer is not None, values, self.interest_rate(symbol)], [])

    def take_entry(self, symbol: str, copied: Copied) -> None:
        own, answered, values, interest = copied.facts
        price, rate, next_funding_time, time = own
        mark = Mark(
            symbol, price, rate, next_funding_time, time, values if answered else None, None if answered else values
        )
        with self._lock:
            self._take(mark)
            if interest[1] > self._interest.get(symbol, ("", 0))[1]:
                self._interest[symbol] = interest[0], interest[1]

    def _decode_pending(self) -> None:
        """Decode the newest frame, and of those before it what it lacks."""
        while self._pending:
            with self._lock:
                if not self._pending:
                    return
                frame = self._pending.pop()
            try:
                marks, _ = stream_marks(frame, self._is_superseded)
            except DecodeError:
                continue
            with self._lock:
                for mark in marks:
                    self._take(mark)

    def _is_superseded(self, row: dict[str, Any]) -> bool:
        try:
            return bool(self._marks[row["s"]].time >= row["E"])
        except (KeyError, TypeError):  # none is known yet, or decoding tells what is wrong with the row
            return False

    def _take(self, mark: Mark) -> None:
        known = self._marks.get(mark.symbol)
        if known is None or mark.time >= known.time:
            self._marks[mark.symbol] = mark


class LiquidationBoard(Board):
    """Forced orders seen since the start, the newest ``capacity`` of each symbol and of all, by their time."""

    def __init__(self, capacity: int) -> None:
        super().__init__(Key(Kind.LIQUIDATIONS))
        self.capacity = capacity
        self._lock = threading.Lock()  # guards everything below
        self._all: deque[Liquidation] = deque(maxlen=capacity)
        self._by_symbol: dict[str, deque[Liquidation]] = {}
        self._copied: dict[str, tuple[Liquidation, ...]] | None = None

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one ``!forceOrder@arr`` frame. They are few, so each is decoded as it comes."""
        order = stream_liquidation(frame)
        if order is None:
            return
        with self._lock:
            own = self._by_symbol.setdefault(order.symbol, deque(maxlen=self.capacity))
            if order in own:
                return
            _insert(own, order)
            _insert(self._all, order)
            self._copied = None
            self.received += 1
            self.event = max(self.event, order.time)

    def entries(self) -> Mapping[str, tuple[Liquidation, ...]]:
        """Return the orders of each symbol that has some, and under ``EVERYBODY`` those of all."""
        with self._lock:
            if self._copied is None:
                orders = {symbol: tuple(own) for symbol, own in self._by_symbol.items()}
                self._copied = {EVERYBODY: tuple(self._all), **orders} if orders else {}
            return self._copied

    def copied_entry(self, symbol: str, entry: tuple[Liquidation, ...]) -> Copied:
        return Copied(None, "", [[(each.symbol, each.time, each.order) for each in entry]], [])

    def take_entry(self, symbol: str, copied: Copied) -> None:
        orders = deque((Liquidation(*each) for each in copied.facts[0]), self.capacity)
        with self._lock:
            if symbol != EVERYBODY:
                self._by_symbol[symbol] = orders
            else:
                self._all = orders

    def read(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """Return the newest ``limit``, oldest first."""
        with self._lock:
            orders = self._all if symbol is None else self._by_symbol.get(symbol, ())
            return list(orders)[-limit:]


def _insert(orders: deque[Liquidation], order: Liquidation) -> None:
    """Put an order in its place, and drop the oldest where there is no room."""
    place = len(orders)
    while place and _place_of(orders[place - 1]) > _place_of(order):
        place -= 1
    if place == len(orders):
        orders.append(order)
    elif len(orders) < (orders.maxlen or 0):
        orders.insert(place, order)
    elif place:
        orders.popleft()
        orders.insert(place - 1, order)


def _place_of(order: Liquidation) -> tuple[int, str, str]:
    return order.time, order.symbol, str(order.order)


@dataclass(frozen=True, slots=True)
class Dated(Generic[T]):
    """A value and the exchange time (ms) as of which it was true."""

    value: T
    as_of: int


class AnswerCache(Generic[T]):
    """Answers kept for a while. How long one is *kept* is the TTL; whether it is fresh is for the reader to judge."""

    def __init__(self, ttl: float, *, now: Callable[[], float], most: int = 4096) -> None:
        self._lock = threading.Lock()  # guards the cache, which is not thread-safe by itself
        self._cache: TTLCache[Hashable, Dated[T]] = TTLCache(maxsize=most, ttl=ttl, timer=now)

    def put(self, key: Hashable, value: T, as_of: int) -> None:
        """Remember an answer; one that is older than what is known changes nothing."""
        with self._lock:
            known = self._cache.get(key)
            if known is None or known.as_of <= as_of:
                self._cache[key] = Dated(value, as_of)

    def get(self, key: Hashable) -> Dated[T] | None:
        with self._lock:
            return self._cache.get(key)

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)


class SpotBoard(Board):
    """Spot prices of all symbols, polled in one call; what the list lacks has no spot market.

    They are forgotten a while after they came. (No :class:`AnswerCache`: a scan reads them once a symbol, and one value
    needs no lock to be read.)
    """

    def __init__(self, *, now: Callable[[], float]) -> None:
        super().__init__(Key(Kind.SPOT))
        self._now = now
        self._lock = threading.Lock()  # guards the replacement of _newest, which readers take without it
        self._newest: tuple[Dated[Mapping[str, str]], float] | None = None
        self._text: tuple[object, bytes] = None, b""  # of which prices, and they as JSON

    def replace(self, answer: Mapping[str, str], origin: Origin) -> None:
        """Take the prices of an answer for all symbols."""
        with self._lock:
            known = self.get()
            if known is None or known.as_of <= origin.requested_at:
                self._newest = Dated(answer, origin.requested_at), self._now() + retention(self.key)

    def get(self) -> Dated[Mapping[str, str]] | None:
        """Return all prices, exact strings, and when they were requested."""
        newest = self._newest
        return newest[0] if newest is not None and self._now() < newest[1] else None

    def copied(self, mark: object = None) -> Copied | None:
        known = self.get()
        if known is None:
            return None
        if self._text[0] is not known:
            self._text = known, orjson.dumps(dict(known.value))
        return Copied(None, "", [known.as_of], [], [self._text[1]])

    def take_copy(self, copied: Copied) -> bool:
        if copied.body is not None:
            self.replace(orjson.loads(copied.body[0]), Origin(copied.facts[0]))
        known = self.get()
        return known is not None and known.as_of == copied.facts[0]

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[dict[str, str]]:
        return endpoints.spot_price()

    def state(self, now: int) -> SeriesState:
        known = self.get()
        as_of = known.as_of if known is not None else 0
        return SeriesState(event=as_of, answered=as_of)


class ClockSeries(Board):
    """The exchange's time. Nothing is kept of it here: whoever carries out the request sets the clock."""

    def __init__(self) -> None:
        super().__init__(Key(Kind.CLOCK))

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[int]:
        return endpoints.time()


def retention(key: Key) -> float:
    """Return how long (seconds) an answer is kept at all."""
    poll = FEEDS[key.kind].poll
    return poll.retention if poll is not None else 0.0
