"""Open interest, long/short ratios, taker volumes and the basis: rows of one symbol and period that are polled, and
kept as the exchange wrote them."""

from __future__ import annotations

import threading
from abc import abstractmethod
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
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
from .packed import packed_objects
from .series import Copied, Origin, Restored, Series, SeriesState

Rows: TypeAlias = list[dict[str, Any]]
Wholes: TypeAlias = "array[int]"
Doubles: TypeAlias = "array[float]"


class _Row(NamedTuple):
    """One row as it is kept."""

    stamp: int
    """Its timestamp (ms)."""
    requested_at: int
    """When (exchange ms) it was requested."""
    text: bytes


def _rows_of(rows: Rows, requested_at: Sequence[int]) -> list[_Row]:
    """Return rows as they are kept."""
    # Not one by one: whatever orjson writes has room for kilobytes, however short it is.
    texts = orjson.dumps(rows)[2:-2].split(b"},{")
    if len(texts) == len(rows):  # else the same stands within some row
        texts = [b"{%b}" % text for text in texts]
    else:
        texts = [bytes(bytearray(orjson.dumps(row))) for row in rows]
    stamps = [int(row["timestamp"]) for row in rows]
    return list(map(_Row, stamps, requested_at, texts))


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
        self._rows = packed_objects()
        self._version = 0  # another one whenever the rows change
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
            whole, length = len(rows) < origin.rows, nominal_length(self.key.interval)
            if not stamps and rows:
                self.complete = False  # An answer without rows says nothing about those that have come since.
            if stamps and rows and not whole and int(rows[0]["timestamp"]) > stamps[-1] + length:
                # It does not reach back to what is known: there may be rows in between.
                self._keep(0, [])
                self.complete = False
            elif stamps and rows and int(rows[-1]["timestamp"]) + length < stamps[0]:
                rows = []  # It came late and ends before what is known: again there may be rows in between.
            elif whole and (not stamps or (rows and int(rows[0]["timestamp"]) <= stamps[0])):
                self.complete = True
            if rows:
                self._merge(rows, at)
            self._answered = max(self._answered, at)
            self.unaudited = False
            self._known_as_of = max(self._known_as_of, at)
            self._drop_old()

    def _merge(self, rows: Rows, at: int) -> None:
        """Merge rows (at least one) that were requested at exchange time ``at`` (ms). The caller holds the lock."""
        assert self._lock.locked()
        kept = bisect_left(self._stamps, int(rows[0]["timestamp"]))
        texts = self._rows.newest(len(self._stamps) - kept)
        later = {
            stamp: _Row(stamp, requested_at, text)
            for stamp, requested_at, text in zip(self._stamps[kept:], self._requested_at[kept:], texts, strict=True)
        }
        for row in _rows_of(rows, [at] * len(rows)):
            known = later.get(row.stamp)
            if known is None or known.requested_at <= at:
                later[row.stamp] = row
        self._keep(kept, sorted(later.values()))

    def _keep(self, kept: int, later: Sequence[_Row]) -> None:
        """Keep the ``kept`` oldest rows, and after them those that are ``later``. The caller holds the lock."""
        assert self._lock.locked()
        texts = [row.text for row in later]
        known = self._rows.newest(len(self._stamps) - kept)
        if texts[: len(known)] != known:
            self._rows.replace([*self._rows.texts()[:kept], *texts])
            self._version += 1
        elif len(texts) > len(known):
            for text in texts[len(known) :]:
                self._rows.append(text)
            self._rows.tail()  # joins them: no more is appended soon
            self._version += 1
        self._stamps = self._stamps[:kept] + array("q", [row.stamp for row in later])
        self._requested_at = self._requested_at[:kept] + array("q", [row.requested_at for row in later])
        self._note(kept, texts)

    def _drop_old(self) -> None:
        """Drop the rows that are older than the exchange's own, and those beyond the depth. The caller holds the
        lock."""
        assert self._lock.locked()
        gone = bisect_left(self._stamps, self._known_as_of - OPEN_INTEREST_REACH)
        beyond = len(self._stamps) - gone - self._depth
        if beyond > 0:
            gone += beyond
            self.complete = False
        if gone:
            self._rows.drop_oldest(gone)
            self._stamps, self._requested_at = self._stamps[gone:], self._requested_at[gone:]
            self._version += 1
            self._forget(gone)

    def _note(self, kept: int, texts: Sequence[bytes]) -> None:
        """Take note that the ``kept`` oldest rows stay, and that these follow them now. The caller holds the lock."""

    def _forget(self, count: int) -> None:
        """Take note that the ``count`` oldest rows are dropped. The caller holds the lock."""

    def check_empty(self, origin: Origin, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        if len(self):
            self.refuse_empty()

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return all rows, and when each was requested."""
        with self._lock:
            text, requested_at, complete = self._text(len(self)), self._requested_at, self.complete
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
        if not rows or not len({int(row["timestamp"]) for row in rows}) == len(rows) == len(requested_at):
            raise DecodeError("bad dump", "the dump's rows are not those that its header names")
        found = sorted(_rows_of(rows, requested_at))
        as_of = max(requested_at)
        return Restored(as_of, lambda: self._begin_restored(found, as_of, complete=complete))

    def _begin_restored(self, found: Sequence[_Row], as_of: int, *, complete: bool) -> None:
        with self._lock:
            if self._requested_at:
                return
            self.answers += 1
            self.complete = complete and len(found) <= self._depth
            self._known_as_of = as_of
            self.unaudited = True
            self._keep(0, found[-self._depth :])

    # --- for other processes ---------------------------------------------------------------------

    def copied(self, mark: object = None) -> Copied | None:
        with self._lock:
            body = [self._text(len(self))] if mark != self._version else None
            facts = [self._answered, self._known_as_of, self.complete]
            return Copied(None, "", facts, [], body, self._version)

    def take_copy(self, copied: Copied) -> bool:
        answered, known_as_of, complete = copied.facts
        rows = orjson.loads(copied.body[0]) if copied.body is not None else None
        with self._lock:
            if answered < self._answered:
                return False
            self._answered, self._known_as_of, self.complete = answered, known_as_of, complete
            if rows is not None:
                self._keep(0, _rows_of(rows, [known_as_of] * len(rows)))
        return True

    @staticmethod
    def event_in(copied: Copied) -> int:
        return int(copied.facts[1])

    def answer_in(self, copied: Copied, request: Request[Rows], listed: int) -> tuple[Rows, int] | None:
        answered, _, complete = copied.facts
        if not answered or copied.body is None:
            return None
        rows = request.decode(copied.body[0])
        if len(rows) < request.rows and not complete:
            return None
        # Of the others it is not known when they were requested last.
        newest = rows[-request.rows :]
        if newest and int(newest[0]["timestamp"]) + nominal_length(self.key.interval) < listed:
            return None
        return newest, answered

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
        # It is as old as the answer that brought it, all of which counts at once.
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
        with self._lock:
            text = self._text(limit)
        rows: Rows = orjson.loads(text)
        return rows

    def _text(self, limit: int) -> bytes:
        """Return the newest ``limit`` rows as a JSON array. The caller holds the lock."""
        assert self._lock.locked()
        return b"[" + self._rows.slice(limit) + b"]"

    def __len__(self) -> int:
        return len(self._stamps)


class OpenInterestColumns(NamedTuple):
    """``stamps`` in ms, ``amounts`` in the base asset, ``values`` in the quote asset."""

    stamps: Wholes
    amounts: Doubles
    values: Doubles


class OpenInterestSeries(PeriodSeries):
    """The open interest of one symbol and period."""

    def __init__(self, symbol: str, period: str, depth: int, *, warm_up: int | None = None) -> None:
        super().__init__(Key(Kind.OPEN_INTEREST, symbol, period), depth, warm_up=warm_up)
        # Replaced whole, never changed in place: readers share it.
        self._columns = OpenInterestColumns(array("q"), array("d"), array("d"))

    def newest_rows(self, limit: int) -> Request[Rows]:
        return endpoints.open_interest_hist(self.key.symbol, self.key.interval, limit)

    def _note(self, kept: int, texts: Sequence[bytes]) -> None:
        assert self._lock.locked()
        _, amounts, values = self._columns
        rows = orjson.loads(b"[" + b",".join(texts) + b"]")
        self._columns = OpenInterestColumns(
            self._stamps,
            amounts[:kept] + array("d", [float(row["sumOpenInterest"]) for row in rows]),
            values[:kept] + array("d", [float(row["sumOpenInterestValue"]) for row in rows]),
        )

    def _forget(self, count: int) -> None:
        assert self._lock.locked()
        _, amounts, values = self._columns
        self._columns = OpenInterestColumns(self._stamps, amounts[count:], values[count:])

    def columns(self, limit: int) -> OpenInterestColumns:
        """Return what :meth:`read` does, as columns of numbers."""
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
