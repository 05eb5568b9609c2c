"""The names that users import: which ones exist, and that they show as users write them."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
import pickle
import types
import typing

import pytest

import ats_sync
from ats_sync.cli import main

NAMES = {
    "the manager": "DataManager KlineBatch RestShaped get_data_manager memory_only reset_data_manager",
    "settings": "Clock Config __version__",
    "events": "CallbackHandle CandleEvent ContractChange EventIterator Missed Turn",
    "status": "ConnectionStatus SharedStatus SnapshotStatus FeedState FeedStatus Overall Quality Status",
    "results": """AggTrade ForcedOrder FundingRate KlineRow OpenInterest OrderBook Quote Ratio Statistics SymbolInfo
        Ticker""",
    "rows of REST": """RestAggTrade RestDepth RestForceOrder RestFunding RestOpenInterest RestPremiumIndex RestRatio
        RestTicker24h""",
    "errors": """AccessDenied AtsSyncError CertificateRejected ConfigError ConnectionFailed DataError
        DataUnavailableError ExchangeFailure HostNotFound InvalidArgument InvalidInterval InvalidSymbol MalformedAnswer
        MissingExtra NoSpotPair NotInMemory NotRunning ProxyRefused RateLimited ReentrantCall RequestError
        RequestRejected RequestTimeout SharedStoreUnavailable StaleDataError StartTimeout
        ThreadUnavailable""",
}
SHIM = {
    "binance": """get_agg_trades get_all_premium_index get_all_spot_prices get_basis get_funding_hist
        get_funding_rate get_klines get_liquidations get_mark_price get_open_interest_hist get_orderbook_snapshot
        get_spot_klines get_spot_price get_global_long_short_account_ratio get_taker_long_short_ratio get_ticker_24h
        get_top_long_short_account_ratio get_top_long_short_position_ratio BASE SPOT_BASE
        API_KEY API_SECRET _get _get_signed""",
    "binance_safe": """batch_get_open_interest_hist get_funding_hist get_klines get_open_interest_hist
        get_rate_limiter_status get_ticker_24h""",
    "klines": "klines_15m klines_1h klines_4h split_ohlcv",
    "oi": "fetch_oi_hourly",
    "realtime_kline_cache": "RealtimeKlineCache get_kline_cache",
    "tickers": "all_24h one_24h",
    "unified_data_manager": "UnifiedDataManager get_data_manager",
}
CLASSES = [item for name in ats_sync.__all__ if inspect.isclass(item := getattr(ats_sync, name)) and name != "KlineRow"]


def test_these_names_are_exported_and_no_others() -> None:
    assert sorted(" ".join(NAMES.values()).split()) == sorted(ats_sync.__all__)
    public = {
        name
        for name, item in vars(ats_sync).items()
        if not name.startswith("_") and not isinstance(item, types.ModuleType)
    }
    assert public == set(ats_sync.__all__) - {"__version__"}


@pytest.mark.parametrize("module", SHIM)
def test_the_shim_has_the_old_names(module: str) -> None:
    found = vars(importlib.import_module(f"compat.{module}"))
    assert set(SHIM[module].split()) <= set(found)


@pytest.mark.parametrize("exported", CLASSES, ids=lambda exported: exported.__name__)
def test_a_class_shows_under_the_name_that_users_import(exported: type) -> None:
    assert exported.__module__ == "ats_sync"
    assert getattr(ats_sync, exported.__qualname__) is exported
    assert pickle.loads(pickle.dumps(exported)) is exported
    typing.get_type_hints(exported)  # A NameError where an annotation means nothing outside its own module.


def test_functions_show_under_the_name_that_users_import() -> None:
    assert ats_sync.get_data_manager.__module__ == "ats_sync"
    assert ats_sync.memory_only.__module__ == "ats_sync"


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert ats_sync.__version__ == importlib.metadata.version("ats-sync")
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out.strip() == f"ats-sync {ats_sync.__version__}"
