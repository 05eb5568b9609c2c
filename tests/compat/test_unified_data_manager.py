"""The old ``UnifiedDataManager``."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

import ats_sync
from ats_sync import DataManager, NotRunning, StaleDataError, reset_data_manager
from ats_sync.simulator import SimulatedExchange
from compat.unified_data_manager import UnifiedDataManager, get_data_manager

from ..support import all_live, from_memory, reads, until
from .conftest import STRANGER, SYMBOLS

QUIET = SYMBOLS[1]
SIGNATURES = {
    "initialize": "self, symbols, intervals=('1h', '4h', '15m', '1d'), enable_websocket=True",
    "close": "self",
    "get_klines": "self, symbol, interval, limit=300",
    "get_oi_history": "self, symbol, interval='1h', limit=100",
    "get_orderbook": "self, symbol, limit=20",
    "get_funding_rate": "self, symbol",
    "get_spot_price": "self, symbol",
    "get_liquidation_trades": "self, symbol, limit=500",
}


class NoThreads(ThreadPoolExecutor):
    """An executor for a loop that must not need another thread."""

    def submit(self, *args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a thread was asked to read")


def run_on_the_loop(read: Callable[[], Awaitable[Any]]) -> Any:
    """Return the result of a coroutine that must not need another thread."""

    async def main() -> Any:
        asyncio.get_running_loop().set_default_executor(NoThreads())
        return await read()

    return asyncio.run(main())


@pytest.mark.parametrize(("name", "signature"), SIGNATURES.items())
def test_names_and_defaults(name: str, signature: str) -> None:
    method = getattr(UnifiedDataManager, name)
    assert inspect.iscoroutinefunction(method)
    found = inspect.signature(method)
    bare = [each.replace(annotation=inspect.Parameter.empty) for each in found.parameters.values()]
    assert str(found.replace(parameters=bare, return_annotation=inspect.Signature.empty)) == f"({signature})"


def test_one_for_the_process() -> None:
    assert get_data_manager() is get_data_manager()


def test_closed_candles_and_turns_come_on_the_loop(live: DataManager) -> None:
    manager = get_data_manager()
    from_memory(live, lambda: live.rest_shaped.klines(QUIET, "1h", 50))

    async def replayed() -> list[Any]:
        candles, turns = manager.closed([QUIET], ["1h"], since=0), manager.turns("1h", symbols=[QUIET], since=0)
        first = [candle async for candle in _first(candles, 3)]
        return [*first, *[turn async for turn in _first(turns, 1)]]

    one, two, three, turn = run_on_the_loop(replayed)
    assert [two.open_time, three.open_time] == [one.open_time + 3_600_000, one.open_time + 7_200_000]
    assert turn.closed == {QUIET: one.row}


async def _first(events: Any, count: int) -> Any:
    for _ in range(count):
        yield await anext(events)
    events.close()
    assert [event async for event in events] == []


@pytest.mark.shared_threads
@pytest.mark.usefixtures("live")
class TestReads:
    def test_are_answered_on_the_loop_from_memory(self, live: DataManager, exchange: SimulatedExchange) -> None:
        manager = get_data_manager()

        def scan() -> None:
            rows = run_on_the_loop(lambda: manager.get_klines(QUIET.lower(), "1h"))
            assert len(rows) == 300
            assert [type(item) for item in rows[0]] == [int, *[float] * 5, int, float, int, *[float] * 3]
            truth = exchange.rest("/fapi/v1/klines", symbol=QUIET, interval="1h", limit=300)
            assert [row[4] for row in rows] == [float(row[4]) for row in truth]
            history = run_on_the_loop(lambda: manager.get_oi_history(QUIET.lower()))
            assert len(history) == 100
            assert set(history[0]) == {"timestamp", "sumOpenInterest", "sumOpenInterestValue"}
            book = run_on_the_loop(lambda: manager.get_orderbook(QUIET.lower(), 7))
            levels = exchange.rest("/fapi/v1/depth", symbol=QUIET, limit=10)["bids"][:7]
            assert book["bids"] == [[float(price), float(quantity)] for price, quantity in levels]
            assert len(book["asks"]) == 7
            funding = run_on_the_loop(lambda: manager.get_funding_rate(QUIET.lower()))
            assert set(funding) == {"rate", "nextTime", "markPrice", "timestamp"}
            price = run_on_the_loop(lambda: manager.get_spot_price(QUIET.lower()))
            assert price == float(exchange.rest("/api/v3/ticker/price", symbol=QUIET)["price"])
            trades = run_on_the_loop(lambda: manager.get_liquidation_trades(QUIET.lower(), 9))
            truth = exchange.rest("/fapi/v1/aggTrades", symbol=QUIET, limit=9)
            assert trades == [
                {"price": float(row["p"]), "qty": float(row["q"]), "time": row["T"], "isBuyerMaker": row["m"]}
                for row in truth
            ]

        from_memory(live, scan)

    def test_that_go_to_rest_do_not_hold_up_the_loop(self, live: DataManager, exchange: SimulatedExchange) -> None:
        manager = get_data_manager()

        async def main() -> list[str]:
            order: list[str] = []

            async def slow() -> None:
                assert len(await manager.get_klines(STRANGER, "1h", 20)) == 20
                order.append("rest")

            reading = asyncio.ensure_future(slow())
            await asyncio.to_thread(until, lambda: live.status().waiting_requests)
            order.append("the loop ran while it waited")
            exchange.thaw()
            await reading
            return order

        before = reads(live), live.get_stats()["cache_misses"]
        exchange.freeze(what="fapi")
        try:
            assert asyncio.run(main()) == ["the loop ran while it waited", "rest"]
        finally:
            exchange.thaw()
        assert (reads(live), live.get_stats()["cache_misses"]) == (before[0] + 1, before[1] + 1)

    def test_open_interest_of_another_interval_is_its_own(self) -> None:
        rows = asyncio.run(get_data_manager().get_oi_history(QUIET, "4h", 5))
        assert [b["timestamp"] - a["timestamp"] for a, b in itertools.pairwise(rows)] == [4 * 3_600_000] * 4

    def test_small_limits_do_not_reduce_what_is_kept(self) -> None:
        manager = get_data_manager()
        for limit in (5, 300, 1, 300):
            assert len(run_on_the_loop(partial(manager.get_klines, QUIET, "1h", limit))) == limit

    def test_what_is_returned_belongs_to_the_caller(self) -> None:
        manager = get_data_manager()
        run_on_the_loop(lambda: manager.get_orderbook(QUIET))["bids"].clear()
        assert len(run_on_the_loop(lambda: manager.get_orderbook(QUIET))["bids"]) == 20

    def test_errors_come_through(self) -> None:
        manager = get_data_manager()
        with pytest.raises(ValueError, match="NOSUCHUSDT"):
            asyncio.run(manager.get_klines("NOSUCHUSDT", "1h"))
        with pytest.raises(ats_sync.NoSpotPair):
            run_on_the_loop(lambda: manager.get_spot_price(SYMBOLS[3]))

    def test_what_it_reports_about_itself(self, live: DataManager) -> None:
        manager = get_data_manager()
        assert manager.initialized is True
        assert manager.symbols == SYMBOLS
        keys = ("klines_1h", "oi", "orderbook", "funding", "liquidation")
        assert {f"{QUIET}_{key}" for key in keys} <= set(manager.last_update)
        assert manager.stats.keys() == manager.get_stats().keys() == live.get_stats().keys()
        assert dict(manager.config) == {
            "max_klines": 500, "max_trades": 1000, "max_oi": 300, "oi_update_interval": 300,
            "funding_update_interval": 3600, "spot_update_interval": 60, "liquidation_update_interval": 300,
            "rest_timeout": 10, "ws_reconnect_delay": 5,
        }  # fmt: skip


@pytest.fixture
def at_exchange(exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedExchange]:
    """Point the environment at the exchange; no manager runs."""
    for name, url in exchange.environment().items():
        monkeypatch.setenv(name, url)
    reset_data_manager()
    yield exchange
    exchange.clear_faults()
    reset_data_manager()


class TestLife:
    def test_it_starts_closes_and_starts_again(self, at_exchange: SimulatedExchange) -> None:
        manager = get_data_manager()
        with pytest.raises(NotRunning, match="start"):
            asyncio.run(manager.get_klines(QUIET, "1h"))

        async def main() -> None:
            for _ in range(2):
                await manager.initialize([QUIET.lower()], ["1h"])
                assert manager.initialized
                assert len(await manager.get_klines(QUIET, "1h", 30)) == 30
                await manager.close()
                await manager.close()
                assert not manager.initialized

        asyncio.run(main())

    def test_without_websocket(self, at_exchange: SimulatedExchange) -> None:
        before = at_exchange.stats().connections_now

        async def main() -> None:
            await get_data_manager().initialize([QUIET], ["1h"], enable_websocket=False)
            assert len(await get_data_manager().get_klines(QUIET, "1h", 30)) == 30
            assert at_exchange.stats().connections_now == before
            await get_data_manager().close()

        asyncio.run(main())

    def test_a_loop_that_ends_while_it_starts_does_not_hang(self, at_exchange: SimulatedExchange) -> None:
        at_exchange.refuse(what="streams")

        async def main() -> None:
            starting = asyncio.ensure_future(get_data_manager().initialize([QUIET], ["1h"]))
            await asyncio.to_thread(until, lambda: ats_sync.get_data_manager().running)
            starting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await starting
            assert not ats_sync.get_data_manager().running

        loop = threading.Thread(target=asyncio.run, args=(main(),), daemon=True)
        loop.start()
        loop.join(30)
        assert not loop.is_alive()

    def test_a_cancelled_watch_leaves_it_running(self, at_exchange: SimulatedExchange) -> None:
        async def main() -> None:
            manager = get_data_manager()
            await manager.initialize([QUIET], ["1h"])
            at_exchange.fail_rest("503", path="/fapi/v1/klines")
            watching = asyncio.ensure_future(manager.initialize([STRANGER], ["1h"]))
            await asyncio.to_thread(until, lambda: STRANGER in manager.symbols)
            watching.cancel()
            with pytest.raises(asyncio.CancelledError):
                await watching
            assert manager.initialized
            at_exchange.clear_faults()

        asyncio.run(main())

    def test_stale_data_is_an_error(self, at_exchange: SimulatedExchange) -> None:
        async def main() -> None:
            manager = get_data_manager()
            await manager.initialize([QUIET], ["1h"])
            at_exchange.refuse(what="streams")
            at_exchange.fail_rest("503")
            at_exchange.cut(how="reset")
            await asyncio.to_thread(until, lambda: not all_live(ats_sync.get_data_manager(), "klines"))
            with pytest.raises(StaleDataError) as caught:
                await manager.get_klines(QUIET, "1h", 30)
            assert len(caught.value.data) == 30

        asyncio.run(main())
