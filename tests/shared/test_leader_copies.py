"""A collector that stands by takes what the leader has polled, and polls itself what the leader does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ats_sync import Clock, Config, DataManager
from ats_sync.feeds import FEEDS, RATIOS, Key, Kind
from ats_sync.runtime.executor import RequestExecutor
from ats_sync.shared.client import SharedStore
from ats_sync.shared.layout import MalformedFeed, field_of
from ats_sync.shared.leader_copies import LeaderCopies
from ats_sync.shared.publish import Names
from ats_sync.shared.shards import WHOLE, Shard
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Series
from ats_sync.venue.endpoints import Bucket

from ..support import until
from .feed import config_of, managed, served
from .servers import StoreServer

LIMITED = "/futures/data/"
EVERY, MAX_AGE = 1.0, 60.0
"""Polls come often, and those of a leader that gets no time on a busy machine still count as fresh."""


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in (Kind.OPEN_INTEREST, *RATIOS):
        feed = FEEDS[kind]
        assert feed.poll is not None
        monkeypatch.setitem(FEEDS, kind, replace(feed, poll=replace(feed.poll, every=EVERY, max_age=MAX_AGE)))


class Sent:
    """The requests that share the limit of ``/futures/data``, by who sent them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._sent: list[tuple[RequestExecutor, str]] = []
        honest = RequestExecutor.sending

        def sending(executor: RequestExecutor, send: Any) -> None:
            if send.request.path.startswith(LIMITED):
                self._sent.append((executor, dict(send.request.params)["symbol"]))
            honest(executor, send)

        monkeypatch.setattr(RequestExecutor, "sending", sending)

    def by(self, manager: DataManager) -> Counter[str]:
        """Return how many requests this one has sent, by symbol."""
        own = manager._life.runtime.requests._executor  # type: ignore[union-attr]
        return Counter(symbol for executor, symbol in self._sent if executor is own)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


@pytest.fixture
def config(exchange: SimulatedExchange, valkey: StoreServer) -> Config:
    return config_of(exchange, valkey.url, futures_weight_limit=24_000)


@contextmanager
def collector(config: Config, symbols: list[str], **changes: Any) -> Iterator[DataManager]:
    with managed(config, symbols, role="collector", **changes) as manager:
        yield manager


@contextmanager
def leader(config: Config, symbols: list[str]) -> Iterator[DataManager]:
    """Yield a collector that leads, once it has written all."""
    with collector(config, symbols) as first, managed(config, symbols) as reader:
        for symbol in symbols:
            served(reader, lambda dm, symbol=symbol: dm.get_oi_history(symbol, "1h", 30))  # type: ignore[misc]
        yield first


def interest(manager: DataManager, symbol: str) -> OpenInterestSeries:
    found = manager._life.store.open_interest(symbol, "1h")
    assert found is not None
    return found


def answered(series: Series) -> int:
    return series.state(0).answered


def known(series: Any) -> tuple[Any, ...]:
    """Everything that readers of a series depend on."""
    return series.read(1_000), series.state(0)


def until_polled_again(series: Series) -> None:
    """Wait until it has been answered three times."""
    for _ in range(3):
        before = answered(series)
        until(lambda before=before: answered(series) > before)  # type: ignore[misc]


def test_what_the_leader_has_polled_is_not_requested(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    with leader(config, symbols) as first:
        before = sent.by(first)
        with collector(config, symbols) as second:
            for symbol in symbols:
                until_polled_again(interest(second, symbol))
                until(lambda s=symbol: known(interest(second, s)) == known(interest(first, s)))  # type: ignore[misc]
                assert len(interest(second, symbol)) == 300
            assert sent.by(second) == {}
            assert second._life.budget.windows  # it has one, ...
            assert not second._life.budget.own(Bucket.OPEN_INTEREST, Clock().now())  # of which nothing is used
        assert (sent.by(first) - before).keys() == set(symbols)


def test_a_ratio_is_taken_from_the_leader_too(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    key = Key(RATIOS[0], symbols[0], "1h")
    with leader(config, symbols) as first, collector(config, symbols) as second:
        for manager in (first, second):  # each read is one request, and has it followed
            assert len(manager.get_ratio(key.symbol, key.kind.value, "1h", 30)) == 30
            until(lambda manager=manager: key in manager._life.store.series)  # type: ignore[misc]
        series = second._life.store.series[key]
        until_polled_again(series)
        asked = sent.by(second)
        until_polled_again(series)
        assert sent.by(second) == asked
        until(lambda: known(series) == known(first._life.store.series[key]))


def test_once_nobody_else_leads_it_polls_itself(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    with leader(config, symbols) as first, collector(config, symbols) as second:
        until_polled_again(interest(second, symbols[0]))
        assert sent.by(second) == {}
        first.close()
        until(lambda: sent.by(second).keys() == set(symbols))
        for symbol in symbols:
            until_polled_again(interest(second, symbol))


def test_without_a_leader_it_polls_itself(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    with collector(config, symbols) as only:
        for symbol in symbols:
            until_polled_again(interest(only, symbol))
        assert min(sent.by(only).values()) >= 3


def test_what_the_leader_lacks_is_requested(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    with leader(config, symbols[:1]), collector(config, symbols) as second:
        for symbol in symbols:
            until_polled_again(interest(second, symbol))
        assert sent.by(second).keys() == set(symbols[1:])


def test_a_leader_on_another_exchange_spares_nothing(exchange: SimulatedExchange, config: Config, sent: Sent) -> None:
    symbols = list(exchange.symbols)
    elsewhere = config.fapi_base.replace("127.0.0.1", "localhost")
    assert elsewhere != config.fapi_base
    with leader(config, symbols), collector(config, symbols, fapi_base=elsewhere) as second:
        for symbol in symbols:
            until_polled_again(interest(second, symbol))
        assert sent.by(second).keys() == set(symbols)
        assert min(sent.by(second).values()) >= 3
