"""Random schedules of faults, for hypothesis."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ats_sync.engine.agenda import AUDIT_EVERY

from . import faults as f
from .exchange import REST_KINDS
from .faults import Fault
from .tape import SETTINGS
from .world import Read, Schedule

EXPLORE = "ATS_EXPLORE"
"""Set in the environment, other schedules are tried at each run (``pytest --hypothesis-seed=N`` repeats one)."""
FAST = settings(
    deadline=None,
    derandomize=EXPLORE not in os.environ,
    print_blob=True,
    # Shrinking takes minutes and a schedule is printed whole: what it needs can be left out by hand.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
HORIZON = 60_000
"""Faults begin before this (ms)."""

_at = st.integers(0, HORIZON // 50).map(lambda n: n * 50)
_route = st.sampled_from(["", "market", "public"])
_lasts = st.integers(1, 400).map(lambda n: n * 50)
_long = st.integers(20, 600).map(lambda n: n * 50)
_symbols = st.sampled_from(["btcusdt", "币安人生usdt", "btcdomusdt"])
_streams = st.builds(
    lambda symbol, kind: f"{symbol}@{kind}", _symbols, st.sampled_from(["kline_1m", "aggTrade", "depth20@100ms"])
)
_some_streams = st.one_of(
    _streams, _symbols, st.sampled_from(["kline_1m", "kline", "aggTrade", "depth20", "final", "!"])
)
_share = st.sampled_from([0.2, 0.5, 1.0])

connection_faults: SearchStrategy[Fault] = st.one_of(
    st.builds(f.Cut, _at, _route, st.booleans()),
    st.builds(f.HalfOpen, _at, _route),
    st.builds(f.Stall, _at, _lasts, _route),
    st.builds(f.Dark, _at, _lasts),
    st.builds(f.Refuse, _at, _long),
    st.builds(f.Deaf, _at, _lasts),
)
event_faults: SearchStrategy[Fault] = st.one_of(
    st.builds(f.Events, _at, _long, st.sampled_from(["lose", "double", "late", "spoil"]), _some_streams, _share),
    st.builds(f.Mute, _at, _long, _streams, st.sampled_from(["resubscribed", "moved", "ever"])),
)
rest_faults: SearchStrategy[Fault] = st.one_of(
    st.builds(f.Rest, _at, _long, st.sampled_from([kind for kind in REST_KINDS if kind != "lag"]), _share),
    st.builds(f.Rest, _at, _long, st.just("lag"), _share, st.integers(1, 10).map(lambda n: n * 1000)),
    st.builds(f.Ban, _at, _long),
    st.builds(f.Others, _at, st.sampled_from([0.3, 0.7, 0.95, 1.1])),
)
process_faults: SearchStrategy[Fault] = st.one_of(
    st.builds(f.Pause, _at, st.one_of(_lasts, st.sampled_from([100, 5_000, 60_000])), st.booleans()),
    st.builds(f.Sluggish, _at, _long, st.sampled_from([50, 300])),
    st.builds(f.WallClock, _at, st.sampled_from([-600.0, -3.0, 1.5, 600.0])),
)
any_fault: SearchStrategy[Fault] = st.one_of(connection_faults, event_faults, rest_faults, process_faults)

_read = st.builds(
    Read,
    st.integers(0, HORIZON // 50 + 400).map(lambda n: n * 50),
    st.sampled_from(["klines", "klines", "trades", "book", "mark", "spot", "open interest"]),
    st.integers(0, 2),
    st.integers(0, 1),
    st.sampled_from([1, 3, 20, 50, 90]),
)


def schedules(some: SearchStrategy[Fault], *, most: int = 4, tight: bool = False) -> SearchStrategy[Schedule]:
    """``tight``: also with little weight."""
    return st.builds(
        Schedule,
        setting=st.integers(0, len(SETTINGS) - 1),
        seed=st.integers(0, 999),
        faults=st.lists(some, min_size=1, max_size=most).map(tuple),
        reads=st.lists(_read, max_size=8).map(tuple),
        weight_limit=st.sampled_from([2400, 2400, 200, 130]) if tight else st.just(2400),
        connection_max_age=st.sampled_from([23 * 3600.0, 23 * 3600.0, 25.0]),
        wall_error=st.sampled_from([0.0, 0.0, 600.0, -600.0]),
        audit_every=st.sampled_from([AUDIT_EVERY, 12.0]),
    )
