"""Single events that are lost, doubled, out of order or late."""

from __future__ import annotations

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .helpers import all_well, fresh_or_loud

pytestmark = pytest.mark.shared_threads

SELECTORS = ("kline", "aggTrade", "depth")


def test_lost_doubled_out_of_order_and_late(ex: SimulatedExchange, dm: DataManager) -> None:
    for selector in SELECTORS:
        ex.lose(selector, probability=0.1)
        ex.double(selector, probability=0.2)
        ex.reorder(selector, probability=0.2)
        ex.delay(selector, 1.5, probability=0.2)
    assert fresh_or_loud(dm, ex) > 0
    assert min(ex.fault_counts().get(each, 0) for each in ("lose", "double", "reorder", "delay")) > 10
    ex.clear_faults()
    all_well(dm, ex)


def test_what_was_lost_and_out_of_order_shows_in_the_quality(ex: SimulatedExchange, dm: DataManager) -> None:
    symbol = dm.symbols[-1]
    before = dm.quality(symbol)
    ex.lose("aggTrade", probability=0.5)
    ex.reorder("aggTrade", probability=0.5)
    until(lambda: dm.quality(symbol).missing > before.missing, 30.0)
    until(lambda: dm.quality(symbol).out_of_order > before.out_of_order, 30.0)
    assert dm.quality(symbol).score < 1.0


def test_an_old_candle_s_event_after_the_new_one_began() -> None:
    with (
        SimulatedExchange(["BTCUSDT"], seed=5, start=before_turn("1m", 4.0)) as own,
        DataManager(["BTCUSDT"], ["1m"], config=own.config()) as dm,
    ):
        turn = (own.now() // 60_000 + 1) * 60_000
        until(lambda: own.now() >= turn - 1500, 20.0)
        own.delay("kline", 4.0, seconds=3.0)
        own.delay("aggTrade", 4.0, seconds=3.0)
        row = dm.wait_closed("BTCUSDT", "1m", after=turn - 120_000, timeout=20.0)
        assert row is not None
        assert row[0] == turn - 60_000
        assert own.fault_counts()["delay"] > 2
        all_well(dm, own)
