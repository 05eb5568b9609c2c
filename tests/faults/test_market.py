"""What happens to the market itself: symbols are delisted, and the exchange's clock jumps."""

from __future__ import annotations

import pytest

from ats_sync import DataManager, InvalidSymbol
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .helpers import all_well

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def refused(dm: DataManager, symbol: str) -> bool:
    """Return whether every read says that the symbol is gone."""
    reads = (dm.get_orderbook, dm.get_agg_trades, dm.get_mark_price, dm.get_spot_price, dm.get_oi_history)
    for read in (lambda symbol: dm.get_klines(symbol, "1m", 5), *reads):
        try:
            read(symbol)
        except InvalidSymbol as error:
            if symbol not in str(error):
                raise
        else:
            return False
    return True


def test_a_delisted_symbol_is_refused_and_costs_nothing_more() -> None:
    with (
        SimulatedExchange(SYMBOLS, seed=4, start=before_turn("1m", 5.0)) as ex,
        DataManager(SYMBOLS, ["1m"], config=ex.config()) as dm,
    ):
        all_well(dm, ex)
        ex.delist("ETHUSDT")
        until(lambda: refused(dm, "ETHUSDT"), 60.0)
        until(lambda: dm.status().waiting_requests == 0)
        since = ex.now() + 1
        assert refused(dm, "ETHUSDT")
        dm.get_klines("BTCUSDT", "1m", 5, max_age=0)
        asked = [each.params.get("symbol") for each in ex.request_log(since)]
        assert "BTCUSDT" in asked
        assert "ETHUSDT" not in asked
        dm.unwatch(["ETHUSDT"])
        all_well(dm, ex)


@pytest.mark.parametrize("jump", [600_000, -5_000])
def test_the_exchanges_clock_jumps(jump: int) -> None:
    with (
        SimulatedExchange(SYMBOLS[:2], seed=4, start=before_turn("1m", 20.0)) as ex,
        DataManager(SYMBOLS[:2], ["1m", "1h"], config=ex.config(reconnect_min=0.2)) as dm,
    ):
        all_well(dm, ex)
        # The time it jumps over is never streamed, so everything must come by REST.
        ex.refuse(0.5, "streams")
        ex.cut(how="reset")
        ex.jump_clock(jump)
        all_well(dm, ex)


def test_a_hole_in_the_exchanges_history_is_served_from_memory_as_rest_shows_it() -> None:
    quarter = 900_000
    with SimulatedExchange(SYMBOLS[:2], seed=7, start=before_turn("15m", 400.0)) as ex:
        now = ex.now() - ex.now() % quarter
        ex.halt_history("BTCUSDT", now - 60 * quarter, now - 40 * quarter)
        with DataManager(SYMBOLS[:2], ["15m"], config=ex.config()) as dm:
            all_well(dm, ex)
            reads = dm.get_stats()["rest_calls_by_cause"].get("read", 0)
            for limit in (30, 41, 100, 300):
                rows = dm.get_klines("BTCUSDT", "15m", limit)
                shown = ex.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="15m", limit=limit)
                assert [row[0] for row in rows] == [row[0] for row in shown]
            assert dm.get_stats()["rest_calls_by_cause"].get("read", 0) == reads


def test_a_book_at_rest_is_live_and_costs_no_request() -> None:
    with SimulatedExchange(SYMBOLS[:2], seed=7) as ex:
        ex.silence("BTCUSDT")
        with DataManager(SYMBOLS[:2], ["1h"], config=ex.config(reconnect_min=0.2)) as dm:

            def costs_nothing() -> bool:
                before = dm.get_stats()["rest_calls_by_cause"].get("read", 0)
                for limit in (20, 100):
                    dm.get_orderbook("BTCUSDT", limit)
                return bool(dm.get_stats()["rest_calls_by_cause"].get("read", 0) == before)

            until(costs_nothing, 30.0)
            ex.cut(how="reset")
            until(lambda: dm.get_stats()["ws_reconnects"] > 0, 30.0)
            until(costs_nothing, 30.0)
