from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync import DataManager, InvalidSymbol
from ats_sync.simulator import SimulatedExchange

from .support import all_live, from_memory, until


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7) as ex:
        yield ex


def test_watch_and_unwatch(exchange: SimulatedExchange) -> None:
    first, second = exchange.symbols[:2]
    with DataManager([first], ["1h"], config=exchange.config()) as dm:
        dm.watch([second.lower()])
        until(lambda: all_live(dm, "klines", "orderbook", "trades"))
        assert len(from_memory(dm, lambda: dm.get_klines(second, "1h", 300))) == 300
        dm.unwatch([first])
        assert dm.symbols == (second,)
        until(lambda: sum(each.streams for each in dm.status().connections) == 8)
        until(lambda: sorted(_names_of(exchange, dm)) == sorted(_wanted(second)))
        with pytest.raises(InvalidSymbol, match="NOSUCHUSDT"):
            dm.watch(["NOSUCHUSDT"])


def _names_of(exchange: SimulatedExchange, dm: DataManager) -> list[str]:
    """What the newest connections, as many as this manager has, are subscribed to as the exchange sees it."""
    newest = [each for each in exchange.stats().connections if each.open][-len(dm.status().connections) :]
    return [name for each in newest for name in exchange.subscriptions(each.number) or ()]


def _wanted(symbol: str) -> list[str]:
    name = symbol.lower()
    own = [f"{name}@kline_1h", f"{name}@aggTrade", f"{name}@depth20@100ms"]
    return [*own, "!markPrice@arr@1s", "!forceOrder@arr", "!ticker@arr", "!bookTicker", "!contractInfo"]
