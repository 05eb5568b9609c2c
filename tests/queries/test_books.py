from __future__ import annotations

import threading

import pytest

from ats_sync.errors import DataUnavailableError, NotInMemory, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.books import SUBSCRIBED_WITHIN, book_of
from ats_sync.reads import memory_only
from ats_sync.venue.books import Book

from ..desk import SYMBOL, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT

KEY = Key(Kind.BOOK, SYMBOL)
ASKED = Book(9, MIDNIGHT, MIDNIGHT, [["1", "1"]], [["2", "1"]])


def followed() -> Desk:
    desk = Desk(KEY)
    desk.deliver(samples.book_frame(7, event=MIDNIGHT))
    return desk


def test_a_young_book_comes_from_memory_even_after_its_connection_was_lost() -> None:
    desk = followed()
    desk.link.up = False
    assert desk.read(book_of(SYMBOL, 20, None)).update_id == 7
    assert desk.asked == []


def test_an_old_one_is_requested() -> None:
    desk = followed()
    desk.link.up = False
    desk.later(60.0)
    desk.answers = [ASKED, ASKED]
    assert desk.read(book_of(SYMBOL, 20, None)) is ASKED
    assert desk.read(book_of(SYMBOL, 5, 0)) is ASKED
    assert [fetch.request.rows for fetch in desk.asked] == [20, 20]


def test_more_levels_are_requested_and_demanded() -> None:
    desk = followed()
    desk.answers = [ASKED, ASKED]
    desk.read(book_of(SYMBOL, 60, None))
    desk.read(book_of("ETHUSDT", 1000, None))
    assert [fetch.request.rows for fetch in desk.asked] == [100, 1000]
    assert desk.wanted == [Key(Kind.DEPTH, SYMBOL)]


def test_the_first_read_of_a_full_book_requests_what_its_stream_can_keep_up_to_date(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    desk = Desk(Key(Kind.DEPTH, SYMBOL))
    book = desk.store.depth(SYMBOL)
    waited: list[float | None] = []

    def wait(event: threading.Event, timeout: float | None) -> bool:
        waited.append(timeout)
        if len(waited) > 1:
            book.subscribed_on(desk.link)
        desk.time.at += 0.5
        return event.is_set()

    monkeypatch.setattr(desk.clock, "wait", wait)
    desk.answers = [ASKED] * 4
    desk.used = 900
    desk.read(book_of(SYMBOL, 100, None))
    assert (waited, desk.asked[-1].request.rows) == ([], 100), (
        "where the budget is short it requests only its own levels"
    )
    desk.used = 0
    desk.read(book_of(SYMBOL, 100, None))
    assert (waited, desk.asked[-1].request.rows) == ([SUBSCRIBED_WITHIN], 100), "the stream may be late"
    desk.read(book_of(SYMBOL, 100, None))
    assert (waited[1:], desk.asked[-1].request.rows) == ([SUBSCRIBED_WITHIN - 0.5], 500)
    assert book.subscribed
    with memory_only(), pytest.raises(NotInMemory):
        desk.read(book_of(SYMBOL, 100, None))
    assert len(waited) == 2


def test_where_rest_fails_what_is_known_stands_in_the_error() -> None:
    desk = followed()
    desk.link.up = False
    desk.later(60.0)
    desk.answers = [RequestTimeout("x"), RequestTimeout("x")]
    with pytest.raises(StaleDataError) as caught:
        desk.read(book_of(SYMBOL, 20, None))
    assert caught.value.data.update_id == 7
    assert caught.value.age == pytest.approx(60.0)
    with pytest.raises(DataUnavailableError):
        desk.read(book_of("ETHUSDT", 20, None))
