from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.payload import DecodeError
from ats_sync.venue.trades import Trade, rest_trades, scan_trade, scan_trade_end, stream_trade

from . import recording as real
from . import samples
from .everything import scanned, shuffled
from .samples import MIDNIGHT, compact


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 2]))
def test_a_trade_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    data = samples.trade_data(77, at=MIDNIGHT)
    message = json.dumps(shuffled({"stream": "btcusdt@aggTrade", "data": data}, order), indent=indent).encode()
    assert scanned(message, scan_trade) == (77, MIDNIGHT + 3)
    assert scanned(message, scan_trade_end) == (155, MIDNIGHT)
    assert scanned(message, stream_trade) == Trade(77, "7.6110", "3", 154, 155, MIDNIGHT, False, "3")


@pytest.mark.parametrize("value", [b'"5"', b"-5", b"5.0", b"5e3", b"null", b"true", b"", b" 5", b"[5]", b"{}", b"5x"])
@pytest.mark.parametrize("shape", [b'{"stream":"a","data":{"a":%s,"E":7}}', b'{"stream":"a","data":{"E":7,"a":%s}}'])
def test_what_is_no_whole_number_is_no_id(value: bytes, shape: bytes) -> None:
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
