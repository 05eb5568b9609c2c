from __future__ import annotations

import concurrent.futures
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.simulator import SimulatedExchange, before_turn

from .plain import Rest, rest, until

LIMITED: dict[str, Any] = {
    "weight_limit": 100,
    "spot_weight_limit": 10,
    "funding_limit": 3,
    "oi_limit": 2,
    "ban_patience": 2,
}


@pytest.fixture
def limited() -> Iterator[SimulatedExchange]:
    """An exchange with a small budget, and most of a minute to spend it in."""
    with SimulatedExchange(["BTCUSDT"], in_thread=True, start=before_turn("5m", 290), ban_seconds=2.0, **LIMITED) as ex:
        yield ex


def test_answers_are_json_with_the_used_weight(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        first = client.get("/fapi/v1/time")
        second = client.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=3)
        spot = client.get("/api/v3/ticker/price", symbol="BTCUSDT")
    assert abs(first.json()["serverTime"] - ex.now()) < 10_000
    assert first.headers["Content-Type"].startswith("application/json")
    assert [len(row) for row in second.json()] == [12, 12, 12]
    used = [int(response.headers["X-MBX-USED-WEIGHT-1M"]) for response in (first, second)]
    assert used[1] in (used[0] + 1, 1)
    assert int(spot.headers["X-MBX-USED-WEIGHT-1M"]) >= 2


