"""Values that replace each other: marks, spot prices, forced orders, kept answers."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from cachetools import TTLCache

from ..feeds import Key, Kind
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.values import Liquidation, Mark, stream_liquidation, stream_marks
from .link import Link

T = TypeVar("T")
MOST_PENDING = 8


class MarkBoard:
    """The newest mark price and funding of every symbol; of two the later event time wins.

    Frames for all symbols come once a second and are decoded when somebody reads.
    """

    def __init__(self) -> None:
        self.key = Key(Kind.MARK)
        self.unusable = 0
        self._lock = threading.Lock()  # guards everything below
        self._pending: deque[bytes] = deque(maxlen=MOST_PENDING)
        self._marks: dict[str, Mark] = {}
        self._event = 0
        self._polled = 0

    def ingest(self, frame: bytes, link: Link) -> None:
        """Take one ``!markPrice@arr`` frame."""
        event = scan_event_time(frame)
        with self._lock:
            self._pending.append(frame)
            if event > self._event:
                self._event = event

    def merge_rest(self, marks: Iterable[Mark], *, asked: int, whole: bool) -> None:
        """Take a REST answer asked for at exchange time ``asked`` (ms); ``whole``: for all symbols."""
        with self._lock:
            if whole:
                self._polled = max(self._polled, asked)
            for mark in marks:
                self._take(mark)
                if mark.time > self._event:
                    self._event = mark.time

    def get(self, symbol: str) -> Mark | None:
        """The newest mark of a symbol."""
        self._decode_pending()
        return self._marks.get(symbol)

    def everything(self) -> dict[str, Mark]:
        self._decode_pending()
        with self._lock:
            return dict(self._marks)

    def event(self) -> int:
        """Exchange time (ms) of the newest event."""
        return self._event

    def polled(self) -> int:
        """Exchange time (ms) at which REST was last asked for all symbols, 0 for never."""
        return self._polled

    def forget_ahead(self, until: int) -> None:
        """Forget the marks that bear a time later than ``until`` (exchange ms): it is wrong, and would keep out all
        that come."""
        with self._lock:
            self._event = min(self._event, until)
            self._marks = {symbol: mark for symbol, mark in self._marks.items() if mark.time <= until}

    def forget(self, symbol: str) -> None:
        """Forget the mark of a symbol whose name now belongs to another contract."""
        self._decode_pending()
        with self._lock:
            self._marks.pop(symbol, None)

    def _decode_pending(self) -> None:
        while self._pending:
            with self._lock:
                if not self._pending:
                    return
                frame = self._pending.popleft()
            try:
                marks, bad = stream_marks(frame)
            except DecodeError:
                marks, bad = [], 1
            with self._lock:
                self.unusable += bad
                for mark in marks:
                    self._take(mark)

    def _take(self, mark: Mark) -> None:
        held = self._marks.get(mark.symbol)
        if held is None or mark.time >= held.time:
            self._marks[mark.symbol] = mark


class Liquidations:
    """Forced orders seen since the start, the newest ``capacity`` of each symbol and of all."""

    def __init__(self, capacity: int) -> None:
        self.key = Key(Kind.LIQUIDATIONS)
        self.capacity = capacity
        self.event = 0
        self._lock = threading.Lock()  # guards everything below
        self._all: deque[Liquidation] = deque(maxlen=capacity)
        self._by_symbol: dict[str, deque[Liquidation]] = {}

    def ingest(self, frame: bytes, link: Link) -> None:
        """Take one ``!forceOrder@arr`` frame. They are few, so each is decoded as it comes."""
        order = stream_liquidation(frame)
        if order is None:
            return
        with self._lock:
            own = self._by_symbol.setdefault(order.symbol, deque(maxlen=self.capacity))
            if order in own:
                return
            own.append(order)
            self._all.append(order)
            self.event = max(self.event, order.time)

    def read(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """The newest ``limit``, oldest first."""
        with self._lock:
            orders = self._all if symbol is None else self._by_symbol.get(symbol, ())
            return list(orders)[-limit:]


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
        """Remember an answer; one that is older than what is held changes nothing."""
        with self._lock:
            held = self._cache.get(key)
            if held is None or held.as_of <= as_of:
                self._cache[key] = Dated(value, as_of)

    def get(self, key: Hashable) -> Dated[T] | None:
        with self._lock:
            return self._cache.get(key)

    def drop(self, key: Hashable) -> None:
        with self._lock:
            self._cache.pop(key, None)

    def __len__(self) -> int:
        with self._lock:
            return len(self._cache)


class SpotBoard:
    """Spot prices of all symbols, polled in one call; what the list lacks has no spot market.

    They are forgotten ``kept`` seconds after they came. (No :class:`AnswerCache`: a scan reads them once a symbol, and
    one value needs no lock to be read.)
    """

    def __init__(self, kept: float, *, now: Callable[[], float]) -> None:
        self.key = Key(Kind.SPOT)
        self._kept = kept
        self._now = now
        self._lock = threading.Lock()  # guards the replacement of _newest, which readers take without it
        self._newest: tuple[Dated[Mapping[str, str]], float] | None = None

    def merge_rest(self, prices: Mapping[str, str], asked: int) -> None:
        with self._lock:
            held = self.get()
            if held is None or held.as_of <= asked:
                self._newest = Dated(prices, asked), self._now() + self._kept

    def get(self) -> Dated[Mapping[str, str]] | None:
        """All prices, exact strings, and when they were asked for."""
        newest = self._newest
        return newest[0] if newest is not None and self._now() < newest[1] else None
