"""A candle cut into parts: they add up to it, and each of them is plausible."""

from __future__ import annotations

from functools import reduce

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.simulator.market.history import Candle, merged, split


@st.composite
def candles(draw: st.DrawFn) -> Candle:
    low = draw(st.integers(1, 1_000_000))
    high = low + draw(st.integers(0, 50_000))
    trades = draw(st.one_of(st.integers(4, 60), st.integers(4, 5_000_000)))
    volume = trades + draw(st.integers(0, 10**12))
    bought = draw(st.integers(0, volume))
    buy_quote = draw(st.integers(low * bought, high * bought))
    sell_quote = draw(st.integers(low * (volume - bought), high * (volume - bought)))
    open_, close = draw(st.integers(low, high)), draw(st.integers(low, high))
    previous = draw(st.integers(low, high))
    return (0, open_, high, low, close, volume, trades, buy_quote + sell_quote, bought, buy_quote, previous)


@settings(max_examples=400, deadline=None)
@given(candles(), st.sampled_from([4, 6, 15]), st.integers(0, 2**64 - 1))
def test_parts_add_up_and_are_plausible(candle: Candle, count: int, seed: int) -> None:
    parts = split(candle, count, 1000, seed)
    assert [part[0] for part in parts] == [i * 1000 for i in range(count)]
    assert reduce(merged, parts) == candle
    before = candle[10]
    for _, open_, high, low, close, volume, trades, quote, bought, buy_quote, previous in parts:
        assert previous == before
        assert low <= min(open_, close) <= max(open_, close) <= high
        assert 0 <= bought <= volume
        assert volume >= trades
        assert low * bought <= buy_quote <= high * bought
        assert low * (volume - bought) <= quote - buy_quote <= high * (volume - bought)
        assert trades or open_ == high == low == close == before
        before = close


@pytest.mark.parametrize("count", [4, 15])
def test_a_candle_without_trades_has_flat_parts(count: int) -> None:
    candle: Candle = (60_000, 7, 7, 7, 7, 0, 0, 0, 0, 0, 7)
    assert split(candle, count, 10, 5) == [(60_000 + i * 10, *candle[1:]) for i in range(count)]


def test_merging_ignores_what_did_not_trade() -> None:
    traded: Candle = (10, 5, 9, 4, 6, 3, 2, 18, 1, 6, 5)
    flat: Candle = (20, 6, 6, 6, 6, 0, 0, 0, 0, 0, 6)
    assert merged(traded, flat) == traded
    assert merged((0, 5, 5, 5, 5, 0, 0, 0, 0, 0, 5), traded) == (0, *traded[1:])
    assert merged(traded, (20, 7, 8, 2, 3, 4, 1, 12, 4, 12, 6)) == (10, 5, 9, 2, 3, 7, 3, 30, 5, 18, 5)
