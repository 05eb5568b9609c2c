from __future__ import annotations

import pytest

from ats_sync.config import Config
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host, Request, Route

CONFIG = Config()


def params(request: Request) -> dict[str, str | int]:
    return dict(request.params)


@pytest.mark.parametrize(
    ("limit", "weight"),
    [(1, 1), (100, 1), (101, 2), (500, 2), (501, 5), (1000, 5), (1001, 10), (1500, 10)],
)
def test_klines_weigh_by_their_limit(limit: int, weight: int) -> None:
    request = endpoints.klines("BTCUSDT", "1h", limit)
    assert (request.path, request.weight, request.bucket) == ("/fapi/v1/klines", weight, Bucket.FUTURES)
    assert params(request) == {"symbol": "BTCUSDT", "interval": "1h", "limit": limit}


@pytest.mark.parametrize(("limit", "weight"), [(5, 2), (10, 2), (20, 2), (50, 2), (100, 5), (500, 10), (1000, 20)])
def test_depth_weighs_by_its_limit(limit: int, weight: int) -> None:
    assert endpoints.depth("BTCUSDT", limit).weight == weight
    assert limit in endpoints.DEPTH_LIMITS


@pytest.mark.parametrize(
    ("request_", "path", "weight", "bucket"),
    [
        (endpoints.time(), "/fapi/v1/time", 1, Bucket.FUTURES),
        (endpoints.exchange_info(), "/fapi/v1/exchangeInfo", 1, Bucket.FUTURES),
        (endpoints.agg_trades("A", 5), "/fapi/v1/aggTrades", 20, Bucket.FUTURES),
        (endpoints.premium_index("A"), "/fapi/v1/premiumIndex", 1, Bucket.FUTURES),
        (endpoints.premium_index(), "/fapi/v1/premiumIndex", 10, Bucket.FUTURES),
        (endpoints.ticker_24h("A"), "/fapi/v1/ticker/24hr", 1, Bucket.FUTURES),
        (endpoints.ticker_24h(), "/fapi/v1/ticker/24hr", 40, Bucket.FUTURES),
        (endpoints.book_ticker("A"), "/fapi/v1/ticker/bookTicker", 2, Bucket.FUTURES),
        (endpoints.book_ticker(), "/fapi/v1/ticker/bookTicker", 5, Bucket.FUTURES),
        (endpoints.spot_price(), "/api/v3/ticker/price", 4, Bucket.SPOT),
        (endpoints.spot_price("A"), "/api/v3/ticker/price", 2, Bucket.SPOT),
        (endpoints.spot_klines("A", "1h", 5), "/api/v3/klines", 2, Bucket.SPOT),
    ],
)
def test_the_weights_of_the_facts(request_: Request, path: str, weight: int, bucket: Bucket) -> None:
    assert (request_.path, request_.weight, request_.bucket) == (path, weight, bucket)
    assert request_.host is (Host.SPOT if bucket is Bucket.SPOT else Host.FUTURES)


@pytest.mark.parametrize(
    ("request_", "bucket"),
    [
        (endpoints.open_interest_hist("A", "1h", 30), Bucket.OPEN_INTEREST),
        (endpoints.funding_rate("A", 100), Bucket.FUNDING),
    ],
)
def test_what_has_its_own_bucket_counts_requests_and_no_weight(request_: Request, bucket: Bucket) -> None:
    assert request_.host is Host.FUTURES
    assert (request_.bucket, request_.weight) == (bucket, 1)


def test_the_wrong_header_is_ignored() -> None:
    assert not endpoints.book_ticker().used_weight_is_true
    assert endpoints.depth("A", 20).used_weight_is_true


def test_what_is_not_given_is_not_sent() -> None:
    assert params(endpoints.agg_trades("A", 1000, from_id=0)) == {"symbol": "A", "fromId": 0, "limit": 1000}
    assert params(endpoints.klines("A", "1m", 2, start=0, end=1)) == {
        "symbol": "A",
        "interval": "1m",
        "startTime": 0,
        "endTime": 1,
        "limit": 2,
    }
    assert endpoints.premium_index().params == ()


def test_urls_begin_with_the_configured_hosts() -> None:
    config = Config(fapi_base="http://127.0.0.1:1", spot_base="http://127.0.0.1:2/")
    assert endpoints.time().url(config) == "http://127.0.0.1:1/fapi/v1/time"
    assert endpoints.spot_price().url(config) == "http://127.0.0.1:2/api/v3/ticker/price"


def test_streams_have_their_routes() -> None:
    config = Config(fstream_base="ws://127.0.0.1:3", spot_stream_base="ws://127.0.0.1:4")
    assert endpoints.stream_url(config, Route.PUBLIC) == "ws://127.0.0.1:3/public/stream"
    assert endpoints.stream_url(config, Route.MARKET) == "ws://127.0.0.1:3/market/stream"
    assert endpoints.stream_url(config, Route.SPOT) == "ws://127.0.0.1:4/stream"
    assert set(endpoints.MESSAGES_PER_SECOND) == {route.value for route in Route}


