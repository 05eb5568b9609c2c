"""Faults of whole connections."""

from __future__ import annotations

import threading

import pytest

from ats_sync import AtsSyncError, DataManager, StaleDataError
from ats_sync.simulator import SimulatedExchange

from ..support import until
from .helpers import all_well, fresh_or_loud, passed

pytestmark = pytest.mark.shared_threads


def test_half_open(ex: SimulatedExchange, dm: DataManager) -> None:
    before = dm.get_stats()["ws_reconnects"]
    assert ex.cut(how="half_open") == 2
    assert fresh_or_loud(dm, ex) > 0
    until(lambda: dm.get_stats()["ws_reconnects"] >= before + 2)
    all_well(dm, ex)


def test_server_pings_are_answered(ex: SimulatedExchange, dm: DataManager) -> None:
    before = dm.get_stats()["ws_reconnects"]
    attempts = ex.stats().connection_attempts
    ex.ping_every(0.2, 4.0)
    passed(ex, 5.0)
    assert ex.stats().connection_attempts == attempts
    assert dm.get_stats()["ws_reconnects"] == before


def test_handshakes_that_fail(ex: SimulatedExchange, dm: DataManager) -> None:
    def said(words: str) -> bool:
        return any(words in each.last_error for each in dm.status().connections)

    ex.handshake(403)
    ex.cut("market", "drop")
    until(lambda: said("403"))
    ex.handshake(503)
    until(lambda: said("503"))
    ex.handshake("hang")
    until(lambda: said("not answered") or said("timed out") or said("within"))
    ex.handshake(None)
    all_well(dm, ex)


def test_streams_and_rest_down_at_once(ex: SimulatedExchange, dm: DataManager) -> None:
    ex.refuse(what="all")
    ex.fail_rest("reset")  # on the connections that are open
    ex.cut(how="reset")

    def refused() -> StaleDataError | None:
        try:
            dm.get_klines(dm.symbols[0], "1m", 20)
        except StaleDataError as error:
            return error
        return None  # the loss of this connection has not been noticed yet

    assert until(refused).data
    ex.clear_faults()
    all_well(dm, ex)


def test_a_hand_over_needs_one_more_connection_and_readers_see_no_gap(ex: SimulatedExchange) -> None:
    symbols = ["BTCUSDT", "ETHUSDT"]
    others = ex.stats().connections_now
    with DataManager(symbols, ["1m"], config=ex.config(connection_max_age=2.0)) as dm:
        all_well(dm, ex)
        attempts = ex.stats().connection_attempts
        ids: dict[str, set[int]] = {symbol: set() for symbol in symbols}
        most = 0

        def replaced() -> bool:
            nonlocal most
            stats = ex.stats()
            most = max(most, stats.connections_now - others)
            for symbol in symbols:
                ids[symbol] |= {trade["id"] for trade in dm.get_agg_trades(symbol, 50)}
            return most >= 3 and stats.connection_attempts >= attempts + 3

        until(replaced)
        assert most == 3
        for seen in ids.values():
            assert seen == set(range(min(seen), max(seen) + 1))
        all_well(dm, ex)


def test_many_busy_readers(ex: SimulatedExchange, dm: DataManager) -> None:
    over = threading.Event()

    def read() -> None:
        while not over.is_set():
            for symbol in dm.symbols:
                try:
                    dm.get_klines(symbol, "1m", 500)
                    dm.get_agg_trades(symbol, 1000)
                except AtsSyncError:
                    continue

    readers = [threading.Thread(target=read, name=f"busy-{number}") for number in range(6)]
    for reader in readers:
        reader.start()
    try:
        assert fresh_or_loud(dm, ex) > 0
    finally:
        over.set()
        for reader in readers:
            reader.join()
