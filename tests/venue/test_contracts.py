from __future__ import annotations

import decimal
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.errors import InvalidArgument
from ats_sync.venue.contracts import SymbolInfo, symbol_info, symbol_infos
from ats_sync.venue.listings import exchange_info
from ats_sync.venue.payload import DecodeError

from .samples import contract_row


def info(tick: str = "0.10", step: str = "0.001") -> SymbolInfo:
    return symbol_info(contract_row("BTCUSDT", tick=tick, step=step))


def test_rules_of_the_recorded_contracts(october_2026: Path) -> None:
    rules = exchange_info((october_2026 / "rest" / "exchange_info.json").read_bytes()).rules
    assert set(rules) == {"BTCUSDT", "XAUUSDT", "币安人生USDT", "OMGUSDT", "BTCUSDT_261225"}
    assert {symbol: (each.contract_type, each.underlying_type) for symbol, each in rules.items()}.items() >= {
        "BTCUSDT": ("PERPETUAL", "COIN"),
        "XAUUSDT": ("TRADIFI_PERPETUAL", "COMMODITY"),
        "BTCUSDT_261225": ("CURRENT_QUARTER", "COIN"),
    }.items()
    bitcoin = rules["BTCUSDT"]
    assert (bitcoin.tick_size, bitcoin.step_size, bitcoin.min_notional) == (
        Decimal("0.10"), Decimal("0.001"), Decimal("50"),
    )  # fmt: skip
    assert (bitcoin.min_quantity, bitcoin.max_quantity, bitcoin.market_max_quantity) == (
        Decimal("0.001"), Decimal("1000"), Decimal("120"),
    )  # fmt: skip
    assert (bitcoin.base_asset, bitcoin.quote_asset, bitcoin.status) == ("BTC", "USDT", "TRADING")
    assert rules["OMGUSDT"].status == "SETTLING"


@pytest.mark.parametrize(
    ("price", "rounding", "rounded"),
    [
        ("83091.64", decimal.ROUND_HALF_UP, "83091.60"),
        ("83091.65", decimal.ROUND_HALF_UP, "83091.70"),
        ("83091.65", decimal.ROUND_HALF_EVEN, "83091.60"),
        ("83091.69", decimal.ROUND_DOWN, "83091.60"),
        ("83091.61", decimal.ROUND_UP, "83091.70"),
        ("83091.6", decimal.ROUND_UP, "83091.60"),
        (7, decimal.ROUND_DOWN, "7.00"),
        (Decimal("1e3"), decimal.ROUND_DOWN, "1000.00"),
        ("0", decimal.ROUND_DOWN, "0.00"),
        ("0.0000000000000000000000000000000000000001", decimal.ROUND_UP, "0.10"),
        ("9999999999999999999999999999999999999999", decimal.ROUND_DOWN, "9999999999999999999999999999999999999999.00"),
    ],
)
def test_prices_are_rounded_to_ticks(price: Any, rounding: str, rounded: str) -> None:
    assert f"{info().round_price(price, rounding):f}" == rounded


def test_a_price_is_rounded_to_the_nearest_and_a_quantity_down() -> None:
    assert info().round_price("1.05") == Decimal("1.1")
    assert info().round_quantity("1.0009999") == Decimal("1.000")
    assert info(step="5").round_quantity("14.9") == Decimal("10")
    assert info().round_quantity("0.0009") == 0


def test_small_ticks_are_written_without_an_exponent() -> None:
    assert f"{info(tick='0.0000001').round_price('0.00000012'):f}" == "0.0000001"


def test_the_precision_of_the_caller_changes_nothing() -> None:
    with decimal.localcontext() as context:
        context.prec, context.rounding = 3, decimal.ROUND_UP
        context.traps[decimal.Inexact] = True
        assert str(info().round_price("83091.64")) == "83091.60"


@given(
    st.decimals(min_value=0, max_value=10**9, places=9),
    st.sampled_from(["0.10", "0.25", "0.003", "1", "5", "0.0000001", "7.7"]),
)
def test_a_rounded_number_is_a_multiple_within_one_step(number: Decimal, size: str) -> None:
    contract, one = info(tick=size, step=size), Decimal(size)
    down, up = contract.round_quantity(number), contract.round_price(number, decimal.ROUND_UP)
    nearest = contract.round_price(number)
    assert down <= number <= up
    assert up - down in (0, one)
    assert nearest in (down, up)
    assert abs(nearest - number) * 2 <= one
    for each in (down, up, nearest):
        assert each % one == 0


@pytest.mark.parametrize("bad", [0.1, True, None, "x", "", "NaN", "Infinity", "-1", "1e99", "1e-99", b"1", [1]])
def test_what_is_not_an_exact_number_is_refused(bad: Any) -> None:
    with pytest.raises(InvalidArgument, match="price"):
        info().round_price(bad)
    with pytest.raises(InvalidArgument, match="quantity"):
        info().round_quantity(bad)


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="rounding"):
        info().round_price("1", "nearest")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("filters"),
        lambda row: row["filters"].pop(0),
        lambda row: row["filters"][0].update(tickSize="0"),
        lambda row: row["filters"][0].update(tickSize=0.1),
        lambda row: row["filters"][1].pop("stepSize"),
        lambda row: row.pop("contractType"),
    ],
)
def test_a_contract_that_cannot_be_read_is_left_out(spoil: Any) -> None:
    good, bad = contract_row("AUSDT"), contract_row("BUSDT")
    spoil(bad)
    with pytest.raises(DecodeError):
        symbol_info(bad)
    assert list(symbol_infos(json.loads(json.dumps([bad, good])))) == ["AUSDT"]
