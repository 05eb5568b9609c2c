from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import InvalidArgument, InvalidSymbol
from ats_sync.venue.symbols import check_symbol, check_symbols


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("BTCUSDT", "BTCUSDT"),
        ("btcusdt", "BTCUSDT"),
        ("1000PEPEusdt", "1000PEPEUSDT"),
        ("币安人生USDT", "币安人生USDT"),
        ("币安人生usdt", "币安人生USDT"),
        ("BTCUSDT_261225", "BTCUSDT_261225"),
    ],
)
def test_symbols_pass_in_upper_case(written: str, meant: str) -> None:
    assert check_symbol(written) == meant


@pytest.mark.parametrize(
    "separator", [*"@/?&#%\\\"'+,;:=<> \t\r\n\0\x7f\x1b", "\u3000", "\u00a0", "\u2028", "\u200b", "\ufeff"]
)
@pytest.mark.parametrize("shape", ["{}BTCUSDT", "BTC{}USDT", "BTCUSDT{}", "{}"])
def test_what_would_break_a_url_or_a_stream_name_is_refused(separator: str, shape: str) -> None:
    with pytest.raises(InvalidSymbol):
        check_symbol(shape.format(separator))


@pytest.mark.parametrize("wrong", ["", None, 5, b"BTCUSDT", ["BTCUSDT"], "A" * 41, "A" * 100_000, "BTC\ud800USDT"])
def test_what_is_not_a_symbol_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidSymbol) as caught:
        check_symbol(wrong)
    assert len(str(caught.value)) < 300
    assert isinstance(caught.value, ValueError)


@settings(deadline=None)
@given(st.text(max_size=50))
def test_whatever_passes_is_safe(text: str) -> None:
    try:
        symbol = check_symbol(text)
    except InvalidSymbol:
        return
    assert symbol
    assert symbol == symbol.upper()
    assert check_symbol(symbol) == symbol
    symbol.encode()
    for character in symbol:
        assert character not in '@/?&#% \\"'
        assert unicodedata.category(character)[0] not in "ZC"


def test_lists_are_checked_and_made_unique_in_order() -> None:
    assert check_symbols(["ethusdt", "BTCUSDT", "ETHUSDT"]) == ("ETHUSDT", "BTCUSDT")
    assert check_symbols(name for name in ("a", "b")) == ("A", "B")


@pytest.mark.parametrize("wrong", [[], (), "BTCUSDT", ["BTCUSDT", ""], ["BTC USDT"], [None]])
def test_unusable_lists_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument):
        check_symbols(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("wrong", [None, 5])
def test_what_is_not_a_list_is_refused_with_our_own_error(wrong: object) -> None:
    with pytest.raises(InvalidArgument):
        check_symbols(wrong)  # type: ignore[arg-type]
