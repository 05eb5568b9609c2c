"""What happens to the market itself: symbols leave, the exchange's clock jumps."""

from __future__ import annotations

import pytest

from ats_sync import DataManager, InvalidSymbol
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .helpers import all_well, fresh_or_loud

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")


def refused(dm: DataManager, symbol: str) -> bool:
    try:
        dm.get_klines(symbol, "1m", 5)
    except InvalidSymbol:
        return True
    return False


def test_a_delisted_symbol_is_refused_and_costs_nothing_more() -> None:
    with SimulatedExchange(SYMBOLS, seed=4, start=before_turn("1m", 6.0)) as ex:
        with DataManager(SYMBOLS, ["1m"], config=ex.config()) as dm:
            all_well(dm, ex)
            ex.delist("ETHUSDT")
            until(lambda: refused(dm, "ETHUSDT"), 60.0)
            for read in (dm.get_orderbook, dm.get_agg_trades, dm.get_mark_price, dm.get_spot_price):
                with pytest.raises(InvalidSymbol, match="ETHUSDT"):
                    read("ETHUSDT")
            until(lambda: dm.status().waiting_requests == 0)
            since = ex.now() + 1
            assert fresh_or_loud_but(dm, ex, "ETHUSDT")
            assert not [each for each in ex.request_log(since) if each.params.get("symbol") == "ETHUSDT"]


def fresh_or_loud_but(dm: DataManager, ex: SimulatedExchange, gone: str) -> bool:
    """The others are untouched."""
    dm.unwatch([gone])
    answers = fresh_or_loud(dm, ex)
    all_well(dm, ex)
    return answers > 0


@pytest.mark.parametrize("jump", [600_000, 7_000, -5_000])
def test_the_exchange_s_clock_jumps(jump: int) -> None:
    with SimulatedExchange(SYMBOLS[:2], seed=4, start=before_turn("1m", 20.0)) as ex:
        with DataManager(SYMBOLS[:2], ["1m", "1h"], config=ex.config(reconnect_min=0.2)) as dm:
            all_well(dm, ex)
            # Nobody is ever sent what it jumps over, so all must come by REST.
            ex.refuse(0.5, "streams")
            ex.cut(how="reset")
            ex.jump_clock(jump)
            all_well(dm, ex)
            assert fresh_or_loud(dm, ex) > 0
