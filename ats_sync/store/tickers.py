"""Last trades and best quotes of all symbols, by streams that serve them all: evidence against dead streams."""

from __future__ import annotations

import threading
from collections import deque

from ..feeds import Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import Request
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.tickers import scan_quotes, stream_tickers
from .link import Link
from .order import counts_anew, is_to_come
from .series import Asked, Board

MOST_PENDING = 4
MOST_SYMBOLS = 4096


class TickerBoard(Board):
    """Last trade ids out of the 24-hour tickers, from the stream each second and from REST now and then."""

    def __init__(self) -> None:
        super().__init__(Key(Kind.TICKERS))
        self._lock = threading.Lock()  # guards the two below
        self._pending: deque[bytes] = deque(maxlen=MOST_PENDING)
        self._answers: deque[tuple[int, dict[str, int]]] = deque(maxlen=MOST_PENDING)
        self.listed: frozenset[str] = frozenset()
        """The symbols of the newest REST answer."""
        # Changed by take() and forget() alone, which one thread calls; others only look a symbol up.
        self.seen: dict[str, int] = {}
        """Exchange time (ms) of the newest streamed ticker of each symbol."""
        self.traded: dict[str, int] = {}
        """Exchange time (ms) after which each symbol is known to have traded, by its growing trade id."""
        self._last: dict[str, int] = {}
        self._as_of = 0

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one ``!ticker@arr`` frame."""
        event = scan_event_time(frame)
        with self._lock:
            self.event = max(self.event, event)
            self._pending.append(frame)

    def replace(self, answer: dict[str, int], asked: Asked) -> None:
        """Take the last trades of an answer for all symbols."""
        with self._lock:
            self._answers.append((asked.at, answer))
            self.listed = frozenset(answer)

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[dict[str, int]]:
        return endpoints.last_trades()

    def take(self, now: int | None) -> list[tuple[int, dict[str, int]]]:
        """What has come since the last call: ``(as of, {symbol: last trade id})``, in order.

        Unusable frames are left out, and those that bear a time to come at ``now`` (exchange ms; None where that is
        not sure): they are no evidence.
        """
        with self._lock:
            frames, sightings = list(self._pending), list(self._answers)
            self._pending.clear()
            self._answers.clear()
        for _, answered in sightings:
            for symbol, trade in answered.items():
                self._last[symbol] = max(trade, self._last.get(symbol, trade))
        for frame in frames:
            try:
                as_of, told = stream_tickers(frame)
            except DecodeError:
                continue
            if now is not None and is_to_come(as_of, now):
                continue
            sightings.append((as_of, told))
            self._note(as_of, told)
        return sorted(sightings, key=lambda sighting: sighting[0])

    def forget(self, symbol: str) -> None:
        """Forget what was told of a symbol whose name now belongs to another contract."""
        for told in (self.seen, self.traded, self._last):
            told.pop(symbol, None)

    def _note(self, as_of: int, told: dict[str, int]) -> None:
        """Remember who was seen and who has traded since the array before, which told of every change until then."""
        last, before = self._last, self._as_of
        self._as_of = max(before, as_of)
        for symbol, trade in told.items():
            self.seen[symbol] = as_of
            held = last.get(symbol)
            if held is not None and trade > held:
                self.traded[symbol] = before
            last[symbol] = trade


class QuoteBoard(Board):
    """The newest ``!bookTicker`` frame of each symbol."""

    def __init__(self) -> None:
        super().__init__(Key(Kind.QUOTES))
        self._lock = threading.Lock()  # guards the one below
        self._newest: dict[str, tuple[int, bytes]] = {}

    def apply(self, frame: bytes, link: Link) -> None:
        """Take one ``!bookTicker`` frame."""
        symbol, update_id = scan_quotes(frame)
        event = scan_event_time(frame)
        with self._lock:
            self.event = max(self.event, event)
            held = self._newest.get(symbol)
            if (held is None and len(self._newest) < MOST_SYMBOLS) or (
                held is not None and (update_id >= held[0] or counts_anew(event, scan_event_time(held[1])))
            ):
                self._newest[symbol] = (update_id, frame)

    def forget_to_come(self, symbol: str, now: int) -> None:
        """Forget quotes that bear a time to come at ``now`` (exchange ms): they would keep out those that come."""
        held = self._newest.get(symbol)
        if held is not None and is_to_come(scan_event_time(held[1]), now):
            self.forget(symbol)

    def forget(self, symbol: str) -> None:
        """Forget the quotes of a symbol whose name now belongs to another contract."""
        with self._lock:
            self._newest.pop(symbol, None)

    def get(self, symbol: str) -> tuple[int, bytes] | None:
        """``(update id, frame)`` of a symbol's newest quotes."""
        return self._newest.get(symbol)
