from __future__ import annotations

import pytest

from ats_sync.store import book as book_module
from ats_sync.store.book import BookSeries
from ats_sync.store.link import Link
from ats_sync.store.order import LAGS_AT_MOST
from ats_sync.store.series import Origin
from ats_sync.venue.books import Book, book_snapshot, partial_book
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, compact, frame


def link(number: int = 1) -> Link:
    return Link(number, "public", 0.0)


def rest(update_id: int, *, event: int = MIDNIGHT, count: int = 20) -> Book:
    return book_snapshot(compact(samples.rest_book(update_id, event=event, count=count)))


def held(series: BookSeries) -> int:
    book = series.read()
    assert book is not None
    return book.update_id


def test_nothing_is_known_at_first() -> None:
    series = BookSeries("BTCUSDT")
    assert series.read() is None
    assert series.state(0)[:3] == (None, "", 0)
    assert series.update_id() == -1


def test_the_greater_update_id_wins_whatever_came_first() -> None:
    here = link()
    for order in ([5, 7, 6], [7, 6, 5], [6, 7, 7]):
        series = BookSeries("BTCUSDT")
        for update_id in order:
            series.apply(samples.book_frame(update_id, event=MIDNIGHT + update_id), here)
        assert held(series) == 7
        assert series.state(0)[:3] == (here, "", MIDNIGHT + 7)
        assert series.update_id() == 7


def test_events_out_of_order_are_counted() -> None:
    series = BookSeries("BTCUSDT")
    for update_id in (5, 7, 6, 7):
        series.apply(samples.book_frame(update_id), link())
    assert (series.received, series.counts().out_of_order) == (4, 1)


def test_a_frame_is_read_as_it_was_written() -> None:
    series = BookSeries("BTCUSDT")
    series.apply(samples.book_frame(5), link())
    data = samples.book_data(5)
    assert series.read() == Book(5, MIDNIGHT, MIDNIGHT - 4, [*map(tuple, data["b"])], [*map(tuple, data["a"])])


def test_rest_and_stream_meet_in_either_order() -> None:
    here = link()
    series = BookSeries("BTCUSDT")
    series.apply(samples.book_frame(9), here)
    series.replace(rest(7), Origin(MIDNIGHT, 20))
    assert held(series) == 9
    series.replace(rest(11, event=MIDNIGHT + 5), Origin(MIDNIGHT, 20))
    assert held(series) == 11
    assert series.state(0)[:3] == (here, "", MIDNIGHT + 5)
    series.apply(samples.book_frame(10), here)
    assert held(series) == 11


def test_an_answer_alone_makes_nothing_live() -> None:
    series = BookSeries("BTCUSDT")
    series.replace(rest(7), Origin(MIDNIGHT, 20))
    assert series.state(0).link is None
    assert held(series) == 7


@pytest.mark.parametrize("update_id", [7, 8])
def test_an_answer_does_not_end_the_liveness(update_id: int) -> None:
    here, series = link(), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7), here)
    series.replace(rest(update_id), Origin(MIDNIGHT, 20))
    assert series.state(0).link is here
    assert held(series) == update_id


def test_an_answer_shows_up_to_when_nothing_is_newer() -> None:
    series, asked = BookSeries("BTCUSDT"), MIDNIGHT + 60_000
    assert series.shown_until(link(9)) == 0
    series.apply(samples.book_frame(8), link())
    series.replace(rest(7, event=MIDNIGHT - 4), Origin(asked, 20))
    assert series.shown_until(link(9)) == asked - LAGS_AT_MOST
    series.replace(rest(8), Origin(asked + 2_000, 20))
    assert series.shown_until(link(9)) == asked + 2_000 - LAGS_AT_MOST
    series.replace(rest(9, event=asked + 30), Origin(asked, 20))
    assert series.shown_until(link(9)) == asked + 30
    series.replace(rest(9, event=MIDNIGHT), Origin(asked, 20))
    assert series.shown_until(link(9)) == asked + 30


