"""Which requests memory may answer, which are passed on, which are refused."""

from __future__ import annotations

import pytest

from ats_sync.endpoint import routes
from ats_sync.endpoint.replies import Reply
from ats_sync.endpoint.routes import Route, route
from ats_sync.venue.endpoints import BRIEFLY, Host

MEMORY = (
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h"),
    ("/fapi/v1/klines", "limit=1500&interval=1M&symbol=BTCUSDT"),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=1000"),
    ("/fapi/v1/depth", "symbol=BTCUSDT"),
    ("/fapi/v1/depth", "symbol=BTCUSDT&limit=1000"),
    ("/fapi/v1/aggTrades", "symbol=BTCUSDT&limit=1000"),
    ("/fapi/v1/premiumIndex", "symbol=BTCUSDT"),
    ("/fapi/v1/ticker/bookTicker", "symbol=BTCUSDT"),
    ("/futures/data/openInterestHist", "symbol=BTCUSDT&period=5m&limit=500"),
    ("/api/v3/ticker/price", ""),
    ("/api/v3/ticker/price", "symbol=BTCUSDT"),
    ("/fapi/v1/time", ""),
    ("/fapi/v1/ping", ""),
)
EXCHANGE = (
    ("/fapi/v1/ticker/bookTicker", ""),
    ("/fapi/v1/ticker/bookTicker", "symbol=BTCUSDT&limit=5"),
    ("/fapi/v1/klines", ""),
    ("/fapi/v1/klines", "symbol=btcusdt&interval=1h"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&limit=1501"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&limit=0"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&limit=007"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&limit=%D9%A3"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&limit="),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&startTime=1"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&symbol=ETHUSDT"),
    ("/fapi/v1/klines", "symbol=BTCUSDT&interval=1h&unknown=1"),
    ("/api/v3/klines", "symbol=BTCUSDT&interval=1h&limit=1001"),
    ("/fapi/v1/markPriceKlines", "symbol=BTCUSDT&interval=1h"),
    ("/fapi/v1/depth", "symbol=BTCUSDT&limit=30"),
    ("/fapi/v1/aggTrades", "symbol=BTCUSDT&fromId=1"),
    ("/futures/data/openInterestHist", "symbol=BTCUSDT&period=1w"),
    ("/fapi/v1/premiumIndex", "symbol=BTCUSDT&limit=1"),
    ("/fapi/v1/time", "x=1"),
)


@pytest.mark.parametrize(("path", "query"), MEMORY)
def test_memory_may_answer(path: str, query: str) -> None:
    found = route(path, query)
    assert isinstance(found, Route)
    assert found.read is not None
    assert found.host is (Host.SPOT if path.startswith("/api/") else Host.FUTURES)


@pytest.mark.parametrize(("path", "query"), EXCHANGE)
def test_what_is_passed_on_to_the_exchange(path: str, query: str) -> None:
    found = route(path, query)
    assert isinstance(found, Route)
    assert found.read is None
    assert found.target == (f"{path}?{query}" if query else path)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/fapi/v1/order",
        "/fapi/v1/listenKey",
        "/fapi/v3/klines",
        "/dapi/v1/klines",
        "/sapi/v1/x",
        "/futures/data/a/b",
    ],
)
def test_what_is_not_public_is_refused(path: str) -> None:
    found = route(path, "")
    assert isinstance(found, Reply)
    assert found.status == 403


@pytest.mark.parametrize("name", ["signature", "timestamp", "recvWindow"])
def test_signed_requests_are_refused(name: str) -> None:
    found = route("/fapi/v1/klines", f"symbol=BTCUSDT&{name}=1")
    assert isinstance(found, Reply)
    assert found.status == 403


@pytest.mark.parametrize(
    ("path", "query", "seconds"),
    [
        ("/fapi/v1/exchangeInfo", "", 3600.0),
        ("/fapi/v1/exchangeInfo", "symbol=BTCUSDT", 0.0),  # it equals the one for all: one each would fill the memory
        ("/fapi/v1/ticker/24hr", "symbol=BTCUSDT", BRIEFLY),
        ("/fapi/v1/ticker/24hr", "symbol=BTCUSDT&x=1", 0.0),
        ("/fapi/v1/ticker/24hr", "symbol=BTCUSDT&symbol=BTCUSDT", 0.0),
        ("/fapi/v1/ticker/bookTicker", "", 1.0),
        ("/fapi/v1/ticker/bookTicker", "symbol=BTCUSDT", 0.0),
        ("/fapi/v1/trades", "symbol=BTCUSDT", 0.0),
        ("/fapi/v1/fundingRate", "symbol=BTCUSDT", 1740.0),
        ("/fapi/v1/fundingRate", "symbol=BTCUSDT&startTime=1", 0.0),
        ("/fapi/v1/fundingRate", "", 0.0),
    ],
)
def test_for_how_long_an_answer_is_reused(path: str, query: str, seconds: float) -> None:
    found = route(path, query)
    assert isinstance(found, Route)
    half_past = 1_800_000_000.0 + 1800.0
    assert half_past % 3600.0 == 1800.0
    assert found.lifetime(half_past) == seconds


def test_the_same_request_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_known", {})
    monkeypatch.setattr(routes, "_MOST_KNOWN", 3)
    query = "symbol=BTCUSDT&interval=1h&limit={}"
    assert route("/fapi/v1/klines", query.format(1)) is route("/fapi/v1/klines", query.format(1))
    assert route("/api/v3/klines", query.format(1)) is not route("/fapi/v1/klines", query.format(1))
    for limit in range(20):
        route("/fapi/v1/klines", query.format(limit))
        assert len(routes._known) <= 3
    before = dict(routes._known)
    route("/fapi/v1/klines", query.format(1) + "&signature=abc")
    route("/fapi/v1/klines", query.format(1) + "&x=" + 300 * "y")
    assert routes._known == before, "neither keys nor long queries are kept"
