"""Candles of every interval agree, before and after the beginning."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from typing import Any

import pytest

from ats_sync.simulator.market import Market, UnknownInterval, UnknownSymbol

from .driving import DAY, HOUR, MINUTE, START, run

SYMBOLS = ["BTCUSDT", "BTCDOMUSDT", "MONUSDT", "DENTUSDT", "1000SATSUSDT"]
FIXED = {
    "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR,
    "2h": 2 * HOUR, "4h": 4 * HOUR, "6h": 6 * HOUR, "8h": 8 * HOUR, "12h": 12 * HOUR, "1d": DAY,
}  # fmt: skip


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market(SYMBOLS, start=START)
    run(market, START + 4 * MINUTE, 60_000)
    return market


def total(rows: list[list[Any]]) -> list[Any]:
    """Return the candle that ``rows`` add up to, with prices, volumes and counts as numbers."""
    traded = [r for r in rows if r[8]] or rows[:1]
    return [
        Decimal(traded[0][1]),
        max(Decimal(r[2]) for r in traded),
        min(Decimal(r[3]) for r in traded),
        Decimal(traded[-1][4]),
        sum(Decimal(r[5]) for r in rows),
        sum(Decimal(r[7]) for r in rows),
        sum(r[8] for r in rows),
        sum(Decimal(r[9]) for r in rows),
        sum(Decimal(r[10]) for r in rows),
    ]


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize(
    ("coarse", "fine", "back"),
    [
        ("3m", "1m", 0),
        ("5m", "1m", 3 * DAY),
        ("15m", "1m", 0),
        ("15m", "5m", 10 * HOUR),
        ("15m", "3m", 700 * DAY),
        ("30m", "15m", 2 * DAY),
        ("1h", "15m", 0),
        ("1h", "1m", 30 * DAY),
        ("2h", "1h", 0),
        ("4h", "1h", 0),
        ("6h", "1h", 90 * DAY),
        ("8h", "4h", 0),
        ("12h", "6h", 0),
        ("1d", "1h", 0),
        ("1d", "15m", 20 * DAY),
        ("1d", "4h", 1000 * DAY),
    ],
)
def test_a_candle_is_the_sum_of_finer_ones(market: Market, symbol: str, coarse: str, fine: str, back: int) -> None:
    end = market.now - back
    for candle in market.klines(symbol, coarse, end=end, limit=3):
        parts = market.klines(symbol, fine, start=candle[0], end=candle[6], limit=1500)
        assert parts
        assert [Decimal(x) if isinstance(x, str) else x for x in (*candle[1:6], *candle[7:11])] == total(parts)


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("interval", FIXED)
def test_rows_follow_each_other_and_are_plausible(market: Market, symbol: str, interval: str) -> None:
    rows = market.klines(symbol, interval, limit=1500)
    length = FIXED[interval]
    if symbol != "MONUSDT":
        assert len(rows) == 1500
    assert rows[-1][0] == market.now - market.now % length
    for before, after in pairwise(rows):
        assert after[0] == before[0] + length
    for r in rows:
        assert r[0] % length == 0
        assert r[6] == r[0] + length - 1
        open_, high, low, close, volume, quote, bought, bought_for = (Decimal(r[i]) for i in (1, 2, 3, 4, 5, 7, 9, 10))
        assert low <= min(open_, close) <= max(open_, close) <= high
        assert low * volume <= quote <= high * volume
        assert low * bought <= bought_for <= high * bought
        assert 0 <= bought <= volume
        assert (volume > 0) == (r[8] > 0)
        if not r[8]:
            assert r[5] == r[7] == r[9] == r[10] == "0"
            assert open_ == high == low == close


def test_flat_rows_repeat_the_close_before_them(market: Market) -> None:
    rows = market.klines("BTCDOMUSDT", "1m", limit=1500)
    flat = [(a, b) for a, b in pairwise(rows) if not b[8]]
    assert len(flat) > 300
    assert all(b[1] == a[4] for a, b in flat)


def test_weeks_open_on_monday_and_months_on_the_first(market: Market) -> None:
    weeks = market.klines("BTCUSDT", "1w", limit=5)
    assert [w[0] for w in weeks] == [1_792_972_800_000 + i * 7 * DAY for i in range(-1, 4)]  # Mon 2026-10-26
    months = market.klines("BTCUSDT", "1M", limit=3)
    # 2026-09-01, 2026-10-01, 2026-11-01
    assert [m[0] for m in months] == [1_788_220_800_000, 1_790_812_800_000, 1_793_491_200_000]
    assert months[0][6] == months[1][0] - 1
    days = market.klines("BTCUSDT", "1d", start=months[1][0], end=months[1][6], limit=40)
    assert len(days) == 31
    assert [Decimal(x) if isinstance(x, str) else x for x in (*months[1][1:6], *months[1][7:11])] == total(days)
    three = market.klines("BTCUSDT", "3d", limit=4)
    assert {b[0] - a[0] for a, b in pairwise(three)} == {3 * DAY}


def test_windows(market: Market) -> None:
    newest = market.klines("BTCUSDT", "1h", limit=10)
    assert market.klines("BTCUSDT", "1h", start=newest[3][0], limit=2) == newest[3:5]
    assert market.klines("BTCUSDT", "1h", start=newest[3][0] + 1, end=newest[6][0]) == newest[4:7]
    assert market.klines("BTCUSDT", "1h", end=newest[6][0], limit=2) == newest[5:7]
    assert market.klines("BTCUSDT", "1h", start=market.now + HOUR) == []
    assert len(market.klines("BTCUSDT", "1M", limit=1500)) > 40


def test_a_new_listing_has_a_short_history(market: Market) -> None:
    rows = market.klines("MONUSDT", "1h", limit=500)
    assert 9 <= len(rows) <= 11
    assert len(market.klines("MONUSDT", "1d", limit=500)) <= 2
    onboard = next(s for s in market.exchange_info()["symbols"] if s["symbol"] == "MONUSDT")["onboardDate"]
    assert rows[0][0] <= onboard < rows[0][0] + HOUR


def test_what_is_unknown_is_refused(market: Market) -> None:
    with pytest.raises(UnknownSymbol):
        market.klines("NOPEUSDT", "1h")
    with pytest.raises(UnknownInterval):
        market.klines("BTCUSDT", "7m")
    with pytest.raises(UnknownInterval):
        market.open_interest_hist("BTCUSDT", "1m")
    with pytest.raises(UnknownSymbol):
        market.spot_klines("1000SATSUSDT", "1h")


def test_history_does_not_depend_on_the_order_of_requests() -> None:
    asked = Market(["ETHUSDT"], start=START)
    asked.klines("ETHUSDT", "1d", limit=1500)
    asked.klines("ETHUSDT", "1m", limit=1500)
    fresh = Market(["ETHUSDT"], start=START)
    for interval in ("1h", "15m", "1m", "5m"):
        assert fresh.klines("ETHUSDT", interval, end=START - 5 * DAY) == asked.klines(
            "ETHUSDT", interval, end=START - 5 * DAY
        )
