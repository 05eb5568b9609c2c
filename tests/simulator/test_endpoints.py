from __future__ import annotations

import pytest

from ats_sync.simulator import ApiError, Settings
from ats_sync.simulator.endpoints import ENDPOINTS, answer, host_of, make_endpoints
from ats_sync.simulator.market import Market

START = 1_700_049_600_000
HOUR = 3_600_000


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market(["BTCUSDT", "ETHUSDT"], seed=1, start=START)
    market.advance(START + 1000)
    return market


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/fapi/v1/klines", {"limit": "100"}, 1),
        ("/fapi/v1/klines", {"limit": "101"}, 2),
        ("/fapi/v1/klines", {"limit": "500"}, 2),
        ("/fapi/v1/klines", {}, 5),
        ("/fapi/v1/klines", {"limit": "1000"}, 5),
        ("/fapi/v1/klines", {"limit": "1001"}, 10),
        ("/fapi/v1/depth", {"limit": "5"}, 2),
        ("/fapi/v1/depth", {"limit": "50"}, 2),
        ("/fapi/v1/depth", {"limit": "100"}, 5),
        ("/fapi/v1/depth", {}, 1),
        ("/fapi/v1/depth", {"limit": "500"}, 10),
        ("/fapi/v1/depth", {"limit": "1000"}, 20),
        ("/fapi/v1/aggTrades", {"symbol": "BTCUSDT"}, 20),
        ("/fapi/v1/premiumIndex", {"symbol": "BTCUSDT"}, 1),
        ("/fapi/v1/premiumIndex", {}, 10),
        ("/fapi/v1/ticker/24hr", {"symbol": "BTCUSDT"}, 1),
        ("/fapi/v1/ticker/24hr", {}, 40),
        ("/fapi/v1/ticker/bookTicker", {"symbol": "BTCUSDT"}, 2),
        ("/fapi/v1/ticker/bookTicker", {}, 5),
        ("/fapi/v1/exchangeInfo", {}, 1),
        ("/fapi/v1/time", {}, 1),
        ("/fapi/v1/ping", {}, 1),
        ("/futures/data/openInterestHist", {}, 0),
        ("/futures/data/basis", {}, 0),
        ("/fapi/v1/tradingSchedule", {}, 5),
        ("/fapi/v1/klines", {"limit": "1501"}, 10),
        ("/fapi/v1/depth", {"limit": "7"}, 2),
    ],
)
def test_futures_weights(path: str, params: dict[str, str], weight: int) -> None:
    assert ENDPOINTS["fapi"][path].weight(params) == weight


@pytest.mark.parametrize(
    ("path", "params", "weight"),
    [
        ("/api/v3/ticker/price", {"symbol": "BTCUSDT"}, 2),
        ("/api/v3/ticker/price", {}, 4),
        ("/api/v3/klines", {"limit": "1000"}, 2),
    ],
)
def test_spot_weights(path: str, params: dict[str, str], weight: int) -> None:
    assert ENDPOINTS["spot"][path].weight(params) == weight


def test_funding_and_open_interest_have_buckets_of_their_own() -> None:
    futures = ENDPOINTS["fapi"]
    assert futures["/fapi/v1/fundingRate"].bucket == futures["/fapi/v1/fundingInfo"].bucket == "funding"
    assert {futures[path].bucket for path in futures if path.startswith("/futures/data/")} == {"open interest"}
    assert sum(path.startswith("/futures/data/") for path in futures) == 6


KLINES = {"symbol": "BTCUSDT", "interval": "1h"}
TRADES = {"symbol": "BTCUSDT"}


