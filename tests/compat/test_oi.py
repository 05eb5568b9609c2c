"""The old ``oi`` module."""

from __future__ import annotations

from compat import oi

from .conftest import Recorded


def test_hourly_open_interest_as_numbers(recorded: Recorded) -> None:
    recorded.answer("compat/open_interest_hist")
    assert oi.fetch_oi_hourly("btcusdt") == [20403.637, 20401.367]
    oi.fetch_oi_hourly("BTCUSDT", 999)
    assert [params for _, params in recorded.sent()] == [
        {"symbol": "BTCUSDT", "period": "1h", "limit": "200"},
        {"symbol": "BTCUSDT", "period": "1h", "limit": "500"},
    ]
