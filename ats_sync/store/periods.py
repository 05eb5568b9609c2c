"""Open interest, long/short ratios, taker volumes and the basis: rows of one symbol and period that are polled, kept as
the exchange wrote them in one piece of JSON."""

from __future__ import annotations

import threading
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import orjson

from ..errors import MalformedAnswer
from ..feeds import Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import OPEN_INTEREST_REACH, Request
from ..venue.intervals import candles_between, nominal_length
from ..venue.payload import DecodeError
from . import dump
from .link import Link
from .series import Copied, Origin, Restored, Series, SeriesState

Rows: TypeAlias = list[dict[str, Any]]
Wholes: TypeAlias = "array[int]"
Doubles: TypeAlias = "array[float]"


class PeriodSeries(Series):
    """One of the series of ``/futures/data``; of two rows with one timestamp the later answer wins.

    It reaches no further back than the exchange's own.
    """

    def __init__(self, key: Key, depth: int, *, warm_up: int | None = None) -> None:
        super().__init__(key)
        self.complete = False
        self._depth = depth
        self._warm_up = depth if warm_up is None else warm_up
        self._lock = threading.Lock()  # guards everything below
        self._text = b"[]"
        # Replaced whole, never changed in place: readers share them.
        self._stamps: Wholes = array("q")
        self._requested_at: Wholes = array("q")
        self._answered = 0
        self._known_as_of = 0  # as _answered, or when the newest of the loaded rows was requested

    @property
    def depth(self) -> int:
        return self._depth

    def deepen(self, rows: int) -> None:
        with self._lock:
            self._depth = max(self._depth, rows)

    def apply(self, frame: bytes, link: Link) -> None:
        raise NotImplementedError(f"{self.key} has no stream")

    def replace(self, answer: Rows, origin: Origin) -> None:
        """Merge an answer for the newest rows."""
        rows, at = answer, origin.requested_at
        with self._lock:
            stamps = self._stamps
            known_rows = dict(zip(stamps, zip(self._requested_at, orjson.loads(self._text), strict=True), strict=True))
            whole, length = len(rows) < origin.rows, nominal_length(self.key.interval)
            if not known_rows and rows:
                self.complete = False  # That there were none shows nothing of those that have come since.
            if known_rows and rows and not whole and int(rows[0]["timestamp"]) > stamps[-1] + length:
                # It does not reach back to what is known: there may be rows in between.
                known_rows.clear()
                self.complete = False
            elif known_rows and rows and int(rows[-1]["timestamp"]) + length < stamps[0]:
                rows = []  # It came late, and ends before what is known: likewise.
            elif whole and (not known_rows or (rows and int(rows[0]["timestamp"]) <= stamps[0])):
                self.complete = True
            for row in rows:
                stamp = int(row["timestamp"])
                known = known_rows.get(stamp)
                if known is None or known[0] <= at:
                    known_rows[stamp] = (at, row)
            self._answered = max(self._answered, at)
            self.unaudited = False
            self._known_as_of = max(self._known_as_of, at)
            oldest = self._known_as_of - OPEN_INTEREST_REACH
            merged = sorted(item for item in known_rows.items() if item[0] >= oldest)
            if len(merged) > self._depth:
                del merged[: len(merged) - self._depth]
                self.complete = False
            self._keep(merged)

    def _keep(self, merged: list[tuple[int, tuple[int, dict[str, Any]]]]) -> None:
        """Replace the rows. The caller holds the lock."""
        assert self._lock.locked()
        rows = [row for _, (_, row) in merged]
        self._text = orjson.dumps(rows)
        self._requested_at = array("q", [requested_at for _, (requested_at, _) in merged])
        self._stamps = array("q", [stamp for stamp, _ in merged])
        self._kept(rows)

    def _kept(self, rows: Rows) -> None:
        """Take note of the rows that are now kept. The caller holds the lock."""

    def check_empty(self, origin: Origin, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        if len(self):
            self.refuse_empty()

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return all rows, and when each was requested."""
        with self._lock:
            text, requested_at, complete = self._text, self._requested_at, self.complete
        if not requested_at:
            return ()
        return dump.write(self.key, [text], requested_at=requested_at.tolist(), complete=complete)

    def dump_mark(self) -> object:
        return self._known_as_of

    def prepare(self, parts: Iterable[bytes]) -> Restored | None:
        written = dump.read(self.key, parts)
        if written is None:
            return None
        try:
            rows = self.newest_rows(1).decode(written.body())
        except MalformedAnswer as error:
            raise dump.as_decode_error(error) from None
        requested_at, complete = written.facts.get("requested_at"), written.flag("complete")
        if not isinstance(requested_at, list) or any(type(at) is not int for at in requested_at):
            raise DecodeError("bad dump", "the dump does not say when its rows were requested")
        merged = {int(row["timestamp"]): (at, row) for at, row in zip(requested_at, rows, strict=False)}
        if not rows or not len(merged) == len(rows) == len(requested_at):
            raise DecodeError("bad dump", "the dump's rows are not those that its header names")
        as_of, kept = max(requested_at), sorted(merged.items())
        return Restored(as_of, lambda: self._begin_restored(kept, as_of, complete=complete))

    def _begin_restored(
        self, merged: list[tuple[int, tuple[int, dict[str, Any]]]], as_of: int, *, complete: bool
    ) -> None:
        with self._lock:
            if self._requested_at:
                return
            self.answers += 1
            self.complete = complete and len(merged) <= self._depth
            self._known_as_of = as_of
            self.unaudited = True
            self._keep(merged[-self._depth :])

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied | None:
        with self._lock:
            return Copied(None, "", [self._answered, self._known_as_of, self.complete], [], [self._text])

    def take_copy(self, copied: Copied) -> bool:
        answered, known_as_of, complete = copied.facts
        rows = orjson.loads(copied.body[0]) if copied.body is not None else None
        with self._lock:
            if answered < self._answered:
                return False
            self._answered, self._known_as_of, self.complete = answered, known_as_of, complete
            if copied.body is not None and rows is not None:
                self._text = copied.body[0]
                self._stamps = array("q", [int(row["timestamp"]) for row in rows])
                self._requested_at = array("q", [known_as_of] * len(rows))
                self._kept(rows)
        return True

    @staticmethod
    def event_in(copied: Copied) -> int:
        return int(copied.facts[1])

    # --- what it needs ---------------------------------------------------------------------------

    @abstractmethod
    def newest_rows(self, limit: int) -> Request[Rows]:
        """Return the request for the newest ``limit`` rows."""

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[Rows]:
        limit = self._warm_up
        if newest := self.newest():
            limit = min(limit, max(2, candles_between(self.key.interval, newest, now) + 1))
        return self.newest_rows(limit)

    def unsettled(self, now: int) -> str:
        return "" if self._answered else "the answer was about the contract that had the name before"

    def state(self, now: int) -> SeriesState:
        # It is as old as the answer that brought it, and all of that counts at once.
        with self._lock:
            return SeriesState(event=self._known_as_of, answered=self._answered, rows=len(self), complete=self.complete)

    def polled_event(self, since: int) -> int:
        with self._lock:
            return self._known_as_of if 0 < self._answered >= since else -1

    def newest(self) -> int:
        """Return the newest row's timestamp (ms), 0 for none."""
        stamps = self._stamps
        return stamps[-1] if stamps else 0

    def read(self, limit: int) -> Rows:
        """Return the newest ``limit`` rows, the caller's own, oldest first, as the exchange wrote them."""
        rows: Rows = orjson.loads(self._text)
        return rows[-limit:]

    def __len__(self) -> int:
        return len(self._stamps)


class OpenInterestColumns(NamedTuple):
    """``stamps`` in ms, ``amounts`` in the base asset, ``values`` in the quote asset."""

    stamps: Wholes
    amounts: Doubles
    values: Doubles


class OpenInterestSeries(PeriodSeries):
    """Open interest history of one symbol and period."""

    def __init__(self, symbol: str, period: str, depth: int, *, warm_up: int | None = None) -> None:
        super().__init__(Key(Kind.OPEN_INTEREST, symbol, period), depth, warm_up=warm_up)
        # Replaced whole, never changed in place: readers share it.
        self._columns = OpenInterestColumns(array("q"), array("d"), array("d"))

    def newest_rows(self, limit: int) -> Request[Rows]:
        return endpoints.open_interest_hist(self.key.symbol, self.key.interval, limit)

    def _kept(self, rows: Rows) -> None:
        assert self._lock.locked()
        self._columns = OpenInterestColumns(
            self._stamps,
            array("d", [float(row["sumOpenInterest"]) for row in rows]),
            array("d", [float(row["sumOpenInterestValue"]) for row in rows]),
        )

    def columns(self, limit: int) -> OpenInterestColumns:
        """Return :meth:`read` in numbers."""
        stamps, amounts, values = self._columns
        return OpenInterestColumns(stamps[-limit:], amounts[-limit:], values[-limit:])


class RatioSeries(PeriodSeries):
    """One of these series for one symbol and period. ``contract_type()`` is that of the symbol."""

    def __init__(self, key: Key, depth: int, contract_type: Callable[[], str]) -> None:
        super().__init__(key, depth)
        self._contract_type = contract_type

    def newest_rows(self, limit: int) -> Request[Rows]:
        key = self.key
        return endpoints.ratio(key.kind.value, key.symbol, key.interval, limit, contract_type=self._contract_type())
