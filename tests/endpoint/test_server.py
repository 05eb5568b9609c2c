"""The endpoint against the simulator: the same bytes, from memory, and the exchange's own errors."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
import requests

from ats_sync import Config, ConfigError, DataManager
from ats_sync.endpoint import Endpoint
from ats_sync.simulator import SimulatedExchange

from ..support import reads, until

pytestmark = pytest.mark.shared_threads

SYMBOLS = 4
CLOCKS_DIFFER = 500
"""ms."""
_SERVER_TIME = re.compile(rb'"serverTime":\d+')
FUTURES = (
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=300",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1",
    "/fapi/v1/klines?limit=20&interval=1h&symbol=ETHUSDT",
    "/fapi/v1/klines?symbol=ETHUSDT&interval=1h",
    "/fapi/v1/aggTrades?symbol=BTCUSDT&limit=50",
    "/fapi/v1/aggTrades?symbol=BTCUSDT",
    "/fapi/v1/premiumIndex?symbol=BTCUSDT",
    "/fapi/v1/ticker/bookTicker?symbol=ETHUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=1h&limit=100",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=1h",
    "/futures/data/globalLongShortAccountRatio?symbol=BTCUSDT&period=1h&limit=20",
)
SPOT = (
    "/api/v3/klines?symbol=BTCUSDT&interval=1h&limit=100",
    "/api/v3/ticker/price?symbol=BTCUSDT",
)
KEPT = (
    "/fapi/v1/exchangeInfo",
    "/fapi/v1/fundingInfo",
    "/fapi/v1/fundingRate?symbol=BTCUSDT",
    "/fapi/v1/fundingRate?symbol=BTCUSDT&limit=5",
)
WRONG = (
    "/fapi/v1/klines?symbol=NOSUCHUSDT&interval=1h",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=7h",
    "/fapi/v1/klines?symbol=BTCUSDT",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=1501",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=-1",
    "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=many",
    "/fapi/v1/depth?symbol=BTCUSDT&limit=7",
    "/fapi/v1/depth",
    "/fapi/v1/aggTrades?symbol=NOSUCHUSDT",
    "/fapi/v1/aggTrades?symbol=BTCUSDT&fromId=1&startTime=1",
    "/fapi/v1/premiumIndex?symbol=NOSUCHUSDT",
    "/fapi/v1/ticker/bookTicker?symbol=NOSUCHUSDT",
    "/futures/data/openInterestHist?symbol=BTCUSDT&period=7h",
    "/futures/data/noSuchSeries?symbol=BTCUSDT&period=1h",
    "/fapi/v1/openInterest?symbol=BTCUSDT",
)


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(SYMBOLS, seed=11, activity=0.05) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h"], config=exchange.config()) as manager:
        yield manager


@pytest.fixture(scope="module")
def endpoint(manager: DataManager) -> Iterator[Endpoint]:
    with Endpoint(manager, port=0) as endpoint:
        yield endpoint


def base_of(exchange: SimulatedExchange, target: str) -> str:
    config = exchange.config()
    return config.spot_base if target.startswith("/api/") else config.fapi_base


def get(base: str, target: str, **more: object) -> requests.Response:
    return requests.get(base + target, timeout=30, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("target", [*FUTURES, *SPOT])
def test_what_is_followed_comes_from_memory_byte_for_byte(
    exchange: SimulatedExchange, endpoint: Endpoint, target: str
) -> None:
    seen: list[requests.Response] = []

    def the_same() -> bool:
        # The market goes on between the two calls, so they may differ for a moment.
        before = get(base_of(exchange, target), target).content
        seen.append(get(endpoint.url, target))
        after = get(base_of(exchange, target), target).content
        return seen[-1].headers["X-Ats-Source"] == "memory" and seen[-1].content in (before, after)

    until(the_same, what=target)
    assert seen[-1].status_code == 200
    assert seen[-1].headers["Content-Type"] == "application/json"
    assert int(seen[-1].headers["Age"]) < 300


def test_a_book_is_the_one_of_the_stream(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    for limit in (5, 20, 100):
        target = f"/fapi/v1/depth?symbol=BTCUSDT&limit={limit}"
        own = until(lambda target=target: _from_memory(endpoint, target), what=target)
        true = get(exchange.config().fapi_base, target)
        assert list(own.json()) == list(true.json()) == ["lastUpdateId", "E", "T", "bids", "asks"]
        assert len(own.json()["bids"]) == limit
        assert b" " not in own.content


def _from_memory(endpoint: Endpoint, target: str) -> requests.Response | None:
    answer = get(endpoint.url, target)
    assert answer.status_code == 200
    return answer if answer.headers["X-Ats-Source"] == "memory" else None


@pytest.mark.parametrize("target", KEPT)
def test_what_hardly_changes_is_kept(exchange: SimulatedExchange, endpoint: Endpoint, target: str) -> None:
    first = get(endpoint.url, target)
    second = until(lambda: _from_memory(endpoint, target))
    true = get(base_of(exchange, target), target)
    assert _SERVER_TIME.sub(b"", first.content) == _SERVER_TIME.sub(b"", second.content)
    assert _SERVER_TIME.sub(b"", second.content) == _SERVER_TIME.sub(b"", true.content)


def test_an_answer_that_was_kept_states_the_current_time(exchange: SimulatedExchange, endpoint: Endpoint) -> None:
    kept = until(lambda: _from_memory(endpoint, "/fapi/v1/exchangeInfo")).json()["serverTime"]
    until(lambda: int(get(endpoint.url, "/fapi/v1/exchangeInfo").headers["Age"]) >= 1)
    before = exchange.now()
    later = get(endpoint.url, "/fapi/v1/exchangeInfo")
    after = exchange.now()
    assert later.headers["X-Ats-Source"] == "memory"
    assert later.json()["serverTime"] > kept
    assert before - CLOCKS_DIFFER <= later.json()["serverTime"] <= after + CLOCKS_DIFFER


@pytest.mark.parametrize("target", WRONG)
def test_errors_are_those_of_the_exchange(exchange: SimulatedExchange, endpoint: Endpoint, target: str) -> None:
    own, true = get(endpoint.url, target), get(base_of(exchange, target), target)
    assert true.status_code >= 400
    assert (own.status_code, own.content) == (true.status_code, true.content)
    assert own.headers["Content-Type"].split(";")[0] == true.headers["Content-Type"].split(";")[0]


def test_a_range_is_the_range_of_the_exchange(
    exchange: SimulatedExchange, endpoint: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    first = get(endpoint.url, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=10").json()[0][0]
    target = f"/fapi/v1/klines?symbol=BTCUSDT&interval=1h&startTime={first}&endTime={first + 7_200_000}"
    own = get(endpoint.url, target)
    assert own.content == get(exchange.config().fapi_base, target).content
    assert own.headers["X-Ats-Source"] == "rest"
    assert len(own.json()) == 3
    assert not [each for each in caplog.records if each.levelname == "ERROR"]


def test_statistics_of_a_day_have_the_fields_of_rest(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    for query in ("", "?symbol=BTCUSDT"):
        target = "/fapi/v1/ticker/24hr" + query
        own = until(lambda target=target: _from_memory(endpoint, target), what=target).json()
        true = get(exchange.config().fapi_base, target).json()
        if not query:
            assert [each["symbol"] for each in own] == [each["symbol"] for each in true]
            own, true = own[0], true[0]
        assert list(own) == list(true)
        assert [type(value) for value in own.values()] == [type(value) for value in true.values()]


def test_ping_and_time(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    assert get(endpoint.url, "/fapi/v1/ping").content == b"{}"
    shown = get(endpoint.url, "/fapi/v1/time").json()
    assert list(shown) == ["serverTime"]
    assert abs(shown["serverTime"] - exchange.now()) < 2_000


def test_all_spot_prices(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    own = get(endpoint.url, "/api/v3/ticker/price").json()
    true = get(exchange.config().spot_base, "/api/v3/ticker/price").json()
    assert [each["symbol"] for each in own] == [each["symbol"] for each in true]


def test_a_missing_spot_pair_is_refused_as_the_exchange_would(endpoint: Endpoint, exchange: SimulatedExchange) -> None:
    pairs = {each["symbol"] for each in get(endpoint.url, "/api/v3/ticker/price").json()}
    lacking = sorted({*exchange.symbols, "NOSUCHUSDT"} - pairs)[0]
    for target in (f"/api/v3/ticker/price?symbol={lacking}", f"/api/v3/klines?symbol={lacking}&interval=1h"):
        own = get(endpoint.url, target)
        assert (own.status_code, own.content) == (400, b'{"code":-1121,"msg":"Invalid symbol."}')


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/fapi/v1/order?symbol=BTCUSDT", 403),
        ("/fapi/v2/account", 403),
        ("/fapi/v1/klines?symbol=BTCUSDT&interval=1h&signature=00", 403),
        ("/index.html", 403),
        ("/fapi/v1/../v1/order", 403),
        ("/fapi/v1/klines?" + "&".join(f"a{n}=1" for n in range(40)), 400),
        ("/fapi/v1/klines?a=" + "1" * 5000, 414),
    ],
)
def test_what_is_not_public_is_refused_in_words(
    endpoint: Endpoint, exchange: SimulatedExchange, path: str, status: int
) -> None:
    before = len(exchange.request_log())
    answer = get(endpoint.url, path)
    assert answer.status_code == status
    assert len(answer.json()["msg"]) > 20
    assert not [each for each in exchange.request_log()[before:] if "order" in each.path or "account" in each.path]


def test_keys_other_methods_and_web_pages_of_other_origins_are_refused(endpoint: Endpoint) -> None:
    target = "/fapi/v1/ping"
    assert get(endpoint.url, target, headers={"X-MBX-APIKEY": "k"}).status_code == 403
    assert get(endpoint.url, target, headers={"Host": "evil.example"}).status_code == 403
    refused = requests.post(endpoint.url + target, timeout=30)
    assert (refused.status_code, refused.headers["Allow"]) == (405, "GET, HEAD")
    answer = get(endpoint.url, target, headers={"Origin": "http://evil.example"})
    assert not [name for name in answer.headers if name.lower().startswith("access-control")]


def test_head_and_gzip(endpoint: Endpoint) -> None:
    target = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=300"
    parts = urlsplit(endpoint.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        connection.request("HEAD", target)
        head = connection.getresponse()
        assert head.read() == b""
        assert int(head.headers["Content-Length"]) > 1000
        connection.request("GET", target)
        plain = connection.getresponse()
        assert plain.headers.get("Content-Encoding") is None
        body = plain.read()
        connection.request("GET", target, headers={"Accept-Encoding": "gzip"})
        packed = connection.getresponse()
        assert packed.headers["Content-Encoding"] == "gzip"
        small = packed.read()
        assert len(small) < len(body) / 2
        assert len(gzip.decompress(small)) > 1000
    finally:
        connection.close()


def test_the_used_weight_is_that_of_the_address(endpoint: Endpoint, manager: DataManager) -> None:
    shown = int(get(endpoint.url, "/fapi/v1/ping").headers["X-MBX-USED-WEIGHT-1M"])
    assert 0 < shown <= manager.config.futures_weight_limit


def test_a_scan_by_many_clients_causes_no_request(endpoint: Endpoint, manager: DataManager) -> None:
    targets = [
        target.format(symbol)
        for symbol in manager.symbols
        for target in (
            "/fapi/v1/klines?symbol={}&interval=1h&limit=300",
            "/fapi/v1/depth?symbol={}&limit=20",
            "/fapi/v1/premiumIndex?symbol={}",
            "/futures/data/openInterestHist?symbol={}&period=1h&limit=200",
        )
    ]

    def scan() -> bool:
        before = reads(manager)
        with ThreadPoolExecutor(16) as pool:
            answers = list(pool.map(lambda target: get(endpoint.url, target), targets * 5))
        assert {answer.status_code for answer in answers} == {200}
        return reads(manager) == before

    until(scan, what="a scan without a request")


def test_equal_requests_that_wait_share_one(exchange: SimulatedExchange, endpoint: Endpoint) -> None:
    before = len(exchange.request_log())
    target = "/fapi/v1/ticker/price"
    with ThreadPoolExecutor(40) as pool:
        answers = {answer.content for answer in pool.map(lambda _: get(endpoint.url, target), range(40))}
    sent = [each for each in exchange.request_log()[before:] if each.path == target]
    assert len(answers) == 1
    assert len(sent) <= 2  # one may be the manager's own


def test_views(endpoint: Endpoint, manager: DataManager) -> None:
    assert get(endpoint.url, "/healthz").status_code == 200
    until(lambda: get(endpoint.url, "/readyz").status_code == 200, what="live")
    status = get(endpoint.url, "/status").json()
    assert status["state"] == "live"
    assert status["kinds"]["klines"]["series"]["live"] >= SYMBOLS
    assert status["budget"]["futures"]["used"] > 0
    assert {each["state"] for each in status["connections"]} == {"open"}


def test_a_client_above_the_limit_is_refused_and_the_others_are_served(endpoint: Endpoint) -> None:
    parts = urlsplit(endpoint.url)
    held = [socket.create_connection((parts.hostname or "", parts.port or 0)) for _ in range(200)]
    try:
        assert get(endpoint.url, "/fapi/v1/ping").content == b"{}"
        for each in held:
            each.sendall(b"G")  # and no more
        assert get(endpoint.url, "/fapi/v1/ping").content == b"{}"
    finally:
        for each in held:
            each.close()


def test_without_a_manager_that_runs_every_request_is_passed_on(exchange: SimulatedExchange) -> None:
    manager = DataManager(exchange.symbols, ["1h"], config=exchange.config())
    target = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=3"
    with Endpoint(manager, port=0) as endpoint:
        answer = get(endpoint.url, target)
        assert answer.headers["X-Ats-Source"] == "rest"
        assert len(answer.json()) == 3
        assert get(endpoint.url, "/readyz").status_code == 503


def test_rest_is_down_and_over_the_limit() -> None:
    with SimulatedExchange(1, seed=3) as exchange:
        manager = DataManager(exchange.symbols, ["1h"], config=exchange.config(request_timeout=1.0, shim_timeout=2.0))
        with Endpoint(manager, port=0) as endpoint:
            exchange.fail_rest("429", path="/fapi/v1/depth", retry_after=7)
            answer = get(endpoint.url, "/fapi/v1/depth?symbol=BTCUSDT&limit=5")
            assert (answer.status_code, answer.json()["code"]) == (429, -1003)
            assert 1 <= int(answer.headers["Retry-After"]) <= 8
            # Now the budget refuses by itself.
            answer = get(endpoint.url, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h")
            assert (answer.status_code, answer.json()["code"]) == (429, -1003)
            assert int(answer.headers["Retry-After"]) >= 1
        manager.close()
    config = Config(fapi_base=exchange.config().fapi_base, connect_timeout=0.5, shim_timeout=1.0)
    with Endpoint(DataManager(["BTCUSDT"], config=config), port=0) as endpoint:
        answer = get(endpoint.url, "/fapi/v1/klines?symbol=BTCUSDT&interval=1h")
        assert (answer.status_code, answer.json()["code"]) == (503, -1001)


def test_other_machines_need_a_token(exchange: SimulatedExchange) -> None:
    manager = DataManager(exchange.symbols, config=exchange.config())
    with pytest.raises(ConfigError, match="token"):
        Endpoint(manager, "0.0.0.0", 0)
    with Endpoint(manager, port=0, token="a long secret") as endpoint:
        target = "/fapi/v1/time"
        assert get(endpoint.url, target).status_code == 401
        assert get(endpoint.url, target, headers={"Authorization": "Bearer a long secreT"}).status_code == 401
        assert get(endpoint.url, target, headers={"Authorization": "Bearer a long secret"}).status_code == 200
        assert get(endpoint.url, target, auth=("any", "a long secret")).status_code == 200


def test_it_can_be_closed_and_started_again(manager: DataManager) -> None:
    endpoint = Endpoint(manager, port=0).start()
    endpoint.close()
    endpoint.close()
    with pytest.raises(requests.ConnectionError):
        get(endpoint.url, "/healthz")
    with endpoint:
        assert get(endpoint.url, "/healthz").status_code == 200
    assert not [each for each in threading.enumerate() if each.name == "ats-endpoint" and not each.daemon]
