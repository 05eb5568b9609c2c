"""The old ``RealtimeKlineCache``: the candles of the shared manager."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from ats_sync import Statistics, get_data_manager, memory_only

from .binance import Row, Whole, get_klines
from .unified_data_manager import UnifiedDataManager

_INFIX = "_klines_"


class KlineStatistics(Statistics):
    """The counts of the manager, some also under their old names."""

    total_symbols: int
    initialized_symbols: int
    total_klines: int
    total_updates: int
    hit_rate: str


class RealtimeKlineCache:
    """The candles of the symbols that ``ats_sync.get_data_manager()`` follows. Symbols may be lower case."""

    async def initialize_batch(
        self, symbols: Iterable[str], intervals: Iterable[str] = ("1h", "5m", "15m"), client: object = None
    ) -> None:
        """Follow the candles of these symbols and wait until they are warm. ``client`` is not used."""
        await UnifiedDataManager().initialize(symbols, intervals)

    def get_klines(self, symbol: str, interval: str, limit: Whole = 300) -> list[Row]:
        """Return candles as :func:`compat.binance.get_klines` does, oldest first, the last one open.

        On the thread of a running event loop it does not wait for REST: if memory is not fresh, it raises
        :class:`~ats_sync.NotInMemory`.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return get_klines(symbol, interval, limit)
        with memory_only():
            return get_klines(symbol, interval, limit)

    @property
    def last_update(self) -> dict[str, float]:
        """The time (epoch seconds) of the newest candle event or answer of each symbol."""
        newest: dict[str, float] = {}
        for name, moment in get_data_manager().last_update.items():
            symbol, infix, _ = name.rpartition(_INFIX)
            if infix:
                newest[symbol] = max(moment, newest.get(symbol, 0.0))
        return newest

    def is_initialized(self, symbol: str) -> bool:
        """Return whether this symbol is followed and the manager has started."""
        manager = get_data_manager()
        return manager.initialized and symbol.upper() in manager.symbols

    def is_fresh(self, symbol: str, max_age_seconds: float = 300) -> bool:
        """Return whether an event or answer with this symbol's candles came in the last ``max_age_seconds``."""
        moment = self.last_update.get(symbol.upper())
        return moment is not None and get_data_manager().clock.exchange() - moment < max_age_seconds

    def get_stats(self) -> KlineStatistics:
        """Return the counts of :meth:`ats_sync.DataManager.get_stats`, some also under their old names."""
        stats = get_data_manager().get_stats()
        return {
            **stats,
            "total_symbols": stats["symbols_count"],
            "initialized_symbols": len(self.last_update),
            "total_klines": stats["klines_cached"],
            "total_updates": stats["ws_updates"],
            "hit_rate": stats["cache_hit_rate"],
        }


_cache = RealtimeKlineCache()


def get_kline_cache() -> RealtimeKlineCache:
    """Return the process's one view of its shared manager."""
    return _cache
