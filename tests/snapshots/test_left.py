"""A collector begins with the rows that another one has left in a real store, and checks them as those of a file."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ats_sync import Clock, Config, DataManager
from ats_sync.feeds import Key, Kind
from ats_sync.shared.client import SharedStore
from ats_sync.shared.publish import Names
from ats_sync.shared.shards import WHOLE
from ats_sync.simulator import SimulatedExchange
from ats_sync.snapshots.left import LeftFeed
from ats_sync.snapshots.records import Record, is_kept
from ats_sync.store.market import MarketStore

from ..shared.conftest import started
from ..shared.feed import INTERVALS, config_of, managed, served
from ..shared.servers import StoreServer
from ..support import all_live, closed_equal, from_memory, until

TRADES, KLINES = "/fapi/v1/aggTrades", "/fapi/v1/klines"


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(3, seed=5, weight_limit=24_000) as exchange:
        yield exchange


@pytest.fixture
def valkey() -> Iterator[StoreServer]:
    with started("valkey") as server:
        yield server


@contextmanager
def led(exchange: SimulatedExchange, server: StoreServer) -> Iterator[Config]:
    """Run a collector that leads and has written everything; yield its settings."""
    config = config_of(exchange, server.url, futures_weight_limit=24_000)
    with managed(config, exchange.symbols, role="collector"):
        with managed(config, exchange.symbols) as reader:
            for symbol in exchange.symbols:
                served(reader, lambda dm, symbol=symbol: dm.get_agg_trades(symbol, 500))  # type: ignore[misc]
        yield config


def leave(exchange: SimulatedExchange, server: StoreServer) -> None:
    """Run a collector that leads, and end it once everything is written."""
    with led(exchange, server):
        pass


def left_in(exchange: SimulatedExchange, server: StoreServer, **changes: object) -> LeftFeed | None:
    store, config = SharedStore(server.url), config_of(exchange, server.url, **changes)
    try:
        return LeftFeed.look(store, config, Clock(), WHOLE)
    finally:
        store.close()


def weights(exchange: SimulatedExchange, begun: int) -> dict[str, int]:
    """Return what was used for single symbols since then, by path."""
    found: dict[str, int] = {}
    for each in exchange.request_log(begun):
        if "symbol" in each.params:
            found[each.path] = found.get(each.path, 0) + each.weight
    return found


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING]


def test_a_successor_begins_with_the_rows_that_were_left(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    begun = exchange.now()
    leave(exchange, valkey)
    cold = weights(exchange, begun)
    config = config_of(exchange, valkey.url, futures_weight_limit=24_000)
    begun = exchange.now()
    with managed(config, exchange.symbols, role="collector") as dm:
        until(lambda: all_live(dm, "trades"))
        assert len(from_memory(dm, lambda: dm.get_klines(exchange.symbols[0], "1h", 400))) == 400
        warm = weights(exchange, begun)
        assert warm.get(KLINES, 0) <= cold[KLINES] / 2
        for symbol in exchange.symbols:
            for interval in INTERVALS:
                truth = len(exchange.rest(KLINES, symbol=symbol, interval=interval, limit=300))
                until(lambda s=symbol, i=interval, n=truth: closed_equal(dm, exchange, s, i, n))  # type: ignore[misc]
            known = {each["a"]: each for each in exchange.rest(TRADES, symbol=symbol, limit=1000)}
            read = [each for each in dm.rest_shaped.agg_trades(symbol, 20) if each["a"] in known]
            assert read
            assert all(known[each["a"]] == each for each in read)


def test_a_standby_begins_with_the_rows_of_the_leader(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    with led(exchange, valkey) as config:
        begun = exchange.now()
        with managed(config, exchange.symbols, role="collector") as second:
            loader = second._life._snapshotter._loader  # type: ignore[union-attr]
            until(lambda: all(Key(Kind.TRADES, symbol) in loader.loaded for symbol in exchange.symbols))
            for symbol in exchange.symbols:
                assert len(from_memory(second, lambda symbol=symbol: second.get_agg_trades(symbol, 500))) == 500  # type: ignore[misc]
            assert TRADES not in weights(exchange, begun)


def test_every_kind_that_is_kept_is_left_as_it_was(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    leave(exchange, valkey)
    left = left_in(exchange, valkey)
    assert left is not None
    symbol = exchange.symbols[0]
    keys = [Key(Kind.KLINES, symbol, "1h"), Key(Kind.TRADES, symbol), Key(Kind.OPEN_INTEREST, symbol, "1h")]
    found = dict(left.records([*keys, Key(Kind.LISTINGS), Key(Kind.TRADES, "ABSENT")]))
    assert list(found) == [*keys, Key(Kind.LISTINGS)]
    store = MarketStore(config_of(exchange, valkey.url), lambda: 0.0, lambda: 0)
    store.follow(keys)
    listed = {each["symbol"]: each["onboardDate"] for each in exchange.rest("/fapi/v1/exchangeInfo")["symbols"]}
    for key, record in found.items():
        assert isinstance(record, Record)
        assert is_kept(key)
        assert record.onboarded == listed.get(key.symbol, 0)
        restored = store.series[key].prepare(record.parts)
        assert restored is not None
        assert restored.until <= record.written <= exchange.now()


def test_rows_of_another_exchange_are_ignored(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    leave(exchange, valkey)
    assert left_in(exchange, valkey) is not None
    assert left_in(exchange, valkey, fapi_base="http://127.0.0.1:1") is None


@pytest.mark.parametrize("lost", ["parts", "heads", "meta"])
def test_what_the_store_has_lost_is_requested(
    exchange: SimulatedExchange, valkey: StoreServer, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    leave(exchange, valkey)
    store = SharedStore(valkey.url)
    life = store.run(lambda redis: redis.hget(WHOLE.feed_key, "life")).decode()
    assert store.run(lambda redis: redis.delete(getattr(Names(life), lost)))
    store.close()
    with managed(config_of(exchange, valkey.url), exchange.symbols[:1], role="collector") as dm:
        assert len(from_memory(dm, lambda: dm.get_klines(exchange.symbols[0], "1h", 400))) == 400
    assert warnings(caplog) == []


def test_a_value_that_cannot_be_read_is_logged_and_requested(
    exchange: SimulatedExchange, valkey: StoreServer, caplog: pytest.LogCaptureFixture
) -> None:
    leave(exchange, valkey)
    symbol = exchange.symbols[0]
    store = SharedStore(valkey.url)
    names = Names(store.run(lambda redis: redis.hget(WHOLE.feed_key, "life")).decode())
    parts = store.run(lambda redis: redis.hkeys(names.parts))
    broken = {field: b"{" for field in parts if field.startswith(f"klines|{symbol}|1h#".encode())}
    assert broken
    store.run(lambda redis: redis.hset(names.parts, mapping=broken))
    store.close()
    with managed(config_of(exchange, valkey.url), [symbol], role="collector") as dm:
        assert len(from_memory(dm, lambda: dm.get_klines(symbol, "1h", 400))) == 400
    (warning,) = warnings(caplog)
    assert "1 of " in warning
    assert "the shared store" in warning


def test_without_a_feed_or_a_store_it_begins_with_nothing(exchange: SimulatedExchange, valkey: StoreServer) -> None:
    assert left_in(exchange, valkey) is None
    config = config_of(exchange, valkey.url)
    with managed(config, exchange.symbols, role="collector") as dm:
        assert isinstance(dm, DataManager)
        assert len(dm.get_klines(exchange.symbols[0], "1h", 400)) == 400
