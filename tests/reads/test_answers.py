from __future__ import annotations

import pytest

from ats_sync.errors import DataUnavailableError, RequestTimeout
from ats_sync.feeds import Key, Kind
from ats_sync.venue import endpoints

from .desk import SYMBOL, Desk

KEY = Key(Kind.ANSWER, SYMBOL)
REQUEST = endpoints.ticker_24h(SYMBOL)


def test_an_answer_is_given_again_for_its_lifetime() -> None:
    desk = Desk()
    desk.answers = [["first"], ["second"]]
    assert desk.reads.answers.remembered(KEY, REQUEST, 5.0) == ["first"]
    desk.later(5.0)
    assert desk.reads.answers.remembered(KEY, REQUEST, 5.0) == ["first"]
    desk.later(0.1)
    assert desk.reads.answers.remembered(KEY, REQUEST, 5.0) == ["second"]
    assert (desk.counters.hits, desk.counters.misses) == (1, 2)


def test_what_is_given_again_is_the_callers_own_down_to_the_last_part() -> None:
    desk = Desk()
    answer = {"symbols": [{"filters": [{"tickSize": "0.10"}], "onboardDate": 1569398400000, "x": None, "y": 0.1}]}
    desk.answers = [answer]
    for _ in range(3):
        given = desk.reads.answers.remembered(KEY, REQUEST, 5.0)
        assert given == {
            "symbols": [{"filters": [{"tickSize": "0.10"}], "onboardDate": 1569398400000, "x": None, "y": 0.1}]
        }
        given["symbols"][0]["filters"][0].clear()
        given["symbols"].append(1)
    assert answer["symbols"][0]["filters"] == [{"tickSize": "0.10"}]
    assert len(desk.asked) == 1


def test_asking_always_asks() -> None:
    desk = Desk()
    desk.answers = ["first", "second", RequestTimeout("x")]
    assert [desk.reads.answers.ask(KEY, REQUEST) for _ in range(2)] == ["first", "second"]
    with pytest.raises(DataUnavailableError):
        desk.reads.answers.ask(KEY, REQUEST)


def test_the_time_is_the_exchanges() -> None:
    desk = Desk()
    desk.clock.set_exchange(99.0)
    assert desk.reads.answers.exchange() == 99.0
