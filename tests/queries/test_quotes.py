from __future__ import annotations

import pytest

from ats_sync.errors import InvalidSymbol, MalformedAnswer, RequestRejected, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.books import BestQuotes
from ats_sync.shapes import shape_quote
from ats_sync.venue.tickers import BestQuote, rest_quote

from ..desk import SYMBOL, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT, compact

BOOK = Key(Kind.BOOK, SYMBOL)
QUOTE = BestQuote("7.6110", "10", "7.6120", "10", MIDNIGHT, MIDNIGHT - 4, 3)
ASKED = BestQuote("8", "1", "9", "2", MIDNIGHT)


def test_a_live_book_answers_even_where_it_rests() -> None:
    desk = Desk(BOOK)
    book = desk.store.book(SYMBOL)
    assert book is not None
    desk.merge(BOOK, samples.rest_book(7), limit=20)
    book.go_live(desk.link)
    desk.deliver(samples.book_frame(8), samples.quotes_frame(SYMBOL, 3))
    desk.later(60.0)
    desk.time.at += 0.5
    quote, age, source = desk.read(BestQuotes(SYMBOL, None))
    assert (quote.bid, quote.ask, quote.time, source) == ("7.6110", "7.6120", MIDNIGHT, "book")
    assert age == pytest.approx(0.5)
    assert desk.asked == []


def test_without_a_book_the_quotes_of_all_serve_for_five_seconds_and_then_rest() -> None:
    desk = Desk()
    desk.deliver(samples.quotes_frame(SYMBOL, 3))
    desk.later(4.9)
    shown = desk.read(BestQuotes(SYMBOL, None))
    assert (shown.quote, shown.source) == (QUOTE, "bookTicker")
    assert shown.age == pytest.approx(4.9)
    desk.answers = [ASKED, ASKED, RequestTimeout("x")]
    desk.read(BestQuotes(SYMBOL, 4.0))
    desk.later(0.2)
    assert desk.read(BestQuotes(SYMBOL, None)) == (ASKED, 0.0, "rest")
    with pytest.raises(StaleDataError, match=SYMBOL) as caught:
        desk.read(BestQuotes(SYMBOL, None))
    assert caught.value.data.quote == QUOTE
    assert caught.value.age == pytest.approx(5.1)


def test_the_quotes_of_all_symbols_answer_where_the_book_is_not_fresh() -> None:
    desk = Desk(BOOK)
    desk.deliver(samples.book_frame(8))
    desk.time.at += 4.0  # without a sign of life of its connection
    desk.deliver(samples.quotes_frame(SYMBOL, 9, event=MIDNIGHT + 3_000))
    assert desk.read(BestQuotes(SYMBOL, None)).source == "bookTicker"


def test_unknown_symbols_and_malformed_quotes_are_errors() -> None:
    desk = Desk()
    desk.answers = [RequestRejected("x", status=400, code=-1121)]
    with pytest.raises(InvalidSymbol):
        desk.read(BestQuotes("NOUSDT", 0))
    good = {"symbol": "A", "bidPrice": "1", "bidQty": "2", "askPrice": "3", "askQty": "4", "time": 5}
    assert rest_quote(compact(good)) == BestQuote("1", "2", "3", "4", 5)
    for name in good.keys() - {"symbol"}:
        with pytest.raises(MalformedAnswer):
            rest_quote(compact({**good, name: None}))


def test_in_numbers() -> None:
    desk = Desk()
    desk.deliver(samples.quotes_frame(SYMBOL, 3))
    assert shape_quote(desk.read(BestQuotes(SYMBOL, None))) == {
        "bid": 7.611, "bidQty": 10.0, "ask": 7.612, "askQty": 10.0, "timestamp": MIDNIGHT, "age": 0.0,
        "source": "bookTicker",
    }  # fmt: skip
