"""The old ``klines`` module."""

from __future__ import annotations

from typing import Any

import pytest

from compat import klines

from .conftest import Recorded


@pytest.mark.parametrize(
    ("read", "interval", "limit"),
    [(klines.klines_1h, "1h", 300), (klines.klines_4h, "4h", 200), (klines.klines_15m, "15m", 300)],
)
def test_candles_of_a_fixed_interval(recorded: Recorded, read: Any, interval: str, limit: int) -> None:
    body = recorded.answer("compat/klines")
    assert read("btcusdt") == body
    assert read("BTCUSDT", limit="9") == body
    assert [params for _, params in recorded.sent()] == [
        {"symbol": "BTCUSDT", "interval": interval, "limit": str(limit)},
        {"symbol": "BTCUSDT", "interval": interval, "limit": "9"},
    ]


def test_columns_are_lists_of_floats() -> None:
    rows = [
        [1, "1.5", "2.5", "0.5", "2", "10", 2, "15.25", 3, "4", "6.5", "0"],
        [3, "2", "3", "1", "2.75", "0", 4, "0", 0, "0", "0", "0"],
    ]
    columns = klines.split_ohlcv(rows)
    assert columns == ([1.5, 2.0], [2.5, 3.0], [0.5, 1.0], [2.0, 2.75], [10.0, 0.0], [15.25, 0.0], [4.0, 0.0])
    assert {type(value) for column in columns for value in column} == {float}
    assert {type(column) for column in columns} == {list}
    assert klines.split_ohlcv(iter(rows)) == columns
    assert klines.split_ohlcv([]) == ([], [], [], [], [], [], [])
