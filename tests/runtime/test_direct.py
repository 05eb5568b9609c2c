"""Requests of a manager are paid from one budget under one lock, whether or not it runs."""

from __future__ import annotations

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.runtime.counters import Counters
from ats_sync.runtime.direct import DirectRequests
from ats_sync.runtime.runtime import Runtime
from ats_sync.store.market import MarketStore


def test_one_budget_has_one_lock() -> None:
    config, clock, counters = Config(), Clock(), Counters()
    budget, store = Budget(config), MarketStore(config, clock.now)
    direct = DirectRequests(config, clock, store, budget, counters)
    # Both may be in the middle of a request: one call began before the manager was started.
    first, second = (Runtime(config, clock, store, budget, counters, streams=False) for _ in range(2))
    locks = {id(each._lock) for each in (direct, first.requests, second.requests)}
    assert locks == {id(budget.guard)}
    assert first._engine_lock is first._engine.guard
    assert first._engine_lock is not second._engine_lock
