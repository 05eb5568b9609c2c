"""Only the import is changed: the first call starts the manager, and what is read is followed."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ats_sync import (
    DataManager,
    RateLimited,
    RequestError,
    StaleDataError,
    get_data_manager,
    reset_data_manager,
)
from ats_sync.simulator import SimulatedExchange, before_turn
from compat import binance, klines

from ..support import from_memory, reads, until
from .conftest import Wire

LEAD = 20.0
"""Seconds from the start to the turn of the hour."""
BUSY, QUIET, CHINESE, NO_SPOT, NEW = "BTCUSDT", "ETHUSDT", "币安人生USDT", "1000PEPEUSDT", "MONUSDT"
READ = [BUSY, QUIET, CHINESE]

Rest = Callable[..., Any]
Truth = Callable[[Rest, str], Any]


def without_sending_time(book: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in book.items() if name != "E"}


FUNCTIONS: dict[str, tuple[Callable[[str], Any], Truth]] = {
    **{
        f"get_klines {interval}": (
            lambda s, i=interval, n=limit: binance.get_klines(s, i, n),  # type: ignore[misc]
            lambda rest, s, i=interval, n=limit: rest("/fapi/v1/klines", symbol=s, interval=i, limit=n),  # type: ignore[misc]
        )
        for interval, limit in (("1h", 300), ("4h", 200), ("1m", 1500), ("1M", 12), ("1w", 50), ("3d", 60))
    },
    "klines_15m": (
        lambda s: klines.klines_15m(s, 200),
        lambda rest, s: rest("/fapi/v1/klines", symbol=s, interval="15m", limit=200),
    ),
    "get_spot_klines": (
        lambda s: binance.get_spot_klines(s, "1h", 300),
        lambda rest, s: rest("/api/v3/klines", symbol=s, interval="1h", limit=300),
    ),
    "get_open_interest_hist 1h": (
        lambda s: binance.get_open_interest_hist(s, "1h", 300),
        lambda rest, s: rest("/futures/data/openInterestHist", symbol=s, period="1h", limit=300),
    ),
    "get_open_interest_hist 4h": (
        lambda s: binance.get_open_interest_hist(s, "4h", 100),
        lambda rest, s: rest("/futures/data/openInterestHist", symbol=s, period="4h", limit=100),
    ),
    "get_funding_hist": (
        lambda s: binance.get_funding_hist(s, 100),
        lambda rest, s: rest("/fapi/v1/fundingRate", symbol=s, limit=100),
    ),
    "get_orderbook_snapshot 20": (
        lambda s: without_sending_time(binance.get_orderbook_snapshot(s, 20)),
        lambda rest, s: without_sending_time(rest("/fapi/v1/depth", symbol=s, limit=20)),
    ),
    "get_orderbook_snapshot 100": (
        lambda s: without_sending_time(binance.get_orderbook_snapshot(s)),
        lambda rest, s: without_sending_time(rest("/fapi/v1/depth", symbol=s, limit=100)),
    ),
    "get_mark_price": (
        binance.get_mark_price,
        lambda rest, s: float(rest("/fapi/v1/premiumIndex", symbol=s)["markPrice"]),
    ),
    "get_funding_rate": (
        binance.get_funding_rate,
        lambda rest, s: float(rest("/fapi/v1/premiumIndex", symbol=s)["lastFundingRate"]),
    ),
    "get_spot_price": (
        binance.get_spot_price,
        lambda rest, s: float(rest("/api/v3/ticker/price", symbol=s)["price"]),
    ),
    "get_agg_trades": (
        binance.get_agg_trades,
        lambda rest, s: rest("/fapi/v1/aggTrades", symbol=s, limit=500),
    ),
}
"""Each function of the old module that answers for a symbol, and what REST has for it."""
FOR_ALL: dict[str, tuple[Callable[[], Any], Callable[[Rest], Any]]] = {
    "get_all_spot_prices": (
        binance.get_all_spot_prices,
        lambda rest: {each["symbol"]: float(each["price"]) for each in rest("/api/v3/ticker/price")},
    ),
    "exchangeInfo": (
        lambda: binance._get("/fapi/v1/exchangeInfo", timeout=5.0, retries=1)["symbols"],
        lambda rest: rest("/fapi/v1/exchangeInfo")["symbols"],
    ),
}
POLLED = ("get_open_interest_hist", "get_spot_price", "get_all_spot_prices", "get_funding_hist")
"""Their results are as old as the poll, and equal REST's while nothing has changed since."""


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7, start=before_turn("1h", LEAD)) as ex:
        yield ex


