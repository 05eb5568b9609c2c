"""Rows of one symbol and period that REST is asked for again and again, kept as the exchange wrote them in one piece of
JSON."""

from __future__ import annotations

import json
import threading
from abc import abstractmethod
from array import array
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import orjson

from ..errors import MalformedAnswer
from ..feeds import Cause, Key
from ..venue.endpoints import OPEN_INTEREST_REACH, Request
from ..venue.intervals import candles_between, nominal_length
from ..venue.payload import DecodeError
from . import dump
from .link import Link
from .series import Asked, Series, SeriesState

Rows: TypeAlias = list[dict[str, Any]]
Wholes: TypeAlias = "array[int]"


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
        self._asked_for: Wholes = array("q")
        self._asked = 0
        self._known_as_of = 0  # as _asked, or when the newest of the loaded rows was asked for

    @property
    def depth(self) -> int:
        return self._depth

    def deepen(self, rows: int) -> None:
        with self._lock:
            self._depth = max(self._depth, rows)

    def apply(self, frame: bytes, link: Link) -> None:
        raise NotImplementedError(f"{self.key} has no stream")

    def replace(self, answer: Rows, asked: Asked) -> None:
        """Merge an answer for the newest rows."""
        rows, at = answer, asked.at
        with self._lock:
            stamps = self._stamps
            held = dict(zip(stamps, zip(self._asked_for, orjson.loads(self._text), strict=True), strict=True))
            whole, length = len(rows) < asked.rows, nominal_length(self.key.interval)
            if held and rows and not whole and int(rows[0]["timestamp"]) > stamps[-1] + length:
                # It does not reach back to what is known: there may be rows in between.
                held.clear()
                self.complete = False
            elif held and rows and int(rows[-1]["timestamp"]) + length < stamps[0]:
                rows = []  # It came late, and ends before what is known: likewise.
            elif whole and (not held or (rows and int(rows[0]["timestamp"]) <= stamps[0])):
                self.complete = True
            for row in rows:
                stamp = int(row["timestamp"])
                known = held.get(stamp)
                if known is None or known[0] <= at:
                    held[stamp] = (at, row)
            self._asked = max(self._asked, at)
            self._known_as_of = max(self._known_as_of, at)
            oldest = self._known_as_of - OPEN_INTEREST_REACH
            merged = sorted(item for item in held.items() if item[0] >= oldest)
            if len(merged) > self._depth:
                del merged[: len(merged) - self._depth]
                self.complete = False
            self._keep(merged)

    def _keep(self, merged: list[tuple[int, tuple[int, dict[str, Any]]]]) -> None:
        """Replace what is held. The lock is held."""
        assert self._lock.locked()
        rows = [row for _, (_, row) in merged]
        self._text = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).encode()
        self._asked_for = array("q", [asked for _, (asked, _) in merged])
        self._stamps = array("q", [stamp for stamp, _ in merged])
        self._kept(rows)

    def _kept(self, rows: Rows) -> None:
        """Take note of the rows that are now kept. The lock is held."""

    def check_empty(self, asked: Asked, may_be_new: Callable[[], bool], shows_no_trade: Callable[[], bool]) -> None:
        if len(self):
            self.refuse_empty()

    # --- written down ----------------------------------------------------------------------------

    def dump(self) -> Iterable[bytes]:
        """Return all rows, and when each was asked for."""
        with self._lock:
            text, asked, complete = self._text, self._asked_for, self.complete
        return dump.write(self.key, [text], asked=asked.tolist(), complete=complete) if asked else ()

    def load(self, parts: Iterable[bytes]) -> None:
        written = dump.read(self.key, parts)
        if written is None:
            return
        try:
            rows = self.newest_rows(1).decode(written.body())
        except MalformedAnswer as error:
            raise dump.as_decode_error(error) from None
        asked, complete = written.facts.get("asked"), written.flag("complete")
        if not isinstance(asked, list) or any(type(at) is not int for at in asked):
            raise DecodeError("bad dump", "the dump does not say when its rows were asked for")
        merged = {int(row["timestamp"]): (at, row) for at, row in zip(asked, rows, strict=False)}
        if not rows or not len(merged) == len(rows) == len(asked):
            raise DecodeError("bad dump", "the dump's rows are not those that its header names")
        with self._lock:
            if self._asked_for:
                return
            self.complete = complete and len(rows) <= self._depth
            self._known_as_of = max(asked)
            self._keep(sorted(merged.items())[-self._depth :])

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
        return "" if self._asked else "what came was asked of the contract that had the name before"

    def state(self, now: int) -> SeriesState:
        # It is as old as the answer that brought it.
        return SeriesState(event=self._known_as_of, answered=self._asked, rows=len(self), complete=self.complete)

    def newest(self) -> int:
        """The newest row's timestamp (ms), 0 for none."""
        stamps = self._stamps
        return stamps[-1] if stamps else 0

    def read(self, limit: int) -> Rows:
        """Return the newest ``limit`` rows, the caller's own, oldest first, as the exchange wrote them."""
        rows: Rows = orjson.loads(self._text)
        return rows[-limit:]

    def __len__(self) -> int:
        return len(self._stamps)
