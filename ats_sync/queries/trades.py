"""Aggregated trades without a hole."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ..clock import Reading
from ..feeds import Key, Kind
from ..reads import Query, Reads
from ..store.series import SeriesState
from ..store.trade_columns import TradeColumns
from ..store.trades import TradeSeries
from ..venue import endpoints
from ..venue.payload import DecodeError
from ..venue.trades import Trade

T = TypeVar("T")


class _OfTrades(Query[T]):
    __slots__ = ()

    def __init__(self, symbol: str, limit: int, max_age: float | None) -> None:
        super().__init__(Key(Kind.TRADES, symbol), limit, max_age)

    def ask(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        # They weigh the same; as many as the series needs, so that its own request is this one.
        rows = self.limit if series is None else max(self.limit, series.capacity)
        request = endpoints.agg_trades(self.key.symbol, min(rows, endpoints.AGG_TRADES_MOST))
        return reads.fetch(self.key, request)[-self.limit :]

    def newest(self, series: TradeSeries) -> list[Trade] | None:
        try:
            return series.read(self.limit) or None
        except DecodeError:
            return None


class Trades(_OfTrades[list[Trade]]):
    """The newest aggregated trades, oldest first, ids without a hole."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], list[Trade]]]:
        return series.state(0), lambda: series.read(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        return self.ask(series, reads)

    def known(self, series: TradeSeries) -> list[Trade] | None:
        return self.newest(series)


class TradesInColumns(_OfTrades[TradeColumns | list[Trade]]):
    """As :class:`Trades`, in columns of numbers where they are answered from memory."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], TradeColumns]]:
        return series.state(0), lambda: series.columns(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        return self.ask(series, reads)

    def known(self, series: TradeSeries) -> list[Trade] | None:
        return self.newest(series)
