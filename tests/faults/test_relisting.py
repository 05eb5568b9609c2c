"""A contract is delisted, and its name comes back for another one with another price scale."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from ats_sync import AtsSyncError, DataManager, InvalidSymbol
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .helpers import AGG_TRADES, DEPTH, KLINES, all_well

SYMBOLS = ("BTCUSDT", "ETHUSDT")
NAME = "ETHUSDT"
NEW_PRICE, MOST_OF_NEW = 0.5, 5.0
"""The old contract traded above 1,000."""
OPEN_INTEREST = "/futures/data/openInterestHist"


def highest(rows: list[list[Any]]) -> float:
    """Return the highest price, 0 where the new contract has no candle yet."""
    return max((float(row[2]) for row in rows), default=0.0)


def highest_bid(book: dict[str, Any]) -> float:
    return max((float(price) for price, _ in book["bids"]), default=0.0)


def old_values(dm: DataManager, ex: SimulatedExchange) -> list[str]:
    """Return the reads that answer with data of the old contract; one that raises does not."""
    shaped = dm.rest_shaped

    def interest() -> bool:
        read = dm.get_oi_history(NAME, "1h", 30)
        return len(read) != len(ex.rest(OPEN_INTEREST, symbol=NAME, period="1h", limit=30))

    reads = {
        "1m": lambda: highest(shaped.klines(NAME, "1m", 60)) > MOST_OF_NEW,
        "1h": lambda: highest(shaped.klines(NAME, "1h", 60)) > MOST_OF_NEW,
        "book": lambda: highest_bid(shaped.depth(NAME, 20)) > MOST_OF_NEW,
        "full book": lambda: highest_bid(shaped.depth(NAME, 100)) > MOST_OF_NEW,
        "trades": lambda: max((float(trade["p"]) for trade in shaped.agg_trades(NAME, 500)), default=0.0) > MOST_OF_NEW,
        "mark": lambda: dm.get_mark_price(NAME) > MOST_OF_NEW,
        "open interest": interest,
    }
    found = []
    for name, is_old in reads.items():
        try:
            if is_old():
                found.append(name)
        except AtsSyncError:
            continue
    return found


def is_refused(dm: DataManager) -> bool:
    try:
        dm.get_klines(NAME, "1m", 5)
    except InvalidSymbol:
        return True
    return False


def from_memory_alone(dm: DataManager) -> bool:
    """Return whether every read of it is answered without a request."""
    before = dm.get_stats()["rest_calls_by_cause"].get("read", 0)
    for read in (
        lambda: dm.get_klines(NAME, "1m", 60),
        lambda: dm.get_klines(NAME, "1h", 60),
        lambda: dm.get_orderbook(NAME, 20),
        lambda: dm.get_orderbook(NAME, 100),
        lambda: dm.get_agg_trades(NAME, 500),
        lambda: dm.get_oi_history(NAME, "1h", 30),
        lambda: dm.get_mark_price(NAME),
    ):
        try:
            read()
        except AtsSyncError:
            return False
    return bool(dm.get_stats()["rest_calls_by_cause"].get("read", 0) == before)


def is_truth(dm: DataManager, ex: SimulatedExchange) -> bool:
    """Return whether the reads agree with REST, as nearly as two moments can."""
    shaped = dm.rest_shaped
    for interval in ("1m", "1h"):
        read = shaped.klines(NAME, interval, 60)
        truth = ex.rest(KLINES, symbol=NAME, interval=interval, limit=60)
        if [row[0] for row in read] != [row[0] for row in truth] or read[:-1] != truth[:-1]:
            return False
    for levels in (20, 100):
        read, truth = shaped.depth(NAME, levels), ex.rest(DEPTH, symbol=NAME, limit=levels)
        if not 0 <= truth["lastUpdateId"] - read["lastUpdateId"] < 10_000:
            return False
    trades = shaped.agg_trades(NAME, 500)
    return bool(trades == ex.rest(AGG_TRADES, symbol=NAME, fromId=trades[0]["a"], limit=len(trades)))


@pytest.mark.parametrize("noticed", [True, False])
def test_nothing_of_the_old_contract_is_served_as_the_new_one_s(noticed: bool) -> None:
    with (
        SimulatedExchange(SYMBOLS, seed=7, start=before_turn("1m", 30.0)) as ex,
        DataManager(SYMBOLS, ["1m", "1h"], config=ex.config(reconnect_min=0.2)) as dm,
    ):
        all_well(dm, ex)
        dm.get_orderbook(NAME, 100)
        dm.get_oi_history(NAME, "1h", 30)
        until(lambda: from_memory_alone(dm))
        ex.delist(NAME)
        if noticed:
            until(lambda: is_refused(dm), 30.0)
        else:
            # What happened meanwhile is reported to nobody.
            ex.refuse(None, "streams")
            ex.cut(how="reset")
        ex.list_symbol(NAME, price=NEW_PRICE, activity=20.0)
        ex.accept("streams")
        until(lambda: not old_values(dm, ex), 10.0, "the old contract's values are gone within seconds")
        for _ in range(20):
            assert old_values(dm, ex) == []
            threading.Event().wait(0.05)
        until(lambda: from_memory_alone(dm) and is_truth(dm, ex), 30.0)
        assert old_values(dm, ex) == []
