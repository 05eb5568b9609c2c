"""Every REST answer recorded in October 2026 through the old functions, which return what was sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import compat.binance as binance

from .conftest import Recorded

FAPI = "https://fapi.binance.com/fapi/v1"


@pytest.fixture
def answers(recorded: Recorded, october_2026: Path) -> Any:
    """Answer with a recording at a path of the real host; return it parsed."""

    def answer(name: str, path: str) -> Any:
        body = json.loads((october_2026 / "rest" / f"{name}.json").read_bytes())
        recorded.mock.add("GET", f"{FAPI}/{path}", json=body)
        return body

    return answer


def test_candles(answers: Any) -> None:
    rows = answers("klines", "klines")
    assert binance.get_klines("BTCUSDT", "1m", 2) == rows


def test_trades(answers: Any) -> None:
    rows = answers("agg_trades", "aggTrades")
    assert binance.get_agg_trades("BTCUSDT", 3) == rows


def test_a_book(answers: Any) -> None:
    book = answers("depth", "depth")
    assert binance.get_orderbook_snapshot("BTCUSDT", 5) == book


@pytest.mark.parametrize("name", ["funding_rate", "funding_rate_2019"])
def test_rows_of_funding_are_returned_as_they_are(answers: Any, name: str) -> None:
    rows = answers(name, "fundingRate")
    assert {row["rateType"] for row in rows} == {"Regular"}
    assert binance.get_funding_hist("BTCUSDT", 3) == rows


def test_marks_of_all_and_of_one(answers: Any) -> None:
    rows = answers("premium_index", "premiumIndex")
    assert binance.get_all_premium_index() == rows


@pytest.mark.parametrize("symbol", ["BTCUSDT", "XAUUSDT", "币安人生USDT"])
def test_the_mark_and_the_funding_of_one(recorded: Recorded, october_2026: Path, symbol: str) -> None:
    rows = json.loads((october_2026 / "rest" / "premium_index.json").read_bytes())
    (row,) = [row for row in rows if row["symbol"] == symbol]
    recorded.mock.add("GET", f"{FAPI}/premiumIndex", json=row)
    assert binance.get_mark_price(symbol) == float(row["markPrice"])
    assert binance.get_funding_rate(symbol) == float(row["lastFundingRate"])


def test_a_contract_without_funding_has_the_rate_that_rest_gives(recorded: Recorded) -> None:
    row = {
        "symbol": "BTCUSDT_261225", "markPrice": "84000.1", "indexPrice": "83999.0", "estimatedSettlePrice": "84000.0",
        "lastFundingRate": "0.00000000", "interestRate": "0.00000000", "nextFundingTime": 0, "time": 1791382985000,
    }  # fmt: skip
    recorded.mock.add("GET", f"{FAPI}/premiumIndex", json=row)
    assert binance.get_funding_rate("BTCUSDT_261225") == 0.0
    assert binance.get_mark_price("BTCUSDT_261225") == 84000.1


def test_tickers(answers: Any) -> None:
    rows = answers("ticker_24hr", "ticker/24hr")
    assert binance.get_ticker_24h() == rows


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("exchange_info", "exchangeInfo"),
        ("funding_info", "fundingInfo"),
        ("open_interest", "openInterest"),
        ("time", "time"),
    ],
)
def test_any_other_path(answers: Any, name: str, path: str) -> None:
    body = answers(name, path)
    assert binance._get(f"/fapi/v1/{path}") == body


def test_every_recorded_answer_is_replayed_here(october_2026: Path) -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    names = {path.stem for path in (october_2026 / "rest").iterdir()}
    assert {name for name in names if f'"{name}"' not in text} == set()
