from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.books import (
    book_snapshot,
    diff_levels,
    partial_book,
    quantity_of,
    scan_book,
    scan_diff,
    scan_diff_time,
)
from ats_sync.venue.envelope import normalised
from ats_sync.venue.payload import DecodeError

from . import recording as real
from . import samples
from .everything import scanned, shuffled
from .mutations import mutated
from .recording import of_stream
from .samples import MIDNIGHT, compact, frame


@settings(deadline=None, max_examples=40)
@given(st.randoms(use_true_random=False), st.sampled_from([None, 2]))
def test_a_book_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    data = samples.book_data(4711)
    message = json.dumps(shuffled({"stream": "btcusdt@depth20@100ms", "data": data}, order), indent=indent).encode()
    assert scanned(message, scan_book) == (4711, MIDNIGHT)
    book = scanned(message, partial_book)
    assert (book.update_id, book.time, book.transaction_time) == (4711, MIDNIGHT, MIDNIGHT - 4)
    assert (book.bids, book.asks) == ([*map(tuple, data["b"])], [*map(tuple, data["a"])])


def test_numbers_at_the_end_of_their_object_are_read_too() -> None:
    message = b'{"stream":"a","data":{"b":[],"e":"x","u":5,"E":12}}'
    assert scan_book(message) == (5, 12)


def test_every_real_book_event_is_scanned(recording: Path) -> None:
    depth = list(real.of_stream(recording, "@depth"))
    assert len(depth) == 764
    for message, data in depth:
        assert scan_book(message) == (data["u"], data["E"])


def test_the_real_snapshots_are_books(recording: Path) -> None:
    found = list(real.answers(recording))
    assert len(found) == 4
    for _, body in found:
        book, values = book_snapshot(body), json.loads(body)
        assert (book.update_id, book.time) == (values["lastUpdateId"], values["E"])
        assert book.bids == [*map(tuple, values["bids"])]
        assert book.asks == [*map(tuple, values["asks"])]


def test_a_crossed_book_is_refused() -> None:
    crossed = samples.rest_book(5) | {"bids": [["2", "1"]], "asks": [["1", "1"]]}
    with pytest.raises(MalformedAnswer):
        book_snapshot(compact(crossed))
    with pytest.raises(DecodeError):
        partial_book(frame("a", samples.book_data(5) | {"b": [["10", "1"]], "a": [["9", "1"]]}))


def test_a_thin_or_empty_book_is_a_book() -> None:
    book = book_snapshot(compact(samples.rest_book(5) | {"bids": [], "asks": [["1", "2"]]}))
    assert (book.bids, book.asks) == ([], [("1", "2")])


@pytest.mark.parametrize("side", ["bids", "asks"])
@pytest.mark.parametrize("bad", [None, {}, [[]], [["1"]], [["1", 2]], [[1, "2"]], ["12"], [["", "1"]], [["1", None]]])
def test_bad_levels_are_refused(side: str, bad: Any) -> None:
    with pytest.raises(MalformedAnswer):
        book_snapshot(compact(samples.rest_book(5) | {side: bad}))


STREAM = "btcusdt@depth@100ms"
DATA: dict[str, Any] = {
    "e": "depthUpdate", "E": MIDNIGHT + 5, "T": MIDNIGHT, "s": "BTCUSDT", "U": 103, "u": 110, "pu": 100,
    "b": [["99.90", "1.5"], ["99.8", "0"]], "a": [["100.1", "0.000"]], "st": 1, "ps": "BTCUSDT",
}  # fmt: skip
BIDS = {99.9: ("99.90", "1.5"), 99.8: ("99.8", "0")}
ASKS = {100.1: ("100.1", "0.000")}


def changed(**fields: Any) -> bytes:
    return frame(STREAM, DATA | fields)


