"""Clients that know nothing of this library, pointed at the endpoint and at the exchange: equal answers.

They are in the extra ``clients``: their releases are many and their requirements narrow.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.endpoint import Endpoint
from ats_sync.simulator import SimulatedExchange

from ..support import until

OFFICIAL = "binance_sdk_derivatives_trading_usds_futures"

if not any(importlib.util.find_spec(name) for name in ("ccxt", "binance", OFFICIAL)):
    pytest.skip("no other client is installed; install with: pip install '.[clients]'", allow_module_level=True)

pytestmark = pytest.mark.shared_threads
SYMBOL = "BTCUSDT"
Call = Callable[[Any], Any]


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(4, seed=13, activity=0.05, weight_limit=1_000_000) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def endpoint(exchange: SimulatedExchange) -> Iterator[Endpoint]:
    manager = DataManager(exchange.symbols, ["1h", "4h", "15m"], config=exchange.config())
    with manager, Endpoint(manager, port=0) as endpoint:
        yield endpoint


def assert_equal(own: Any, true: Any, calls: Mapping[str, Call], source: Callable[[Any], str]) -> None:
    """Assert that two clients return the same, the one of the endpoint (``own``) from memory.

    The market goes on between the two calls: what was equal before and after is compared.
    """
    for name, call in calls.items():
        seen: list[Any] = []

        def the_same(call: Call = call, seen: list[Any] = seen) -> bool:
            before, answer = call(true), call(own)
            seen[:] = [answer, before]
            return source(own) == "memory" and answer in (before, call(true))

        until(the_same, timeout=30.0, what=f"{name}: {seen}")
        assert seen[0], f"{name} is empty"


def without_moment(book: Mapping[str, Any]) -> dict[str, Any]:
    """Return an order book without its time: REST says when it answered, and the stream when the book had this
    state."""
    return {name: value for name, value in book.items() if name != "E"}


def of_ccxt(module: Any, futures: str, spot: str) -> Any:
    client = module.binanceusdm({"timeout": 30_000, "enableRateLimit": False})
    client.session.trust_env = False
    for name, path in (("fapiPublic", "/fapi/v1"), ("fapiPublicV2", "/fapi/v2"), ("fapiPublicV3", "/fapi/v3")):
        client.urls["api"][name] = futures + path
    client.urls["api"] |= {"fapiData": futures + "/futures/data", "public": spot + "/api/v3"}
    return client


def test_ccxt(exchange: SimulatedExchange, endpoint: Endpoint) -> None:
    ccxt = pytest.importorskip("ccxt")
    own = of_ccxt(ccxt, endpoint.url, endpoint.url)
    true = of_ccxt(ccxt, exchange.fapi_url, exchange.spot_url)
    assert own.load_markets() == true.load_markets()
    symbol = "BTC/USDT:USDT"
    assert own.markets[symbol]["active"]
    calls: dict[str, Call] = {
        "candles": lambda client: client.fetch_ohlcv(symbol, "1h", limit=300),
        "order book": lambda client: client.fetch_order_book(symbol, 20),
        "deep order book": lambda client: client.fetch_order_book(symbol, 100),
        "trades": lambda client: client.fetch_trades(symbol, limit=50),
        "ticker": lambda client: client.fetch_ticker(symbol),
        "tickers": lambda client: client.fetch_tickers(),
        "best quotes": lambda client: client.fetch_bids_asks([symbol]),
        "funding rate": lambda client: client.fetch_funding_rate(symbol),
        "open interest": lambda client: client.fetch_open_interest_history(symbol, "1h", limit=30),
    }

    def source(client: Any) -> str:
        return str(client.last_response_headers["X-Ats-Source"])

    assert_equal(own, true, calls, source)
    passed_on: dict[str, Call] = {
        "funding rates": lambda client: client.fetch_funding_rates(),
        "a range": lambda client: client.fetch_ohlcv(symbol, "1h", since=client.fetch_ohlcv(symbol)[0][0], limit=5),
    }
    assert_equal(own, true, passed_on, lambda client: "memory")
    with pytest.raises(ccxt.BadSymbol):
        own.fapiPublicGetKlines({"symbol": "NOSUCHUSDT", "interval": "1h"})


@pytest.fixture
def event_loop_of_this_thread() -> Iterator[None]:
    """An event loop for python-binance, which would otherwise make one that nobody closes."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.mark.usefixtures("event_loop_of_this_thread")
