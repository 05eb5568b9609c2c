"""Starts on a directory without sockets: the engine is a stub that notes what it is given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from ats_sync import Clock, Config
from ats_sync.feeds import Key, Kind
from ats_sync.snapshots import snapshotter
from ats_sync.snapshots.loader import Loader
from ats_sync.snapshots.records import folder_of
from ats_sync.snapshots.snapshotter import Snapshotter
from ats_sync.store.klines import KlineSeries
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Origin
from ats_sync.venue.listings import exchange_info
from ats_sync.venue.trades import rest_trades

from ..store.candles import Truth
from ..venue import samples
from ..venue.samples import DAY, MIDNIGHT, MINUTE, compact

SYMBOL = "BTCUSDT"
CANDLES, TRADES = Key(Kind.KLINES, SYMBOL, "1m"), Key(Kind.TRADES, SYMBOL)
INTEREST = Key(Kind.OPEN_INTEREST, SYMBOL, "1h")
KEYS = (CANDLES, TRADES, INTEREST)
LISTED = MIDNIGHT - 100 * DAY
TRUTH = Truth("1m", MIDNIGHT, [3, 1, 0, 2, 4, 2, 1, 3, 2, 2, 3])
NOW = MIDNIGHT + 5 * MINUTE + 20_000


class HandTime:
    """A clock that stands still until it is set."""

    def __init__(self, at: int) -> None:
        self.at = at / 1000.0

    def wall(self) -> float:
        return self.at

    def steady(self) -> float:
        return self.at


class Listings:
    def onboarded(self, symbol: str) -> int:
        return LISTED


class Engine:
    listings = Listings()
    demand = frozenset(KEYS)


class StubRuntime:
    """Stands in for the threads: turns come when :meth:`turn` is called."""

    stopped = False

    def __init__(self, store: MarketStore) -> None:
        self._store = store
        self.changed = threading.Condition(threading.Lock())
        self.gone_on: list[Key] = []
        self.missing: list[Key] = []

    def query(self, question: Callable[[Any, Any], Any]) -> Any:
        return question(Engine(), None)

    def still_missing(self, keys: list[Key] | None) -> list[Key]:
        return self.missing

    def restored(self, keys: list[Key]) -> None:
        for key in keys:
            self._store.series[key].expecting = False
        self.gone_on += keys

    def turn(self) -> None:
        with self.changed:
            self.changed.notify_all()


class WatchedLoader(Loader):
    """Says when it has loaded everything that it will load before anything is written."""

    has_loaded = False

    def load(self) -> None:
        super().load()
        self.has_loaded = True


class Launch:
    """One start on a directory at exchange time ``now``, which ``/time`` has confirmed where it is known."""

    def __init__(
        self,
        directory: Path,
        now: int = NOW,
        config: Config | None = None,
        keys: tuple[Key, ...] = KEYS,
        *,
        time_known: bool = True,
    ) -> None:
        self.config = config if config is not None else Config(state_dir=directory)
        self.folder = directory / folder_of(self.config)
        self.time = HandTime(now)
        self.clock = Clock(self.time)
        if time_known:
            self.clock.set_exchange(now / 1000.0)
        self.store = MarketStore(self.config, self.clock.now, self.clock.exchange_ms)
        self.store.follow(keys)
        self.demanded: dict[Key, int] = {}
        self.runtime = StubRuntime(self.store)
        with mock.patch.object(snapshotter, "Loader", WatchedLoader):
            self.snapshotter = Snapshotter(self.config, self.clock, self.store, self.demand)
        self.loader: Any = self.snapshotter._loader
        self.snapshotter.expect(keys)

    def demand(self, key: Key, rows: int) -> None:
        self.demanded[key] = rows
        self.store.follow([key], rows)
        self.store.series[key].expecting = self.snapshotter.resuming == key

    def start(self) -> None:
        self.snapshotter.start(self.runtime)  # type: ignore[arg-type]

    def list(self, onboarded: int = LISTED) -> None:
        """Answer exchangeInfo."""
        body = compact(samples.exchange_info({SYMBOL: "TRADING"}, onboarded={SYMBOL: onboarded}))
        self.store.listings.replace(exchange_info(body), Origin(self.clock.exchange_ms()))
        self.runtime.turn()

    def fill(self) -> None:
        """Answer for every series."""
        now = self.clock.exchange_ms()
        self.store.series[CANDLES].replace(TRUTH.texts(now, 100), Origin(now, 100))
        trades = rest_trades(compact([samples.rest_trade(number) for number in range(100, 140)]))
        self.store.series[TRADES].replace(trades, Origin(now, 40))
        rows = [samples.open_interest_row(MIDNIGHT - hour * 60 * MINUTE) for hour in (2, 1, 0)]
        self.store.series[INTEREST].replace(rows, Origin(now, 300))

    def close(self) -> None:
        self.snapshotter.stop(self.clock.now() + 60.0)
        self.snapshotter.join(self.clock.now() + 60.0)

    def rows(self) -> list[bytes]:
        series = self.store.series[CANDLES]
        assert isinstance(series, KlineSeries)
        return series.closed_rows()

    def loaded(self) -> int:
        return self.snapshotter.status().loaded

    def cold(self) -> bool:
        """Return whether it has begun without data, and goes on as if there had been none."""
        nothing = not any(len(self.store.series[key]) for key in KEYS)  # type: ignore[arg-type]
        return nothing and not self.loaded() and not any(self.store.series[key].expecting for key in KEYS)


@contextmanager
def launched(directory: Path, now: int = NOW, keys: tuple[Key, ...] = KEYS) -> Iterator[Launch]:
    launch = Launch(directory, now, keys=keys)
    launch.start()
    try:
        yield launch
    finally:
        launch.close()
