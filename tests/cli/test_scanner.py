"""The example scanner, on figures that can be checked by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ats_sync import DataUnavailableError, FeedState, NoSpotPair
from ats_sync.cli.scanner import Scanner

ROWS = 30


def candles(*closes: float) -> list[list[float]]:
    """Return candles that closed at 100 with a volume of 2, except the last ones; the last closed one has a volume of
    6."""
    rows = [[0.0, 0.0, 0.0, 0.0, 100.0, 2.0] for _ in range(ROWS)]
    for row, close in zip(rows[-len(closes) :], closes, strict=True):
        row[4] = close
    rows[-2][5] = 6.0
    return rows


class Market:
    """Answers as a manager does, and records its reads."""

    def __init__(self, intervals: tuple[str, ...] = ("15m", "1d", "4h", "1h")) -> None:
        self.intervals = intervals
        self.reads: list[tuple[Any, ...]] = []
        self.requests = 7
        self.warm = {"AUSDT"}

    def get_klines(self, symbol: str, interval: str, limit: int) -> list[list[float]]:
        self.reads.append(("klines", symbol, interval))
        if symbol == "BADUSDT":
            raise DataUnavailableError("nothing is known")
        return candles(120.0) if interval == "1h" else candles(80.0)

    def get_oi_history(self, symbol: str, interval: str, limit: int) -> list[dict[str, float]]:
        return [] if symbol == "BUSDT" else [{"sumOpenInterest": 200.0}, {"sumOpenInterest": 250.0}]

    def get_funding_rate(self, symbol: str) -> dict[str, float]:
        self.requests += 1
        return {"rate": 0.0001, "markPrice": 101.0}

    def get_orderbook(self, symbol: str, limit: int) -> dict[str, Any]:
        return {"bids": [[10.0, 2.0], [5.0, 2.0]], "asks": [[10.0, 1.0]]}

    def get_agg_trades(self, symbol: str, limit: int) -> list[dict[str, Any]]:
        self.reads.append(("trades", symbol))
        return [
            {"price": 10.0, "qty": 1.0, "isBuyerMaker": True},
            {"price": 10.0, "qty": 3.0, "isBuyerMaker": False},
        ]

    def get_spot_price(self, symbol: str) -> float:
        if symbol == "BUSDT":
            raise NoSpotPair("none")
        return 100.0

    def status(self) -> Any:
        states = [(symbol, FeedState.LIVE) for symbol in self.warm] + [("BUSDT", FeedState.WARMING_UP)]
        feeds = [SimpleNamespace(kind="trades", symbol=symbol, state=state) for symbol, state in states]
        return SimpleNamespace(feeds=[*feeds, SimpleNamespace(kind="klines", symbol="BUSDT", state=FeedState.LIVE)])

    def get_stats(self) -> dict[str, Any]:
        return {"rest_calls_by_cause": {"read": self.requests}}


def test_a_symbol_with_everything() -> None:
    scan = Scanner(Market()).scan(["AUSDT"])  # type: ignore[arg-type]
    (found,) = scan.findings
    assert found.symbol == "AUSDT"
    assert found.price == 120.0
    assert found.trend == pytest.approx(100 * (120 / 101 - 1))
    assert found.slow_trend == pytest.approx(100 * (80 / 99 - 1))
    assert found.volume == pytest.approx(3.0)
    assert found.open_interest == pytest.approx(25.0)
    assert found.funding == pytest.approx(0.01)
    assert found.basis == pytest.approx(1.0)
    assert found.imbalance == pytest.approx((30 - 10) / 40)
    assert found.flow == pytest.approx(0.5)
    assert found.score == pytest.approx(found.trend + 0.5 * (found.slow_trend or 0) + 0.5 + 0.5)


def test_unknown_values_are_none_and_trades_that_are_not_in_memory_are_not_requested() -> None:
    market = Market()
    (found,) = Scanner(market).scan(["BUSDT"]).findings  # type: ignore[arg-type]
    assert (found.open_interest, found.basis, found.flow) == (None, None, None)
    assert ("trades", "BUSDT") not in market.reads


def test_an_unreadable_symbol_does_not_end_the_scan() -> None:
    scan = Scanner(Market()).scan(["BADUSDT", "AUSDT"])  # type: ignore[arg-type]
    assert [finding.symbol for finding in scan.findings] == ["AUSDT"]
    assert isinstance(scan.failures["BADUSDT"], DataUnavailableError)


def test_requests_are_those_of_the_scan_alone() -> None:
    assert Scanner(Market()).scan(["AUSDT", "BUSDT"]).requests == 2  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("intervals", "read"),
    [(("1d", "1h", "4h"), ["1h", "4h"]), (("1d", "5m", "1h"), ["5m", "1h"]), (("15m",), ["15m"])],
)
def test_which_intervals_it_reads(intervals: tuple[str, ...], read: list[str]) -> None:
    market = Market(intervals)
    (found,) = Scanner(market).scan(["AUSDT"]).findings  # type: ignore[arg-type]
    assert [each[2] for each in market.reads if each[0] == "klines"] == read
    assert (found.slow_trend is None) == (len(read) == 1)
