"""A store of two symbols whose candles close when the test says so."""

from __future__ import annotations

from typing import Any, TypeVar

from ats_sync import CandleEvent, Config, Missed
from ats_sync.events.queues import CandleQueue, EventQueue, Selection, TurnQueue
from ats_sync.feeds import Key, Kind
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.series import Origin

from ..store.candles import Truth
from ..venue.samples import MIDNIGHT, MINUTE

T = TypeVar("T")

SYMBOLS = ("BTCUSDT", "ETHUSDT")
BTC, ETH = (Key(Kind.KLINES, symbol, "1m") for symbol in SYMBOLS)
LINK = Link(1, "market", 0.0)
ROWS = 20
START = MIDNIGHT - ROWS * MINUTE
OPEN = MIDNIGHT
"""The open time of the candle that is open at first; the one before has closed."""


class Market:
    """A store with the last 20 candles of two symbols, the one at midnight open; candle ``i`` opens ``i`` min later."""

    def __init__(self, *, rows: int = 100, symbols: tuple[str, ...] = SYMBOLS) -> None:
        self.now = MIDNIGHT + 10_000
        self.symbols = symbols
        self.truth = Truth("1m", START, [10] * (ROWS + 200), first_trade=1)
        self.store = MarketStore(Config(max_klines=rows, warmup_klines=10), lambda: 0.0, lambda: self.now)
        self.store.follow(keys_of(symbols, ("1m",), ()))
        for symbol in symbols:
            self.series(symbol).replace(self.truth.texts(self.now, ROWS + 1), Origin(self.now, ROWS + 1))
            self.series(symbol).go_live(LINK)
        self.queues: list[EventQueue[Any]] = []

    def series(self, symbol: str) -> KlineSeries:
        series = self.store.klines(symbol, "1m")
        assert series is not None
        return series

    def candles(self, **options: Any) -> CandleQueue:
        queue = CandleQueue(self.store, Selection(), self.now, **options)
        self.queues.append(queue)
        return queue

    def turns(self, grace: int = 3_000, **options: Any) -> TurnQueue:
        queue = TurnQueue(self.store, "1m", None, self.now, grace=grace, **options)
        self.queues.append(queue)
        return queue

    def close(self, number: int, *symbols: str, after: int = 200) -> None:
        """Deliver the stream's final event of candle ``number``."""
        self.now = OPEN + (number + 1) * MINUTE + after
        for symbol in symbols or self.symbols:
            event = self.series(symbol).apply(self.truth.frame(ROWS + number, final=True, symbol=symbol), LINK)
            assert event is not None
            for queue in self.queues:
                queue.mark([event.key])

    def drain(self, queue: EventQueue[T]) -> list[T]:
        found: list[T] = []
        while (event := queue.take(self.now)) is not None:
            found.append(event())
        return found


def shown(events: list[CandleEvent | Missed]) -> list[tuple[str, int]]:
    """Return the symbol and the number of each candle."""
    return [(e.symbol, (e.open_time - OPEN) // MINUTE) for e in events if isinstance(e, CandleEvent)]