def test_chinese_names_travel_percent_encoded(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        response = client.get("/fapi/v1/premiumIndex", symbol="币安人生USDT")
    assert response.json()["symbol"] == "币安人生USDT"
    assert "币安人生".encode() in response.content


def test_unknown_paths_are_a_page(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        for path in ("/fapi/v1/nothing", "/api/v3/nothing", "/fapi/v1/klines/"):
            response = client.get(path)
            assert response.status_code == 404
            assert response.headers["Content-Type"].startswith("text/html")
            assert "<html" in response.text


def test_error_bodies(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        assert client.code("/fapi/v1/klines", symbol="NOSUCHUSDT", interval="1h") == (400, -1121)
        assert client.code("/fapi/v1/klines", symbol="BTCUSDT", interval="1x") == (400, -1120)
        assert client.code("/fapi/v1/klines") == (400, -1102)
        assert client.code("/fapi/v1/depth", symbol="BTCUSDT", limit=7) == (400, -4021)
        assert client.code("/api/v3/klines", symbol="1000PEPEUSDT", interval="1h") == (400, -1121)


def test_the_header_of_book_tickers_is_wrong(ex: SimulatedExchange) -> None:
    with rest(ex) as client:
        wrong = client.get("/fapi/v1/ticker/bookTicker", symbol="BTCUSDT")
        right = client.get("/fapi/v1/time")
    told = int(wrong.headers["X-MBX-USED-WEIGHT-1M"])
    assert abs(told - int(right.headers["X-MBX-USED-WEIGHT-1M"])) > 1000


def test_over_the_weight_is_429_then_418_then_a_ban(limited: SimulatedExchange) -> None:
    with rest(limited) as client:
        for _ in range(5):
            assert client.get("/fapi/v1/aggTrades", symbol="BTCUSDT").status_code == 200
        answers = [client.get("/fapi/v1/time") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [429, 429, 429, 418]
        assert 1 <= int(answers[0].headers["Retry-After"]) <= 60
        assert int(answers[0].headers["X-MBX-USED-WEIGHT-1M"]) == 101
        assert answers[0].json()["code"] == answers[3].json()["code"] == -1003
        banned = limited.stats().fapi.banned_until
        assert f"banned until {banned}" in answers[3].json()["msg"]
        assert 1 <= int(answers[3].headers["Retry-After"]) <= 2
        # Another host has its own budget.
        assert client.get("/api/v3/time").status_code == 200
        stats = limited.stats().fapi
        assert (stats.refused_429, stats.refused_418) == (3, 1)
        assert stats.during_retry_after == 3
        assert client.get("/fapi/v1/time").status_code == 418
        assert limited.stats().fapi.while_banned == 1


def test_the_log_shows_who_did_not_wait(limited: SimulatedExchange) -> None:
    with rest(limited) as client:
        limited.spend_weight(100)
        client.get("/fapi/v1/ping")
        client.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1h")
    first, second = limited.request_log()
    assert (first.host, first.path, first.status, first.weight, first.waited) == ("fapi", "/fapi/v1/ping", 429, 1, None)
    assert second.params == {"symbol": "BTCUSDT", "interval": "1h"}
    assert second.waited is not None
    assert limited.request_log(since=second.time + 1) == []
    assert limited.request_log(most=1) == [second]


def test_funding_and_open_interest_have_their_own_buckets(limited: SimulatedExchange) -> None:
    with rest(limited) as client:
        paths = ["/fapi/v1/fundingRate", "/fapi/v1/fundingInfo", "/fapi/v1/fundingRate", "/fapi/v1/fundingInfo"]
        assert [client.get(path).status_code for path in paths] == [200, 200, 200, 429]
        oi = [client.get("/futures/data/openInterestHist", symbol="BTCUSDT", period="1h") for _ in range(3)]
        assert [answer.status_code for answer in oi] == [200, 200, 429]
        assert 60 < int(oi[2].headers["Retry-After"]) <= 300
        time_of_day = client.get("/fapi/v1/time")
        assert time_of_day.status_code == 200
        assert time_of_day.headers["X-MBX-USED-WEIGHT-1M"] == "1"


def test_the_minute_is_that_of_the_calendar() -> None:
    with (
        SimulatedExchange(["BTCUSDT"], in_thread=True, start=before_turn("1m", 0.6), weight_limit=10) as ex,
        rest(ex) as client,
    ):
        before = ex.now()
        ex.spend_weight(10)
        refused = client.get("/fapi/v1/ping")
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        until(lambda: ex.now() // 60_000 > before // 60_000)
        assert client.get("/fapi/v1/ping").headers["X-MBX-USED-WEIGHT-1M"] == "1"
        assert sorted(ex.stats().fapi.weight_by_minute.values()) == [1, 11]


def test_latencies_of_concurrent_requests_overlap(ex: SimulatedExchange) -> None:
    ex.latency(0.5)
    clients = [Rest(ex) for _ in range(8)]
    begun = ex.now()
    try:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            assert all(pool.map(lambda client: client.get("/fapi/v1/ping").ok, clients))
    finally:
        for client in clients:
            client.session.close()
    took = ex.now() - begun
    # One after another they would take 4 s.
    assert 500 <= took < 3500


def test_the_truth_costs_and_logs_nothing(ex: SimulatedExchange) -> None:
    used, logged = ex.stats().fapi.used_weight, len(ex.request_log())
    ex.fail_rest("500")
    rows = ex.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5)
    assert len(rows) == 5
    assert ex.rest("/api/v3/ticker/price", symbol="BTCUSDT")["symbol"] == "BTCUSDT"
    assert ex.stats().fapi.used_weight <= used
    assert len(ex.request_log()) == logged


@pytest.mark.parametrize("shared", [True, False])
def test_a_coin_margined_program_spends_the_same_minute(shared: bool) -> None:
    start = before_turn("1m", 55.0)
    with (
        SimulatedExchange(
            ["BTCUSDT"], start=start, in_thread=True, weight_limit=60, coin_margined_shares_weight=shared
        ) as ex,
        rest(ex) as client,
    ):
        assert client.session.get(ex.fapi_url + "/dapi/v1/premiumIndex").headers["X-MBX-USED-WEIGHT-1M"] == "10"
        assert ex.spend_weight(30, "dapi") == 40
        answer = client.get("/fapi/v1/aggTrades", symbol="BTCUSDT")
        assert answer.headers["X-MBX-USED-WEIGHT-1M"] == ("60" if shared else "20")
        # Each exchangeInfo still states the full figure.
        info = client.session.get(ex.fapi_url + "/dapi/v1/exchangeInfo")
        assert (info.status_code == 429) == shared
        if not shared:
            assert info.json()["rateLimits"][0]["limit"] == 60
        assert ex.stats().dapi.requests_by_path == {"/dapi/v1/premiumIndex": 1, "/dapi/v1/exchangeInfo": 1}
        assert (ex.stats().fapi.used_weight, ex.stats().dapi.used_weight) == ((61, 61) if shared else (20, 41))


def test_the_used_weight_can_be_left_out() -> None:
    with SimulatedExchange(["BTCUSDT"], in_thread=True, weight_header=False) as ex, rest(ex) as client:
        answer = client.get("/fapi/v1/time")
        assert answer.status_code == 200
        assert not [name for name in answer.headers if "USED-WEIGHT" in name.upper()]
