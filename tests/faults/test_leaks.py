"""What is left after many faults, on an exchange and a manager of its own."""

from __future__ import annotations

from functools import partial

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange
from ats_sync.simulator.controls import Cut
from ats_sync.stress.accounts import resources

from ..support import until
from .helpers import all_well

CUTS = 40
WAYS: tuple[Cut, ...] = ("close", "drop", "reset")


def test_many_cuts_leave_the_same_threads_and_sockets() -> None:
    with SimulatedExchange(["BTCUSDT"], seed=3) as ex:
        config = ex.config(reconnect_min=0.02, reconnect_max=0.05, healthy_after=0.01, max_rest_threads=2)
        with DataManager(["BTCUSDT"], ["1m"], config=config) as dm:
            all_well(dm, ex)
            start = resources()

            def reconnected(times: int) -> bool:
                connections = dm.status().connections
                again = all(each.state == "open" and each.acknowledged for each in connections)
                return again and dm.get_stats()["ws_reconnects"] >= times

            for cycle in range(1, CUTS + 1):
                ex.cut("market", WAYS[cycle % len(WAYS)])
                until(partial(reconnected, cycle))
            all_well(dm, ex)
            until(lambda: resources().threads <= start.threads, what="connections that ended have no thread")
            end = resources()
        if start.sockets is None or end.sockets is None:
            pytest.skip("this system does not tell which sockets are open")
        assert end.sockets <= start.sockets
