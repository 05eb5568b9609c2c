from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ats_sync.venue import decode, scan
from ats_sync.venue.decode import DecodeError

from . import recording as real
from . import samples
from .mutations import mutated, replaced
from .samples import MIDNIGHT, compact, frame

KLINE = samples.kline_frame(samples.row(MIDNIGHT), event=MIDNIGHT + 812)
TRADE = samples.trade_frame(77)
BOOK = samples.book_frame(4711)


def outcome(read: Callable[[bytes], Any], message: bytes) -> Any:
    try:
        return read(message)
    except DecodeError:
        return "refused"


def reordered(message: bytes, *, at_end: bool) -> bytes:
    """The same kline frame, with the event's time at its end."""
    whole = samples.parsed(message)
    if at_end:
        whole["data"]["E"] = whole["data"].pop("E")
    return compact(whole)


@settings(deadline=None, max_examples=120)
@given(st.sampled_from([TRADE, BOOK]).flatmap(lambda whole: mutated(whole) | replaced(whole)))
def test_the_fast_way_says_what_the_careful_one_says(message: bytes) -> None:
    assume(decode.stream_name(message) is not None)  # nothing else ever reaches a series
    assert outcome(scan.scan_trade, message) == outcome(decode.scan_trade, message)
    assert outcome(scan.scan_book, message) == outcome(decode.scan_book, message)


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(("trades", "event"), [(11, 900), (9, 950), (123456, 59_999), (1, 1_000)])
def test_one_more_event_of_an_open_candle_is_told_directly(at_end: bool, trades: int, event: int) -> None:
    shape = scan.kline_shape(reordered(KLINE, at_end=at_end), MIDNIGHT)
    assert shape is not None
    row = samples.row(MIDNIGHT, trades=trades, price="0.00001234", volume="123456789.5")
    message = reordered(samples.kline_frame(row, event=MIDNIGHT + event), at_end=at_end)
    assert scan.scan_open_kline(message, shape) == (trades, MIDNIGHT + event)


@pytest.mark.parametrize("at_end", [False, True])
def test_another_candle_stream_or_a_final_event_is_none_of_its(at_end: bool) -> None:
    shape = scan.kline_shape(reordered(KLINE, at_end=at_end), MIDNIGHT)
    assert shape is not None
    row = samples.row(MIDNIGHT)
    for other in (
        samples.kline_frame(row, final=True),
        samples.kline_frame(samples.row(MIDNIGHT + samples.MINUTE)),
        samples.kline_frame(row, symbol="ETHUSDT"),
        samples.kline_frame(row, event=5),
        samples.kline_frame(row, event=10**14),
    ):
        assert scan.scan_open_kline(reordered(other, at_end=at_end), shape) is None


@settings(deadline=None, max_examples=120)
@given(mutated(KLINE) | replaced(KLINE), st.booleans())
def test_what_it_takes_for_one_more_event_is_one(message: bytes, from_itself: bool) -> None:
    shape = None
    if from_itself:
        careful = outcome(decode.scan_kline, message)
        if careful != "refused":
            shape = scan.kline_shape(message, careful[0])
    else:
        shape = scan.kline_shape(KLINE, MIDNIGHT)
    for later in (message, KLINE):
        known = scan.scan_open_kline(later, shape) if shape is not None else None
        if known is not None:
            opened, trades, final, event = decode.scan_kline(later)
            assert (trades, event, final) == (*known, False)
            assert shape is not None
            if not from_itself:
                assert opened == MIDNIGHT


def test_an_order_of_keys_it_does_not_know_has_no_shape() -> None:
    assert scan.kline_shape(TRADE, MIDNIGHT) is None
    assert scan.kline_shape(KLINE, MIDNIGHT + 1) is None
    assert scan.kline_shape(KLINE[:-2], MIDNIGHT) is None
    assert scan.kline_shape(frame("x", {"k": {"t": MIDNIGHT}}), MIDNIGHT) is None


def test_the_real_frames_are_scanned_alike(recording: Path) -> None:
    for message, data in real.of_stream(recording, "@aggTrade"):
        assert scan.scan_trade(message) == (data["a"], data["E"])
    for message, data in real.of_stream(recording, "@depth"):
        assert scan.scan_book(message) == (data["u"], data["E"])
    shapes: dict[str, scan.KlineShape | None] = {}
    known = 0
    for message, data in real.of_stream(recording, "@kline_1m"):
        k, symbol = data["k"], data["s"]
        shape = shapes.get(symbol)
        told = scan.scan_open_kline(message, shape) if shape is not None else None
        if told is not None:
            assert told == (k["n"], data["E"])
            assert not k["x"]
            known += 1
        shapes[symbol] = scan.kline_shape(message, k["t"])
    assert known > 30
