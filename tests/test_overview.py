"""The market at a glance: it agrees with the reads and the status, and shows when to look again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.klines import KlineSeries
from ats_sync.venue.endpoints import Host

from .support import all_live, from_memory, requests_by_cause, until

pytestmark = pytest.mark.shared_threads


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(4, seed=3, activity=0.1) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h", "15m"], config=exchange.config()) as manager:
        yield manager


def test_signs_agree_with_status_and_counts(manager: DataManager) -> None:
    until(lambda: all_live(manager, "klines", "orderbook", "trades"), what="live")
    signs, stats = manager.overview.signs(), manager.get_stats()
    assert signs.running
    assert signs.ready
    assert {each.name for each in signs.connections} == {each.name for each in manager.status().connections}
    assert 0 < signs.frames <= stats["ws_updates"]
    assert signs.requests.keys() == requests_by_cause(manager).keys()
    assert 0 < signs.usage[Host.FUTURES].cost <= signs.usage[Host.FUTURES].allowed
    assert until(lambda: manager.overview.signs().doubtful == 0, what="no doubt")


def test_the_mark_changes_with_what_a_user_would_notice(manager: DataManager, exchange: SimulatedExchange) -> None:
    def calm() -> bool:
        signs = manager.overview.signs()
        return not signs.doubtful and not signs.quiet and signs.sure

    until(calm, what="calm")
    before = manager.overview.signs().mark()
    exchange.refuse(1.0, "streams")
    exchange.cut(how="reset")
    until(lambda: manager.overview.signs().doubtful > 0, what="doubt")
    assert manager.overview.signs().mark() != before
    until(calm, what="calm again")
    assert manager.overview.signs().mark() != before  # it counts the reconnects


def test_prices_and_closes_are_those_of_the_reads(manager: DataManager) -> None:
    overview, symbols = manager.overview, manager.symbols
    prices = overview.prices(symbols)
    for symbol, (price, change, age) in zip(symbols, prices, strict=True):
        ticker = manager.get_ticker(symbol)
        assert float(price) == pytest.approx(ticker["lastPrice"], rel=0.05)
        assert float(change) == pytest.approx(ticker["priceChangePercent"], abs=5.0)
        assert age is not None
        assert age < 60
    candles = overview.candles()
    assert {symbol: series.interval for symbol, series in candles.items()} == dict.fromkeys(symbols, "15m")
    for symbol, series in candles.items():

        def same(symbol: str = symbol, series: KlineSeries = series) -> bool:
            rows = from_memory(manager, lambda: manager.get_klines(symbol, "15m", 21))
            return overview.closes(series, 20) == [row[4] for row in rows[:-1]]

        until(same, what=f"closes of {symbol}")


def test_it_knows_nothing_of_an_unknown_symbol(manager: DataManager) -> None:
    assert manager.overview.prices(["NOSUCHUSDT"]) == [("", "", None)]
    assert "NOSUCHUSDT" not in manager.overview.symbols()


def test_qualities_are_sampled_for_every_symbol(manager: DataManager) -> None:
    qualities = until(manager.overview.qualities, what="the first samples")
    assert qualities.keys() == set(manager.symbols)
    assert all(0.0 <= score <= 1.0 for score in qualities.values())


def test_without_a_runtime_there_are_no_signs(exchange: SimulatedExchange) -> None:
    overview = DataManager(["BTCUSDT"], config=exchange.config()).overview
    signs = overview.signs()
    assert not signs.running
    assert not signs.connections
    assert overview.qualities() == {}
    assert overview.symbols() == ["BTCUSDT"]


def test_repairs_and_limits_are_remembered(exchange: SimulatedExchange) -> None:
    with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()) as manager:
        until(lambda: all_live(manager, "klines"), what="live")
        before = manager.overview.signs().repairs
        exchange.cut(how="reset")
        signs = until(lambda: found if (found := manager.overview.signs()).repairs > before else None, what="a repair")
        assert signs.repaired is not None
        assert signs.repaired.symbol in ("BTCUSDT", "")
        assert signs.limits == {}
        exchange.fail_rest("429", path="/fapi/v1/depth", retry_after=2)
        with pytest.raises(Exception, match=r"429|limit"):
            manager.get_orderbook("BTCUSDT", 1000, max_age=0.0)
        signs = manager.overview.signs()
        assert signs.blocked.keys() == {"futures"}
        assert signs.limits[Host.FUTURES]
