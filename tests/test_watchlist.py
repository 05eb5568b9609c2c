from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync import Clock, Config, DataManager, InvalidSymbol
from ats_sync.feeds import FEEDS, RATIOS, Key, Kind
from ats_sync.lifecycle import Lifecycle
from ats_sync.simulator import SimulatedExchange
from ats_sync.watchlist import Watchlist

from .support import all_live, from_memory, requests_by_cause, until


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


def test_ratios_are_followed_as_long_as_their_polls_fit_beside_those_of_open_interest() -> None:
    """1,000 requests in 5 minutes, of which polls may use 70 %; each polls every 4 minutes."""
    config, clock = Config(), Clock()
    life = Lifecycle(config, clock)
    watchlist = Watchlist(config, clock, life, (), ())
    symbols = [f"A{number}USDT" for number in range(200)]
    life.store.follow(Key(Kind.OPEN_INTEREST, symbol, "1h") for symbol in symbols)
    ratios = [Key(kind, symbol, "1h") for kind in RATIOS for symbol in symbols]
    life.store.follow(ratios[:359])
    with life.lock:
        assert watchlist._affords(FEEDS[Kind.BASIS])
        life.store.follow(ratios[359:360])
        assert not watchlist._affords(FEEDS[Kind.BASIS])
        life.store.unfollow(ratios[:1])
        assert watchlist._affords(FEEDS[Kind.BASIS])


def test_what_does_not_fit_is_one_request_for_each_read(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol = exchange.symbols[0]
    with DataManager([symbol], ["1h"], config=exchange.config(), enable_websocket=False) as dm:
        for period, follows in (("1h", True), ("4h", False)):
            monkeypatch.setattr(Watchlist, "_affords", lambda self, feed, follows=follows: follows)
            dm.get_ratio(symbol, "basis", period, 5)
            before = requests_by_cause(dm)["read"]
            until(lambda period=period: dm.get_ratio(symbol, "basis", period, 5))
            assert requests_by_cause(dm)["read"] - before == (0 if follows else 1)
        followed = {(feed.kind, feed.interval) for feed in dm.status().feeds if feed.kind == "basis"}
        assert followed == {("basis", "1h")}


def _names_of(exchange: SimulatedExchange, dm: DataManager) -> list[str]:
    """What the newest connections, as many as this manager has, are subscribed to as the exchange sees it."""
    newest = [each for each in exchange.stats().connections if each.open][-len(dm.status().connections) :]
    return [name for each in newest for name in exchange.subscriptions(each.number) or ()]


def _wanted(symbol: str) -> list[str]:
    name = symbol.lower()
    own = [f"{name}@kline_1h", f"{name}@aggTrade", f"{name}@depth20@100ms"]
    return [*own, "!markPrice@arr@1s", "!forceOrder@arr", "!ticker@arr", "!bookTicker", "!contractInfo"]