@pytest.fixture(scope="module")
def environment(exchange: SimulatedExchange) -> Iterator[None]:
    """Point the environment at the exchange; nothing runs yet."""
    with pytest.MonkeyPatch.context() as patch:
        for name, url in exchange.environment().items():
            patch.setenv(name, url)
        patch.setenv("NO_PROXY", "127.0.0.1")
        reset_data_manager()
        yield
        reset_data_manager()


@pytest.fixture(autouse=True)
def autostart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ATS_SYNC_AUTOSTART", raising=False)


@pytest.fixture(scope="module")
def first_reads(environment: None, exchange: SimulatedExchange) -> dict[tuple[str, str], Any]:
    """Return what the first call of every function gave, on a manager that the very first one started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("ATS_SYNC_AUTOSTART", raising=False)
        assert not get_data_manager().running
        found = {(name, symbol): read(symbol.lower()) for name, (read, _) in FUNCTIONS.items() for symbol in READ}
        for read_all, _ in FOR_ALL.values():
            read_all()
        found["get_funding_hist", NEW] = binance.get_funding_hist(NEW, 100)  # funded every hour
    return found


@pytest.fixture
def manager(first_reads: dict[tuple[str, str], Any]) -> DataManager:
    return get_data_manager()


def all_warm(manager: DataManager) -> bool:
    status = manager.status()
    return not status.waiting_requests and not [
        feed for feed in status.feeds if feed.state.value in ("warming up", "degraded")
    ]


def check_all(exchange: SimulatedExchange, wire: Wire, names: set[str]) -> None:
    """Check that each function returns, without a request, what REST has at the same moment."""
    for symbol in READ:
        exchange.silence(symbol)
    try:
        for symbol in READ:
            for name in FUNCTIONS.keys() & names:
                read, truth = FUNCTIONS[name]
                wire.equal_without_request(
                    lambda read=read, symbol=symbol: read(symbol),  # type: ignore[misc]
                    lambda truth=truth, symbol=symbol: truth(exchange.rest, symbol),  # type: ignore[misc]
                )
    finally:
        for symbol in READ:
            exchange.silence(symbol, False)


STREAMED = {name for name in FUNCTIONS if not name.startswith(POLLED)}


@pytest.mark.shared_threads
class TestMemory:
    """One manager goes, in this order, through a quiet time, the full hour and the loss of its connections."""

    def test_the_first_call_starts_the_manager_and_is_answered_by_rest(
        self, manager: DataManager, first_reads: dict[tuple[str, str], Any], exchange: SimulatedExchange
    ) -> None:
        assert manager.running
        assert manager.symbols == ()
        for symbol in READ:
            assert len(first_reads["get_klines 1m", symbol]) == 1500
            assert len(first_reads["get_spot_klines", symbol]) == 300
            assert len(first_reads["get_orderbook_snapshot 100", symbol]["bids"]) == 100
        assert {thread.name for thread in threading.enumerate()} >= {"ats-engine"}
        assert all(thread.daemon for thread in threading.enumerate() if thread.name.startswith("ats-"))

    def test_every_function_gives_what_rest_has(
        self, manager: DataManager, exchange: SimulatedExchange, wire: Wire
    ) -> None:
        until(lambda: all_warm(manager), 60)
        check_all(exchange, wire, STREAMED | {"get_funding_hist"})

    def test_what_is_polled_gives_what_rest_had_at_the_poll(
        self, manager: DataManager, first_reads: dict[tuple[str, str], Any], exchange: SimulatedExchange, wire: Wire
    ) -> None:
        for symbol in READ:
            for name in ("get_open_interest_hist 1h", "get_open_interest_hist 4h"):
                before = wire.count()
                again = FUNCTIONS[name][0](symbol)
                assert wire.count() == before or reads(manager)
                # All rows but the newest are settled.
                assert again[:-1] == first_reads[name, symbol][-len(again) :][:-1]
        quiet = {symbol for symbol in exchange.symbols if symbol not in READ}
        for read, truth in FOR_ALL.values():
            mine, whole = read(), truth(exchange.rest)
            if isinstance(mine, dict):
                assert mine.keys() == whole.keys()
                assert quiet & mine.keys()
            else:
                assert [each["symbol"] for each in mine] == [each["symbol"] for each in whole]

    def test_reads_continue_without_a_request_at_the_full_hour(
        self, manager: DataManager, exchange: SimulatedExchange, wire: Wire
    ) -> None:
        assert exchange.settings.start is not None
        turn = exchange.settings.start + round(1000 * LEAD)
        until(lambda: all_warm(manager), 60)
        before = reads(manager)
        seen: list[int] = []

        def scanned() -> bool:
            for symbol in READ:
                rows, spot = binance.get_klines(symbol, "1h", 3), binance.get_spot_klines(symbol, "1h", 3)
                # Callers join them by open time, so the windows must not differ for longer than a read takes.
                if rows[-1][0] != spot[-1][0]:
                    rows = binance.get_klines(symbol, "1h", 3)
                assert [row[0] for row in rows] == [row[0] for row in spot]
                for name in STREAMED:
                    assert FUNCTIONS[name][0](symbol)
            seen.append(rows[-1][0])
            return exchange.now() > turn + 4000

        until(scanned)
        assert seen[-1] == turn
        # Each scan reads twenty times, and on a busy machine the streams are sometimes late.
        assert reads(manager) - before < max(1, len(seen) // 10)

    def test_every_function_gives_what_rest_has_after_the_full_hour(
        self, manager: DataManager, exchange: SimulatedExchange, wire: Wire
    ) -> None:
        check_all(exchange, wire, STREAMED)

    def test_the_newest_funding_is_known(
        self, manager: DataManager, first_reads: dict[tuple[str, str], Any], exchange: SimulatedExchange
    ) -> None:
        turn = (exchange.settings.start or 0) + round(1000 * LEAD)
        assert first_reads["get_funding_hist", NEW][-1]["fundingTime"] < turn
        until(
            lambda: binance.get_funding_hist(NEW, 100) == exchange.rest("/fapi/v1/fundingRate", symbol=NEW, limit=100)
        )
        assert binance.get_funding_hist(NEW, 100)[-1]["fundingTime"] == turn

    def test_every_function_gives_what_rest_has_after_a_reconnect(
        self, manager: DataManager, exchange: SimulatedExchange, wire: Wire
    ) -> None:
        assert exchange.cut(how="reset") >= 3
        for symbol in READ:
            for name in STREAMED:
                assert FUNCTIONS[name][0](symbol), "REST answers meanwhile"
        until(lambda: manager.get_stats()["ws_reconnects"] >= 3 and all_warm(manager), 60)
        check_all(exchange, wire, STREAMED)

    def test_a_new_symbol_has_short_histories(
        self, manager: DataManager, exchange: SimulatedExchange, wire: Wire
    ) -> None:
        asked = (("1h", 400), ("1m", 1500), ("5m", 1500), ("15m", 1500))
        first = {interval: binance.get_klines(NEW, interval, limit) for interval, limit in asked}
        assert 9 <= len(first["1h"]) <= 11
        exchange.silence(NEW)
        try:
            for interval, limit in asked:
                wire.equal_without_request(
                    lambda interval=interval, limit=limit: binance.get_klines(NEW, interval, limit),  # type: ignore[misc]
                    lambda interval=interval, limit=limit: exchange.rest(  # type: ignore[misc]
                        "/fapi/v1/klines", symbol=NEW, interval=interval, limit=limit
                    ),
                )
        finally:
            exchange.silence(NEW, False)

    def test_a_perpetual_without_spot_pair_fails_without_a_request(self, manager: DataManager, wire: Wire) -> None:
        binance.get_spot_price(BUSY)
        before = reads(manager)
        for read in (binance.get_spot_price, lambda s: binance.get_spot_klines(s, "1h", 300)):
            with pytest.raises(OSError, match=r"1000PEPEUSDT.*400.*-1121"):
                read(NO_SPOT)
        assert reads(manager) == before

    def test_pages_by_time_are_exact(self, manager: DataManager, exchange: SimulatedExchange) -> None:
        hour = 3_600_000
        end = exchange.now() // hour * hour - hour
        start = end - 2500 * hour
        paged: list[Any] = []
        at = start
        while at < end:
            page = binance.get_klines(BUSY, "1h", 1500, start_time=at, end_time=end - 1)
            paged += page
            at = page[-1][0] + hour
        assert [row[0] for row in paged] == list(range(start, end, hour))
        half = exchange.rest("/fapi/v1/klines", symbol=BUSY, interval="1h", limit=1500, startTime=start)
        assert paged[:1500] == half

    def test_in_the_thread_of_a_running_loop(self, manager: DataManager) -> None:
        async def batch() -> list[Any]:
            loop = asyncio.get_running_loop()
            direct = [binance.get_klines(symbol, "1h", 300) for symbol in READ]
            pooled = await asyncio.gather(
                *(loop.run_in_executor(None, binance.get_klines, symbol, "1h", 300) for symbol in READ)
            )
            assert [[row[0] for row in rows] for rows in direct] == [[row[0] for row in rows] for rows in pooled]
            return direct

        assert [len(rows) for rows in from_memory(manager, lambda: asyncio.run(batch()))] == [300] * len(READ)

    def test_twenty_threads_at_once(self, manager: DataManager) -> None:
        calls = [(FUNCTIONS[name][0], symbol) for name in sorted(STREAMED) for symbol in READ] * 8

        def all_at_once() -> list[Any]:
            with ThreadPoolExecutor(20) as pool:
                return list(pool.map(lambda call: call[0](call[1]), calls))

        assert all(from_memory(manager, all_at_once))

    def test_what_is_watched_later_is_kept(self, manager: DataManager) -> None:
        manager.initialize([NEW], ["1h"])
        assert manager.symbols == (NEW,)
        runtime = manager._life.runtime
        assert runtime is not None
        kept = {key for key in manager._life.store.followed_keys() if key.symbol == NEW and key.interval == "1h"}
        assert kept
        assert not [key for key in kept if key in runtime.demand]
        assert [key for key in manager._life.store.followed_keys() if key in runtime.demand]
        manager.unwatch([NEW])


class TestBursts:
    """Each on a new manager of its own."""

    @pytest.fixture
    def fresh(self, environment: None) -> Iterator[None]:
        reset_data_manager()
        yield
        reset_data_manager()

    @staticmethod
    def together(calls: list[Callable[[], Any]]) -> list[Any]:
        barrier = threading.Barrier(len(calls))

        def run(call: Callable[[], Any]) -> Any:
            barrier.wait(60)
            return call()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(run, calls))

    def test_the_first_twenty_callers_share_requests(self, fresh: None, exchange: SimulatedExchange) -> None:
        exchange.latency(2.0)  # within which each of them has called, even on a busy machine
        seen = len(exchange.request_log())
        try:
            rows = self.together([lambda: binance.get_klines(QUIET, "1h", 300)] * 20)
            marks = self.together([lambda s=symbol: binance.get_mark_price(s) for symbol in exchange.symbols])  # type: ignore[misc]
            spots = self.together([lambda s=symbol: binance.get_spot_price(s) for symbol in READ])  # type: ignore[misc]
        finally:
            exchange.latency(0.0)
        assert len({id(each) for each in rows}) == 20
        assert all(each == rows[0] for each in rows)
        assert len(rows[0]) == 300
        assert all(marks)
        assert all(spots)
        log = exchange.request_log()[seen:]
        paths = Counter(each.path for each in log if each.path != "/fapi/v1/klines")
        assert paths["/fapi/v1/premiumIndex"] == 1
        assert paths["/api/v3/ticker/price"] == 1
        asked = [each.params["limit"] for each in log if each.path == "/fapi/v1/klines"]
        assert asked[0] == "300"
        assert len(asked) <= 2, "and the series' own, which may have been on its way to the queue when the answer came"

    def test_callers_of_several_series_are_served_in_the_order_of_their_own(
        self, fresh: None, exchange: SimulatedExchange
    ) -> None:
        intervals = ["1h", "15m", "4h", "5m"]

        def of(symbol: str) -> Any:
            return [binance.get_klines(symbol, interval, 10) for interval in intervals]

        found = self.together([lambda s=symbol: of(s) for symbol in exchange.symbols])  # type: ignore[misc]
        hour = 3_600_000
        lengths = {"5m": hour // 12, "15m": hour // 4, "1h": hour, "4h": 4 * hour}
        for each in found:
            for interval, rows in zip(intervals, each, strict=True):
                assert rows[1][0] - rows[0][0] == lengths[interval]

    def test_what_exceeds_the_budget_fails_loudly_and_never_reaches_the_exchange(self) -> None:
        with SimulatedExchange(symbols=20, seed=7, weight_limit=60) as ex:
            config = ex.config(shim_timeout=2.0, futures_weight_limit=60)
            manager = DataManager(config=config).autostart()

            def read(symbol: str) -> Any:
                try:
                    return manager.rest_shaped.klines(symbol, "1h", 1000)  # weighs 5
                except (RequestError, StaleDataError) as error:
                    return error

            try:
                found = self.together([lambda s=symbol: read(s) for symbol in ex.symbols * 2])  # type: ignore[misc]
            finally:
                manager.close()
            stats = ex.stats().fapi
        assert (stats.refused_429, stats.refused_418) == (0, 0)
        assert stats.max_weight <= 0.8 * 60
        served = [each for each in found if isinstance(each, list)]
        refused = [each for each in found if isinstance(each, RateLimited)]
        # A caller that comes after an answer for the same symbol learns how old that is, as it is not live.
        stale = [each for each in found if isinstance(each, StaleDataError) and isinstance(each.__cause__, RateLimited)]
        assert len(served) * 5 <= 2 * 0.8 * 60, "two callers share an answer"
        assert served
        assert refused
        assert len(served) + len(refused) + len(stale) == len(found)
        assert all(isinstance(each, OSError) for each in refused)
        assert all("budget" in str(each) for each in (*refused, *stale))

    def test_autostart_turned_off_is_one_request_a_call_and_no_thread(
        self, fresh: None, exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ATS_SYNC_AUTOSTART", "0")
        seen = len(exchange.request_log())
        for _ in range(3):
            binance.get_klines(QUIET, "1h", 30)
            binance.get_mark_price(QUIET)
        sent = [(each.path, each.params.get("symbol")) for each in exchange.request_log()[seen:]]
        assert sent == [("/fapi/v1/klines", QUIET), ("/fapi/v1/premiumIndex", QUIET)] * 3
        assert not get_data_manager().running
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("ats-")]

    def test_a_closed_manager_is_not_started_again_by_a_call(
        self, fresh: None, exchange: SimulatedExchange, caplog: pytest.LogCaptureFixture
    ) -> None:
        binance.get_klines(QUIET, "1h", 30)
        manager = get_data_manager()
        assert manager.running
        manager.close()
        with caplog.at_level(logging.WARNING, "ats_sync"):
            assert len(binance.get_klines(QUIET, "1h", 30)) == 30
        assert not manager.running
        assert not [record for record in caplog.records if "forked" in record.message]
