"""The old ``RealtimeKlineCache``."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
from typing import Any

import pytest

from ats_sync import DataManager, NotInMemory, get_data_manager
from ats_sync.simulator import SimulatedExchange
from compat.realtime_kline_cache import RealtimeKlineCache, get_kline_cache

from ..support import from_memory, reads, until
from .conftest import STRANGER, SYMBOLS, Recorded, Wire

pytestmark = pytest.mark.shared_threads

QUIET, CHINESE = SYMBOLS[1], SYMBOLS[2]
NOBODY = "ASTERUSDT"
"""Listed, and not read by any test."""


def test_one_for_the_process() -> None:
    assert get_kline_cache() is get_kline_cache()
    assert inspect.iscoroutinefunction(RealtimeKlineCache.initialize_batch)


def test_before_it_is_initialized(recorded: Recorded) -> None:
    cache = get_kline_cache()
    assert not cache.is_initialized("BTCUSDT")
    assert not cache.is_fresh("BTCUSDT")
    assert cache.last_update == {}
    body = recorded.answer("compat/klines")
    assert cache.get_klines("btcusdt", "1h") == body
    assert recorded.sent()[0][1] == {"symbol": "BTCUSDT", "interval": "1h", "limit": "300"}


class TestInitialized:
    def test_rows_are_those_of_rest(self, live: DataManager, wire: Wire, exchange: SimulatedExchange) -> None:
        cache = get_kline_cache()
        wire.equal_without_request(
            lambda: cache.get_klines(CHINESE.lower(), "1h"),
            lambda: exchange.rest("/fapi/v1/klines", symbol=CHINESE, interval="1h", limit=300),
        )

    def test_on_the_loop_it_reads_memory_and_never_waits(self, live: DataManager) -> None:
        cache = get_kline_cache()

        async def scan(symbol: str) -> Any:
            return cache.get_klines(symbol, "1h", 30)

        def in_memory() -> Any:
            with contextlib.suppress(NotInMemory):  # its stream is late on a busy machine
                return asyncio.run(scan(QUIET))

        before = reads(live)
        assert len(until(in_memory)) == 30
        with pytest.raises(NotInMemory, match=STRANGER):
            asyncio.run(scan(STRANGER))
        assert reads(live) == before
        # From then on it is followed, so another thread's read may find it warm already.
        assert len(cache.get_klines(STRANGER, "1h", 30)) == 30
        assert reads(live) <= before + 1

    def test_what_it_reports_about_itself(self, live: DataManager) -> None:
        cache = get_kline_cache()
        # What other tests have read is followed as well.
        assert set(cache.last_update) >= set(SYMBOLS)
        newest = max(live.last_update[f"{QUIET}_klines_{interval}"] for interval in live.intervals)
        assert cache.last_update[QUIET] >= newest - 0.001
        assert cache.is_initialized(CHINESE.lower())
        assert not cache.is_initialized(STRANGER)
        assert cache.is_fresh(CHINESE.lower())
        assert cache.is_fresh(CHINESE, max_age_seconds=3600)
        assert not cache.is_fresh(CHINESE, max_age_seconds=0)
        assert not cache.is_fresh(NOBODY)
        stats = cache.get_stats()
        assert stats["total_symbols"] == len(SYMBOLS) <= stats["initialized_symbols"]
        assert stats["total_klines"] == stats["klines_cached"] >= 4 * 4 * 300
        assert stats["total_updates"] > 0
        assert stats["hit_rate"].endswith("%")
        assert {"cache_hits", "cache_misses"} <= set(stats)

    def test_more_can_be_initialized(self, live: DataManager) -> None:
        cache = get_kline_cache()
        asyncio.run(cache.initialize_batch([STRANGER.lower()], ["5m"], client=object()))
        try:
            assert cache.is_initialized(STRANGER)
            assert len(from_memory(live, lambda: cache.get_klines(STRANGER, "5m", 300))) == 300
        finally:
            get_data_manager().unwatch([STRANGER])
        assert not cache.is_initialized(STRANGER)
