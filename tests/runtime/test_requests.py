from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from ats_sync.clock import Clock
from ats_sync.engine.budget import Budget
from ats_sync.engine.dispatch import Send
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.errors import AtsSyncError, RateLimited, RequestTimeout
from ats_sync.feeds import LISTINGS, Cause, Key, Kind
from ats_sync.runtime.counters import Counters
from ats_sync.runtime.requests import RequestThreads
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.klines import newest_klines
from ats_sync.store.market import MarketStore
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Copied, Origin
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import WEIGHT_WINDOW, Bucket

from ..support import until
from ..venue.samples import compact

ALLOWED = 80
PATIENCE = 3.0


def threads_of(exchange: SimulatedExchange, clock: Clock, budget: Budget) -> RequestThreads:
    config = exchange.config()
    return RequestThreads(config, clock, MarketStore(config, clock.now), budget, Counters(), lambda fetch, error: None)


def book(symbol: str) -> Fetch:
    return Fetch(Key(Kind.BOOK, symbol), endpoints.depth(symbol, 1000), Cause.READ)


def test_ask_names_the_budget_as_the_cause_when_the_job_never_ran() -> None:
    with SimulatedExchange(symbols=6, seed=7, weight_header=False) as exchange:
        clock = Clock()
        budget = Budget(replace(exchange.config(), futures_weight_limit=100))
        now = clock.now()
        # The whole budget is free again in a second, but only four of them fit.
        spent = Moment(now + 1.0 - WEIGHT_WINDOW, clock.exchange_ms() - 59_000)
        request = endpoints.Request(endpoints.Host.FUTURES, "/x", weight=ALLOWED)
        budget.spend(request, spent, Cause.READ)
        budget.ended(request, spent)
        requests = threads_of(exchange, clock, budget)

        def ask(symbol: str) -> AtsSyncError | None:
            try:
                requests.ask(book(symbol), PATIENCE)
            except AtsSyncError as error:
                return error
            return None

        try:
            with ThreadPoolExecutor(5) as pool:
                found = [error for error in pool.map(ask, exchange.symbols[:5]) if error is not None]
        finally:
            for thread in requests.stop():
                thread.join()
        (error,) = found
        assert isinstance(error, RateLimited)
        assert "budget" in str(error)
        assert WEIGHT_WINDOW - PATIENCE <= error.retry_at - clock.wall() <= WEIGHT_WINDOW


def test_a_request_in_flight_for_too_long_is_a_timeout() -> None:
    with SimulatedExchange(symbols=2, seed=7, latency=2.0) as exchange:
        requests = threads_of(exchange, Clock(), Budget(exchange.config()))
        try:
            with pytest.raises(RequestTimeout):
                requests.ask(book(exchange.symbols[0]), 0.5)
        finally:
            for thread in requests.stop():
                thread.join()


def test_a_listener_that_fails_ends_no_thread() -> None:
    with SimulatedExchange(symbols=2, seed=7) as exchange:
        config, clock = replace(exchange.config(), max_rest_threads=1), Clock()
        heard: list[Fetch] = []

        def failing(fetch: Fetch, error: AtsSyncError | None) -> None:
            heard.append(fetch)
            raise ValueError("planted")

        store, budget = MarketStore(config, clock.now), Budget(config)
        requests = RequestThreads(config, clock, store, budget, Counters(), failing)
        try:
            for _ in range(3):
                assert requests.ask(book(exchange.symbols[0]), 10.0) is not None
            assert requests.workers() == 1
        finally:
            for thread in requests.stop():
                thread.join()
        assert len(heard) == 3


@pytest.mark.parametrize("cause", [Cause.WARM_UP, Cause.REPAIR])
@pytest.mark.parametrize("ahead", [True, False])
def test_what_is_warmed_up_is_decoded_ahead_where_the_settings_say_so(ahead: bool, cause: Cause) -> None:
    with SimulatedExchange(symbols=2, seed=7) as exchange:
        config, clock = exchange.config(decode_ahead=ahead), Clock()
        store, budget = MarketStore(config, clock.now), Budget(config)
        requests = RequestThreads(config, clock, store, budget, Counters(), lambda fetch, error: None)
        key = Key(Kind.KLINES, exchange.symbols[0], "1m")
        store.follow([key])
        try:
            requests.ask(Fetch(key, newest_klines(key, 100), cause), 10.0)
        finally:
            for thread in requests.stop():
                thread.join()
        series = store.klines(key.symbol, key.interval)
        assert series is not None
        assert len(series) >= 99
        before = series.size()
        series.decode_ahead()
        assert (series.size() == before) == (ahead and cause is Cause.WARM_UP)


def test_answers_are_decoded_one_at_a_time() -> None:
    """Side by side they would take as long and many times the memory: what 64 of them took once stayed in the
    process."""
    with SimulatedExchange(symbols=4, seed=7) as exchange:
        config, clock = exchange.config(), Clock()
        counters = Counters()
        decoding: list[Key] = []
        most: list[int] = []

        class Store(MarketStore):
            def merge(self, key: Key, *arguments: Any) -> Any:
                decoding.append(key)
                until(lambda: sum(counters.outcomes().values()) == len(exchange.symbols))  # all answers have come
                most.append(len(decoding))
                try:
                    return super().merge(key, *arguments)
                finally:
                    decoding.remove(key)

        store = Store(config, clock.now)
        requests = RequestThreads(config, clock, store, Budget(config), counters, lambda fetch, error: None)
        try:
            with ThreadPoolExecutor(4) as pool:
                assert all(pool.map(lambda symbol: requests.ask(book(symbol), 10.0), exchange.symbols))
        finally:
            for thread in requests.stop():
                thread.join()
    assert most == [1] * 4


