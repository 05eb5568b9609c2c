"""The demo's example scanner: computes typical figures for every symbol from a manager's reads alone."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from ..errors import AtsSyncError, DataError, NoSpotPair
from ..feeds import Kind
from ..manager import DataManager
from ..results import AggTrade, OpenInterest
from ..status import FeedState
from ..venue.intervals import nominal_length

CANDLES = 100
"""Number of candles read for each interval."""
MEAN = 20
TRADES = 100
OPEN_INTEREST_ROWS = 24

CLOSE, VOLUME = 4, 5


@dataclass(frozen=True, slots=True)
class Finding:
    """The figures of one symbol. Percentages are in percent; None means not known (yet)."""

    symbol: str
    price: float
    trend: float
    """Distance of the price from the mean of the last 20 candles, shorter interval, percent."""
    slow_trend: float | None
    """The same for the longer interval; None if there is only one."""
    volume: float
    """The last closed candle's volume as a multiple of the mean of the 20 before it."""
    open_interest: float | None
    """Change of the open interest over the last day, percent."""
    funding: float
    """The funding rate, percent."""
    basis: float | None
    """Distance of the mark price from the spot price, percent; None without a spot pair."""
    imbalance: float
    """(bids - asks) / (bids + asks) over 20 levels by value: -1 to 1."""
    flow: float | None
    """(bought - sold) / (bought + sold) over the last 100 trades by value; None until they are warm."""

    @property
    def score(self) -> float:
        """An example score made of these figures; do not trade on it."""
        return self.trend + 0.5 * (self.slow_trend or 0.0) + self.imbalance + (self.flow or 0.0)


@dataclass(frozen=True)
class Scan:
    """The findings of one scan, and its cost."""

    findings: list[Finding]
    seconds: float
    requests: int
    """REST requests that its reads caused."""
    failures: dict[str, AtsSyncError] = field(default_factory=dict)
    """Symbols that could not be read, with the reason."""


class Scanner:
    """Reads everything it needs for a symbol from ``manager``."""

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        ordered = sorted(manager.intervals, key=nominal_length)
        usual = "1h" in ordered and "4h" in ordered
        self.interval: str = "1h" if usual else ordered[0]
        self.slow_interval: str | None = "4h" if usual else (*ordered, None)[1]

    def scan(self, symbols: Iterable[str]) -> Scan:
        """Scan every symbol once, one after the other, on this thread."""
        warm = self._with_trades()
        before = self._requests()
        began = time.perf_counter()
        findings: list[Finding] = []
        failures: dict[str, AtsSyncError] = {}
        for symbol in symbols:
            try:
                findings.append(self.look_at(symbol, with_trades=symbol in warm))
            except DataError as error:
                failures[symbol] = error
        seconds = time.perf_counter() - began
        return Scan(findings, seconds, self._requests() - before, failures)

    def look_at(self, symbol: str, *, with_trades: bool) -> Finding:
        """Return the finding for a symbol. Raises :class:`~ats_sync.errors.DataError` if it cannot be read fresh."""
        manager = self._manager
        candles = manager.get_klines(symbol, self.interval, CANDLES)
        slow = manager.get_klines(symbol, self.slow_interval, CANDLES) if self.slow_interval else []
        interest = manager.get_oi_history(symbol, "1h", OPEN_INTEREST_ROWS)
        funding = manager.get_funding_rate(symbol)
        book = manager.get_orderbook(symbol, 20)
        trades = manager.get_agg_trades(symbol, TRADES) if with_trades else []
        try:
            spot = manager.get_spot_price(symbol)
        except NoSpotPair:
            spot = 0.0
        return Finding(
            symbol,
            candles[-1][CLOSE],
            _trend(candles),
            _trend(slow) if slow else None,
            _volume(candles),
            _change(interest),
            100.0 * funding["rate"],
            100.0 * (funding["markPrice"] / spot - 1.0) if spot else None,
            _balance(_value(book["bids"]), _value(book["asks"])),
            _flow(trades) if trades else None,
        )

    def _with_trades(self) -> set[str]:
        """Return the symbols whose trades are in memory; a read of the others would go to REST."""
        good = (FeedState.LIVE, FeedState.POLLED)
        feeds = self._manager.status().feeds
        return {feed.symbol for feed in feeds if feed.kind == Kind.TRADES.value and feed.state in good}

    def _requests(self) -> int:
        return int(self._manager.get_stats()["rest_calls_by_cause"]["read"])


def _trend(candles: Sequence[Sequence[float]]) -> float:
    return 100.0 * (candles[-1][CLOSE] / fmean(row[CLOSE] for row in candles[-MEAN:]) - 1.0)


def _volume(candles: Sequence[Sequence[float]]) -> float:
    closed = [row[VOLUME] for row in candles[-MEAN - 2 : -1]]
    usual = fmean(closed[:-1]) if len(closed) > 1 else 0.0
    return closed[-1] / usual if usual else 0.0


def _change(rows: Sequence[OpenInterest]) -> float | None:
    first = rows[0]["sumOpenInterest"] if rows else 0.0
    return 100.0 * (rows[-1]["sumOpenInterest"] / first - 1.0) if first else None


def _value(levels: Iterable[Sequence[float]]) -> float:
    return sum(price * quantity for price, quantity in levels)


def _balance(one: float, other: float) -> float:
    return (one - other) / (one + other) if one + other else 0.0


def _flow(trades: Sequence[AggTrade]) -> float:
    # If the buyer is the maker, the seller was the taker.
    bought = sum(trade["price"] * trade["qty"] for trade in trades if not trade["isBuyerMaker"])
    sold = sum(trade["price"] * trade["qty"] for trade in trades if trade["isBuyerMaker"])
    return _balance(bought, sold)