@settings(deadline=None)
@given(order=st.randoms(use_true_random=False), indent=st.sampled_from((None, 1)))
def test_an_event_is_read_by_name_in_any_order(order: random.Random, indent: int | None) -> None:
    items = list(DATA.items())
    order.shuffle(items)
    message = normalised(json.dumps({"data": dict(items), "stream": STREAM}, indent=indent).encode())
    assert isinstance(message, bytes)
    assert scan_diff(message) == (103, 110, 100, MIDNIGHT + 5)
    assert scan_diff_time(message) == MIDNIGHT
    assert diff_levels(message) == (BIDS, ASKS)


def test_sides_without_a_change() -> None:
    assert diff_levels(changed(b=[])) == ({}, ASKS)
    assert diff_levels(changed(a=[])) == (BIDS, {})
    assert diff_levels(changed(b=[], a=[])) == ({}, {})


def test_the_last_level_of_a_price_counts_whatever_its_text() -> None:
    assert diff_levels(changed(b=[["99.9", "1"], ["99.90", "2"]]))[0] == {99.9: ("99.90", "2")}


def test_further_fields_of_a_level_are_left_out() -> None:
    assert diff_levels(changed(b=[["99.90", "1.5", "more"], ["99.8", "0", 7]])) == (BIDS, ASKS)


def test_numbers_in_another_notation() -> None:
    bids, _ = diff_levels(changed(b=[["1e2", "0E-8"], ["9.99e1", "1"]]))
    assert bids == {100.0: ("1e2", "0E-8"), 99.9: ("9.99e1", "1")}
    assert [quantity_of(pair) for pair in bids.values()] == [0.0, 1.0]


@pytest.mark.parametrize("fields", [{"U": 111}, {"pu": 111}, {"u": "110"}, {"u": None}, {"E": 1.5}, {"pu": 10**30}])
def test_bad_ids_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(DecodeError):
        scan_diff(changed(**fields))


@pytest.mark.parametrize("missing", ["U", "u", "pu", "E"])
def test_missing_ids_are_refused(missing: str) -> None:
    with pytest.raises(DecodeError):
        scan_diff(frame(STREAM, {name: value for name, value in DATA.items() if name != missing}))


@pytest.mark.parametrize("side", ["b", "a"])
@pytest.mark.parametrize(
    "levels",
    [None, {}, "", [None], ["99"], [[]], [["1"]], [[1, "1"]], [["1", 1]], [["NaN", "1"]], [["", "1"]], [["1.2.3", "1"]],
     [["-1", "1"]], [["1", "-1"]], [["inf", "1"]], [["1", "1"], 7], [["1_0", "1"]], [["٣", "1"]], [[["1", "2"]]]],
)  # fmt: skip
def test_bad_levels_of_an_event_are_refused(side: str, levels: Any) -> None:
    with pytest.raises(DecodeError):
        diff_levels(changed(**{side: levels}))


def test_a_quantity_that_is_not_a_number_is_refused() -> None:
    bids, _ = diff_levels(changed(b=[["1", "1.2.3"]]))
    with pytest.raises(DecodeError):
        quantity_of(bids[1.0])


@settings(deadline=None)
@given(message=mutated(changed()))
def test_whatever_comes_is_refused_or_is_levels(message: bytes) -> None:
    try:
        first, last, previous, _ = scan_diff(message)
        sides = diff_levels(message)
    except DecodeError:
        return
    assert max(first, previous) <= last
    for price, pair in (item for side in sides for item in side.items()):
        assert float(pair[0]) == price
        assert price >= 0
    try:
        data = json.loads(message)["data"]
    except (ValueError, KeyError, TypeError):
        return  # The frame is damaged elsewhere; the levels are whole.
    for levels, side in zip((data["b"], data["a"]), sides, strict=True):
        assert side == {float(level[0]): tuple(level[:2]) for level in levels}


def test_the_real_events(recording: Path) -> None:
    events = list(of_stream(recording, "@depth"))
    assert len(events) == 764
    for message, data in events:
        assert scan_diff(message) == (data["U"], data["u"], data["pu"], data["E"])
        assert scan_diff_time(message) == data["T"]
        for side, levels in zip(diff_levels(message), (data["b"], data["a"]), strict=True):
            assert list(side.values()) == [tuple(level) for level in levels]
            assert list(map(quantity_of, side.values())) == [float(level[1]) for level in levels]
