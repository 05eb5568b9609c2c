"""A market whose larger candles a store derives from smaller ones."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any

from ats_sync.config import Config
from ats_sync.feeds import Key, Kind
from ats_sync.simulator.market import Market
from ats_sync.store.klines import KlineSeries, newest_klines
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore
from ats_sync.store.series import Change
from ats_sync.venue.klines import Row

BTC = "BTCUSDT"
DERIVING = Config(derive_intervals=True, proxies={})


@dataclass
class Desk:
    """A market, and a store that receives one stream of it and may send requests to its REST."""

    intervals: Sequence[str]
    start: int
    seed: int = 1
    activity: float = 1.0
    config: Config = DERIVING
    link: Link = field(default_factory=lambda: Link(1, "market", 0.0))
    deaf: bool = False
    closed: list[Key] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.market = Market([BTC], seed=self.seed, start=self.start, activity=self.activity)
        self.market.subscribed.add(f"btcusdt@kline_{self.intervals[0]}")
        self.store = MarketStore(self.config, lambda: 0.0, lambda: self.market.now)
        self.keys = [Key(Kind.KLINES, BTC, interval) for interval in self.intervals]
        self.store.follow(self.keys)

    def series(self, interval: str) -> KlineSeries:
        found = self.store.klines(BTC, interval)
        assert found is not None
        return found

    @property
    def derived(self) -> list[str]:
        return [interval for interval in self.intervals if self.series(interval).source is not None]

    def run(self, seconds: float) -> None:
        self.hear(self.market.advance(self.market.now + round(seconds * 1000)))

    def hear(self, frames: Iterable[Any]) -> None:
        if not self.deaf:
            texts = [f'{{"stream":"{frame.stream}","data":{frame.payload}}}'.encode() for frame in frames]
            events, _ = self.store.ingest(texts, self.link)
            self.closed += [event.key for event in events if event.change is Change.CLOSED]

    def rest(self, interval: str, limit: int = 500) -> list[Row]:
        return [list(row) for row in self.market.klines(BTC, interval, limit=limit)]

    def ask(self, interval: str, limit: int = 500, at: int | None = None) -> None:
        key = Key(Kind.KLINES, BTC, interval)
        body = json.dumps(self.rest(interval, limit), separators=(",", ":")).encode()
        self.store.merge(key, newest_klines(key, limit), body, self.market.now if at is None else at, self.link)
        self.series(interval).go_live(self.link)

    def warm(self, intervals: Iterable[str] | None = None) -> None:
        for interval in self.intervals if intervals is None else intervals:
            self.ask(interval)

    def doubt(self, interval: str) -> str:
        state = self.series(interval).state(self.market.now)
        return state.doubt or state.suspected or ("" if state.link is self.link else "no link")

    def rows(self, interval: str, limit: int = 200) -> list[Row]:
        return self.series(interval).rows(limit, self.market.now, exact=True)

    def is_current(self) -> bool:
        """Return whether the smallest candles are those of REST."""
        return self.rows(self.intervals[0], 3) == self.rest(self.intervals[0], 3)

    def check(self) -> int:
        """Compare everything that is derived with REST; return how many series could be compared."""
        compared = 0
        current = self.is_current()
        for interval in self.derived:
            if self.doubt(interval):
                continue
            compared += 1
            rows, truth = self.rows(interval), self.rest(interval, 200)
            assert [row[0] for row in rows] == [row[0] for row in truth]
            # Everything about what has been over for that long has been sent.
            closed = [row for row in truth if row[6] + 3_000 < self.market.now]
            assert rows[: len(closed)] == closed
            if current:
                assert rows == truth
        return compared


def ms(*at: int) -> int:
    return round(datetime(*at, tzinfo=timezone.utc).timestamp() * 1000)  # type: ignore[arg-type,misc]


TURNS = {
    "hour": ms(2026, 11, 18, 13),
    "day": ms(2026, 11, 19),
    "week": ms(2026, 11, 23),
    "month": ms(2026, 12, 1),
    "year": ms(2027, 1, 1),
}


def differing(desk: Desk, interval: str, *, closed: bool) -> None:
    """Merge an answer of REST that shows another volume than was derived."""
    rows = desk.rest(interval)
    row = rows[-2 if closed else -1]
    row[5] = str(Decimal(row[5]) + 1)
    key = Key(Kind.KLINES, BTC, interval)
    body = json.dumps(rows, separators=(",", ":")).encode()
    desk.store.merge(key, newest_klines(key, 500), body, desk.market.now, desk.link)
