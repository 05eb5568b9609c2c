"""Rows by period: open interest and the ratios."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from ..clock import Reading
from ..feeds import Key, Kind
from ..reads import Query, Reads
from ..store.periods import OpenInterestColumns, OpenInterestSeries, RatioSeries
from ..store.series import SeriesState
from ..venue import endpoints

T = TypeVar("T")


class _OfOpenInterest(Query[T]):
    __slots__ = ()

    def __init__(self, symbol: str, period: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind.OPEN_INTEREST, symbol, period), limit, max_age)

    def ask(self, reads: Reads) -> list[dict[str, Any]]:
        symbol, period = self.key.symbol, self.key.interval
        rows = reads.fetch(self.key, endpoints.open_interest_hist(symbol, period, self.limit))
        if not rows:
            # For a symbol it does not know, this endpoint answers with an empty list.
            reads.check_listed(symbol)
        return [dict(row) for row in rows[-self.limit :]]


class OpenInterest(_OfOpenInterest[list[dict[str, Any]]]):
    """The newest rows of open interest, the caller's own, as the exchange wrote them, oldest first."""

    __slots__ = ()

    def look(
        self, series: OpenInterestSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[dict[str, Any]]]]:
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: OpenInterestSeries | None, reads: Reads) -> list[dict[str, Any]]:
        return self.ask(reads)

    def known(self, series: OpenInterestSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None


class OpenInterestInColumns(_OfOpenInterest[OpenInterestColumns | list[dict[str, Any]]]):
    """As :class:`OpenInterest`, in columns of numbers where they are answered from memory."""

    __slots__ = ()

    def look(
        self, series: OpenInterestSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], OpenInterestColumns]]:
        return series.state(0), lambda: series.columns(self.limit)

    def fetch(self, series: OpenInterestSeries | None, reads: Reads) -> list[dict[str, Any]]:
        return self.ask(reads)

    def known(self, series: OpenInterestSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None


class RatioRows(Query[list[dict[str, Any]]]):
    """The newest rows of a ratio, the caller's own, as the exchange wrote them, oldest first."""

    __slots__ = ()

    def __init__(self, kind: str, symbol: str, period: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind(kind), symbol, period), limit, max_age)

    def look(
        self, series: RatioSeries, reads: Reads, time: Reading
    ) -> tuple[SeriesState, Callable[[], list[dict[str, Any]]]]:
        series.deepen(self.limit)
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: RatioSeries | None, reads: Reads) -> list[dict[str, Any]]:
        kind, symbol, period = self.key
        # As many as the series needs at first, so that its own request is this one.
        limit = self.limit if series is None or len(series) else max(self.limit, series.depth)
        contract_type = reads.store.contract_type(symbol)
        request = endpoints.ratio(kind.value, symbol, period, limit, contract_type=contract_type)
        rows = reads.fetch(self.key, request)
        if not rows:
            # For a symbol it does not know, this endpoint may answer with an empty list.
            reads.check_listed(symbol)
        return [dict(row) for row in rows[-self.limit :]]

    def known(self, series: RatioSeries) -> list[dict[str, Any]] | None:
        return series.read(self.limit) or None
