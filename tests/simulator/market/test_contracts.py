"""Kinds of contracts, their statuses, and what the streams and REST show of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ats_sync.simulator.market import Frame, Market, UnknownSymbol

START = 1_795_219_200_000
MARKS, TICKERS, CONTRACTS, SESSIONS = "!markPrice@arr@1s", "!ticker@arr", "!contractInfo", "tradingSession"
QUOTES = {"newusdt@bookTicker", "!bookTicker"}
SYMBOLS = ["BTCUSDT", "XAUUSDT", "BTCUSDT_261225", "币安人生USDT"]


@pytest.fixture
def market() -> Market:
    market = Market(SYMBOLS, seed=3, start=START, coin_margined=2)
    market.subscribed = {MARKS, TICKERS, CONTRACTS, SESSIONS}
    return market


def told(frames: list[Frame], stream: str) -> list[Any]:
    return [json.loads(frame.payload) for frame in frames if frame.stream == stream]


def statuses(market: Market) -> dict[str, str]:
    return {each["symbol"]: each["status"] for each in market.exchange_info()["symbols"]}


def test_kinds_of_contracts(market: Market) -> None:
    kinds = {each["symbol"]: each for each in market.exchange_info()["symbols"]}
    assert [kinds[symbol]["contractType"] for symbol in SYMBOLS] == [
        "PERPETUAL", "TRADIFI_PERPETUAL", "CURRENT_QUARTER", "PERPETUAL",
    ]  # fmt: skip
    assert kinds["XAUUSDT"]["underlyingType"] == "COMMODITY"
    assert kinds["BTCUSDT_261225"]["pair"] == "BTCUSDT"
    assert kinds["BTCUSDT_261225"]["deliveryDate"] == 1_798_185_600_000
    assert set(market.spot_symbols) == {"BTCUSDT", "币安人生USDT"}


def test_marks_come_in_two_frames_a_second_with_coin_margined_rows(market: Market) -> None:
    first, second = told(market.advance(START + 1_999), MARKS)
    assert [(row["s"], row["st"]) for row in first] == [
        ("BTCUSDT", 1), ("BTCUSDT_261225", 1), ("币安人生USDT", 1), ("BTCUSD_PERP", 2), ("ETHUSD_PERP", 2),
    ]  # fmt: skip
    assert {row["E"] for row in first} == {START + 1_000}
    assert [(row["s"], row["E"]) for row in second] == [("XAUUSDT", START + 1_684)]
    assert first[3]["ps"] == "BTCUSD"
    rest = {row["symbol"]: row for row in market.premium_index()}  # type: ignore[union-attr]
    for row in (*first[:3], *second):
        assert (rest[row["s"]]["markPrice"], rest[row["s"]]["time"]) == (row["p"], row["E"])


def test_a_quarterly_has_no_funding(market: Market) -> None:
    (first, *_) = told(market.advance(START + 1_100), MARKS)
    quarterly = next(row for row in first if row["s"] == "BTCUSDT_261225")
    assert (quarterly["T"], quarterly["r"]) == (0, "0.00000000")
    row = market.premium_index("BTCUSDT_261225")
    assert isinstance(row, dict)
    assert (row["nextFundingTime"], row["lastFundingRate"]) == (0, "0.00000000")
    assert market.funding_rate("BTCUSDT_261225") == []
    info = {each["symbol"]: each for each in market.funding_info()}
    assert info["BTCUSD_PERP"]["updateTime"] is None
    assert "BTCUSDT_261225" not in info


def test_tickers_carry_coin_margined_rows(market: Market) -> None:
    rows = [row for frame in told(market.advance(START + 3_000), TICKERS) for row in frame]
    assert {row["s"] for row in rows if row["st"] == 2} == {"BTCUSD_PERP", "ETHUSD_PERP"}


def test_dividends_are_rows_of_funding_with_a_type_of_their_own(market: Market) -> None:
    market.advance(START + 5_000)
    market.pay_dividend("XAUUSDT", "0.01000000")
    *regular, last = market.funding_rate("XAUUSDT", limit=5)
    assert {row["rateType"] for row in regular} == {"Regular"}
    assert (last["rateType"], last["fundingRate"], last["fundingTime"]) == ("Special", "0.01000000", START + 5_000)


@pytest.mark.parametrize("status", ["TRADING_HALT", "TRADING_CANCEL_ONLY", "PRE_SETTLE", "NEXT_YEAR"])
def test_a_paused_contract_rests_and_resumes(market: Market, status: str) -> None:
    market.advance(START + 5_000)
    market.set_status("BTCUSDT", status)
    assert statuses(market)["BTCUSDT"] == status
    before = market.agg_trades("BTCUSDT", limit=3), market.depth("BTCUSDT", 20)["lastUpdateId"]
    (event,) = told(market.advance(START + 30_000), CONTRACTS)
    assert (event["s"], event["cs"], event["ct"]) == ("BTCUSDT", status, "PERPETUAL")
    assert (market.agg_trades("BTCUSDT", limit=3), market.depth("BTCUSDT", 20)["lastUpdateId"]) == before
    assert market.klines("BTCUSDT", "1m", limit=2)
    market.set_status("BTCUSDT", "TRADING")
    assert [event["cs"] for event in told(market.advance(START + 40_000), CONTRACTS)] == ["TRADING"]
    assert market.agg_trades("BTCUSDT", limit=3) != before[0]
    assert statuses(market)["BTCUSDT"] == "TRADING"


def test_a_delisted_contract_keeps_a_resting_row_in_the_marks(market: Market) -> None:
    market.advance(START + 5_000)
    market.set_status("BTCUSDT", "SETTLING")
    frames = market.advance(START + 8_500)
    assert [(each["s"], each["cs"]) for each in told(frames, CONTRACTS)] == [("BTCUSDT", "SETTLING")]
    rows = [row for frame in told(frames, MARKS) for row in frame if row["s"] == "BTCUSDT"]
    assert [row["E"] for row in rows] == [START + 6_000, START + 7_000, START + 8_000]
    assert len({row["p"] for row in rows}) == 1
    assert statuses(market)["BTCUSDT"] == "SETTLING"
    with pytest.raises(UnknownSymbol):
        market.klines("BTCUSDT", "1m")


def test_a_pending_contract_has_nothing_yet(market: Market) -> None:
    market.list_symbol("NEWUSDT", pending=True)
    market.subscribed |= QUOTES
    frames = market.advance(START + 60_000)
    (event,) = told(frames, CONTRACTS)
    assert (event["s"], event["cs"]) == ("NEWUSDT", "PENDING_TRADING")
    assert statuses(market)["NEWUSDT"] == "PENDING_TRADING"
    assert market.klines("NEWUSDT", "1h") == []
    assert market.agg_trades("NEWUSDT") == []
    assert market.depth("NEWUSDT", 20)["bids"] == []
    assert not any("NEWUSDT" in frame.payload for frame in frames if frame.stream in QUOTES)
    assert market.book_ticker("NEWUSDT")["bidQty"] == "0"  # type: ignore[call-overload]
    assert "NEWUSDT" not in market.symbols
    market.set_status("NEWUSDT", "TRADING")
    frames = market.advance(START + 120_000)
    assert {frame.stream for frame in frames if frame.stream in QUOTES and "NEWUSDT" in frame.payload} == QUOTES
    assert "NEWUSDT" in market.symbols
    assert market.klines("NEWUSDT", "1h")
    assert market.agg_trades("NEWUSDT")


def test_in_a_maintenance_only_exchange_info_differs(market: Market) -> None:
    market.maintenance("CLOSE")
    assert set(statuses(market).values()) == {"CLOSE"}
    assert told(market.advance(START + 3_000), MARKS)
    market.maintenance()
    assert set(statuses(market).values()) == {"TRADING"}


def test_a_session_without_trading_is_quiet_and_announced(market: Market) -> None:
    market.set_session("commodity", "NO_TRADING")
    before = market.agg_trades("XAUUSDT", limit=1)
    events = told(market.advance(START + 2_500), SESSIONS)
    assert [(each["e"], each["S"]) for each in events[:2]] == [
        ("EquityUpdate", "REGULAR"), ("CommodityUpdate", "NO_TRADING"),
    ]  # fmt: skip
    assert market.agg_trades("XAUUSDT", limit=1) == before
    assert statuses(market)["XAUUSDT"] == "TRADING"
    market.set_session("commodity", "REGULAR")
    market.advance(START + 60_000)
    assert market.agg_trades("XAUUSDT", limit=1) != before


def test_unknown_kinds_and_statuses_are_refused(market: Market) -> None:
    with pytest.raises(ValueError, match="equity or commodity"):
        market.set_session("bonds", "REGULAR")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="status must be a word"):
        market.set_status("BTCUSDT", "")
    with pytest.raises(UnknownSymbol):
        market.set_status("NOSUCHUSDT", "TRADING")
    with pytest.raises(ValueError, match="coin_margined must be 0 to 4"):
        Market(2, start=START, coin_margined=9)
