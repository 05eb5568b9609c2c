from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.books import book_snapshot, partial_book, scan_book
from ats_sync.venue.payload import DecodeError

from . import recording as real
from . import samples
from .everything import scanned, shuffled
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


def test_last_fields_of_their_object_are_numbers_too() -> None:
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
