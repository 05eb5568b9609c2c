from __future__ import annotations

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

from .support import all_live, until


def test_what_is_counted() -> None:
    with (
        SimulatedExchange(symbols=2, seed=7) as exchange,
        DataManager(exchange.symbols, ["1m", "1h"], config=exchange.config()) as dm,
    ):
        until(lambda: all_live(dm, "trades"))
        for symbol in dm.symbols:
            dm.get_klines(symbol, "1h", 300)
        stats = dm.get_stats()
        assert stats["initialized"] is True
        assert stats["symbols_count"] == 2
        assert stats["klines_cached"] > 900
        assert stats["rest_calls"] == sum(stats["rest_calls_by_cause"].values())
        assert set(stats["rest_calls_by_cause"]) == {"read", "warm-up", "poll", "repair", "audit", "probe"}
        assert stats["cache_hit_rate"].endswith("%")
    closed = dm.get_stats()
    assert closed["initialized"] is False
    assert closed["klines_cached"] == closed["rest_threads"] == 0
    assert closed["ws_updates"] >= stats["ws_updates"] > 0
    assert closed["rest_calls"] >= stats["rest_calls"] > 0
