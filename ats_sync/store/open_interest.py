"""Open interest history, and its numbers as columns."""

from __future__ import annotations

from array import array
from typing import NamedTuple, TypeAlias

from ..feeds import Key, Kind
from ..venue import endpoints
from ..venue.endpoints import Request
from .periods import PeriodSeries, Rows, Wholes

Doubles: TypeAlias = "array[float]"


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
