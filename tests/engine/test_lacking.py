from __future__ import annotations

from ats_sync.feeds import Key, Kind
from ats_sync.store.klines import KlineSeries

from ..virtual.care import needs_repair
from .bench import Bench


def counted(bench: Bench) -> tuple[int, int]:
    """Return what is counted, after checking it against a look at every series."""
    states, store = bench.engine.reconciler.states, bench.store
    candles = [state for key, state in states.items() if key.kind is Kind.KLINES and not state.delisted]
    whole = len(candles), sum(needs_repair(state, store.get(state.key)) for state in candles)
    assert bench.engine.reconciler.candles() == whole
    return whole


def test_candles_are_counted_through_everything_that_may_happen_to_them() -> None:
    bench = Bench({"AUSDT": 12, "BUSDT": 5, "CUSDT": 3})
    assert counted(bench) == (3, 0), "what was never live needs no repair"
    bench.warm()
    assert counted(bench) == (3, 0)
    bench.cut_route()
    assert counted(bench) == (3, 3)
    most = 0
    for _ in range(200):
        bench.run(0.1)
        most = max(most, counted(bench)[1])
    assert most == 3
    assert counted(bench) == (3, 0)
    bench.dropped = lambda stream, frame: stream == "ausdt@kline_1m"
    assert bench.run(30, until=lambda: counted(bench)[1] == 1), "its stream is silent"
    bench.dropped = lambda stream, frame: False
    assert bench.run(60, until=lambda: counted(bench)[1] == 0)
    bench.follow("AUSDT", intervals=("1h",))
    assert counted(bench)[0] == 4
    bench.engine.unfollow(bench.store.unfollow([Key(Kind.KLINES, "AUSDT", "1h")]), bench.at())
    bench.engine.reconciler.delist(Key(Kind.KLINES, "BUSDT", "1m"), "it is gone")
    assert counted(bench) == (2, 0)


def test_nothing_is_counted_without_streams() -> None:
    bench = Bench(streams=False)
    bench.run(5)
    assert bench.store.of(KlineSeries)
    assert bench.engine.reconciler.candles() == (0, 0)
