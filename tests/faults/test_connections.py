"""Faults of whole connections."""

from __future__ import annotations

import threading

import pytest

from ats_sync import AtsSyncError, DataManager, Overall, StaleDataError
from ats_sync.simulator import SimulatedExchange

from ..support import reads, until
from .helpers import BEHIND, Truth, all_well, fresh_or_loud, passed, well

pytestmark = pytest.mark.shared_threads


def degraded(dm: DataManager) -> bool:
    return dm.status().state is Overall.DEGRADED


def test_half_open(ex: SimulatedExchange, dm: DataManager) -> None:
    before = dm.get_stats()["ws_reconnects"]
    assert ex.cut(how="half_open") == 2
    truth = Truth(ex, dm)
    passed(ex, BEHIND)
    assert truth.check() > 0
    until(lambda: dm.get_stats()["ws_reconnects"] >= before + 2)
    all_well(dm, ex)


def test_bytes_that_trickle(ex: SimulatedExchange, dm: DataManager) -> None:
    ex.trickle(400.0, "streams")
    until(lambda: degraded(dm))
    ex.trickle(None, "streams")
    all_well(dm, ex)


def test_everything_frozen(ex: SimulatedExchange, dm: DataManager) -> None:
    ex.freeze(what="streams")
    until(lambda: degraded(dm))
    assert fresh_or_loud(dm, ex) > 0, "REST answers meanwhile"
    ex.thaw()
    all_well(dm, ex)


def test_an_age_limit_of_seconds(ex: SimulatedExchange, dm: DataManager) -> None:
    attempts = ex.stats().connection_attempts
    ex.age_limit(1.0)
    until(lambda: ex.stats().connection_attempts >= attempts + 4, 30.0)
    ex.age_limit(None)
    all_well(dm, ex)


def test_server_pings_are_answered(ex: SimulatedExchange, dm: DataManager) -> None:
    before = dm.get_stats()["ws_reconnects"]
    ex.ping_every(0.2, 0.8)
    passed(ex, 2.0)
    assert dm.get_stats()["ws_reconnects"] == before
    assert dm.status().state is Overall.LIVE


def test_handshakes_that_fail(ex: SimulatedExchange, dm: DataManager) -> None:
    def told(words: str) -> bool:
        return any(words in each.last_error for each in dm.status().connections)

    ex.handshake(403)
    ex.cut("market", "drop")
    until(lambda: told("403"))
    ex.handshake(503)
    until(lambda: told("503"))
    ex.handshake("hang")
    until(lambda: told("not answered") or told("timed out") or told("within"))
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


def test_a_hand_over_leaves_no_gap_and_needs_one_more_connection(ex: SimulatedExchange) -> None:
    symbols = ["BTCUSDT", "ETHUSDT"]
    others = ex.stats().connections_now
    with DataManager(symbols, ["1m"], config=ex.config(connection_max_age=2.0)) as dm:
        all_well(dm, ex)
        before, asked = reads(dm), dm.get_stats()["rest_calls_by_cause"]["repair"]
        attempts = ex.stats().connection_attempts
        ids: dict[str, set[int]] = {symbol: set() for symbol in symbols}
        most = 0

        def replaced() -> bool:
            nonlocal most
            stats = ex.stats()
            most = max(most, stats.connections_now - others)
            for symbol in symbols:
                ids[symbol] |= {trade["id"] for trade in dm.get_agg_trades(symbol, 50)}
            assert dm.status().state is Overall.LIVE
            return stats.connection_attempts >= attempts + 3

        until(replaced, 40.0)
        assert most == 3
        for seen in ids.values():
            assert seen == set(range(min(seen), max(seen) + 1))
        assert reads(dm) == before
        assert dm.get_stats()["rest_calls_by_cause"]["repair"] == asked
        assert dm.get_stats()["ws_reconnects"] == 0
        assert well(dm, ex)


def test_readers_that_are_many_and_busy(ex: SimulatedExchange, dm: DataManager) -> None:
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
