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
from ..venue.trades import Trade, trades_text

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


class TradesText(_OfTrades[bytes]):
    """The newest aggregated trades as REST writes them, oldest first, ids without a hole."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], bytes]]:
        return series.state(0), lambda: series.text(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> bytes:
        return trades_text(self.ask(series, reads))

    def known(self, series: TradeSeries) -> bytes | None:
        found = self.newest(series)
        return trades_text(found) if found is not None else None


class TradesInColumns(_OfTrades[TradeColumns | list[Trade]]):
    """The same in columns of numbers where they are answered from memory."""

    __slots__ = ()

    def look(self, series: TradeSeries, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], TradeColumns]]:
        return series.state(0), lambda: series.columns(self.limit)

    def fetch(self, series: TradeSeries | None, reads: Reads) -> list[Trade]:
        return self.ask(series, reads)

    def known(self, series: TradeSeries) -> list[Trade] | None:
        return self.newest(series)
