"""24-hour tickers and best quotes of all symbols: values to read, and evidence against dead streams."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..feeds import Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import Request
from ..venue.envelope import scan_event_time
from ..venue.payload import DecodeError
from ..venue.tickers import TickerRow, last_trade, last_trades, scan_quotes, stream_tickers
from .link import Link
from .order import LAGS_AT_MOST, is_new_count, is_to_come, shown_until
from .series import Board, Change, Copied, Origin, SeriesState, StoreEvent

MOST_PENDING = 8
MOST_SIGHTINGS = 32
"""For about so many seconds they wait while the time is in doubt."""
MOST_SYMBOLS = 4096
BREAK = 3_000
"""Between the frames of one connection there is no more than this (ms), or one was left out."""


class _Entry(NamedTuple):
    row: TickerRow
    trade: int
    """The id of its last trade."""
    happened: int
    """By when (exchange ms) what it shows had happened."""
    as_of: int
    """As of when (exchange ms) it is known to be the newest: its event, or the request whose answer confirms it."""


class Tickers(NamedTuple):
    """What one answer showed of all symbols, or one frame of those that had changed since the frame before."""

    as_of: int
    """Up to when (exchange ms) it surely shows everything."""
    last_trades: dict[str, int]
    """The id of the newest trade of each symbol."""
    streamed: bool


class TickerBoard(Board):
    """The 24-hour tickers of all symbols, and the ids of their last trades as evidence against dead streams.

    Each frame of the stream holds the symbols that have changed since the one before; what rests is known from REST
    (at first and now and then). A ticker that rests is the newest one as long as no frame is missing since a moment
    that REST has surely shown: then the board is *complete*. Frames are decoded by whoever looks first.
    """

    def __init__(self) -> None:
        super().__init__(Key(Kind.TICKERS))
        self._merging = threading.Lock()  # one thread at a time decodes; taken before the other
        self._lock = threading.Lock()  # guards the fields down to listed
        self._pending: deque[bytes] = deque(maxlen=MOST_PENDING)
        self._sightings: deque[Tickers] = deque(maxlen=MOST_SIGHTINGS)
        self._rows: dict[str, _Entry] = {}
        self._link: Link | None = None
        self._unbroken_since = 0  # exchange time (ms) since which no frame is missing, 0 before the first
        self._answered = self._merged = 0  # the newest answer's request, and the newest decoded frame (exchange ms)
        self.listed: frozenset[str] = frozenset()
        """The symbols of the newest REST answer."""
        # Changed by take() and forget() alone, which one thread calls; others only look a symbol up.
        self.seen: dict[str, int] = {}
        """Exchange time (ms) of the newest streamed ticker of each symbol."""
        self.traded: dict[str, int] = {}
        """Exchange time (ms) after which each symbol is known to have traded, by its growing trade id."""
        self._last: dict[str, int] = {}
        self._as_of = 0

    def apply(self, frame: bytes, link: Link) -> StoreEvent | None:
        """Take one ``!ticker@arr`` frame."""
        event = scan_event_time(frame)
        with self._lock:
            before = self._link
            if before is not link:
                # One that takes over while the other still delivers leaves no gap.
                broken = before is None or not before.up
                self._link = link
            else:
                broken = event > self.event + BREAK
            if len(self._pending) == MOST_PENDING:
                broken = True
            if broken:
                self._unbroken_since = max(self._unbroken_since, event)
            self._pending.append(frame)  # before its event shows: readers look without the lock
            self.event = max(self.event, event)
            self.received += 1
        return StoreEvent(Change.GAP, self.key) if broken else None

    def replace(self, answer: dict[str, TickerRow], origin: Origin) -> None:
        """Take the tickers of an answer for all symbols."""
        with self._lock:
            happened = shown_until(origin.requested_at)
            for symbol, row in answer.items():
                self._keep(symbol, _Entry(row, last_trade(row), happened, origin.requested_at))
            if origin.requested_at >= self._answered:
                self._answered, self.listed = origin.requested_at, frozenset(answer)
                rows = self._rows  # from now on in the order of the answer
                newer = {symbol: entry for symbol, entry in rows.items() if entry.happened > happened}
                self._rows = {symbol: rows[symbol] for symbol in answer if symbol in rows} | newer
            self._sightings.append(Tickers(happened, last_trades(answer), streamed=False))

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[dict[str, TickerRow]]:
        return endpoints.ticker_24h()

    def unsettled(self, now: int) -> str:
        return "" if self._complete() or not self._streamed(now) else "what rested before its first frame is not known"

    def answerable_from(self, now: int) -> int:
        return max(now, self._unbroken_since + LAGS_AT_MOST)

    def take(self, now: int | None) -> list[Tickers]:
        """Return what has come since the last call, in order.

        Unusable frames are left out, and those that bear a time to come at ``now`` (exchange ms): they are no evidence.
        Where the time is not sure (None), what has come waits until it is.
        """
        self._merge_pending()
        if now is None:
            return []
        with self._lock:
            sightings = [each for each in self._sightings if not is_to_come(each.as_of, now)]
            self._sightings.clear()
        for _, answered, streamed in sightings:
            if not streamed:
                for symbol, trade in answered.items():
                    self._last[symbol] = max(trade, self._last.get(symbol, trade))
        for as_of, seen, streamed in sightings:
            if streamed:
                self._note(as_of, seen)
        return sorted(sightings, key=lambda sighting: sighting.as_of)

    def look(self, symbol: str) -> tuple[SeriesState, TickerRow | None]:
        """Return the newest ticker of a symbol, and how it is. Shared: not to be changed."""
        event = self.event  # before: what comes meanwhile is not merged
        self._merge_pending()
        complete = self._complete()
        entry = self._rows.get(symbol)
        if entry is None:
            return SeriesState(), None
        as_of = max(entry.as_of, event) if complete else entry.as_of
        return SeriesState(event=as_of, answered=as_of), entry.row

    def look_at(self, symbols: Iterable[str]) -> list[tuple[int, TickerRow] | None]:
        """Return for each symbol as of when (exchange ms) its newest ticker is, and that; None where there is none.
        Shared: not to be changed.

        The newest frame is left to whoever needs it for a decision and decodes it anyway: it counts as not there yet.
        """
        if len(self._pending) > 1:
            self._merge_pending()
        newest = self._merged if self._complete() else 0
        rows = self._rows
        return [
            (max(newest, entry.as_of), entry.row) if (entry := rows.get(symbol)) is not None else None
            for symbol in symbols
        ]

    def look_at_all(self) -> tuple[SeriesState, list[TickerRow]]:
        """Return the tickers of all symbols, in the order of REST, and how they are. Shared: not to be changed."""
        event = self.event
        self._merge_pending()
        with self._lock:
            rows = [entry.row for entry in self._rows.values()]
            as_of = max(self._answered, event if self._complete() else 0)
        return SeriesState(event=as_of, answered=as_of), rows

    def forget_ahead(self, until: int) -> None:
        """Forget what bears a time later than ``until`` (exchange ms): it is wrong, and would keep out all that
        comes."""
        self._merge_pending()
        with self._lock:
            if self.event > until:
                self.event, self._unbroken_since, self._answered = until, until, 0
                self._merged = min(self._merged, until)
                self._rows = {symbol: entry for symbol, entry in self._rows.items() if entry.happened <= until}

    def forget(self, symbol: str) -> None:
        """Forget what was seen of a symbol whose name now belongs to another contract."""
        self._merge_pending()
        with self._lock:
            self._rows.pop(symbol, None)
        for known in (self.seen, self.traded, self._last):
            known.pop(symbol, None)

    def copied(self, mark: object = None) -> Copied:
        event = self.event  # before: what comes meanwhile is not merged
        self._merge_pending()
        with self._lock:
            return Copied(None, "", [event, self._answered, self._unbroken_since, list(self._rows)], [])

    def entries(self) -> Mapping[str, _Entry]:
        self._merge_pending()
        with self._lock:
            return self._rows.copy()

    def copied_entry(self, symbol: str, entry: _Entry) -> Copied:
        return Copied(None, "", [entry.trade, entry.happened, entry.as_of, entry.row], [])

    def _complete(self) -> bool:
        """Return whether no change is missing since a moment that REST has surely shown."""
        return 0 < self._unbroken_since <= shown_until(self._answered)

    def _streamed(self, now: int) -> bool:
        link = self._link
        return link is not None and link.up and now - self.event <= BREAK

    def _merge_pending(self) -> None:
        while self._pending:
            with self._merging:
                frame = self._first_pending()
                if frame is None:
                    return
                as_of, rows = 0, None
                with contextlib.suppress(DecodeError):
                    as_of, rows = stream_tickers(frame)
                with self._lock:
                    if self._pending and self._pending[0] is frame:
                        self._pending.popleft()  # not before it is decoded: others wait for what it holds
                    self._merged = max(self._merged, as_of)
                    if rows is None:
                        self._unbroken_since = max(self._unbroken_since, self.event)
                        continue
                    for symbol, row in rows.items():
                        event = row.get("E")
                        happened = event if type(event) is int else as_of
                        self._keep(symbol, _Entry(row, last_trade(row), happened, happened))
                    self._sightings.append(Tickers(as_of, last_trades(rows), streamed=True))

    def _first_pending(self) -> bytes | None:
        with self._lock:
            return self._pending[0] if self._pending else None

    def _keep(self, symbol: str, new: _Entry) -> None:
        """Keep the one with the later trade, and of two windows up to the same trade the later.

        The caller holds the lock."""
        assert self._lock.locked()
        entry = self._rows.get(symbol)
        if entry is None:
            if len(self._rows) < MOST_SYMBOLS:
                self._rows[symbol] = new
        elif new.trade == entry.trade:
            newer = new if new.happened >= entry.happened else entry
            self._rows[symbol] = newer._replace(as_of=max(entry.as_of, new.as_of))
        elif is_new_count(new.happened, entry.happened) or (
            new.trade > entry.trade and not is_new_count(entry.happened, new.happened)
        ):
            self._rows[symbol] = new

    def _note(self, as_of: int, seen: dict[str, int]) -> None:
        """Remember who was seen and who has traded since the array before, which showed every change until then."""
        last, before = self._last, self._as_of
        if as_of < before:  # It came late, and must not make what it does not know yet look new afterwards.
            self.seen.update({symbol: as_of for symbol in seen if as_of > self.seen.get(symbol, 0)})
            return
        self._as_of = as_of
        for symbol, trade in seen.items():
            self.seen[symbol] = as_of
            known = last.get(symbol)
            if known is not None and trade > known:
                self.traded[symbol] = before
            last[symbol] = trade


class TickerReplica(TickerBoard):
    """The tickers as another process has them, copied one by one.

    One that rests is as new as the newest frame which that process had when it was copied, where no frame was missing:
    each is dated by itself, since others may be copied later.
    """

    def __init__(self) -> None:
        super().__init__()
        self.order: list[str] = []
        """The symbols that the other process has, in the order of REST."""

    def take_copy(self, copied: Copied) -> bool:
        event, answered, unbroken_since, order = copied.facts
        with self._lock:
            self.event, self._unbroken_since = event, unbroken_since
            self._answered = answered
            self.order = order
        return True

    def take_entry(self, symbol: str, copied: Copied) -> None:
        trade, happened, as_of, row = copied.facts
        with self._lock:
            self._keep(symbol, _Entry(row, trade, happened, as_of))
        self.confirm_entry(symbol)

    def confirm_entry(self, symbol: str) -> None:
        entry = self._rows.get(symbol)
        if entry is not None and self._complete():
            with self._lock:
                self._rows[symbol] = entry._replace(as_of=max(entry.as_of, self.event))

    def look(self, symbol: str) -> tuple[SeriesState, TickerRow | None]:
        entry = self._rows.get(symbol)
        if entry is None:
            return SeriesState(), None
        return SeriesState(event=entry.as_of, answered=entry.as_of), entry.row

    def look_at_all(self) -> tuple[SeriesState, list[TickerRow]]:
        entries = [entry for symbol in self.order or self._rows if (entry := self._rows.get(symbol)) is not None]
        as_of = min((entry.as_of for entry in entries), default=0)
        if not self._complete():
            as_of = min(as_of, self._answered)
        return SeriesState(event=as_of, answered=as_of), [entry.row for entry in entries]


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
            known = self._newest.get(symbol)
            if (known is None and len(self._newest) < MOST_SYMBOLS) or (
                known is not None and (update_id >= known[0] or is_new_count(event, scan_event_time(known[1])))
            ):
                self._newest[symbol] = (update_id, frame)
            self.received += 1

    def forget_to_come(self, symbol: str, now: int) -> None:
        """Forget quotes that bear a time to come at ``now`` (exchange ms): they would keep out those that come."""
        known = self._newest.get(symbol)
        if known is not None and is_to_come(scan_event_time(known[1]), now):
            self.forget(symbol)

    def forget(self, symbol: str) -> None:
        """Forget the quotes of a symbol whose name now belongs to another contract."""
        with self._lock:
            self._newest.pop(symbol, None)

    def entries(self) -> Mapping[str, tuple[int, bytes]]:
        with self._lock:
            return self._newest.copy()

    def copied_entry(self, symbol: str, entry: tuple[int, bytes]) -> Copied:
        return Copied(None, "", [entry[0]], [entry[1]])

    def take_entry(self, symbol: str, copied: Copied) -> None:
        with self._lock:
            self._newest[symbol] = copied.facts[0], copied.texts[0]

    def get(self, symbol: str) -> tuple[int, bytes] | None:
        """``(update id, frame)`` of a symbol's newest quotes."""
        return self._newest.get(symbol)
