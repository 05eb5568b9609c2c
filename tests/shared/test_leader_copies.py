"""A collector that stands by takes what the leader has polled, and polls itself what the leader does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest

from ats_sync import Config, DataManager
from ats_sync.feeds import FEEDS, RATIOS, Key, Kind
from ats_sync.runtime.executor import RequestExecutor
from ats_sync.shared.client import SharedStore
from ats_sync.shared.copies import Copies
from ats_sync.shared.layout import EXCHANGE, MalformedFeed, exchange_text, feed_text, field_of
from ats_sync.shared.leader_copies import LeaderCopies
from ats_sync.shared.shards import SHARDS_KEY, WHOLE
from ats_sync.simulator import SimulatedExchange
from ats_sync.store.market import MarketStore
from ats_sync.store.periods import OpenInterestSeries
from ats_sync.store.series import Copied, Origin, Series
from ats_sync.venue.endpoints import Bucket

from ..support import until
from ..venue.samples import MIDNIGHT, open_interest_row
from .feed import config_of, managed, served
from .servers import StoreServer
from .written import FEED, WrittenFeed, heads_of

LIMITED = "/futures/data/"
EVERY, MAX_AGE = 0.5, 60.0
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
            requests = second._life.runtime.requests  # type: ignore[union-attr]
            until(lambda: not requests.usage(Bucket.OPEN_INTEREST).cost)  # it counts until the store has answered
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


# --- by itself -----------------------------------------------------------------------------------------------


KEY = Key(Kind.OPEN_INTEREST, "BTCUSDT", "1h")
ROWS = [open_interest_row(MIDNIGHT)]
CONFIG = Config()


class Led(WrittenFeed):
    """A store with a feed of one series, whose collector leads, and one that stands by."""

    def __init__(self, store: SharedStore) -> None:
        super().__init__(store, CONFIG)
        self.stands_by = iter([True] * 9)
        self.copies = LeaderCopies(store, CONFIG, WHOLE, lambda: next(self.stands_by))
        market = MarketStore(CONFIG, lambda: 0.0)
        market.follow([KEY])
        market.series[KEY].replace(ROWS, Origin(MIDNIGHT + 5, 50))
        changes = Copies(market, lambda: 0.0).changes()
        self.write(self.names.heads, heads_of(changes))
        self.write(self.names.parts, dict(zip(changes.parts[::2], changes.parts[1::2], strict=True)))

    def copied(self) -> Copied | None:
        return self.copies.copied(KEY)


@pytest.fixture
def led(valkey: StoreServer) -> Iterator[Led]:
    store = SharedStore(valkey.url)
    yield Led(store)
    store.close()


def test_a_series_is_copied_whole_as_the_leader_has_it(led: Led) -> None:
    copied = led.copied()
    assert copied is not None
    series = OpenInterestSeries(KEY.symbol, KEY.interval, 50)
    assert series.take_copy(copied)
    assert (series.read(9), answered(series)) == (ROWS, MIDNIGHT + 5)
    assert led.copies.copied(Key(Kind.OPEN_INTEREST, "ABSENT", "1h")) is None


@pytest.mark.parametrize("roles", [[False], [True, False]])
def test_nothing_is_copied_from_a_feed_that_may_be_its_own(led: Led, roles: list[bool]) -> None:
    led.stands_by = iter(roles)
    assert led.copied() is None
    assert next(led.stands_by, None) is None


@pytest.mark.parametrize("change", [{"until": 1}, {"epoch": 2}])
def test_nothing_is_copied_where_nobody_leads_or_who_leads_has_not_written(led: Led, change: dict[str, int]) -> None:
    led.write(led.store.key("lease", WHOLE.lease), change)
    assert led.copied() is None


def test_nothing_is_copied_from_another_exchange(led: Led) -> None:
    led.write(led.names.meta, {EXCHANGE: exchange_text(["http://127.0.0.1:1"])})
    assert led.copied() is None


def test_nothing_is_copied_whose_age_the_leader_does_not_know(led: Led) -> None:
    led.write(led.names.meta, {"feed": feed_text(FEED._replace(proven=False))})
    assert led.copied() is None


def test_nothing_is_copied_where_the_symbols_are_shared_out_in_another_way(led: Led) -> None:
    led.store.run(lambda redis: redis.set(SHARDS_KEY, 2))
    assert led.copied() is None


def test_nothing_is_copied_from_a_store_that_is_away(led: Led, valkey: StoreServer) -> None:
    valkey.kill()
    assert led.copied() is None


@pytest.mark.parametrize("head", [b"|{", b'2-2|[null,"",[],[]]\n'])
def test_what_the_store_has_may_be_malformed(led: Led, head: bytes) -> None:
    led.write(led.names.heads, {field_of(KEY): head})
    with pytest.raises(MalformedFeed):
        led.copied()
