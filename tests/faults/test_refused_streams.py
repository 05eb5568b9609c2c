"""One stream that the exchange refuses, and the announced end of a spot server, on real sockets."""

from __future__ import annotations

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

from ..support import until

BAD = "ethusdt@kline_1h"


@pytest.mark.parametrize("how", ["error", "anonymous"])
def test_a_stream_that_is_refused_costs_only_itself(how: str) -> None:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT", "SOLUSDT"], in_thread=True) as ex:
        ex.refuse_stream(BAD, how)  # type: ignore[arg-type]
        with DataManager(ex.symbols, ["1h", "15m"], config=ex.config()) as manager:
            manager.start(timeout=30)
            ours = {(feed.symbol, feed.interval): feed for feed in manager.status().feeds if feed.kind == "klines"}
            bad = ours.pop(("ETHUSDT", "1h"))
            assert "refuses its stream" in bad.reason
            assert "invalid stream" in bad.reason
            until(lambda: all(f.state.value == "live" for f in manager.status().feeds if f.interval == "15m"))
            rows = manager.get_klines("ETHUSDT", "1h", 50)
            assert len(rows) == 50
            connections = ex.stats().connections
            assert all(each.open for each in connections), "no connection was cut for it"
            assert BAD not in {name for each in connections for name in ex.subscriptions(each.number) or ()}


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_end_of_a_spot_server_costs_no_request(wrapped: bool) -> None:
    with (
        SimulatedExchange(["BTCUSDT", "ETHUSDT"], in_thread=True) as ex,
        DataManager(ex.symbols, ["1h"], config=ex.config()) as manager,
    ):
        manager.start(timeout=30)
        for symbol in ex.symbols:
            manager.rest_shaped.spot_klines(symbol, "1h", 50)
        until(lambda: [s.open for s in ex.stats().connections if s.route == "spot"] == [True])
        until(lambda: manager.status().ready("spot klines") == (2, 2))
        before = manager.get_stats()
        assert ex.announce_shutdown(12.0, wrapped=wrapped) == 1
        until(lambda: sum(not s.open for s in ex.stats().connections if s.route == "spot") == 1)
        [closed] = [s for s in ex.stats().connections if s.route == "spot" and not s.open]
        assert closed.closed_why != "server shutdown", "the client had left before that"
        assert manager.status().ready("spot klines") == (2, 2)
        after = manager.get_stats()
        assert after["ws_dropped"] == before["ws_dropped"]
        spent = after["rest_calls_by_cause"]
        assert spent.get("repair", 0) == before["rest_calls_by_cause"].get("repair", 0)
