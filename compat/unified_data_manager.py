"""The old design's ``UnifiedDataManager``: the shared manager's reads as coroutines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import TypedDict, TypeVar

import ats_sync
from ats_sync import (
    CandleEvent,
    DataManager,
    EventIterator,
    FundingRate,
    KlineRow,
    Missed,
    OpenInterest,
    OrderBook,
    Statistics,
    Turn,
)

from ._event_loop import read_without_blocking

T = TypeVar("T")


class LiquidationTrade(TypedDict):
    """One aggregated trade; ``time`` is ms."""

    price: float
    qty: float
    time: int
    isBuyerMaker: bool


class UnifiedDataManager:
    """A view of ``ats_sync.get_data_manager()`` for code that runs in an event loop.

    A read never blocks the loop: data that is fresh in memory is returned at once, anything else is read on a thread of
    the loop's default executor. Shapes, sources and errors are those of :class:`ats_sync.DataManager`; reads raise
    :class:`~ats_sync.NotRunning` before :meth:`initialize`. Symbols may be lower case.
    """

    @property
    def config(self) -> Mapping[str, int | float]:
        """Depths and intervals (seconds) under their old names, read-only; set them by :class:`ats_sync.Config`.

        The update intervals are the maximum ages at which each kind counts as fresh.
        """
        config = self._manager.config
        return MappingProxyType(
            {
                "max_klines": config.max_klines,
                "max_trades": config.max_trades,
                "max_oi": config.max_open_interest,
                "oi_update_interval": 300,
                "funding_update_interval": 3600,
                "spot_update_interval": 60,
                "liquidation_update_interval": 300,
                "rest_timeout": config.read_timeout,
                "ws_reconnect_delay": 5,
            }
        )

    @property
    def initialized(self) -> bool:
        """Whether :meth:`initialize` has succeeded and :meth:`close` has not been called since."""
        return self._manager.initialized

    @property
    def symbols(self) -> list[str]:
        """The symbols that are followed."""
        return list(self._manager.symbols)

    @property
    def last_update(self) -> Mapping[str, float]:
        """Epoch seconds by ``{symbol}_klines_{interval}``, ``_oi``, ``_orderbook``, ``_funding``, ``_spot``, …."""
        return self._manager.last_update

    @property
    def stats(self) -> Statistics:
        """The same as :meth:`get_stats`."""
        return self.get_stats()

    def get_stats(self) -> Statistics:
        """Return the counts of :meth:`ats_sync.DataManager.get_stats`."""
        return self._manager.get_stats()

    async def initialize(
        self,
        symbols: Iterable[str],
        intervals: Iterable[str] = ("1h", "4h", "15m", "1d"),
        enable_websocket: bool = True,
    ) -> None:
        """Follow these symbols and wait until they are warm. If cancelled, it closes what it started."""
        manager = self._manager
        was_running = manager.running
        try:
            await asyncio.to_thread(manager.initialize, symbols, intervals, enable_websocket)
        except asyncio.CancelledError:
            # The thread waits for the market, however long that takes, and a loop that ends waits for the thread.
            if not was_running:
                await asyncio.to_thread(manager.close)
            raise

    async def close(self) -> None:
        """End every thread and connection. May be called again; :meth:`initialize` works again after it."""
        await asyncio.to_thread(self._manager.close)

    async def get_klines(self, symbol: str, interval: str, limit: int = 300) -> list[KlineRow]:
        """Return candles, oldest first, the last one open; times and trades int, the rest float."""
        return await self._read(lambda manager: manager.get_klines(symbol, interval, limit))

    async def get_oi_history(self, symbol: str, interval: str = "1h", limit: int = 100) -> list[OpenInterest]:
        """Return ``{"timestamp", "sumOpenInterest", "sumOpenInterestValue"}``, oldest first."""
        return await self._read(lambda manager: manager.get_oi_history(symbol, interval, limit))

    async def get_orderbook(self, symbol: str, limit: int = 20) -> OrderBook:
        """Return ``{"bids": [[price, quantity], …], "asks", "timestamp", "lastUpdateId"}``, floats, best first."""
        return await self._read(lambda manager: manager.get_orderbook(symbol, limit))

    async def get_funding_rate(self, symbol: str) -> FundingRate:
        """Return ``{"rate", "nextTime", "markPrice", "timestamp"}``."""
        return await self._read(lambda manager: manager.get_funding_rate(symbol))

    async def get_spot_price(self, symbol: str) -> float:
        """Return the price of the spot pair of the same name."""
        return await self._read(lambda manager: manager.get_spot_price(symbol))

    async def get_liquidation_trades(self, symbol: str, limit: int = 500) -> list[LiquidationTrade]:
        """Return ``{"price", "qty", "time", "isBuyerMaker"}`` of aggregated trades, oldest first."""
        trades = await self._read(lambda manager: manager.get_liquidation_trades(symbol, limit))
        return [
            {
                "price": trade["price"],
                "qty": trade["qty"],
                "time": trade["time"],
                "isBuyerMaker": trade["isBuyerMaker"],
            }
            for trade in trades
        ]

    def turns(
        self,
        interval: str,
        *,
        grace: float = 3.0,
        symbols: Iterable[str] | None = None,
        since: int | None = None,
        timeout: float | None = None,
    ) -> EventIterator[Turn]:
        """Return :meth:`ats_sync.DataManager.turns`, for ``async for turn in …``."""
        return self._manager.turns(interval, grace=grace, symbols=symbols, since=since, timeout=timeout)

    def closed(
        self,
        symbols: Iterable[str] | None = None,
        intervals: Iterable[str] | None = None,
        *,
        since: int | None = None,
        timeout: float | None = None,
        provisional: float | None = None,
    ) -> EventIterator[CandleEvent | Missed]:
        """Return :meth:`ats_sync.DataManager.closed`, for ``async for candle in …``."""
        return self._manager.closed(symbols, intervals, since=since, timeout=timeout, provisional=provisional)

    @property
    def _manager(self) -> DataManager:
        return ats_sync.get_data_manager()

    async def _read(self, read: Callable[[DataManager], T]) -> T:
        manager = self._manager
        return await read_without_blocking(lambda: read(manager))


_unified = UnifiedDataManager()


def get_data_manager() -> UnifiedDataManager:
    """Return the process's one view of its shared manager."""
    return _unified