def test_stream_names_are_lower_case() -> None:
    assert endpoints.kline_stream("BTCUSDT", "1M") == "btcusdt@kline_1M"
    assert endpoints.kline_stream("币安人生USDT", "1h") == "币安人生usdt@kline_1h"
    assert endpoints.agg_trade_stream("BTCUSDT") == "btcusdt@aggTrade"
    assert endpoints.book_stream("BTCUSDT") == "btcusdt@depth20@100ms"
    assert endpoints.diff_depth_stream("BTCUSDT") == "btcusdt@depth@100ms"
    assert endpoints.MARK_PRICES_STREAM == "!markPrice@arr@1s"
    assert endpoints.LIQUIDATIONS_STREAM == "!forceOrder@arr"
    assert endpoints.TICKERS_STREAM == "!ticker@arr"
    assert endpoints.BOOK_TICKERS_STREAM == "!bookTicker"


@pytest.mark.parametrize(
    ("path", "sent", "weight", "bucket"),
    [
        ("/fapi/v1/klines", {"limit": 1500}, 10, Bucket.FUTURES),
        ("/fapi/v1/klines", {"limit": "99"}, 1, Bucket.FUTURES),
        ("/fapi/v1/klines", {}, 5, Bucket.FUTURES),
        ("/fapi/v1/markPriceKlines", {"limit": 1500}, 10, Bucket.FUTURES),
        ("/fapi/v1/depth", {}, 10, Bucket.FUTURES),
        ("/fapi/v1/depth", {"limit": 1000}, 20, Bucket.FUTURES),
        ("/fapi/v1/aggTrades", {"limit": "many"}, 20, Bucket.FUTURES),
        ("/fapi/v1/ticker/24hr", {}, 40, Bucket.FUTURES),
        ("/fapi/v1/ticker/24hr", {"symbol": "A"}, 1, Bucket.FUTURES),
        ("/futures/data/openInterestHist", {"symbol": "A"}, 1, Bucket.OPEN_INTEREST),
        ("/fapi/v1/fundingInfo", {}, 1, Bucket.FUNDING),
        ("https://api.binance.com/api/v3/klines", {}, 2, Bucket.SPOT),
    ],
)
def test_any_path_is_weighed_at_least_as_heavy_as_it_is(
    path: str, sent: dict[str, str | int], weight: int, bucket: Bucket
) -> None:
    request = endpoints.any_request(path, sent, CONFIG)
    assert request.bucket is bucket
    assert request.weight >= weight
    assert params(request) == sent


@pytest.mark.parametrize("url", ["https://example.org/x", "https://fapi.binance.com.example.org/fapi/v1/klines"])
def test_other_hosts_are_not_counted_as_the_exchange(url: str) -> None:
    request = endpoints.any_request(url, {}, CONFIG)
    assert (request.host, request.bucket) == (Host.OTHER, Bucket.OTHER)
    assert request.url(CONFIG) == url


@pytest.mark.parametrize(
    ("path", "weight"),
    [("/fapi/v1/klines?symbol=A&interval=1m&limit=1500", 10), ("/fapi/v1/depth?symbol=A&limit=1000", 20)],
)
def test_a_limit_in_the_path_is_weighed_too(path: str, weight: int) -> None:
    assert endpoints.any_request(path, {}, CONFIG).weight >= weight


def test_the_wrong_header_is_ignored_with_a_query_too() -> None:
    request = endpoints.any_request("/fapi/v1/ticker/bookTicker?symbol=A", {}, CONFIG)
    assert not request.used_weight_is_true


def test_a_signed_request_signs_its_query_as_it_is_sent() -> None:
    request = endpoints.signed_request(
        "/fapi/v1/allForceOrders", {"symbol": "A", "limit": 5}, CONFIG, key="mine", secret="quiet", now=7
    )
    *query, (last, signature) = request.params
    assert (query, last) == ([("symbol", "A"), ("limit", 5), ("timestamp", 7)], "signature")
    # The signature of symbol=A&limit=5&timestamp=7, made with openssl.
    assert signature == "e550c8cf3aa76a8208ec15dcd06cdea4fd0a45e71962045f6a9f3098bef349aa"
    assert request.headers == (("X-MBX-APIKEY", "mine"),)
    assert request.weight == 20


def test_a_request_shows_its_parameters_and_no_signature() -> None:
    request = Request(Host.FUTURES, "/x", (("symbol", "A"), ("signature", "secret")), headers=(("X-KEY", "secret"),))
    assert str(request) == "/x?symbol=A"
    assert "secret" not in str(request)
    assert "X-KEY" not in repr(request)
