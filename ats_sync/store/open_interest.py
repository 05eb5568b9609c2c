"""Open interest history: rows as the exchange wrote them in one piece of JSON, and their numbers as columns."""

from __future__ import annotations

import json
import threading
from array import array
from collections.abc import Iterable
from typing import Any, NamedTuple, TypeAlias

from ..feeds import Key, Kind
from ..venue.endpoints import OPEN_INTEREST_REACH
from ..venue.intervals import nominal_length

Doubles: TypeAlias = "array[float]"
Wholes: TypeAlias = "array[int]"


class OpenInterestColumns(NamedTuple):
    """``stamps`` in ms, ``amounts`` in the base asset, ``values`` in the quote asset."""

    stamps: Wholes
    amounts: Doubles
    values: Doubles


class OpenInterestSeries:
    """Open interest history of one symbol and period; of two rows with one timestamp the later answer wins.

    It reaches no further back than the exchange's own.
    """

    def __init__(self, symbol: str, period: str, depth: int) -> None:
        self.key = Key(Kind.OPEN_INTEREST, symbol, period)
        self.depth = depth
        self.complete = False
        self._lock = threading.Lock()  # guards everything below
        self._text = b"[]"
        self._asked_for: Wholes = array("q")
        self._columns = OpenInterestColumns(array("q"), array("d"), array("d"))
        self._asked = 0

    def deepen(self, depth: int) -> None:
        """Keep at least ``depth`` rows from now on."""
        with self._lock:
            self.depth = max(self.depth, depth)

    def merge_rest(self, rows: Iterable[dict[str, Any]], *, asked: int, limit: int) -> None:
        """Merge an answer for the newest ``limit`` rows, asked for at exchange time ``asked`` (ms)."""
        rows = list(rows)
        with self._lock:
            stamps = self._columns.stamps
            held = dict(zip(stamps, zip(self._asked_for, json.loads(self._text), strict=True), strict=True))
            if len(rows) < limit:
                self.complete = True
            elif held and int(rows[0]["timestamp"]) > stamps[-1] + nominal_length(self.key.interval):
                # It does not reach back to what is held: there may be rows in between.
                held.clear()
                self.complete = False
            for row in rows:
                stamp = int(row["timestamp"])
                known = held.get(stamp)
                if known is None or known[0] <= asked:
                    held[stamp] = (asked, row)
            self._asked = max(self._asked, asked)
            oldest = self._asked - OPEN_INTEREST_REACH
            merged = sorted(item for item in held.items() if item[0] >= oldest)
            if len(merged) > self.depth:
                del merged[: len(merged) - self.depth]
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

    def asked(self) -> int:
        """Exchange time (ms) of the newest answer, 0 for none: open interest is as old as that."""
        return self._asked

    def newest(self) -> int:
        """The newest row's timestamp (ms), 0 for none."""
        stamps = self._columns.stamps
        return stamps[-1] if stamps else 0

    def read(self, limit: int) -> list[dict[str, Any]]:
        """The newest ``limit`` rows, the caller's own, oldest first, as the exchange wrote them."""
        rows: list[dict[str, Any]] = json.loads(self._text)
        return rows[-limit:]

    def columns(self, limit: int) -> OpenInterestColumns:
        """As :meth:`read`, in numbers."""
        stamps, amounts, values = self._columns
        return OpenInterestColumns(stamps[-limit:], amounts[-limit:], values[-limit:])

    def __len__(self) -> int:
        return len(self._columns.stamps)
