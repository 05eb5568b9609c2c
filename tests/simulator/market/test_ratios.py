"""The series of /futures/data beside open interest, and the sessions of TradFi contracts."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from ats_sync.simulator.market import RATIOS, Market, UnknownInterval, UnknownSymbol

START = 1_700_049_600_000
DAY = 86_400_000
HOUR = 3_600_000


@pytest.fixture(scope="module")
def market() -> Market:
    market = Market(["BTCUSDT", "TSLAUSDT", "XAUUSDT", "BTCUSDT_261225"], seed=1, start=START, coin_margined=2)
    market.advance(START + 1000)
    return market


@pytest.mark.parametrize("kind", RATIOS)
def test_pages_of_a_series_agree(market: Market, kind: str) -> None:
    contract_type = "PERPETUAL" if kind == "basis" else ""
    newest = market.ratio(kind, "BTCUSDT", "1h", contract_type=contract_type, limit=30)
    assert len(newest) == 30
    times = [row["timestamp"] for row in newest]
    assert times == sorted(times)
    assert times[-1] == market.now - market.now % HOUR
    assert all(at % HOUR == 0 for at in times)
    page = market.ratio(
        kind, "BTCUSDT", "1h", contract_type=contract_type, start=times[3] - HOUR + 1, end=times[9], limit=500
    )
    assert [row for row in page if times[3] <= row["timestamp"] <= times[9]] == newest[3:10]


def test_the_shares_of_accounts_add_up_to_one(market: Market) -> None:
    for kind in RATIOS[:3]:
        for row in market.ratio(kind, "BTCUSDT", "5m", limit=50):
            long, short = Decimal(row["longAccount"]), Decimal(row["shortAccount"])
            assert long + short == 1
            assert abs(Decimal(row["longShortRatio"]) - long / short) < Decimal("0.0001")
            assert row["symbol"] == "BTCUSDT"


def test_takers_are_those_of_the_candles(market: Market) -> None:
    rows = market.ratio("takerlongshortRatio", "BTCUSDT", "15m", limit=8)
    candles = {row[0] + 15 * 60_000: row for row in market.klines("BTCUSDT", "15m", limit=20)}
    for row in rows:
        candle = candles[row["timestamp"]]
        assert Decimal(row["buyVol"]) == Decimal(candle[9])
        assert Decimal(row["buyVol"]) + Decimal(row["sellVol"]) == Decimal(candle[5])
        assert "symbol" not in row


def test_the_basis_belongs_to_a_pair_and_a_contract_type(market: Market) -> None:
    [row] = market.ratio("basis", "BTCUSDT", "1h", contract_type="PERPETUAL", limit=1)
    assert (row["pair"], row["contractType"]) == ("BTCUSDT", "PERPETUAL")
    assert Decimal(row["futuresPrice"]) - Decimal(row["indexPrice"]) == Decimal(row["basis"])
    with pytest.raises(UnknownSymbol):
        market.ratio("basis", "BTCUSDT", "1h", contract_type="NEXT_QUARTER")
    with pytest.raises(UnknownInterval):
        market.ratio("basis", "BTCUSDT", "1m", contract_type="PERPETUAL")


def test_the_schedule_agrees_with_the_stream_of_sessions(market: Market) -> None:
    market.set_session("equity", "OVERNIGHT")
    schedule = market.trading_schedule()
    today = market.now - market.now % DAY
    assert schedule["marketSchedules"]["EQUITY"]["sessions"] == [
        {"startTime": today, "endTime": today + DAY, "type": "OVERNIGHT"},
        {"startTime": today + DAY, "endTime": today + 2 * DAY, "type": "OVERNIGHT"},
    ]
    assert {each["type"] for each in schedule["marketSchedules"]["COMMODITY"]["sessions"]} == {"REGULAR"}
    market.subscribed.add("tradingSession")
    texts = [frame.payload for frame in market.advance(market.now + 1000)]
    market.subscribed.clear()
    sessions = {json.loads(text)["e"]: json.loads(text) for text in texts}
    equity, commodity = sessions["EquityUpdate"], sessions["CommodityUpdate"]
    assert (equity["t"], equity["T"], equity["S"]) == (today, today + DAY, "OVERNIGHT")
    assert commodity["S"] == "REGULAR"


def test_the_coin_margined_market(market: Market) -> None:
    info = market.coin_margined_exchange_info()
    assert [each["symbol"] for each in info["symbols"]] == ["BTCUSD_PERP", "ETHUSD_PERP"]
    assert info["rateLimits"][0]["limit"] == 2400
    assert [row["symbol"] for row in market.coin_margined_premium_index()] == ["BTCUSD_PERP", "ETHUSD_PERP"]
    assert [row["pair"] for row in market.coin_margined_premium_index("ETHUSD_PERP")] == ["ETHUSD"]
    with pytest.raises(UnknownSymbol):
        market.coin_margined_premium_index("BTCUSDT")
