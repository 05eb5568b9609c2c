from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.values import rest_marks, rest_open_interest, rest_spot_prices, stream_liquidation, stream_marks

from . import samples
from .everything import LIQUIDATION
from .samples import MIDNIGHT, compact, frame


def test_one_bad_element_drops_only_itself() -> None:
    good, bad = samples.mark_data("BTCUSDT"), samples.mark_data("ETHUSDT")
    elements = [good, bad | {"p": ""}, bad | {"s": ""}, bad | {"E": None}, None, 5, "x", [], {}]
    marks, dropped = stream_marks(frame("!markPrice@arr@1s", elements))
    assert [mark.symbol for mark in marks] == ["BTCUSDT"]
    assert dropped == len(elements) - 1
    assert [mark.symbol for mark in rest_marks(compact([samples.rest_mark("A"), {}, None]))] == ["A"]
    assert rest_spot_prices(compact([{"symbol": "A", "price": "1.0"}, {"symbol": "B"}, 5])) == {"A": "1.0"}


def test_a_perpetual_without_funding_has_a_rate_of_zero() -> None:
    delivery = samples.mark_data("BTCUSDT_261225") | {"r": ""}
    ((mark,), dropped) = stream_marks(frame("!markPrice@arr@1s", [delivery]))
    assert (mark.funding_rate, dropped) == ("0", 0)


def test_marks_of_the_coin_margined_market_are_left_out() -> None:
    rows = [samples.mark_data("BTCUSD_PERP") | {"st": 2}, samples.mark_data("BTCUSDT")]
    marks, dropped = stream_marks(frame("!markPrice@arr@1s", rows))
    assert ([mark.symbol for mark in marks], dropped) == (["BTCUSDT"], 0)


def test_a_mark_says_the_same_by_stream_and_by_rest() -> None:
    ((streamed,), _) = stream_marks(samples.marks_frame(["BTCUSDT"]))
    (answered,) = rest_marks(compact(samples.rest_mark("BTCUSDT")))
    assert answered.answer == samples.rest_mark("BTCUSDT")
    for name in ("symbol", "mark_price", "funding_rate", "next_funding_time", "time"):
        assert getattr(streamed, name) == getattr(answered, name)


@pytest.mark.parametrize("read", [rest_marks, rest_spot_prices])
@pytest.mark.parametrize("body", [b'{"code":0}', b"[5]", b'["x"]', b"[{}]"])
def test_an_answer_without_one_good_element_is_refused(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read(body)


@pytest.mark.parametrize("read", [rest_marks, rest_spot_prices])
@pytest.mark.parametrize("body", [b"{}", b"[]"])
def test_an_answer_that_names_no_symbol_is_refused(read: Callable[[bytes], Any], body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        read(body)


def test_open_interest_is_ordered_and_kept_as_it_was_written() -> None:
    rows = [samples.open_interest_row(MIDNIGHT + i) for i in (2, 0, 1)]
    assert rest_open_interest(compact(rows)) == sorted(rows, key=lambda row: row["timestamp"])
    assert rest_open_interest(b"[]") == []
    unusable: list[object] = [None, [], "1", {}]
    for name, wrong in {"timestamp": ("1", True, 1.5), "sumOpenInterest": (1, "", "x", None)}.items():
        unusable += [samples.open_interest_row(MIDNIGHT) | {name: each} for each in wrong]
    for each in unusable:
        with pytest.raises(MalformedAnswer):
            rest_open_interest(compact([rows[0], each]))


def test_a_forced_order_is_kept_whole() -> None:
    order = stream_liquidation(LIQUIDATION)
    assert (order.symbol, order.time) == ("BTCUSDT", MIDNIGHT)
    assert order.order == samples.liquidation_data("BTCUSDT")["o"]
    old = samples.liquidation_data("BTCUSDT")
    del old["o"]["ap"]
    assert stream_liquidation(frame("!forceOrder@arr", old)).symbol == "BTCUSDT"


@pytest.mark.parametrize("field", ["s", "S", "T", "p", "q"])
@pytest.mark.parametrize("bad", [None, "", [], True])
def test_a_bad_forced_order_is_refused(field: str, bad: Any) -> None:
    data = samples.liquidation_data("BTCUSDT")
    data["o"][field] = bad
    with pytest.raises(DecodeError):
        stream_liquidation(frame("!forceOrder@arr", data))
