"""The names, the order and the defaults of the arguments, on which old code relies."""

from __future__ import annotations

import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from compat import binance, binance_safe, klines, oi, realtime_kline_cache, tickers, unified_data_manager

TIMES = ("start_time=None", "end_time=None")
FUNCTIONS: dict[Callable[..., Any], tuple[str, ...]] = {
    binance.get_klines: ("symbol", "interval", "limit=300", *TIMES),
    binance.get_spot_klines: ("symbol", "interval", "limit=300", *TIMES),
    **dict.fromkeys(
        (
            binance.get_basis,
            binance.get_global_long_short_account_ratio,
            binance.get_taker_long_short_ratio,
            binance.get_top_long_short_account_ratio,
            binance.get_top_long_short_position_ratio,
        ),
        ("symbol", "period='1h'", "limit=100", *TIMES),
    ),
    binance.get_open_interest_hist: ("symbol", "period='1h'", "limit=200", *TIMES),
    binance.get_funding_hist: ("symbol", "limit=120", *TIMES),
    binance.get_orderbook_snapshot: ("symbol", "limit=100"),
    binance.get_mark_price: ("symbol",),
    binance.get_funding_rate: ("symbol",),
    binance.get_spot_price: ("symbol",),
    binance.get_all_spot_prices: (),
    binance.get_all_premium_index: (),
    binance.get_liquidations: ("symbol", "interval='5m'", "limit=100", *TIMES),
    binance.get_agg_trades: ("symbol", "limit=500", *TIMES),
    binance.get_ticker_24h: ("symbol=None",),
    binance._get: ("path_or_url", "params=None", "timeout=8.0", "retries=2"),
    binance._get_signed: ("path", "params=None", "timeout=8.0", "retries=2"),
    binance_safe.get_rate_limiter_status: (),
    klines.klines_1h: ("symbol", "limit=300"),
    klines.klines_4h: ("symbol", "limit=200"),
    klines.klines_15m: ("symbol", "limit=300"),
    klines.split_ohlcv: ("rows",),
    oi.fetch_oi_hourly: ("symbol", "limit=200"),
    tickers.all_24h: (),
    tickers.one_24h: ("symbol",),
    unified_data_manager.get_data_manager: (),
    realtime_kline_cache.get_kline_cache: (),
    realtime_kline_cache.RealtimeKlineCache.get_klines: ("self", "symbol", "interval", "limit=300"),
    realtime_kline_cache.RealtimeKlineCache.is_initialized: ("self", "symbol"),
    realtime_kline_cache.RealtimeKlineCache.is_fresh: ("self", "symbol", "max_age_seconds=300"),
    realtime_kline_cache.RealtimeKlineCache.get_stats: ("self",),
    unified_data_manager.UnifiedDataManager.get_stats: ("self",),
}
Unified = unified_data_manager.UnifiedDataManager
COROUTINES: dict[Callable[..., Any], tuple[str, ...]] = {
    binance_safe.batch_get_open_interest_hist: ("symbols", "period='1h'", "limit=200", "batch_size=20"),
    Unified.initialize: ("self", "symbols", "intervals=('1h', '4h', '15m', '1d')", "enable_websocket=True"),
    Unified.close: ("self",),
    Unified.get_klines: ("self", "symbol", "interval", "limit=300"),
    Unified.get_oi_history: ("self", "symbol", "interval='1h'", "limit=100"),
    Unified.get_orderbook: ("self", "symbol", "limit=20"),
    Unified.get_funding_rate: ("self", "symbol"),
    Unified.get_spot_price: ("self", "symbol"),
    Unified.get_liquidation_trades: ("self", "symbol", "limit=500"),
}


def arguments(function: Callable[..., Any]) -> tuple[str, ...]:
    found = inspect.signature(function).parameters.values()
    return tuple(each.name + ("" if each.default is each.empty else f"={each.default!r}") for each in found)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda each: each.__qualname__)
def test_functions(function: Callable[..., Any]) -> None:
    assert not inspect.iscoroutinefunction(function)
    assert arguments(function) == FUNCTIONS[function]
    assert pickle.loads(pickle.dumps(function)) is function, "a process pool pickles it by its name"


@pytest.mark.parametrize("function", COROUTINES, ids=lambda each: each.__qualname__)
def test_coroutines(function: Callable[..., Any]) -> None:
    assert inspect.iscoroutinefunction(function)
    assert arguments(function) == COROUTINES[function]


def test_the_candle_cache_is_initialized_as_before() -> None:
    begin = realtime_kline_cache.RealtimeKlineCache.initialize_batch
    assert inspect.iscoroutinefunction(begin)
    assert [each.partition("=")[0] for each in arguments(begin)] == ["self", "symbols", "intervals", "client"]
    assert arguments(begin)[-1] == "client=None"


def test_new_arguments_are_keyword_only() -> None:
    for function in (binance._get, binance._get_signed):
        kinds = {each.name: each.kind for each in inspect.signature(function).parameters.values()}
        assert kinds["timeout"] is kinds["retries"] is inspect.Parameter.KEYWORD_ONLY


def test_binance_safe_has_the_same_functions() -> None:
    for name in ("get_klines", "get_open_interest_hist", "get_funding_hist", "get_ticker_24h"):
        assert getattr(binance_safe, name) is getattr(binance, name)


def test_attributes() -> None:
    for name in ("last_update", "stats", "config", "initialized", "symbols"):
        assert hasattr(Unified, name)
    assert hasattr(realtime_kline_cache.RealtimeKlineCache, "last_update")
    assert binance.BASE.startswith("http")
    assert binance.SPOT_BASE.startswith("http")
