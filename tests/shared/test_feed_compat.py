"""The old modules in a process that reads from the shared store: the same results, without a request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from ats_sync import DataManager, NotInMemory, get_data_manager, reset_data_manager
from ats_sync.simulator import SimulatedExchange, before_turn
from compat import binance, klines, oi, tickers
from compat.binance_safe import batch_get_open_interest_hist
from compat.realtime_kline_cache import get_kline_cache
from compat.unified_data_manager import UnifiedDataManager

from ..support import until
from .conftest import started
from .feed import config_of, managed, requests, same, served

pytestmark = pytest.mark.shared_threads

INTERVALS = ["1m", "15m", "1h", "4h"]


class Scene(NamedTuple):
    exchange: SimulatedExchange
    collector: DataManager
    reader: DataManager
    """The one that the process shares."""
    symbol: str


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    half_past = before_turn("1h", 1_800.0)
    with (
        started("valkey") as server,
        SimulatedExchange(3, seed=7, start=half_past) as exchange,
        pytest.MonkeyPatch.context() as patch,
    ):
        symbols = list(exchange.symbols)
        for name, value in {**exchange.environment(), "ATS_SYNC_SHARED": server.url, "NO_PROXY": "127.0.0.1"}.items():
            patch.setenv(name, value)
        reset_data_manager()
        with managed(config_of(exchange, server.url), symbols, role="collector") as collector:
            try:
                reader = get_data_manager().initialize(symbols, INTERVALS, timeout=60)
                assert reader.status().shared.role == "reader"  # type: ignore[union-attr]
                yield Scene(exchange, collector, reader, symbols[0])
            finally:
                reset_data_manager()


SAME: dict[str, tuple[Callable[[str], Any], Callable[[DataManager, str], Any]]] = {
    "candles": (lambda s: binance.get_klines(s, "1m", 100), lambda dm, s: dm.rest_shaped.klines(s, "1m", 100)),
    "candles of 15 m": (lambda s: klines.klines_15m(s), lambda dm, s: dm.rest_shaped.klines(s, "15m", 300)),
    "candles of 4 h": (lambda s: klines.klines_4h(s), lambda dm, s: dm.rest_shaped.klines(s, "4h", 200)),
    "spot candles": (
        lambda s: binance.get_spot_klines(s, "1m", 50),
        lambda dm, s: dm.rest_shaped.spot_klines(s, "1m", 50),
    ),
    "open interest": (
        lambda s: binance.get_open_interest_hist(s, "1h", 30),
        lambda dm, s: dm.rest_shaped.open_interest_hist(s, "1h", 30),
    ),
    "open interest as numbers": (
        lambda s: oi.fetch_oi_hourly(s, 30),
        lambda dm, s: [row["sumOpenInterest"] for row in dm.get_oi_history(s, "1h", 30)],
    ),
    "book": (lambda s: binance.get_orderbook_snapshot(s, 20), lambda dm, s: dm.rest_shaped.depth(s, 20)),
    "mark price": (lambda s: binance.get_mark_price(s), lambda dm, s: dm.get_mark_price(s)),
    "funding": (lambda s: binance.get_funding_rate(s), lambda dm, s: dm.get_funding_rate(s)["rate"]),
    "spot price": (lambda s: binance.get_spot_price(s), lambda dm, s: dm.get_spot_price(s)),
    "trades": (lambda s: binance.get_agg_trades(s, 100), lambda dm, s: dm.rest_shaped.agg_trades(s, 100)),
    "ticker": (lambda s: tickers.one_24h(s), lambda dm, s: dm.rest_shaped.ticker_24h(s)),
    "tickers": (lambda s: tickers.all_24h(), lambda dm, s: dm.rest_shaped.ticker_24h()),
    "ratio": (
        lambda s: binance.get_global_long_short_account_ratio(s, "1h", 30),
        lambda dm, s: dm.rest_shaped.ratio("globalLongShortAccountRatio", s, "1h", 30),
    ),
}


@pytest.mark.parametrize("name", SAME)
def test_an_old_function_returns_what_the_collector_has(scene: Scene, name: str) -> None:
    ours, theirs = SAME[name]

    def read(manager: DataManager) -> Any:
        return ours(scene.symbol) if manager is scene.reader else theirs(manager, scene.symbol)

    assert same(scene.reader, scene.collector, read)


def test_coroutines_and_event_loops_read_it_too(scene: Scene) -> None:
    symbol, unified = scene.symbol, UnifiedDataManager()

    async def read() -> tuple[Any, ...]:
        rows = await unified.get_klines(symbol, "1m", 20)
        history = await unified.get_oi_history(symbol, "1h", 10)
        book = await unified.get_orderbook(symbol)
        many = await batch_get_open_interest_hist([symbol], "1h", 10)
        candles = unified.closed([symbol], ["1m"], since=rows[-4][0], timeout=30)
        first = [event async for event, _ in _numbered(candles, 2)]
        return rows, history, book, many, first

    rows, history, book, many, first = served(scene.reader, lambda dm: asyncio.run(read()))
    assert (len(rows), len(history), len(book["bids"]), len(many[symbol])) == (20, 10, 20, 10)
    assert [event.row for event in first] == rows[-4:-2]


async def _numbered(events: Any, count: int) -> Any:
    for number in range(count):
        yield await events.__anext__(), number


def test_the_cache_of_candles_never_blocks_the_thread_of_an_event_loop(scene: Scene) -> None:
    cache, symbol = get_kline_cache(), scene.symbol
    rows = served(scene.reader, lambda dm: cache.get_klines(symbol, "1m", 20))
    assert len(rows) == 20
    assert cache.is_initialized(symbol)
    assert cache.is_fresh(symbol)

    async def read() -> Any:
        return cache.get_klines(symbol, "1m", 20)

    def from_memory() -> bool:
        scene.reader.prefetch([symbol], ["1m"])  # a round trip to the store is a wait, too
        try:
            return len(asyncio.run(read())) == 20
        except NotInMemory:  # the second for which a prefetch counts was over
            return False

    before = requests(scene.reader)
    until(from_memory)
    assert requests(scene.reader) == before
