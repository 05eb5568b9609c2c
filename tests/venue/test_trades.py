from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import (
    Trade,
    is_written_as_by_rest,
    rest_trades,
    scan_trade,
    scan_trade_end,
    trade_numbers,
    trade_of,
    trade_text,
    trades_of_text,
    trades_text,
    written_numbers,
)

from . import recording as real
from . import samples
from .everything import scanned, shuffled, stream_trade
from .samples import MIDNIGHT, compact


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 2]))
def test_a_trade_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    data = samples.trade_data(77, at=MIDNIGHT)
    message = json.dumps(shuffled({"stream": "btcusdt@aggTrade", "data": data}, order), indent=indent).encode()
    assert scanned(message, scan_trade) == (77, MIDNIGHT + 3)
    assert scanned(message, scan_trade_end) == (155, MIDNIGHT)
    assert stream_trade(message) == Trade(77, "7.6110", "3", 154, 155, MIDNIGHT, False, "3")


@pytest.mark.parametrize("value", [b'"5"', b"-5", b"5.0", b"5e3", b"null", b"true", b"", b" 5", b"[5]", b"{}", b"5x"])
@pytest.mark.parametrize("shape", [b'{"stream":"a","data":{"a":%s,"E":7}}', b'{"stream":"a","data":{"E":7,"a":%s}}'])
def test_what_is_not_a_whole_number_is_not_an_id(value: bytes, shape: bytes) -> None:
    with pytest.raises(DecodeError):
        scan_trade(shape % value)


@pytest.mark.parametrize("digits", [21, 400, 5_000])
@pytest.mark.parametrize("shape", [b'{"stream":"a","data":{"a":%s,"E":7}}', b'{"stream":"a","data":{"E":7,"a":%s}}'])
def test_endless_numbers_are_refused(digits: int, shape: bytes) -> None:
    with pytest.raises(DecodeError):
        scan_trade(shape % (b"9" * digits))


def test_every_real_trade_is_scanned_and_decoded_alike(recording: Path) -> None:
    seen = list(real.of_stream(recording, "@aggTrade"))
    assert len(seen) == 91
    for message, data in seen:
        assert scan_trade(message) == (data["a"], data["E"])
        assert scan_trade_end(message) == (data["l"], data["T"])
        assert stream_trade(message) == Trade(
            data["a"], data["p"], data["q"], data["f"], data["l"], data["T"], data["m"], None
        )


def test_trades_of_rest_are_ordered_and_keep_the_new_field() -> None:
    found = rest_trades(compact([samples.rest_trade(9), samples.rest_trade(7), samples.rest_trade(8)]))
    assert [trade.id for trade in found] == [7, 8, 9]
    assert found[0] == stream_trade(samples.trade_frame(7))
    old = samples.rest_trade(7)
    del old["nq"]
    assert rest_trades(compact([old]))[0].normal_quantity is None


@pytest.mark.parametrize("bad", [None, 5, "x", [], {}, {"a": 1}, samples.rest_trade(1) | {"m": 1}])
def test_one_bad_trade_spoils_the_answer(bad: Any) -> None:
    with pytest.raises(MalformedAnswer):
        rest_trades(compact([samples.rest_trade(0), bad]))


# --- many at once ---------------------------------------------------------------------------------

NUMBERS = st.one_of(
    st.from_regex(r"\A[0-9]{1,25}(\.[0-9]{1,18})?\Z"),
    st.sampled_from(["0", "007.50", "18446744073709551617", "9007199254740993", "1e400", "1E-7", "1e5", "-0", "-1.5"]),
)
PARTS = st.tuples(NUMBERS, NUMBERS, NUMBERS | st.none(), st.integers(0, 10**17), st.booleans())


@settings(deadline=None)
@given(st.lists(PARTS, max_size=6), st.integers(0, 10**17))
def test_numbers_decoded_together_are_those_of_each_trade(
    parts: list[tuple[str, str, str | None, int, bool]], first: int
) -> None:
    found = [
        Trade(first + i, price, quantity, 7, 8, at, maker, normal)
        for i, (price, quantity, normal, at, maker) in enumerate(parts)
    ]
    text = trades_text(found)[1:-1]
    assert trades_of_text(text) == found
    numbers = trade_numbers(text, len(found))
    if numbers is None:
        uncommon = any(each[0] in "-0" or "e" in each.lower() for part in parts for each in part[:3] if each)
        assert uncommon or len({part[2] is None for part in parts}) == 2
        return
    prices, quantities, times, makers = numbers
    assert repr([float(each) for each in prices]) == repr([float(trade.price) for trade in found])
    assert repr([float(each) for each in quantities]) == repr([float(trade.quantity) for trade in found])
    assert list(times) == [trade.time for trade in found]
    assert makers == [int(trade.buyer_is_maker) for trade in found]


def written(count: int, first: int = 5) -> list[bytes]:
    return [compact(samples.rest_trade(number)) for number in range(first, first + count)]


PIECES = [b"", b"0", b"7", b".", b'"', b",", b" ", b"e5", b"-", b"}", b"true"]


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_trades_that_are_called_written_as_by_rest_are_exactly_that(data: Any) -> None:
    texts = written(3)
    spoilt = bytearray(texts[1])
    for _ in range(data.draw(st.integers(1, 2))):
        begin = data.draw(st.integers(0, len(spoilt)))
        end = data.draw(st.integers(begin, min(len(spoilt), begin + 4)))
        spoilt[begin:end] = data.draw(st.sampled_from(PIECES))
    text = b",".join([texts[0], bytes(spoilt), texts[2]])
    if written_numbers(text, 5, 3) is not None:
        assert is_written_as_by_rest(text, 5, 3)
        assert repr(written_numbers(text, 5, 3)) == repr(trade_numbers(text, 3))
    if is_written_as_by_rest(text, 5, 3):
        trade = trade_of(bytes(spoilt))
        assert trade.id == 6
        assert trade_text(trade) == spoilt


@pytest.mark.parametrize(
    "change", [(b"}", b"}}"), (b'"a":6', b'"a":7'), (b'"a":6,', b""), (b'"p"', b'"P"'), (b'"m":', b'"x":1,"m":')]
)
def test_trades_that_are_not_written_as_by_rest_are_examined(change: tuple[bytes, bytes]) -> None:
    texts = written(3)
    assert is_written_as_by_rest(b",".join(texts), 5, 3)
    texts[1] = texts[1].replace(*change)
    assert not is_written_as_by_rest(b",".join(texts), 5, 3)


def test_nearly_all_texts_need_no_closer_look() -> None:
    """They come with and without normal quantities, with whole and decimal numbers, but not mixed."""
    for pattern in (rb"(?!)", rb"\.", rb'"nq":"[^"]*",'):
        texts = [re.sub(pattern, b"", text) for text in written(3)]
        found = written_numbers(b",".join(texts), 5, 3)
        assert found is not None
        assert [float(price) for price in found.prices] == [float(trade_of(text).price) for text in texts]


def test_two_in_the_place_of_one_are_not_written_as_by_rest() -> None:
    one, two, three = written(3)
    for text in (one + two, b"," + one, one + b",", one + b",," + two, one + b"," + three):
        assert not is_written_as_by_rest(text, 5, 2)
    assert is_written_as_by_rest(b"", 5, 0)
