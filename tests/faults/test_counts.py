"""The exchange's counters begin again, and an open candle is recomputed: what is read is the exchange's truth."""

from __future__ import annotations

import pytest

from ats_sync import AtsSyncError, DataManager
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .helpers import AGG_TRADES, DEPTH, KLINES, all_well, fresh_or_loud

SYMBOLS = ("BTCUSDT", "ETHUSDT")
NAME = "BTCUSDT"
LEVELS = (20, 100)
WITHIN = 10.0
"""Seconds after which everything is the exchange's truth again."""


def read_requests(dm: DataManager) -> int:
    return int(dm.get_stats()["rest_calls_by_cause"].get("read", 0))


def books_are_of(dm: DataManager, ex: SimulatedExchange, symbol: str) -> bool:
    """Return whether books of both depths lie between two of the exchange's own states."""
    for levels in LEVELS:
        first = ex.rest(DEPTH, symbol=symbol, limit=levels)["lastUpdateId"]
        read = dm.rest_shaped.depth(symbol, levels)
        last = ex.rest(DEPTH, symbol=symbol, limit=levels)
        # While a connection may be silent, a book changes fewer times than that.
        if not first - 5_000 < read["lastUpdateId"] <= last["lastUpdateId"] or len(read["bids"]) < levels:
            return False
    return True


def is_truth(dm: DataManager, ex: SimulatedExchange) -> bool:
    """Return whether everything that is read is the exchange's, and comes from memory."""
    before = read_requests(dm)
    try:
        for symbol in SYMBOLS:
            if not books_are_of(dm, ex, symbol):
                return False
            held = dm.rest_shaped.agg_trades(symbol, 50)
            if held != ex.rest(AGG_TRADES, symbol=symbol, fromId=held[0]["a"], limit=len(held)):
                return False
            for interval in ("1m", "1h"):
                rows = dm.rest_shaped.klines(symbol, interval, 30)
                truth = ex.rest(KLINES, symbol=symbol, interval=interval, limit=30)
                if rows[:-1] != truth[:-1] or not 0 <= truth[-1][8] - rows[-1][8] < 200:
                    return False
    except AtsSyncError:
        return False
    return read_requests(dm) == before


@pytest.mark.parametrize("cut", [False, True])
def test_all_is_true_within_seconds_after_ids_have_begun_again(cut: bool) -> None:
    with (
        SimulatedExchange(SYMBOLS, seed=7, start=before_turn("1m", 50.0)) as ex,
        DataManager(SYMBOLS, ["1m", "1h"], config=ex.config(reconnect_min=0.2)) as dm,
    ):
        all_well(dm, ex)
        until(lambda: is_truth(dm, ex))
        ex.restart_ids()
        if cut:
            ex.cut(how="reset")
        until(lambda: is_truth(dm, ex), WITHIN)
        assert fresh_or_loud(dm, ex) == 4 * len(SYMBOLS)
        until(lambda: is_truth(dm, ex), WITHIN)


def test_an_open_candle_that_is_recomputed_is_that_of_the_exchange_within_seconds() -> None:
    with (
        SimulatedExchange(SYMBOLS, seed=7, start=before_turn("1m", 50.0)) as ex,
        DataManager(SYMBOLS, ["1m", "1h"], config=ex.config()) as dm,
    ):
        all_well(dm, ex)

        def open_trades(interval: str) -> tuple[int, int, int]:
            before = ex.rest(KLINES, symbol=NAME, interval=interval, limit=1)[-1][8]
            read = dm.rest_shaped.klines(NAME, interval, 1)[-1][8]
            return before, read, ex.rest(KLINES, symbol=NAME, interval=interval, limit=1)[-1][8]

        until(lambda: ex.rest(KLINES, symbol=NAME, interval="1m", limit=1)[-1][8] >= 400)
        counted = ex.rest(KLINES, symbol=NAME, interval="1m", limit=1)[-1][8]
        ex.recompute_candle(NAME)
        for interval in ("1m", "1h"):

            def is_recomputed() -> bool:
                before, read, after = open_trades(interval)  # noqa: B023
                return before - 30 <= read <= after

            until(is_recomputed, WITHIN)
        assert open_trades("1m")[1] < counted, "it has not just caught up"
        all_well(dm, ex)
