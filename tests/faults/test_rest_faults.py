"""REST that answers wrongly, slowly, with old states, or that says to wait."""

from __future__ import annotations

import contextlib

import pytest

from ats_sync import AtsSyncError, DataError, DataManager, StartTimeout
from ats_sync.simulator import SimulatedExchange, before_turn
from ats_sync.simulator.controls import RestFaultKind

from .helpers import KLINES, all_well

pytestmark = pytest.mark.shared_threads


def test_wrong_answers(ex: SimulatedExchange, dm: DataManager) -> None:
    kinds: tuple[RestFaultKind, ...] = ("html", "empty", "truncated", "wrong_shape", "reset", "503", "code")
    for kind in kinds:
        ex.fail_rest(kind, KLINES, count=2)
    ex.cut(how="reset")
    all_well(dm, ex)


def test_answers_that_never_end(ex: SimulatedExchange, dm: DataManager) -> None:
    ex.fail_rest("trickle", KLINES)
    ex.cut("market", "reset")
    with pytest.raises(DataError):
        dm.get_klines(dm.symbols[0], "1m", 700)
    ex.clear_faults()
    all_well(dm, ex)


def test_nothing_is_sent_during_a_wait_that_the_exchange_orders(ex: SimulatedExchange, dm: DataManager) -> None:
    before = ex.stats().fapi.during_retry_after
    ex.ban(3.0)
    ex.cut("market", "reset")
    all_well(dm, ex)
    # What was under way when the first 418 was answered may still arrive.
    late = [each for each in ex.request_log() if each.waited is not None and each.waited > 1500]
    assert late == []
    assert ex.stats().fapi.during_retry_after - before <= dm.config.max_rest_threads


def test_a_restart_loop_stays_inside_the_budget() -> None:
    symbols, limit, share = ["BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT"], 400, 0.8
    with SimulatedExchange(symbols, seed=3, weight_limit=limit, start=before_turn("1m", 45.0)) as own:
        config = own.config(futures_weight_limit=limit, weight_share=share, close_timeout=5.0)
        for _ in range(6):
            manager = DataManager(symbols, ["1m", "1h"], config=config)
            with contextlib.suppress(StartTimeout):
                manager.start(timeout=1.0)
            manager.close()
        stats = own.stats()
        assert stats.fapi.refused_429 == stats.fapi.refused_418 == 0
        # What a process had under way when it ended is not known to the next one.
        assert stats.fapi.max_weight <= limit * share + 20 * len(symbols)


def test_only_the_librarys_own_errors_are_raised(ex: SimulatedExchange, dm: DataManager) -> None:
    kinds: tuple[RestFaultKind, ...] = ("451", "403", "418", "500")
    for kind in kinds:
        ex.clear_faults()
        ex.pardon()
        ex.fail_rest(kind, retry_after=4.0)
        with pytest.raises(AtsSyncError):
            dm.get_klines("BTCUSDT", "1m", 5, max_age=0)
        with pytest.raises(AtsSyncError):
            dm.get_klines("BTCUSDT", "1h", 700)