def test_an_unusable_frame_leaves_a_book_that_has_shown_nothing() -> None:
    here, series = link(), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7), here)
    series.read()
    series.apply(frame("btcusdt@depth20@100ms", samples.book_data(9) | {"b": [["", "1"]]}), here)
    series.replace(rest(8), Origin(MIDNIGHT + 60_000, 20))
    assert series.shown_until(link(9))
    with pytest.raises(DecodeError):
        series.read()
    assert (held(series), series.shown_until(link(9))) == (7, 0)


def test_the_last_frames_of_a_replaced_connection_do_not_set_the_book_back() -> None:
    old, new, series = link(1), link(2), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7), old)
    series.hand_over(old, new)
    old.up = False
    series.apply(samples.book_frame(7), old)
    assert series.state(0).link is new


def test_an_unusable_frame_is_reported_and_the_last_usable_book_remains_but_is_not_live() -> None:
    here, series = link(), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7, event=MIDNIGHT + 7), here)
    series.read()
    bad = samples.book_data(8) | {"b": [["", "1"]]}
    series.apply(frame("btcusdt@depth20@100ms", bad), here)
    with pytest.raises(DecodeError):
        series.read()
    assert held(series) == 7
    assert series.state(0)[:3] == (None, "", MIDNIGHT + 7)
    series.apply(samples.book_frame(9), here)
    assert held(series) == 9
    assert series.state(0).link is here


def test_an_unusable_first_frame_leaves_no_book() -> None:
    series = BookSeries("BTCUSDT")
    series.apply(frame("btcusdt@depth20@100ms", samples.book_data(8) | {"a": None}), link())
    with pytest.raises(DecodeError):
        series.read()
    assert series.read() is None
    assert series.state(0)[:3] == (None, "", 0)
    series.apply(samples.book_frame(3), link())
    assert held(series) == 3


def test_a_frame_that_comes_while_an_unusable_one_is_decoded_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    here, series = link(), BookSeries("BTCUSDT")
    series.apply(frame("btcusdt@depth20@100ms", samples.book_data(8) | {"a": None}), here)
    honest = partial_book

    def meanwhile(message: bytes) -> Book:
        monkeypatch.setattr(book_module, "partial_book", honest)
        series.apply(samples.book_frame(9), here)
        return honest(message)

    monkeypatch.setattr(book_module, "partial_book", meanwhile)
    with pytest.raises(DecodeError):
        series.read()
    assert held(series) == 9
    assert series.state(0).link is here


def test_a_book_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    series = BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7), link())
    first = series.read()
    monkeypatch.setattr(book_module, "partial_book", lambda message: pytest.fail("decoded again"))
    assert series.read() is first


def test_floats_are_those_of_the_book_they_are_read_from() -> None:
    series = BookSeries("BTCUSDT")
    one, other = rest(1), rest(2, count=3)
    bids, asks = series.floats(one)
    assert bids == [(float(price), float(quantity)) for price, quantity in one.bids]
    assert asks == [(float(price), float(quantity)) for price, quantity in one.asks]
    assert series.floats(one)[0] is bids
    assert len(series.floats(other)[0]) == 3
    assert series.floats(one)[0] == bids


def test_suspicion_ends_with_a_frame_or_once_it_is_live_again() -> None:
    here, series = link(), BookSeries("BTCUSDT")
    series.apply(samples.book_frame(7), here)
    series.suspect("silent")
    assert series.state(0)[:2] == (None, "silent")
    series.replace(rest(7), Origin(MIDNIGHT, 20))
    assert series.state(0)[:2] == (None, "silent")
    series.go_live(here)
    assert series.state(0)[:2] == (here, "")
    series.suspect("silent")
    series.apply(samples.book_frame(8), here)
    assert series.state(0)[:2] == (here, "")
