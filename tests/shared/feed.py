"""A collector and readers on one store and one exchange, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from ats_sync import Config, DataManager
from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .conftest import started
from .servers import StoreServer

INTERVALS = ("1m", "1h")


@contextmanager
def managed(config: Config, symbols: Sequence[str], **changes: Any) -> Iterator[DataManager]:
    """Yield a started manager."""
    manager = DataManager(symbols, INTERVALS, config=replace(config, **changes))
    try:
        yield manager.start(60)
    finally:
        manager.close()


class Scene(NamedTuple):
    """A collector and a reader of the first three symbols of an exchange."""

    exchange: SimulatedExchange
    server: StoreServer
    config: Config
    collector: DataManager
    reader: DataManager
    symbols: list[str]


@contextmanager
def scene_of(count: int) -> Iterator[Scene]:
    """Yield a scene on an exchange with this many symbols, half an hour before the full hour, so that no hourly candle
    closes while a test file runs."""
    half_past = before_turn("1h", 1_800.0)
    with started("valkey") as server, SimulatedExchange(count, seed=7, start=half_past) as exchange:
        config, symbols = config_of(exchange, server.url), list(exchange.symbols)[:3]
        with managed(config, symbols, role="collector") as collector, managed(config, symbols) as reader:
            yield Scene(exchange, server, config, collector, reader, symbols)


def served(reader: DataManager, read: Callable[[DataManager], Any]) -> Any:
    """Return what a read returns once it causes no request."""
    found: list[Any] = []

    def silent() -> bool:
        before = requests(reader)
        found[:] = [read(reader)]
        return requests(reader) == before

    until(silent, what="a read from the shared store")
    return found[0]


def same(reader: DataManager, collector: DataManager, read: Callable[[DataManager], Any]) -> Any:
    """Return what both return at the same moment, the reader without a request."""
    found: list[Any] = []

    def alike() -> bool:
        before = requests(reader)
        one, other, again = read(collector), read(reader), read(collector)
        found[:] = [other]
        return requests(reader) == before and other in (one, again)

    until(alike, what="the same from both")
    return found[0]


def requests(manager: DataManager) -> int:
    count: int = manager.get_stats()["rest_calls"]
    return count


def config_of(exchange: SimulatedExchange, url: str, **changes: Any) -> Config:
    return replace(exchange.config(), shared=url, **changes)
