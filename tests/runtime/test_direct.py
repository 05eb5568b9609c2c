"""Requests while no manager runs, and the budget that they share with those of one that does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.jobs import LEAST_TIME, Fetch
from ats_sync.errors import ExchangeFailure, RateLimited, RequestRejected, RequestTimeout
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.runtime import direct
from ats_sync.runtime.counters import Counters
from ats_sync.runtime.direct import DirectRequests
from ats_sync.runtime.runtime import Runtime
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.market import MarketStore
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host

PATIENCE = 20.0


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


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=2, seed=7) as exchange:
        yield exchange


class Direct:
    def __init__(self, config: Config) -> None:
        self.clock, self.counters, self.budget = Clock(), Counters(), Budget(config)
        store = MarketStore(config, self.clock.now)
        self.requests = DirectRequests(config, self.clock, store, self.budget, self.counters)

    def ask(self, symbol: str, timeout: float = PATIENCE) -> Any:
        request = endpoints.depth(symbol, 20)
        return self.requests.ask(Fetch(Key(Kind.BOOK, symbol), request, Cause.READ), timeout)

    def statuses(self) -> list[str]:
        return [status for _, _, status in self.counters.outcomes()]


@pytest.fixture
def made(exchange: SimulatedExchange) -> Iterator[Direct]:
    made = Direct(exchange.config())
    yield made
    made.requests.close()


def test_the_answer_is_decoded_counted_and_paid(exchange: SimulatedExchange, made: Direct) -> None:
    assert not made.requests.connected
    book = made.ask(exchange.symbols[0])
    assert len(book.bids) == 20
    assert made.counters.requests()["read"] == 1
    assert made.requests.usage(Bucket.FUTURES).requests == 1
    assert made.requests.usage(Bucket.SPOT).requests == 0
    assert made.requests.connected


def test_no_time_at_all_is_not_blamed_on_the_budget(exchange: SimulatedExchange, made: Direct) -> None:
    with pytest.raises(RequestTimeout, match="not answered within 0 s"):
        made.ask(exchange.symbols[0], timeout=0.0)
    assert made.requests.usage(Bucket.FUTURES).requests == 0


def test_what_fails_is_sent_once(exchange: SimulatedExchange, made: Direct) -> None:
    exchange.fail_rest("500", count=1)
    with pytest.raises(ExchangeFailure):
        made.ask(exchange.symbols[0])
    assert made.counters.requests()["read"] == 1
    with pytest.raises(RequestRejected):
        made.ask("NOSUCHUSDT")
    assert made.statuses() == ["500", "400"]
    assert len(made.ask(exchange.symbols[0]).bids) == 20, "its connection serves the next call"


def test_what_does_not_fit_into_the_budget_in_time_is_refused_at_once_and_not_sent(
    exchange: SimulatedExchange, made: Direct
) -> None:
    with made.budget.shared():
        made.budget.block(Host.FUTURES, made.clock.now() + 60.0)
    began = time.monotonic()
    with pytest.raises(RateLimited) as refused:
        made.ask(exchange.symbols[0], 5.0)
    assert time.monotonic() - began < 4.0
    assert refused.value.retry_at == pytest.approx(made.clock.wall() + 60.0, abs=4.0)
    assert (made.counters.requests()["read"], made.requests.connected) == (0, False)


def test_a_budget_that_is_free_too_late_to_send_anything_is_not_waited_for(
    exchange: SimulatedExchange, made: Direct
) -> None:
    with made.budget.shared():
        made.budget.block(Host.FUTURES, made.clock.now() + PATIENCE - LEAST_TIME / 2)
    began = time.monotonic()
    with pytest.raises(RateLimited):
        made.ask(exchange.symbols[0])
    assert time.monotonic() - began < PATIENCE / 2


def test_it_waits_for_a_budget_that_is_free_in_time(exchange: SimulatedExchange, made: Direct) -> None:
    until = made.clock.now() + 0.2
    with made.budget.shared():
        made.budget.block(Host.FUTURES, until)
    assert len(made.ask(exchange.symbols[0]).bids) == 20
    assert made.clock.now() >= until


def test_with_too_little_time_nothing_is_sent(exchange: SimulatedExchange, made: Direct) -> None:
    with pytest.raises(RequestTimeout):
        made.ask(exchange.symbols[0], LEAST_TIME / 2)
    assert made.counters.requests()["read"] == 0


def test_calls_side_by_side_have_connections_of_their_own_and_few_are_kept(
    exchange: SimulatedExchange, made: Direct, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(direct, "MAX_KEPT", 2)
    with ThreadPoolExecutor(5) as pool:
        assert all(pool.map(made.ask, exchange.symbols * 5))
    assert 1 <= len(made.requests._clients) <= 2
    made.requests.close()
    assert not made.requests.connected
    assert len(made.ask(exchange.symbols[0]).bids) == 20, "closed, it may be used again"
