from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

import pytest

from ats_sync import Clock, Config, DataManager, InvalidSymbol
from ats_sync.engine.demand import Demand
from ats_sync.feeds import FEEDS, RATIOS, Key, Kind
from ats_sync.lifecycle import Lifecycle
from ats_sync.simulator import SimulatedExchange
from ats_sync.watchlist import Watchlist

from .engine.bench import Bench
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


class Recorder:
    """Stands for the runtime: remembers what it is to follow."""

    streams = True

    def __init__(self) -> None:
        self.followed: list[Key] = []
        self.demand = Demand()

    def follow(self, keys: Iterable[Key]) -> None:
        self.followed += keys


class Polling:
    """A watchlist of 200 symbols whose manager seems to run."""

    def __init__(self, *periods: str, **settings: Any) -> None:
        config, clock = Config(open_interest_periods=periods, **settings), Clock()
        self.symbols = tuple(f"A{number}USDT" for number in range(200))
        self.life = Lifecycle(config, clock)
        self.watchlist = Watchlist(config, clock, self.life, self.symbols, ("1h",))
        with self.life.lock:
            self.life.store.follow(self.watchlist.keys())
        self.runtime = self.life.runtime = Recorder()  # type: ignore[assignment]

    def polled(self) -> set[Key]:
        return {key for key in self.life.store.series if FEEDS[key.kind].shares_limit}

    def read(self, *keys: Key) -> set[Key]:
        """Read these once; return which of them are then followed."""
        for key in keys:
            self.watchlist.touch(key)
        return self.polled() & set(keys)


def interest(symbols: Iterable[str], *periods: str) -> list[Key]:
    return [Key(Kind.OPEN_INTEREST, symbol, period) for period in periods for symbol in symbols]


MOST_POLLED = 560
"""Series: of 1,000 requests in 5 minutes polls may use 70 %, and each polls every 4 minutes."""


@pytest.mark.parametrize("periods", [("5m", "15m", "1h", "4h", "1d"), ("1h",)], ids=len)
def test_periods_and_ratios_are_followed_as_long_as_their_polls_fit(periods: tuple[str, ...]) -> None:
    polling = Polling(*periods)
    first = polling.polled()
    assert len(first) == min(MOST_POLLED, 200 * len(periods))
    assert first == set(interest(polling.symbols, *periods)[:MOST_POLLED]), "no symbol's second before another's first"
    for kind in (Kind.KLINES, Kind.BOOK, Kind.TRADES):
        assert sum(key.kind is kind for key in polling.life.store.series) == 200
    later = [
        *interest(polling.symbols, "2h", "6h"),
        *(Key(kind, symbol) for kind in RATIOS for symbol in polling.symbols),
    ]
    followed = polling.read(*later)
    assert followed == set(later[: MOST_POLLED - len(first)])
    assert set(polling.runtime.followed) == followed
    assert first <= polling.polled(), "what was followed first keeps its place"


def test_what_is_watched_or_read_through_the_shim_fits_too_or_is_not_polled(caplog: pytest.LogCaptureFixture) -> None:
    polling = Polling("1h", "4h")
    life, others = polling.life, [f"B{number}USDT" for number in range(200)]
    watched: list[Key] = []
    life.watch = lambda keys: watched.extend(life.store.follow(keys))  # type: ignore[method-assign]
    life.launched = life.check_listed = lambda *_: None  # type: ignore[assignment, method-assign, return-value]
    assert "not polled" not in caplog.text
    polling.watchlist.watch(tuple(others), ("1h",))
    assert [key for key in watched if key.kind is Kind.OPEN_INTEREST] == interest(others[:160], "1h")
    assert sum(key.kind is Kind.BOOK for key in watched) == 200
    assert "240 series, such as B0USDT oi 4h, are not polled" in caplog.text
    before = polling.polled()
    for key in [*interest(["CUSDT"], "1h"), Key(Kind.BASIS, "CUSDT", "1h")]:
        polling.watchlist.demand(key, 30)
    assert polling.polled() == before
    polling.watchlist.demand(Key(Kind.KLINES, "CUSDT", "1h"), 30)
    assert Key(Kind.KLINES, "CUSDT", "1h") in life.store.series
    life.store.unfollow(interest(polling.symbols[:1], "1h"))
    polling.watchlist.demand(Key(Kind.BASIS, "CUSDT", "1h"), 30)
    assert Key(Kind.BASIS, "CUSDT", "1h") in life.store.series, "a place that has become free"


def test_as_many_as_fit_are_polled_in_time_and_within_their_share() -> None:
    polling = Polling("5m", "15m", "1h", "4h", "1d")
    bench = Bench([], follow=False, streams=False)
    keys = sorted(polling.polled())
    bench.engine.follow([Key(Kind.CLOCK), *bench.store.follow(keys)], bench.at())
    bench.run(1500)
    sent: dict[Key, list[float]] = {key: [] for key in keys}
    for when, fetch in bench.asked:
        sent.get(fetch.key, []).append(when)
    longest = FEEDS[Kind.OPEN_INTEREST].max_age(streams=False)
    assert longest is not None
    assert all(b - a < longest for moments in sent.values() for a, b in itertools.pairwise([*moments, 1500.0]))
    polls = sum(moment > 300.0 for moments in sent.values() for moment in moments)
    assert polls * 300.0 / 1200.0 <= 700.0, "on average, since the budget lets no more through at once"


def test_what_does_not_fit_is_one_request_for_each_read(
    exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch
) -> None:
    symbol = exchange.symbols[0]
    with DataManager([symbol], ["1h"], config=exchange.config(), enable_websocket=False) as dm:
        for period, follows in (("15m", True), ("4h", False)):
            monkeypatch.setattr(Watchlist, "_fitting", lambda self, keys, follows=follows: keys if follows else [])
            for read in (
                partial(dm.get_ratio, symbol, "basis", period, 5),
                partial(dm.get_oi_history, symbol, period, 5),
            ):
                read()
                before = requests_by_cause(dm)["read"]
                until(read)
                assert requests_by_cause(dm)["read"] - before == (0 if follows else 1)
        followed = {(feed.kind, feed.interval) for feed in dm.status().feeds if feed.kind in ("basis", "oi")}
        assert followed == {("basis", "15m"), ("oi", "15m"), ("oi", "1h")}


def _names_of(exchange: SimulatedExchange, dm: DataManager) -> list[str]:
    """Return what the newest connections, as many as this manager has, are subscribed to according to the exchange."""
    newest = [each for each in exchange.stats().connections if each.open][-len(dm.status().connections) :]
    return [name for each in newest for name in exchange.subscriptions(each.number) or ()]


def _wanted(symbol: str) -> list[str]:
    name = symbol.lower()
    own = [f"{name}@kline_1h", f"{name}@aggTrade", f"{name}@depth20@100ms"]
    return [*own, "!markPrice@arr@1s", "!forceOrder@arr", "!ticker@arr", "!bookTicker", "!contractInfo"]
