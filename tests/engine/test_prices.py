from __future__ import annotations

import random
from typing import Any

import pytest

from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.dispatch import Dispatcher, Send
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.engine.prices import TRIED_AGAIN, TRIED_EVERY
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import DEPTH_LIMITS, Host, is_whole_depth

from ..venue.samples import MIDNIGHT


class Desk:
    """A client whose requests are answered at once by an exchange that charges ``price`` for a book without a limit."""

    def __init__(self, price: int = 1) -> None:
        self.price = price
        self.second = 10.0
        self.counted: dict[int, int] = {}
        self.reports = True
        self.budget = Budget(Config(proxies={}))
        self._dispatcher = Dispatcher(Config(proxies={}), self.budget, lambda steady: steady, random.Random(1))

    def at(self) -> Moment:
        return Moment(1_000.0 + self.second, MIDNIGHT + round(self.second * 1000))

    def others(self, weight: int) -> None:
        minute = int(self.second // 60)
        self.counted[minute] = self.counted.get(minute, 0) + weight

    def ask(self, request: Any, cause: Cause = Cause.WARM_UP) -> Send:
        self._dispatcher.submit(Fetch(Key(Kind.DEPTH, "BTCUSDT"), request, cause))
        send = self._dispatcher.next(self.at())
        assert isinstance(send, Send)
        self.others(self.price if is_whole_depth(send.request) else send.request.weight)
        count = self.counted[int(self.second // 60)] if self.reports else None
        self._dispatcher.answered(send, count, self.at().steady, self.at())
        self._dispatcher.done(send, None, self.at())
        return send

    def book(self, limit: int = 500, cause: Cause = Cause.WARM_UP) -> Send:
        return self.ask(endpoints.depth("BTCUSDT", limit), cause)

    def poll(self, after: float = 6.0) -> None:
        self.second += after
        self.ask(endpoints.time())


def confirmed_desk() -> Desk:
    desk = Desk()
    desk.poll()
    desk.book()
    desk.poll()
    assert desk.budget.depth_price.confirmed
    return desk


def test_which_books_have_a_cheaper_form() -> None:
    cheaper = {limit: endpoints.depth("A", limit).cheaper for limit in DEPTH_LIMITS}
    assert {limit for limit, form in cheaper.items() if form is not None} == {50, 100, 500}
    form = cheaper[50]
    assert form is not None
    assert (form.params, form.weight, form.rows) == ((("symbol", "A"),), 1, 500)


def test_the_first_book_is_requested_as_documented_until_there_is_a_report_to_compare_with() -> None:
    desk = Desk()
    assert desk.book().request.weight == 10
    assert not is_whole_depth(desk.book().request) or desk.budget.depth_price.confirmed is False


def test_one_book_is_requested_without_a_limit_and_paid_for_as_documented() -> None:
    desk = Desk()
    desk.poll()
    send = desk.book()
    assert is_whole_depth(send.request)
    assert send.request.weight == 10
    assert send.fetch.request.params == (("symbol", "BTCUSDT"), ("limit", 500)), "the engine receives its own fetch"
    assert not is_whole_depth(desk.book().request), "one at a time"


def test_a_report_confirms_the_price_which_is_paid_from_then_on() -> None:
    desk = confirmed_desk()
    for limit in (50, 100, 500):
        send = desk.book(limit)
        assert is_whole_depth(send.request)
        assert (send.request.weight, send.request.rows) == (1, 500)
    assert desk.book(1000).request.weight == 20
    assert desk.book(20).request.weight == 2


@pytest.mark.parametrize("price", [10, 5, 20])
def test_after_a_report_of_another_price_books_are_requested_as_documented(price: int) -> None:
    desk = Desk(price)
    desk.poll()
    desk.book()
    desk.poll()
    assert not desk.budget.depth_price.confirmed
    if price >= 10:
        desk.second += TRIED_AGAIN - 30
        desk.poll()
        assert not is_whole_depth(desk.book().request)
        desk.second += 60
        desk.poll()
        assert is_whole_depth(desk.book().request), "the price is checked again"


def test_what_others_spend_meanwhile_confirms_nothing() -> None:
    desk = Desk()
    desk.poll()
    desk.book()
    desk.others(30)
    desk.poll()
    assert not desk.budget.depth_price.confirmed


def test_a_report_of_another_minute_shows_nothing_and_another_attempt_follows() -> None:
    desk = Desk()
    desk.second = 50.0
    desk.poll()
    desk.book()
    desk.poll(10.0)
    assert not desk.budget.depth_price.confirmed
    desk.poll(TRIED_EVERY)
    assert is_whole_depth(desk.book().request)
    desk.poll()
    assert desk.budget.depth_price.confirmed


def test_a_report_too_soon_after_it_does_not_show_anything_yet() -> None:
    desk = Desk()
    desk.poll()
    desk.book()
    desk.poll(1.0)
    assert not desk.budget.depth_price.confirmed
    desk.poll(6.0)
    assert desk.budget.depth_price.confirmed


def test_a_report_that_contradicts_ends_it() -> None:
    desk = confirmed_desk()
    desk.price = 10
    for _ in range(4):
        desk.book()
    assert not desk.budget.depth_price.confirmed
    assert desk.book().request.weight == 10
    assert not is_whole_depth(desk.book().request)


def test_an_answer_without_a_report_ends_it_and_so_does_a_429() -> None:
    desk = confirmed_desk()
    desk.reports = False
    desk.poll()
    assert not desk.budget.depth_price.confirmed
    desk = confirmed_desk()
    desk.budget.block(Host.FUTURES, desk.at().steady + 1)
    assert not desk.budget.depth_price.confirmed


def test_other_requests_are_sent_as_before() -> None:
    desk = confirmed_desk()
    for request in (endpoints.klines("A", "1m", 500), endpoints.agg_trades("A", 1000)):
        assert desk.ask(request).request is request