# --- what another process has requested -------------------------------------------------------------------


class Leader:
    """Another process that has one series."""

    def __init__(self, exchange: SimulatedExchange) -> None:
        self.key = Key(Kind.OPEN_INTEREST, exchange.symbols[0], "1h")
        self.rows = exchange.rest("/futures/data/openInterestHist", symbol=self.key.symbol, period="1h", limit=30)
        self.at = exchange.now()
        self.broken = False
        self.copies: list[Key] = []

    def copied(self, key: Key) -> Copied | None:
        self.copies.append(key)
        if self.broken:
            raise ValueError("planted")
        if key != self.key:
            return None
        series = OpenInterestSeries(key.symbol, key.interval, 50)
        series.replace(self.rows, Origin(self.at, 30))
        return series.copied()


class Account:
    """The account of an address, which counts what is sent."""

    def __init__(self) -> None:
        self.taken: list[Fetch] = []

    def take(self, send: Send) -> None:
        self.taken.append(send.fetch)

    def ended(self, send: Send, outcome: object) -> None:
        pass


class Standby:
    """The request threads of a process that takes what another one has."""

    def __init__(self, exchange: SimulatedExchange, leader: Leader) -> None:
        self.config, self.clock = exchange.config(), Clock()
        self.clock.set_exchange(exchange.now() / 1000.0)
        self.store = MarketStore(self.config, self.clock.now, self.clock.exchange_ms)
        self.leader, self.account, self.counters = leader, Account(), Counters()
        info = exchange.rest("/fapi/v1/exchangeInfo")
        self.store.merge(LISTINGS, endpoints.exchange_info(), compact(info), exchange.now(), None)
        self.store.follow([self.key])
        self.settled: list[tuple[Fetch, AtsSyncError | None]] = []
        self.requests = RequestThreads(
            self.config,
            self.clock,
            self.store,
            Budget(self.config),
            self.counters,
            lambda fetch, error: self.settled.append((fetch, error)),
            self.account,
            leader,
        )

    @property
    def key(self) -> Key:
        return self.leader.key

    def poll(self, since: int | None, cause: Cause = Cause.POLL) -> Fetch:
        """Poll, and return what was settled without an error."""
        fetch = Fetch(self.key, endpoints.open_interest_hist(self.key.symbol, "1h", 30), cause, since=since)
        before = len(self.settled)
        self.requests.submit(fetch)
        until(lambda: len(self.settled) > before)
        assert self.settled[-1][1] is None
        return self.settled[-1][0]

    def answered(self) -> int:
        return self.store.series[self.key].state(0).answered


@pytest.fixture
def standby() -> Iterator[Standby]:
    with SimulatedExchange(symbols=2, seed=7) as exchange:
        standby = Standby(exchange, Leader(exchange))
        try:
            yield standby
        finally:
            for thread in standby.requests.stop():
                thread.join()


def test_what_another_process_has_requested_is_neither_sent_nor_counted(standby: Standby) -> None:
    standby.poll(standby.leader.at)
    assert (standby.answered(), standby.leader.copies) == (standby.leader.at, [standby.key])
    assert standby.account.taken == []
    assert sum(standby.counters.requests().values()) == sum(standby.counters.outcomes().values()) == 0
    assert standby.requests.usage(Bucket.OPEN_INTEREST)[:2] == (0, 0)
    assert standby.requests.waiting() == 0


@pytest.mark.parametrize("broken", [True, False])
def test_what_another_process_has_requested_too_early_or_cannot_say_is_sent(
    standby: Standby, broken: bool, caplog: pytest.LogCaptureFixture
) -> None:
    standby.leader.broken = broken
    fetch = standby.poll(standby.leader.at + (0 if broken else 1))
    assert standby.account.taken == [fetch]
    assert standby.counters.requests()["poll"] == 1
    assert standby.answered() > standby.leader.at
    assert ["could not be used" in each.getMessage() for each in caplog.records] == [True] * broken


def test_where_nothing_another_process_has_requested_serves_it_is_not_looked_up(standby: Standby) -> None:
    fetch = standby.poll(None)
    assert (standby.account.taken, standby.leader.copies) == ([fetch], [])


def test_a_reader_who_joins_a_poll_gets_an_answer_that_is_requested_now(standby: Standby) -> None:
    reader = Fetch(standby.key, endpoints.open_interest_hist(standby.key.symbol, "1h", 30), Cause.READ)
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(standby.requests.ask(reader, 10.0)))
    jobs = standby.requests._dispatcher.queue._jobs
    copied = standby.leader.copied

    def joined(key: Key) -> Copied | None:
        thread.start()
        until(lambda: jobs[reader.identity].readers)
        return copied(key)

    standby.leader.copied = joined  # type: ignore[method-assign]
    fetch = standby.poll(standby.leader.at)
    thread.join()
    assert len(answers[0]) == 30
    assert standby.account.taken == [fetch]
    assert standby.answered() > standby.leader.at