@pytest.mark.parametrize(
    ("path", "params", "code"),
    [
        ("/fapi/v1/klines", {"interval": "1h"}, -1102),
        ("/fapi/v1/klines", {"symbol": "", "interval": "1h"}, -1102),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT"}, -1102),
        ("/fapi/v1/klines", {"symbol": "NOSUCHUSDT", "interval": "1h"}, -1121),
        ("/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "7h"}, -1120),
        ("/fapi/v1/klines", KLINES | {"limit": "0"}, -1130),
        ("/fapi/v1/klines", KLINES | {"limit": "1501"}, -1130),
        ("/fapi/v1/klines", KLINES | {"limit": "ten"}, -1102),
        ("/fapi/v1/klines", KLINES | {"startTime": "2", "endTime": "1"}, -1023),
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": "7"}, -4021),
        ("/fapi/v1/depth", {"symbol": "NOSUCHUSDT"}, -1121),
        ("/fapi/v1/aggTrades", TRADES | {"limit": "1001"}, -1130),
        ("/fapi/v1/klines", KLINES | {"interval": "1s"}, -1120),
        ("/fapi/v1/aggTrades", TRADES | {"fromId": "1", "startTime": str(START)}, -1128),
        ("/fapi/v1/aggTrades", TRADES | {"startTime": str(START - 49 * HOUR)}, -4166),
        ("/fapi/v1/premiumIndex", {"symbol": "NOSUCHUSDT"}, -1121),
        ("/fapi/v1/fundingRate", {"limit": "1001"}, -1130),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT"}, -1102),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "1m"}, -1130),
        ("/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "1h", "limit": "501"}, -1130),
        ("/futures/data/basis", {"pair": "BTCUSDT", "contractType": "NEXT_QUARTER", "period": "1h"}, -1130),
        ("/futures/data/basis", {"pair": "BTCUSDT", "period": "1h"}, -1102),
        ("/futures/data/takerlongshortRatio", {"symbol": "BTCUSDT", "period": "1m"}, -1130),
        ("/futures/data/takerlongshortRatio", {"symbol": "NOSUCHUSDT", "period": "1h"}, -1121),
        ("/fapi/v1/forceOrders", {}, -2014),
        ("/fapi/v1/allForceOrders", {}, -1000),
    ],
)
def test_errors_of_futures(path: str, params: dict[str, str], code: int, market: Market) -> None:
    with pytest.raises(ApiError) as caught:
        answer("fapi", path, params, market)
    assert caught.value.code == code
    assert 400 <= caught.value.status < 500


def test_errors_of_spot(market: Market) -> None:
    with pytest.raises(ApiError) as caught:
        answer("spot", "/api/v3/klines", KLINES | {"limit": "1001"}, market)
    assert caught.value.code == -1130


def test_a_window_of_two_hours_is_served(market: Market) -> None:
    params = TRADES | {"startTime": str(START - 2 * HOUR), "endTime": str(START), "limit": "1000"}
    trades = answer("fapi", "/fapi/v1/aggTrades", params, market)
    assert trades
    assert all(START - 2 * HOUR <= trade["T"] <= START for trade in trades)


def test_limits_default_as_documented(market: Market) -> None:
    assert len(answer("fapi", "/fapi/v1/klines", {"symbol": "BTCUSDT", "interval": "1m"}, market)) == 500
    assert len(answer("fapi", "/fapi/v1/aggTrades", TRADES, market)) == 500
    rows = answer("fapi", "/futures/data/openInterestHist", {"symbol": "BTCUSDT", "period": "1h"}, market)
    assert len(rows) == 30


def test_every_documented_path_answers(market: Market) -> None:
    params = {"symbol": "BTCUSDT", "pair": "BTCUSDT", "contractType": "PERPETUAL", "interval": "1h", "period": "1h"}
    closed = ("/fapi/v1/forceOrders", "/fapi/v1/allForceOrders")
    for host, endpoints in ENDPOINTS.items():
        for path in endpoints:
            if path not in closed:
                answer(host, path, {} if host == "dapi" else params, market)


def test_an_unknown_path_is_404(market: Market) -> None:
    with pytest.raises(ApiError) as caught:
        answer("fapi", "/fapi/v1/nothing", {}, market)
    assert caught.value.status == 404


def test_a_fact_that_changes_is_a_setting(market: Market) -> None:
    settings = Settings(
        kline_weights=((99, 1), (499, 2), (1000, 5), (1500, 10)),
        kline_weight_without_limit=2,
        depth_weights=((20, 3), (500, 11)),
        depth_weight_without_limit=11,
        agg_trades_weight=21,
        trading_schedule_weight=6,
        trade_history=24 * 3600.0,
        data_history=86_400.0,
        wrong_weight_header=False,
    )
    changed = make_endpoints(settings)["fapi"]
    assert [changed["/fapi/v1/klines"].weight({"limit": limit}) for limit in ("99", "100", "500")] == [1, 2, 5]
    assert changed["/fapi/v1/klines"].weight({}) == 2
    assert [changed["/fapi/v1/depth"].weight(query) for query in ({"limit": "20"}, {"limit": "500"}, {})] == [3, 11, 11]
    assert changed["/fapi/v1/aggTrades"].weight({}) == 21
    assert changed["/fapi/v1/tradingSchedule"].weight({}) == 6
    assert not any(endpoint.wrong_weight_header for endpoint in changed.values())
    for path, params, code in (
        ("/fapi/v1/depth", {"symbol": "BTCUSDT", "limit": "50"}, -4021),
        ("/fapi/v1/aggTrades", TRADES | {"startTime": str(START - 25 * HOUR)}, -4166),
        ("/futures/data/openInterestHist", TRADES | {"period": "1h", "startTime": str(START - 25 * HOUR)}, -1130),
    ):
        with pytest.raises(ApiError) as caught:
            answer("fapi", path, params, market, make_endpoints(settings))
        assert caught.value.code == code
        assert answer("fapi", path, params, market) is not None


def test_the_used_weight_of_two_paths_is_wrong_as_documented() -> None:
    wrong = {path for path, endpoint in ENDPOINTS["fapi"].items() if endpoint.wrong_weight_header}
    assert wrong == {"/fapi/v1/ticker/bookTicker", "/fapi/v2/ticker/price"}


def test_each_path_has_its_host() -> None:
    assert all(host_of(path) == host for host, endpoints in ENDPOINTS.items() for path in endpoints)
