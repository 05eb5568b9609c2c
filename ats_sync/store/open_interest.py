"""Open interest history: rows as the exchange wrote them in one piece of JSON, and their numbers as columns."""

from __future__ import annotations

import json
import threading
from array import array
from typing import Any, NamedTuple, TypeAlias

import orjson

from ..feeds import Cause, Key, Kind
from ..venue import endpoints
from ..venue.endpoints import OPEN_INTEREST_REACH, Request
from ..venue.intervals import candles_between, nominal_length
from .link import Link
from .series import Asked, Series, SeriesState

Doubles: TypeAlias = "array[float]"
Wholes: TypeAlias = "array[int]"


class OpenInterestColumns(NamedTuple):
    """``stamps`` in ms, ``amounts`` in the base asset, ``values`` in the quote asset."""

    stamps: Wholes
    amounts: Doubles
    values: Doubles


class OpenInterestSeries(Series):
    """Open interest history of one symbol and period; of two rows with one timestamp the later answer wins.

    It reaches no further back than the exchange's own.
    """

    def __init__(self, symbol: str, period: str, depth: int, *, warm_up: int | None = None) -> None:
        super().__init__(Key(Kind.OPEN_INTEREST, symbol, period))
        self._depth = depth
        self.complete = False
        self._warm_up = depth if warm_up is None else warm_up
        self._lock = threading.Lock()  # guards everything below
        self._text = b"[]"
        self._asked_for: Wholes = array("q")
        self._columns = OpenInterestColumns(array("q"), array("d"), array("d"))
        self._asked = 0

    @property
    def depth(self) -> int:
        return self._depth

    def deepen(self, rows: int) -> None:
        with self._lock:
            self._depth = max(self._depth, rows)

    def apply(self, frame: bytes, link: Link) -> None:
        raise NotImplementedError("open interest has no stream")

    def replace(self, answer: list[dict[str, Any]], asked: Asked) -> None:
        """Merge an answer for the newest rows."""
        rows, at = answer, asked.at
        with self._lock:
            stamps = self._columns.stamps
            held = dict(zip(stamps, zip(self._asked_for, orjson.loads(self._text), strict=True), strict=True))
            if len(rows) < asked.rows:
                self.complete = True
            elif held and int(rows[0]["timestamp"]) > stamps[-1] + nominal_length(self.key.interval):
                # It does not reach back to what is held: there may be rows in between.
                held.clear()
                self.complete = False
            for row in rows:
                stamp = int(row["timestamp"])
                known = held.get(stamp)
                if known is None or known[0] <= at:
                    held[stamp] = (at, row)
            self._asked = max(self._asked, at)
            oldest = self._asked - OPEN_INTEREST_REACH
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
        # Replaced whole, never changed in place: readers share it.
        self._columns = OpenInterestColumns(
            array("q", [stamp for stamp, _ in merged]),
            array("d", [float(row["sumOpenInterest"]) for row in rows]),
            array("d", [float(row["sumOpenInterestValue"]) for row in rows]),
        )

    def request(self, now: int, cause: Cause, link: Link | None) -> Request[list[dict[str, Any]]]:
        limit = self._warm_up
        if newest := self.newest():
            limit = min(limit, max(2, candles_between(self.key.interval, newest, now) + 1))
        return endpoints.open_interest_hist(self.key.symbol, self.key.interval, limit)

    def unsettled(self, now: int) -> str:
        return "" if self._asked else "what came was asked of the contract that had the name before"

    def state(self, now: int) -> SeriesState:
        # Open interest is as old as the answer that brought it.
        asked = self._asked
        return SeriesState(event=asked, answered=asked, rows=len(self), complete=self.complete)

    def newest(self) -> int:
        """The newest row's timestamp (ms), 0 for none."""
        stamps = self._columns.stamps
        return stamps[-1] if stamps else 0

    def read(self, limit: int) -> list[dict[str, Any]]:
        """The newest ``limit`` rows, the caller's own, oldest first, as the exchange wrote them."""
        rows: list[dict[str, Any]] = orjson.loads(self._text)
        return rows[-limit:]

    def columns(self, limit: int) -> OpenInterestColumns:
        """As :meth:`read`, in numbers."""
        stamps, amounts, values = self._columns
        return OpenInterestColumns(stamps[-limit:], amounts[-limit:], values[-limit:])

    def __len__(self) -> int:
        return len(self._columns.stamps)
