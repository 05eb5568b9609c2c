from __future__ import annotations

import pytest

from ats_sync.simulator.names import check_selector, delivers, kind_of, matches

PUBLIC = ["btcusdt@depth20@100ms", "btcusdt@depth@100ms", "btcusdt@depth", "btcusdt@bookTicker", "!bookTicker"]
MARKET = [
    "btcusdt@kline_1h",
    "币安人生usdt@aggTrade",
    "btcusdt@markPrice",
    "btcusdt@markPrice@1s",
    "!markPrice@arr",
    "!markPrice@arr@1s",
    "btcusdt@forceOrder",
    "!forceOrder@arr",
    "!ticker@arr",
    "btcusdt@ticker",
]


@pytest.mark.parametrize("name", PUBLIC)
def test_books_go_over_public_and_the_old_paths(name: str) -> None:
    assert [route for route in ("public", "market", "private", "unrouted") if delivers(route, name)] == [
        "public",
        "unrouted",
    ]


@pytest.mark.parametrize("name", MARKET)
def test_all_else_goes_over_market(name: str) -> None:
    assert [route for route in ("public", "market", "private", "unrouted") if delivers(route, name)] == ["market"]


@pytest.mark.parametrize("name", ["", "@", "@kline_1h", "btcusdt", "btcusdt@", "btcusdt@nonsense", "!nonsense@arr"])
def test_names_without_a_known_form_are_never_delivered(name: str) -> None:
    assert kind_of(name) == ""
    assert not any(delivers(route, name) for route in ("public", "market", "private", "unrouted", "spot"))


def test_selectors() -> None:
    assert matches("*", "btcusdt@kline_1h")
    assert matches("kline", "btcusdt@kline_1h")
    assert matches("btcusdt@kline_1h", "btcusdt@kline_1h")
    assert not matches("btcusdt@kline_1h", "btcusdt@kline_4h")
    assert not matches("depth", "btcusdt@kline_1h")
    with pytest.raises(ValueError, match="candles"):
        check_selector("candles")
