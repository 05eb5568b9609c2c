"""REST older than the streams, from a forked process and from a copy in memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from ats_sync.simulator import SimulatedExchange

from ..leftovers import children
from .plain import Rest, rest, stream, until

TRADE = "btcusdt@aggTrade"


@pytest.fixture(params=["forked", "copied"])
def lagging(request: pytest.FixtureRequest) -> Iterator[SimulatedExchange]:
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=4, in_thread=request.param == "copied") as ex:
        yield ex


def newest(client: Rest) -> int:
    response = client.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1)
    assert response.status_code == 200
    return int(response.json()[0]["a"])


def test_rest_stands_still_while_the_stream_continues(lagging: SimulatedExchange) -> None:
    with rest(lagging) as client, stream(lagging, "/market/stream", TRADE) as feed:
        lagging.lagging_replica(60)
        first = newest(client)
        for _ in range(10):
            last = feed.data(TRADE)["a"]
        assert last > first
        assert newest(client) == first
        assert lagging.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1)[0]["a"] >= last
        # The clock is not replicated.
        assert abs(client.get("/fapi/v1/time").json()["serverTime"] - lagging.now()) < 5000
        assert client.code("/fapi/v1/klines", symbol="NOSUCHUSDT", interval="1h") == (400, -1121)
        lagging.lagging_replica(None)
        assert newest(client) >= last


def test_it_follows_at_its_distance_and_agrees_with_the_past(lagging: SimulatedExchange) -> None:
    with rest(lagging) as client:
        lagging.lagging_replica(0.5)
        begun = lagging.now()
        until(lambda: lagging.now() > begun + 900)
        late = client.get("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1000).json()
        assert late[-1]["T"] > begun - 5000
        assert late[-1]["T"] <= lagging.now() - 500
        truth = lagging.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1000, fromId=late[-5]["a"])
        assert truth[:4] == late[-5:-1]


def test_changes_reach_it_after_its_lag(lagging: SimulatedExchange) -> None:
    with rest(lagging) as client:
        lagging.lagging_replica(0.4)
        lagging.trade("ETHUSDT", ticks=3, qty=12345)
        lagging.delist("BTCUSDT")
        assert client.get("/fapi/v1/depth", symbol="BTCUSDT").status_code == 200
        until(lambda: client.get("/fapi/v1/depth", symbol="BTCUSDT").status_code == 400)
        begun = lagging.now()
        until(lambda: lagging.now() > begun + 500)
        late = client.get("/fapi/v1/aggTrades", symbol="ETHUSDT", limit=200).json()
        truth = lagging.rest("/fapi/v1/aggTrades", symbol="ETHUSDT", limit=500, fromId=late[0]["a"])
        assert truth[: len(late) - 1] == late[:-1]


def test_its_process_ends_with_the_fault_and_with_the_exchange() -> None:
    if not Path("/proc/self/task").is_dir():
        pytest.skip("looks for child processes through /proc")
    with SimulatedExchange(["BTCUSDT"]) as ex:
        ex.lagging_replica(5)
        [first] = children(ex.pid)
        ex.lagging_replica(2)
        [second] = children(ex.pid)
        assert first != second
        ex.clear_faults()
        assert not children(ex.pid)
        ex.lagging_replica(5)
        [third] = children(ex.pid)
    for pid in (first, second, third):
        until(lambda pid=pid: not os.path.exists(f"/proc/{pid}"))  # type: ignore[misc]


def test_a_share_of_the_requests_is_stale() -> None:
    with SimulatedExchange(["BTCUSDT"], in_thread=True) as ex, rest(ex) as client:
        ex.lagging_replica(60, share=0.5)
        first = newest(client)
        until(lambda: newest(client) > first + 10)
        seen = [newest(client) for _ in range(40)]
        assert seen != sorted(seen)
        assert 5 < seen.count(min(seen)) < 35
        with pytest.raises(ValueError, match="share"):
            ex.lagging_replica(60, share=0)
