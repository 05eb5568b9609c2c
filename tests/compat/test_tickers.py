"""The old ``tickers`` module."""

from __future__ import annotations

from compat import tickers

from .conftest import Recorded


def test_every_symbol(recorded: Recorded) -> None:
    body = recorded.answer("compat/ticker_24hr_all")
    assert tickers.all_24h() == body
    assert [params for _, params in recorded.sent()] == [{}]


def test_one_symbol(recorded: Recorded) -> None:
    body = recorded.answer("compat/ticker_24hr")
    assert tickers.one_24h("btcusdt") == body
    assert [params for _, params in recorded.sent()] == [{"symbol": "BTCUSDT"}]


def test_another_shape_is_empty(recorded: Recorded) -> None:
    recorded.answer("compat/ticker_24hr")
    assert tickers.all_24h() == []
    recorded.mock.reset()
    recorded.answer("compat/ticker_24hr_all")
    assert tickers.one_24h("BTCUSDT") == {}