def test_python_binance(exchange: SimulatedExchange, endpoint: Endpoint) -> None:
    binance = pytest.importorskip("binance.client")
    errors = pytest.importorskip("binance.exceptions")

    def client(futures: str, spot: str) -> Any:
        made = binance.Client(ping=False, requests_params={"timeout": 30})
        made.session.trust_env = False
        made.FUTURES_URL, made.FUTURES_DATA_URL = futures + "/fapi", futures + "/futures/data"
        made.API_URL = spot + "/api"
        return made

    own, true = client(endpoint.url, endpoint.url), client(exchange.fapi_url, exchange.spot_url)
    calls: dict[str, Call] = {
        "candles": lambda client: client.futures_klines(symbol=SYMBOL, interval="4h", limit=200),
        "order book": lambda client: without_moment(client.futures_order_book(symbol=SYMBOL, limit=20)),
        "trades": lambda client: client.futures_aggregate_trades(symbol=SYMBOL, limit=100),
        "mark price": lambda client: client.futures_mark_price(symbol=SYMBOL),
        "ticker": lambda client: client.futures_ticker(symbol=SYMBOL),
        "tickers": lambda client: client.futures_ticker(),
        "best quote": lambda client: client.futures_orderbook_ticker(symbol=SYMBOL),
        "funding": lambda client: client.futures_funding_rate(symbol=SYMBOL, limit=10),
        "open interest": lambda client: client.futures_open_interest_hist(symbol=SYMBOL, period="1h", limit=50),
        "ratio": lambda client: client.futures_global_longshort_ratio(symbol=SYMBOL, period="1h", limit=50),
        "ping": lambda client: [client.futures_ping()],
        "spot candles": lambda client: client.get_klines(symbol=SYMBOL, interval="1h", limit=100),
        "spot price": lambda client: client.get_symbol_ticker(symbol=SYMBOL),
    }

    def source(client: Any) -> str:
        return str(client.response.headers["X-Ats-Source"])

    assert_equal(own, true, calls, source)
    passed_on: dict[str, Call] = {
        "listings": lambda client: client.futures_exchange_info()["symbols"],
        "price": lambda client: client.futures_symbol_ticker(symbol=SYMBOL),
        "best quotes": lambda client: client.futures_orderbook_ticker(),
        "marks": lambda client: client.futures_mark_price(),
    }
    assert_equal(own, true, passed_on, lambda client: "memory")
    with pytest.raises(errors.BinanceAPIException, match="Invalid symbol") as refused:
        own.futures_klines(symbol="NOSUCHUSDT", interval="1h")
    assert refused.value.code == -1121


def test_the_official_sdk(exchange: SimulatedExchange, endpoint: Endpoint) -> None:
    sdk = pytest.importorskip(OFFICIAL)
    common = pytest.importorskip("binance_common.configuration")
    errors = pytest.importorskip("binance_common.errors")
    sources: dict[int, str] = {}

    def client(base: str) -> Any:
        made = sdk.DerivativesTradingUsdsFutures(common.ConfigurationRestAPI(base_path=base, timeout=30_000)).rest_api
        made._session.trust_env = False
        return made

    def returned(client: Any, answer: Any) -> Any:
        sources[id(client)] = {name.lower(): value for name, value in answer.headers.items()}.get("x-ats-source", "")
        return answer.data()

    own, true = client(endpoint.url), client(exchange.fapi_url)
    asked: dict[str, Call] = {
        "candles": lambda client: client.kline_candlestick_data(SYMBOL, "15m", limit=100),
        "order book": lambda client: client.order_book(SYMBOL, limit=20),
        "trades": lambda client: client.compressed_aggregate_trades_list(SYMBOL, limit=50),
        "mark price": lambda client: client.mark_price(SYMBOL),
        "ticker": lambda client: client.ticker24hr_price_change_statistics(SYMBOL),
        "tickers": lambda client: client.ticker24hr_price_change_statistics(),
        "best quote": lambda client: client.symbol_order_book_ticker(SYMBOL),
        "funding": lambda client: client.get_funding_rate_history(SYMBOL, limit=10),
        "open interest": lambda client: client.open_interest_statistics(SYMBOL, "1h", limit=50),
        "ratio": lambda client: client.long_short_ratio(SYMBOL, "1h", limit=50),
    }
    calls: dict[str, Call] = {
        name: lambda client, ask=ask: returned(client, ask(client))  # type: ignore[misc]
        for name, ask in asked.items()
    }
    order_book = calls["order book"]
    calls["order book"] = lambda client: without_moment(order_book(client).to_dict())
    assert_equal(own, true, calls, lambda client: sources[id(client)])
    passed_on: dict[str, Call] = {
        "listings": lambda client: client.exchange_information().data().symbols,
        "price": lambda client: client.symbol_price_ticker_v2(SYMBOL).data(),
    }
    assert_equal(own, true, passed_on, lambda client: "memory")
    with pytest.raises(errors.BadRequestError) as refused:
        own.kline_candlestick_data("NOSUCHUSDT", "1h")
    assert refused.value.status_code == -1121
