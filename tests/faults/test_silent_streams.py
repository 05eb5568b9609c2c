"""A stream that dies alone and silently, while everything else goes on. (How soon each kind is suspected, and what
happens to streams that stay silent, is shown on virtual time.)"""

from __future__ import annotations

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange
from ats_sync.stress.faults import stream_name

from ..support import from_memory, until
from .helpers import AGG_TRADES

pytestmark = pytest.mark.shared_threads

SYMBOL = "BTCUSDT"


def newest(ex: SimulatedExchange) -> int:
    """Return the id of the exchange's newest trade."""
    return int(ex.rest(AGG_TRADES, symbol=SYMBOL, limit=1)[-1]["a"])


def read(dm: DataManager) -> int:
    """Return the id of the newest trade that a read knows."""
    return int(dm.rest_shaped.agg_trades(SYMBOL, 1)[-1]["a"])


def test_it_is_suspected_and_subscribed_again(ex: SimulatedExchange, dm: DataManager) -> None:
    assert ex.drop_stream(stream_name(SYMBOL, "trades", "")) == 1
    truth = newest(ex)
    until(lambda: newest(ex) > truth)
    truth = newest(ex)
    until(lambda: read(dm) >= truth, what="its silence is noticed")
    later = newest(ex)
    until(lambda: newest(ex) > later)
    later = newest(ex)
    until(lambda: from_memory(dm, lambda: read(dm)) >= later, what="the stream speaks again")
