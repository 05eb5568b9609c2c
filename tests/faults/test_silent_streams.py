"""Streams that die alone, without a word, while everything else goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange
from ats_sync.stress.checks import same_levels
from ats_sync.stress.faults import stream_name

from ..support import all_live, reads, until
from .helpers import AGG_TRADES, DEPTH, KLINES, all_well, passed

pytestmark = pytest.mark.shared_threads

SYMBOL = "BTCUSDT"
SUSPECTED_WITHIN = {"klines": 4.5, "trades": 4.5, "orderbook": 9.0}
"""Seconds after the symbol next trades (its book next changes): 2.5 and 6.5 stated, and some for a busy machine."""


def state(dm: DataManager, kind: str, interval: str = "") -> str:
    return next(
        feed.state.value
        for feed in dm.status().feeds
        if (feed.kind, feed.symbol, feed.interval) == (kind, SYMBOL, interval)
    )


def newest(ex: SimulatedExchange, kind: str) -> Any:
    """What a read of the series must know from now on."""
    if kind == "klines":
        row = ex.rest(KLINES, symbol=SYMBOL, interval="1h", limit=1)[-1]
        return row[0], row[8]
    if kind == "trades":
        return ex.rest(AGG_TRADES, symbol=SYMBOL, limit=1)[-1]["a"]
    return ex.rest(DEPTH, symbol=SYMBOL, limit=20)


def knows(dm: DataManager, kind: str, truth: Any) -> bool:
    """Whether a read is not behind."""
    if kind == "klines":
        row = dm.rest_shaped.klines(SYMBOL, "1h", 1)[-1]
        return bool((row[0], row[8]) >= truth)
    if kind == "trades":
        return bool(dm.rest_shaped.agg_trades(SYMBOL, 1)[-1]["a"] >= truth)
    book = dm.rest_shaped.depth(SYMBOL, 20)
    return bool(book["lastUpdateId"] >= truth["lastUpdateId"]) or same_levels(book, truth)


def changed(ex: SimulatedExchange, kind: str, before: Any) -> Callable[[], bool]:
    def look() -> bool:
        now = newest(ex, kind)
        return not same_levels(now, before) if kind == "orderbook" else bool(now > before)

    return look


@pytest.mark.parametrize("kind", ["klines", "trades", "orderbook"])
def test_it_is_suspected_in_time_and_subscribed_anew(ex: SimulatedExchange, dm: DataManager, kind: str) -> None:
    before = newest(ex, kind)
    assert ex.drop_stream(stream_name(SYMBOL, kind, "1h")) == 1
    until(changed(ex, kind, before))
    truth = newest(ex, kind)
    until(lambda: knows(dm, kind, truth), SUSPECTED_WITHIN[kind])
    until(lambda: state(dm, kind, "1h" if kind == "klines" else "") == "live")
    asked = reads(dm)
    until(changed(ex, kind, newest(ex, kind)))
    truth = newest(ex, kind)
    until(lambda: knows(dm, kind, truth), 3.0, "the stream speaks again")
    assert reads(dm) == asked


@pytest.mark.parametrize("kind", ["klines", "orderbook"])
def test_what_stays_silent_everywhere_is_served_by_rest(ex: SimulatedExchange, dm: DataManager, kind: str) -> None:
    shown = "1h" if kind == "klines" else ""
    ex.drop_stream(stream_name(SYMBOL, kind, "1h"), everywhere=True)
    until(lambda: state(dm, kind, shown) != "live", 20.0)
    asked = reads(dm)
    truth = newest(ex, kind)
    passed(ex, SUSPECTED_WITHIN[kind])
    assert knows(dm, kind, truth)
    assert reads(dm) > asked
    assert all_live(dm, "trades", "mark"), "the others are untouched"


@pytest.fixture
def two_connections(ex: SimulatedExchange) -> Iterator[DataManager]:
    config = ex.config(max_streams_per_connection=4, reconnect_min=0.2)
    with DataManager([SYMBOL, "ETHUSDT"], ["1m", "1h"], config=config) as manager:
        all_well(manager, ex)
        yield manager


def holders(ex: SimulatedExchange, name: str) -> set[int]:
    """The open connections that are subscribed to a stream."""
    numbers = [each.number for each in ex.stats().connections if each.open]
    return {number for number in numbers if name in (ex.subscriptions(number) or ())}


def test_what_stays_silent_on_its_connection_is_moved(ex: SimulatedExchange, two_connections: DataManager) -> None:
    dm = two_connections
    name = stream_name(SYMBOL, "klines", "1h")
    before = holders(ex, name)
    ex.drop_stream(name, sticky=True)
    try:
        until(lambda: holders(ex, name) - before, 40.0, "another connection has it")
        until(lambda: state(dm, "klines", "1h") == "live")
        asked = reads(dm)
        until(changed(ex, "klines", newest(ex, "klines")))
        truth = newest(ex, "klines")
        until(lambda: knows(dm, "klines", truth), 3.0, "it speaks there")
        assert reads(dm) == asked
    finally:
        ex.restore_stream()
