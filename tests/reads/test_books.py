from __future__ import annotations

import threading

import pytest

from ats_sync.errors import DataUnavailableError, NotInMemory, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.reads.books import SUBSCRIBED_WITHIN
from ats_sync.reads.routing import memory_only
from ats_sync.venue.books import Book

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .desk import SYMBOL, Desk

KEY = Key(Kind.BOOK, SYMBOL)
ASKED = Book(9, MIDNIGHT, MIDNIGHT, [["1", "1"]], [["2", "1"]])


def followed() -> Desk:
    desk = Desk(KEY)
    desk.deliver(samples.book_frame(7, event=MIDNIGHT))
    desk.store.books[SYMBOL].go_live(desk.link)
    return desk


def test_a_young_book_comes_from_memory_even_after_its_connection() -> None:
    desk = followed()
    desk.link.up = False
    assert desk.reads.books.read(SYMBOL, 20, max_age=None).update_id == 7
    assert desk.asked == []


def test_an_old_one_is_asked_for() -> None:
    desk = followed()
    desk.link.up = False
    desk.later(60.0)
    desk.answers = [ASKED, ASKED]
    assert desk.reads.books.read(SYMBOL, 20, max_age=None) is ASKED
    assert desk.reads.books.read(SYMBOL, 5, max_age=0) is ASKED
    assert [fetch.limit for fetch in desk.asked] == [20, 20]


def test_more_levels_are_asked_for_and_wanted() -> None:
    desk = followed()
    desk.answers = [ASKED, ASKED]
    desk.reads.books.read(SYMBOL, 60, max_age=None)
    desk.reads.books.read("ETHUSDT", 1000, max_age=None)
    assert [fetch.limit for fetch in desk.asked] == [100, 1000]
    assert desk.wanted == [Key(Kind.DEPTH, SYMBOL)]


def test_the_first_read_of_a_full_book_asks_for_what_its_stream_can_keep_up(monkeypatch: pytest.MonkeyPatch) -> None:
    desk = Desk(Key(Kind.DEPTH, SYMBOL))
    book = desk.store.depths[SYMBOL]
    waited: list[float | None] = []

    def wait(event: threading.Event, timeout: float | None) -> bool:
        waited.append(timeout)
        if len(waited) > 1:
            book.acknowledged()
        desk.time.at += 0.5
        return event.is_set()

    monkeypatch.setattr(desk.clock, "wait", wait)
    desk.answers = [ASKED] * 4
    desk.used = 900
    desk.reads.books.read(SYMBOL, 100, max_age=None)
    assert (waited, desk.asked[-1].limit) == ([], 100), "where the budget is short it takes its own levels"
    desk.used = 0
    desk.reads.books.read(SYMBOL, 100, max_age=None)
    assert (waited, desk.asked[-1].limit) == ([SUBSCRIBED_WITHIN], 100), "the stream may be late"
    desk.reads.books.read(SYMBOL, 100, max_age=None)
    assert (waited[1:], desk.asked[-1].limit) == ([SUBSCRIBED_WITHIN - 0.5], 500)
    assert book.subscribed
    with memory_only(), pytest.raises(NotInMemory):
        desk.reads.books.read(SYMBOL, 100, max_age=None)
    assert len(waited) == 2


def test_where_rest_fails_what_is_known_stands_in_the_error() -> None:
    desk = followed()
    desk.link.up = False
    desk.later(60.0)
    desk.answers = [RequestTimeout("x"), RequestTimeout("x")]
    with pytest.raises(StaleDataError) as caught:
        desk.reads.books.read(SYMBOL, 20, max_age=None)
    assert caught.value.data.update_id == 7
    assert caught.value.age == pytest.approx(60.0)
    with pytest.raises(DataUnavailableError):
        desk.reads.books.read("ETHUSDT", 20, max_age=None)
