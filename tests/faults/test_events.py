"""Single events that are lost, doubled, out of order or late."""

from __future__ import annotations

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

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
