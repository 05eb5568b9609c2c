"""Halts, maintenance windows, listings and delistings in a running manager, on real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync import DataManager, InvalidSymbol
from ats_sync.simulator import SimulatedExchange

from .support import all_live, from_memory, until


@pytest.fixture
def exchange() -> Iterator[SimulatedExchange]:
    symbols = ["BTCUSDT", "ETHUSDT", "BTCDOMUSDT", "XAUUSDT", "BTCUSDT_261225", "币安人生USDT"]
    with SimulatedExchange(symbols, seed=7) as ex:
        yield ex


@pytest.fixture
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h"], config=exchange.config()) as dm:
        yield dm


def test_one_halted_contract_does_not_stop_the_start_and_is_served(exchange: SimulatedExchange) -> None:
    exchange.set_status("ETHUSDT", "TRADING_HALT")
    with DataManager(exchange.symbols, ["1h"], config=exchange.config()) as dm:
        status = dm.status()
        assert status.contracts == {"ETHUSDT": "TRADING_HALT"}
        assert "ETHUSDT is TRADING_HALT" in str(status)
        rows, book = from_memory(dm, lambda: (dm.get_klines("ETHUSDT", "1h", 10), dm.get_orderbook("ETHUSDT")))
        assert len(rows) == 10
        assert book["bids"]
        exchange.set_status("ETHUSDT", "TRADING")
        until(lambda: not dm.status().contracts, 10)


def test_a_maintenance_window_delists_nothing(exchange: SimulatedExchange, manager: DataManager) -> None:
    exchange.maintenance(status="CLOSE")
    exchange.list_symbol("SIM1USDT")  # an event, so exchangeInfo is requested during the window
    until(lambda: set(manager.status().contracts.values()) == {"CLOSE"}, 10)
    exchange.maintenance(status="")
    until(lambda: not manager.status().contracts, 20)
    assert all(from_memory(manager, lambda: [manager.get_klines(each, "1h", 10) for each in manager.symbols]))


def test_a_delisted_contract_is_refused_at_once(exchange: SimulatedExchange, manager: DataManager) -> None:
    exchange.delist("BTCDOMUSDT")

    def refused() -> bool:
        try:
            manager.get_mark_price("BTCDOMUSDT")
        except InvalidSymbol:
            return True
        return False

    until(refused, 3, "its resting mark is not passed off as fresh")
    for read in (
        lambda: manager.get_klines("BTCDOMUSDT", "1h", 10),
        lambda: manager.get_orderbook("BTCDOMUSDT"),
        lambda: manager.get_funding_rate("BTCDOMUSDT"),
    ):
        with pytest.raises(InvalidSymbol, match="BTCDOMUSDT"):
            read()
    assert manager.get_klines("BTCUSDT", "1h", 10)


def test_a_symbol_that_is_listed_while_it_runs_can_be_watched_at_once(
    exchange: SimulatedExchange, manager: DataManager
) -> None:
    with pytest.raises(InvalidSymbol, match="NEWUSDT"):
        manager.watch(["NEWUSDT"])
    exchange.list_symbol("NEWUSDT")

    def watched() -> bool:
        try:
            manager.watch(["NEWUSDT"])
        except InvalidSymbol:
            return False
        return True

    until(watched, 4)
    until(lambda: all_live(manager, "klines", "orderbook", "trades"), 30)


def test_a_pending_symbol_can_be_watched_and_goes_live_with_its_first_trade(exchange: SimulatedExchange) -> None:
    exchange.list_symbol("NEWUSDT", pending=True)
    with DataManager([*exchange.symbols, "NEWUSDT"], ["1h"], config=exchange.config()) as dm:
        assert dm.status().contracts == {"NEWUSDT": "PENDING_TRADING"}
        until(lambda: all_live(dm, "trades"), 30)
        assert from_memory(dm, lambda: (dm.get_klines("NEWUSDT", "1h", 10), dm.get_agg_trades("NEWUSDT"))) == ([], [])
        exchange.set_status("NEWUSDT", "TRADING")
        exchange.trade("NEWUSDT")
        until(lambda: dm.get_agg_trades("NEWUSDT"), 10)
        assert dm.get_klines("NEWUSDT", "1h", 10)
        until(lambda: not dm.status().contracts, 10)


def test_a_pending_symbol_that_is_watched_while_it_runs_goes_live_with_its_first_trade(
    exchange: SimulatedExchange, manager: DataManager
) -> None:
    exchange.list_symbol("NEWUSDT", pending=True)

    def watched() -> bool:
        try:
            manager.watch(["NEWUSDT"])
        except InvalidSymbol:
            return False
        return True

    until(watched, 10)
    assert manager.wait_ready(timeout=30.0) is manager, "it is not waited for"
    until(lambda: manager.status().contracts == {"NEWUSDT": "PENDING_TRADING"}, 10)
    assert from_memory(manager, lambda: manager.get_klines("NEWUSDT", "1h", 10)) == []
    exchange.set_status("NEWUSDT", "TRADING")
    exchange.trade("NEWUSDT")
    until(lambda: manager.get_agg_trades("NEWUSDT"), 10)
    until(lambda: all_live(manager, "klines", "orderbook", "trades"), 30)
    assert from_memory(manager, lambda: manager.get_klines("NEWUSDT", "1h", 10))
    assert manager.status().contracts == {}


def test_other_markets_and_contracts_without_funding(exchange: SimulatedExchange, manager: DataManager) -> None:
    with pytest.raises(InvalidSymbol):
        manager.get_mark_price("BTCUSD_PERP")
    funding = manager.get_funding_rate("BTCUSDT_261225")
    assert (funding["rate"], funding["nextTime"]) == (0.0, None)
    assert manager.get_funding_rate("XAUUSDT")["nextTime"] > exchange.now()
    assert manager.rest_shaped.last_funding_rate("BTCUSDT_261225") == 0.0
    rows = {row["symbol"]: row for row in manager.rest_shaped.all_premium_index()}
    assert rows["BTCUSDT_261225"]["nextFundingTime"] == 0


def test_a_stock_quiet_on_sunday_is_not_a_dead_stream(exchange: SimulatedExchange, manager: DataManager) -> None:
    exchange.set_session("commodity", "NO_TRADING")
    until(lambda: all_live(manager, "klines", "orderbook", "trades"), 20)
    for _ in range(3):
        assert all(
            from_memory(manager, lambda: (manager.get_klines("XAUUSDT", "1h", 5), manager.get_orderbook("XAUUSDT")))
        )
    assert manager.status().contracts == {}
