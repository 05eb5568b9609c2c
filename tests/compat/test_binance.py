"""The shim's REST path on recorded answers: what is sent, what comes back, what is raised."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import importlib.util
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import Any

import pytest
import requests

from ats_sync import ConfigError, reset_data_manager
from compat import binance

from .conftest import Recorded

FUTURES = "https://fapi.binance.com"
SPOT = "https://api.binance.com"
KLINES, SPOT_KLINES = f"{FUTURES}/fapi/v1/klines", f"{SPOT}/api/v3/klines"
INTEREST, FUNDING = f"{FUTURES}/futures/data/openInterestHist", f"{FUTURES}/fapi/v1/fundingRate"
DEPTH, PREMIUM = f"{FUTURES}/fapi/v1/depth", f"{FUTURES}/fapi/v1/premiumIndex"
SPOT_PRICE, AGG_TRADES = f"{SPOT}/api/v3/ticker/price", f"{FUTURES}/fapi/v1/aggTrades"
TICKER, INFO = f"{FUTURES}/fapi/v1/ticker/24hr", f"{FUTURES}/fapi/v1/exchangeInfo"
FORCED, ALL_FORCED = f"{FUTURES}/fapi/v1/forceOrders", f"{FUTURES}/fapi/v1/allForceOrders"

BTC = {"symbol": "BTCUSDT"}
TIMES = {"startTime": "1760004000000", "endTime": "1760011200000"}
START, END = 1760004000000.0, "1760011200000"
"""Anything int() takes."""
WHOLE_BODY = object()
CHINESE = "币安人生USDT"

Call = Callable[[], Any]


def case(call: Call, url: str, params: dict[str, str], recording: str, result: Any = WHOLE_BODY, name: str = "") -> Any:
    return pytest.param(call, url, params, f"compat/{recording}", result, id=name or recording)


@pytest.mark.parametrize(
    ("call", "url", "params", "recording", "result"),
    [
        case(
            lambda: binance.get_klines("btcusdt", "1h"), KLINES, {**BTC, "interval": "1h", "limit": "300"}, "klines"
        ),
        case(
            lambda: binance.get_klines("BTCUSDT", "1h", 3), KLINES, {**BTC, "interval": "1h", "limit": "3"},
            "klines_spaced",
        ),
        case(
            lambda: binance.get_klines("BTCUSDT", "4h", 3, START, END), KLINES,
            {**BTC, "interval": "4h", "limit": "3", **TIMES}, "klines", name="klines by time",
        ),
        case(
            lambda: binance.get_klines(CHINESE.lower(), "15m", 3), KLINES,
            {"symbol": CHINESE, "interval": "15m", "limit": "3"}, "chinese_klines",
        ),
        case(
            lambda: binance.get_spot_klines("btcusdt", "1h"), SPOT_KLINES,
            {**BTC, "interval": "1h", "limit": "300"}, "spot_klines",
        ),
        case(
            lambda: binance.get_spot_klines("BTCUSDT", interval="1m", limit=2, start_time=START, end_time=END),
            SPOT_KLINES, {**BTC, "interval": "1m", "limit": "2", **TIMES}, "spot_klines", name="spot klines by time",
        ),
        case(
            lambda: binance.get_open_interest_hist("btcusdt"), INTEREST,
            {**BTC, "period": "1h", "limit": "200"}, "open_interest_hist",
        ),
        case(
            lambda: binance.get_open_interest_hist("BTCUSDT", "5m", 2, START, END), INTEREST,
            {**BTC, "period": "5m", "limit": "2", **TIMES}, "open_interest_hist", name="open interest by time",
        ),
        case(lambda: binance.get_funding_hist("btcusdt"), FUNDING, {**BTC, "limit": "120"}, "funding_rate"),
        case(
            lambda: binance.get_funding_hist("BTCUSDT", 2, START, END), FUNDING, {**BTC, "limit": "2", **TIMES},
            "funding_rate", name="funding by time",
        ),
        case(lambda: binance.get_funding_hist("BTCUSDT"), FUNDING, {**BTC, "limit": "120"}, "funding_rate_no_list", []),
        case(lambda: binance.get_orderbook_snapshot("btcusdt"), DEPTH, {**BTC, "limit": "100"}, "depth"),
        case(
            lambda: binance.get_orderbook_snapshot(CHINESE, 5), DEPTH, {"symbol": CHINESE, "limit": "5"},
            "chinese_depth",
        ),
        case(lambda: binance.get_mark_price("btcusdt"), PREMIUM, BTC, "premium_index", 121641.93, "mark price"),
        case(lambda: binance.get_funding_rate("btcusdt"), PREMIUM, BTC, "premium_index", 0.00003846, "funding rate"),
        case(lambda: binance.get_mark_price("BTCUSDT"), PREMIUM, BTC, "premium_index_bare", 0.0, "no mark price"),
        case(lambda: binance.get_funding_rate("BTCUSDT"), PREMIUM, BTC, "premium_index_bare", 0.0, "no funding rate"),
        case(lambda: binance.get_spot_price("btcusdt"), SPOT_PRICE, BTC, "spot_price", 121690.27),
        case(
            binance.get_all_spot_prices, SPOT_PRICE, {}, "spot_price_all",
            {"LTCBTC": 0.00102, "BTCUSDT": 121690.27, CHINESE: 0.1453},
        ),
        case(binance.get_all_premium_index, PREMIUM, {}, "premium_index_all"),
        case(lambda: binance.get_agg_trades("btcusdt"), AGG_TRADES, {**BTC, "limit": "500"}, "agg_trades"),
        case(
            lambda: binance.get_agg_trades("BTCUSDT", 2, START, END), AGG_TRADES, {**BTC, "limit": "2", **TIMES},
            "agg_trades", name="trades by time",
        ),
        case(lambda: binance.get_ticker_24h("btcusdt"), TICKER, BTC, "ticker_24hr"),
        case(binance.get_ticker_24h, TICKER, {}, "ticker_24hr_all"),
        case(lambda: binance.get_ticker_24h(""), TICKER, {}, "ticker_24hr_all", name="empty symbol, all tickers"),
        case(
            lambda: binance._get("/fapi/v1/exchangeInfo", timeout=5.0, retries=1), INFO, {}, "exchange_info",
            name="a path",
        ),
        case(
            lambda: binance._get(f"{binance.SPOT_BASE}/api/v3/ticker/price", {"symbol": "BTCUSDT", "x": None}),
            SPOT_PRICE, BTC, "spot_price", {"symbol": "BTCUSDT", "price": "121690.27000000"}, "a full URL",
        ),
        case(
            lambda: binance._get("/fapi/v1/klines", {"symbol": "BTCUSDT", "limit": 3, "share": 0.5}), KLINES,
            {**BTC, "limit": "3", "share": "0.5"}, "klines", name="a path with parameters",
        ),
    ],
)  # fmt: skip
def test_one_request_and_the_exact_answer(
    recorded: Recorded, call: Call, url: str, params: dict[str, str], recording: str, result: Any
) -> None:
    body = recorded.answer(recording, url)
    got = call()
    assert recorded.sent() == [(url, params)]
    assert got == (body if result is WHOLE_BODY else result)
    assert recorded.started == []


class TestShapes:
    def test_rows_are_lists_of_exact_strings(self, recorded: Recorded) -> None:
        recorded.answer("compat/klines")
        rows = binance.get_klines("BTCUSDT", "1h", 3)
        assert type(rows) is list
        for row in rows:
            assert type(row) is list
            assert [type(item) for item in row] == [int, *[str] * 5, int, str, int, *[str] * 3]
        assert rows[1][5] == "0"
        assert rows[2][11] == "17.25000000"

    def test_books_are_lists_of_pairs_of_strings(self, recorded: Recorded) -> None:
        recorded.answer("compat/depth")
        book = binance.get_orderbook_snapshot("BTCUSDT")
        assert list(book) == ["lastUpdateId", "E", "T", "bids", "asks"]
        assert {type(item) for level in book["bids"] + book["asks"] for item in [level, *level]} == {list, str}

    def test_prices_are_floats(self, recorded: Recorded) -> None:
        recorded.answer("compat/premium_index")
        recorded.answer("compat/spot_price")
        assert {type(read("BTCUSDT")) for read in (binance.get_mark_price, binance.get_funding_rate)} == {float}
        assert type(binance.get_spot_price("BTCUSDT")) is float


LIMITED: list[tuple[Callable[[Any], Any], str, str, int]] = [
    (lambda limit: binance.get_klines("BTCUSDT", "1h", limit), KLINES, "klines", 1500),
    (lambda limit: binance.get_spot_klines("BTCUSDT", "1h", limit), SPOT_KLINES, "spot_klines", 1000),
    (lambda limit: binance.get_open_interest_hist("BTCUSDT", "1h", limit), INTEREST, "open_interest_hist", 500),
    (lambda limit: binance.get_funding_hist("BTCUSDT", limit), FUNDING, "funding_rate", 1000),
    (lambda limit: binance.get_agg_trades("BTCUSDT", limit), AGG_TRADES, "agg_trades", 1000),
    (lambda limit: binance.get_liquidations("BTCUSDT", "5m", limit), FORCED, "all_force_orders", 1000),
]


class TestLimits:
    @pytest.mark.parametrize(("read", "url", "recording", "most"), LIMITED)
    @pytest.mark.parametrize(("given", "sent"), [(0, 1), (-5, 1), (1, 1), ("7", 7), (2.9, 2), (True, 1), (10**9, None)])
    def test_are_clamped(
        self,
        recorded: Recorded,
        read: Callable[[Any], Any],
        url: str,
        recording: str,
        most: int,
        given: Any,
        sent: int | None,
    ) -> None:
        recorded.answer(f"compat/{recording}", url)
        read(given)
        assert recorded.sent()[0][1]["limit"] == str(most if sent is None else sent)

    @pytest.mark.parametrize("given", [None, "many"])
    @pytest.mark.parametrize(
        "read", [*(read for read, *_ in LIMITED), lambda n: binance.get_orderbook_snapshot("B", n)]
    )
    def test_that_are_not_numbers_are_refused(self, recorded: Recorded, read: Callable[[Any], Any], given: Any) -> None:
        with pytest.raises(TypeError if given is None else ValueError):
            read(given)
        assert recorded.sent() == []

    @pytest.mark.parametrize(
        ("given", "levels"),
        [
            (-3, 5), (0, 5), (5, 5), (7, 5), (8, 10), (15, 10), (16, 20), (20, 20), (35, 20), (36, 50), ("75", 50),
            (76, 100), (100, 100), (300, 100), (301, 500), (750, 500), (751, 1000), (9999, 1000),
        ],
    )  # fmt: skip
    def test_of_books_are_the_nearest_that_the_exchange_has(self, recorded: Recorded, given: Any, levels: int) -> None:
        recorded.answer("compat/depth")
        binance.get_orderbook_snapshot("BTCUSDT", given)
        assert recorded.sent() == [(DEPTH, {**BTC, "limit": str(levels)})]


SIGNATURES = {
    "get_klines": "symbol, interval, limit=300, start_time=None, end_time=None",
    "get_spot_klines": "symbol, interval, limit=300, start_time=None, end_time=None",
    "get_open_interest_hist": "symbol, period='1h', limit=200, start_time=None, end_time=None",
    "get_funding_hist": "symbol, limit=120, start_time=None, end_time=None",
    "get_orderbook_snapshot": "symbol, limit=100",
    "get_mark_price": "symbol",
    "get_funding_rate": "symbol",
    "get_spot_price": "symbol",
    "get_all_spot_prices": "",
    "get_all_premium_index": "",
    "get_liquidations": "symbol, interval='5m', limit=100, start_time=None, end_time=None",
    "get_agg_trades": "symbol, limit=500, start_time=None, end_time=None",
    "get_ticker_24h": "symbol=None",
    "_get": "path_or_url, params=None, *, timeout=8.0, retries=2",
    "_get_signed": "path, params=None, *, timeout=8.0, retries=2",
}


class TestNames:
    @pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
    def test_signatures_are_the_old_ones(self, name: str, signature: str) -> None:
        found = inspect.signature(getattr(binance, name))
        bare = found.replace(
            parameters=[each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()],
            return_annotation=inspect.Signature.empty,
        )
        assert str(bare) == f"({signature})"

    @pytest.mark.parametrize(
        "read",
        [
            lambda: binance.get_klines(None, "1h"),  # type: ignore[arg-type]
            lambda: binance.get_spot_klines(None, "1h"),  # type: ignore[arg-type]
            lambda: binance.get_open_interest_hist(None),  # type: ignore[arg-type]
            lambda: binance.get_funding_hist(None),  # type: ignore[arg-type]
            lambda: binance.get_orderbook_snapshot(None),  # type: ignore[arg-type]
            lambda: binance.get_mark_price(None),  # type: ignore[arg-type]
            lambda: binance.get_funding_rate(None),  # type: ignore[arg-type]
            lambda: binance.get_spot_price(None),  # type: ignore[arg-type]
            lambda: binance.get_agg_trades(None),  # type: ignore[arg-type]
            lambda: binance.get_liquidations(None),  # type: ignore[arg-type]
        ],
    )
    def test_none_is_not_a_symbol(self, recorded: Recorded, read: Call) -> None:
        with pytest.raises(AttributeError):
            read()
        assert recorded.sent() == []

    @pytest.mark.parametrize("symbol", ["", "BTC/USDT", "BTC USDT", "btcusdt@trade", "BTC\nUSDT"])
    def test_what_cannot_be_a_symbol_is_not_sent(self, recorded: Recorded, symbol: str) -> None:
        with pytest.raises(ValueError, match="symbol"):
            binance.get_klines(symbol, "1h")
        assert recorded.sent() == []

    def test_hosts_and_keys_are_those_of_the_environment_at_import(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("BINANCE_FAPI_BASE", "http://127.0.0.1:8001/")
        monkeypatch.setenv("BINANCE_SPOT_BASE", "http://127.0.0.1:8002")
        monkeypatch.setenv("BINANCE_API_KEY", "the key")
        monkeypatch.setenv("BINANCE_API_SECRET", "the secret")
        module = imported_anew()
        assert (module.BASE, module.SPOT_BASE) == ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
        assert (module.API_KEY, module.API_SECRET) == ("the key", "the secret")
        for name in ("BINANCE_FAPI_BASE", "BINANCE_SPOT_BASE", "BINANCE_API_KEY", "BINANCE_API_SECRET"):
            monkeypatch.delenv(name)
        module = imported_anew()
        assert (module.BASE, module.SPOT_BASE) == (FUTURES, SPOT)
        assert (module.API_KEY, module.API_SECRET) == ("", "")
        monkeypatch.setenv("BINANCE_FAPI_BASE", "fapi.binance.com")
        with pytest.raises(ConfigError, match="fapi_base"):
            imported_anew()

    def test_requests_go_to_the_hosts_of_the_environment(
        self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("BINANCE_FAPI_BASE", "http://127.0.0.1:8001")
        reset_data_manager()
        body = recorded.answer("compat/klines", "http://127.0.0.1:8001/fapi/v1/klines")
        assert binance.get_klines("BTCUSDT", "1h") == body


def imported_anew() -> ModuleType:
    """Return the module, executed once more beside the one that everybody uses."""
    spec = importlib.util.find_spec("compat.binance")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TestErrors:
    @pytest.mark.parametrize(
        ("recording", "ancestors", "words"),
        [
            ("rest/invalid_symbol_400", (OSError,), ("400", "-1121", "Invalid symbol")),
            ("compat/invalid_interval_400", (OSError,), ("400", "-1120", "Invalid interval")),
            ("rest/banned_418", (OSError,), ("418", "-1003")),
            ("rest/too_many_requests_429", (OSError,), ("429", "-1003")),
            ("rest/firewall_403", (OSError,), ("403",)),
            ("rest/overloaded_503", (OSError,), ("503",)),
            ("rest/captive_portal_200", (OSError, ValueError), ("not JSON",)),
            ("rest/empty_200", (OSError, ValueError), ("empty body",)),
            ("rest/cut_200", (OSError, ValueError), ()),
        ],
    )
    @pytest.mark.parametrize(
        "read",
        [
            lambda: binance.get_klines("BTCUSDT", "1h"),
            lambda: binance.get_spot_klines("BTCUSDT", "1h"),
            lambda: binance.get_open_interest_hist("BTCUSDT"),
            lambda: binance.get_funding_hist("BTCUSDT"),
            lambda: binance.get_orderbook_snapshot("BTCUSDT"),
            lambda: binance.get_mark_price("BTCUSDT"),
            lambda: binance.get_spot_price("BTCUSDT"),
            lambda: binance.get_all_premium_index(),
            lambda: binance.get_all_spot_prices(),
            lambda: binance.get_agg_trades("BTCUSDT"),
            lambda: binance.get_ticker_24h("BTCUSDT"),
            lambda: binance.get_liquidations("BTCUSDT"),
            lambda: binance._get("/fapi/v1/klines", {"symbol": "BTCUSDT"}),
        ],
    )
    def test_keep_their_ancestry_and_the_code_in_their_text(
        self, recorded: Recorded, read: Call, recording: str, ancestors: tuple[type, ...], words: tuple[str, ...]
    ) -> None:
        for url in (KLINES, SPOT_KLINES, INTEREST, FUNDING, DEPTH, PREMIUM, SPOT_PRICE, AGG_TRADES, TICKER, FORCED):
            recorded.answer(recording, url)
        with pytest.raises(ancestors[0]) as caught:
            read()
        assert all(isinstance(caught.value, ancestor) for ancestor in ancestors)
        for word in words:
            assert word in str(caught.value)
        assert len(recorded.sent()) == 1

    @pytest.mark.parametrize(
        ("failure", "ancestor"),
        [
            (requests.exceptions.ReadTimeout("read timed out"), TimeoutError),
            (requests.exceptions.ConnectTimeout("connect timed out"), TimeoutError),
            (requests.exceptions.ConnectionError("refused"), ConnectionError),
            (requests.exceptions.ChunkedEncodingError("cut"), ValueError),
        ],
    )
    def test_of_the_network_are_what_they_were(
        self, recorded: Recorded, failure: Exception, ancestor: type[Exception]
    ) -> None:
        recorded.mock.add("GET", KLINES, body=failure)
        with pytest.raises(OSError, match="klines") as caught:
            binance.get_klines("BTCUSDT", "1h")
        assert isinstance(caught.value, ancestor)
        assert len(recorded.sent()) == 1

    def test_interval_and_period_are_passed_on_unchecked(self, recorded: Recorded) -> None:
        recorded.answer("compat/invalid_interval_400")
        recorded.answer("compat/invalid_interval_400", INTEREST)
        with pytest.raises(OSError, match=r"400.*-1120"):
            binance.get_klines("BTCUSDT", "7m")
        with pytest.raises(OSError, match=r"400.*-1120"):
            binance.get_open_interest_hist("BTCUSDT", "7h")
        assert [sent.get("interval", sent.get("period")) for _, sent in recorded.sent()] == ["7m", "7h"]

    def test_nothing_is_sent_while_the_exchange_said_to_wait(self, recorded: Recorded) -> None:
        recorded.answer("rest/banned_418")
        recorded.answer("compat/depth")
        with pytest.raises(OSError, match="418"):
            binance.get_klines("BTCUSDT", "1h")
        recorded.answer("compat/spot_price")
        with pytest.raises(OSError, match="429 or 418") as caught:
            binance._get("/fapi/v1/depth", {"symbol": "BTCUSDT"}, timeout=0.5)
        assert caught.value.retry_at > 0  # type: ignore[attr-defined]
        assert binance.get_spot_price("BTCUSDT") == 121690.27
        assert [url for url, _ in recorded.sent()] == [KLINES, SPOT_PRICE]

    @pytest.mark.parametrize(
        ("read", "url", "recording"),
        [
            (lambda: binance.get_mark_price("BTCUSDT"), PREMIUM, "premium_index_all"),
            (binance.get_all_premium_index, PREMIUM, "premium_index"),
            (lambda: binance.get_spot_price("ETHUSDT"), SPOT_PRICE, "spot_price"),
            (lambda: binance.get_klines("BTCUSDT", "1h"), KLINES, "depth"),
            (lambda: binance.get_orderbook_snapshot("BTCUSDT"), DEPTH, "klines"),
            (lambda: binance.get_agg_trades("BTCUSDT"), AGG_TRADES, "klines"),
            (lambda: binance.get_open_interest_hist("BTCUSDT"), INTEREST, "funding_rate"),
        ],
    )
    def test_an_answer_of_another_shape_is_an_error(
        self, recorded: Recorded, read: Call, url: str, recording: str
    ) -> None:
        recorded.answer(f"compat/{recording}", url)
        with pytest.raises(OSError, match=r"the answer is|the exchange sent") as caught:
            read()
        assert isinstance(caught.value, ValueError)


class TestSigned:
    def test_without_keys_it_is_the_old_error(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        for key, secret in (("", ""), ("key", ""), ("", "secret")):
            monkeypatch.setattr(binance, "API_KEY", key)
            monkeypatch.setattr(binance, "API_SECRET", secret)
            with pytest.raises(RuntimeError, match="BINANCE_API_KEY"):
                binance._get_signed("/fapi/v2/account")
        assert recorded.sent() == []

    def test_the_query_is_signed(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binance, "API_KEY", "the key")
        monkeypatch.setattr(binance, "API_SECRET", "the secret")
        body = recorded.answer("compat/all_force_orders")
        assert binance._get_signed("/fapi/v1/allForceOrders", {"symbol": CHINESE, "limit": 5, "fromId": None}) == body
        ((url, params),) = recorded.sent()
        assert url == ALL_FORCED
        assert set(params) == {"symbol", "limit", "timestamp", "signature"}
        query, _, signature = str(recorded.mock.calls[0].request.url).partition("?")[2].rpartition("&signature=")
        assert signature == hmac.new(b"the secret", query.encode(), hashlib.sha256).hexdigest()
        assert recorded.mock.calls[0].request.headers["X-MBX-APIKEY"] == "the key"

    def test_secrets_are_in_no_error(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binance, "API_KEY", "the-key")
        monkeypatch.setattr(binance, "API_SECRET", "the-secret")
        recorded.answer("compat/force_orders_401", ALL_FORCED)
        with pytest.raises(OSError, match="401") as caught:
            binance._get_signed("/fapi/v1/allForceOrders")
        for word in ("the-key", "the-secret", recorded.sent()[0][1]["signature"]):
            assert word not in repr(caught.value)


class TestLiquidations:
    def test_without_keys_the_refusal_of_the_closed_endpoint_is_the_error(self, recorded: Recorded) -> None:
        recorded.answer("compat/force_orders_401")
        with pytest.raises(OSError, match=r"401.*-2014"):
            binance.get_liquidations("btcusdt", limit=7, start_time=START, end_time=END)
        assert recorded.sent() == [(FORCED, {**BTC, "limit": "7", **TIMES})]

    def test_with_keys_a_401_leads_to_the_signed_request(
        self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(binance, "API_KEY", "the key")
        monkeypatch.setattr(binance, "API_SECRET", "the secret")
        recorded.answer("compat/force_orders_401")
        body = recorded.answer("compat/all_force_orders")
        assert binance.get_liquidations("btcusdt", start_time=START) == body
        (first, _), (second, params) = recorded.sent()
        assert (first, second) == (FORCED, ALL_FORCED)
        assert params["signature"]
        assert {name: params[name] for name in ("symbol", "limit", "startTime")} == {
            **BTC, "limit": "100", "startTime": TIMES["startTime"],
        }  # fmt: skip
        assert "endTime" not in params

    def test_another_refusal_is_not_retried(self, recorded: Recorded, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(binance, "API_KEY", "the key")
        monkeypatch.setattr(binance, "API_SECRET", "the secret")
        recorded.answer("rest/firewall_403", FORCED)
        with pytest.raises(OSError, match="403"):
            binance.get_liquidations("BTCUSDT")
        assert len(recorded.sent()) == 1


class TestWhereItIsCalledFrom:
    def test_twenty_threads_at_once(self, recorded: Recorded) -> None:
        body = recorded.answer("compat/klines")
        with ThreadPoolExecutor(20) as pool:
            found = list(pool.map(lambda _: binance.get_klines("BTCUSDT", "1h"), range(60)))
        assert found == [body] * 60
        assert len(recorded.sent()) == 60

    def test_the_thread_of_a_running_loop(self, recorded: Recorded) -> None:
        body = recorded.answer("compat/klines")

        async def scan() -> Any:
            return binance.get_klines("BTCUSDT", "1h")

        assert asyncio.run(scan()) == body
