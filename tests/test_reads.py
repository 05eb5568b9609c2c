from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from ats_sync.errors import (
    DataUnavailableError,
    InvalidSymbol,
    NotInMemory,
    NotRunning,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    StaleDataError,
)
from ats_sync.feeds import Key, Kind
from ats_sync.reads import Query, Reads, memory_only
from ats_sync.store.series import SeriesState
from ats_sync.venue import endpoints

from .desk import SYMBOL, Desk

KEY = Key(Kind.KLINES, SYMBOL, "1h")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def reads(desk: Desk) -> Reads:
    return desk.reads


def test_memory_only_sends_nothing_and_applies_to_its_own_thread_only(desk: Desk, reads: Reads) -> None:
    request = endpoints.klines(SYMBOL, "1h", 5)
    desk.answers = ["elsewhere", "afterwards"]
    found: list[str] = []
    with memory_only():
        with memory_only(), pytest.raises(NotInMemory):
            reads.fetch(KEY, request)
        with pytest.raises(NotInMemory):
            reads.fetch(KEY, request)
        assert desk.asked == []
        other = threading.Thread(target=lambda: found.append(reads.fetch(KEY, request)))
        other.start()
        other.join()
    assert found == ["elsewhere"]
    assert reads.fetch(KEY, request) == "afterwards"
    assert desk.counters.misses == 2


def test_a_delisted_symbol_is_refused_with_the_reason(desk: Desk, reads: Reads) -> None:
    desk.store.delisted = {SYMBOL: "it no longer trades"}
    with pytest.raises(InvalidSymbol, match="no longer trades"):
        reads.fetch(KEY, endpoints.klines(SYMBOL, "1h", 5))
    with pytest.raises(InvalidSymbol, match="no longer trades"):
        reads.check_listed(SYMBOL)
    assert desk.asked == []


def test_while_the_time_is_in_doubt_so_is_every_stream(desk: Desk, reads: Reads) -> None:
    assert reads.stream_doubt(SeriesState(desk.link), desk.clock.reading(), 3.0) == ""
    assert reads.stream_doubt(SeriesState(desk.link, "dead"), desk.clock.reading(), 3.0)
    desk.clock.doubt()
    assert "time" in reads.stream_doubt(SeriesState(desk.link), desk.clock.reading(), 3.0)


class Failing(Query[list[int]]):
    """A read of candles that memory does not have, and whose request fails."""

    def __init__(self, failure: Exception, age: float = 7.5) -> None:
        super().__init__(KEY, 1, 0)
        self.failure = failure
        self.age = age

    def look(self, series: object, reads: Reads) -> tuple[SeriesState, Callable[[], list[int] | None]]:
        return SeriesState(), lambda: None

    def fetch(self, series: object, reads: Reads) -> list[int]:
        raise self.failure

    def state(self, series: object, reads: Reads) -> SeriesState:
        return SeriesState(event=reads.clock.exchange_ms() - round(self.age * 1000))

    def known(self, series: object) -> list[int]:
        return [1]


def test_with_data_the_failure_is_staleness_and_without_it_is_absence(desk: Desk, reads: Reads) -> None:
    late = RequestTimeout("too late")
    with pytest.raises(DataUnavailableError) as absent:
        desk.read(Failing(late))
    assert absent.value.retryable == late.retryable
    desk.store.follow([KEY])
    with pytest.raises(StaleDataError, match=r"7\.5 s old") as stale:
        reads.read(Failing(late), lambda rows: [row + 1 for row in rows])
    assert (stale.value.age, stale.value.bound, stale.value.data) == (pytest.approx(7.5), 3.0, [2])
    assert stale.value.__cause__ is late
    with pytest.raises(StaleDataError, match=r" 0\.0 s old") as ahead:  # our idea of the exchange's time lags behind
        reads.read(Failing(late, age=-2.0), list)
    assert ahead.value.age == 0.0


def test_what_is_final_is_raised_as_it_is(desk: Desk) -> None:
    desk.store.follow([KEY])
    with pytest.raises(InvalidSymbol, match=SYMBOL):
        desk.read(Failing(RequestRejected("Invalid symbol.", status=400, code=-1121)))
    for final in (RequestRejected("Bad.", status=400, code=-1100), NotRunning("closed")):
        with pytest.raises(type(final)) as caught:
            desk.read(Failing(final))
        assert caught.value is final


def test_the_time_to_retry_is_passed_on(desk: Desk) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        desk.read(Failing(RateLimited("wait", retry_at=99.0)))
    assert caught.value.retry_at == 99.0


ANSWER = Key(Kind.ANSWER, SYMBOL)
REQUEST = endpoints.ticker_24h(SYMBOL)


def test_an_answer_is_given_again_for_its_lifetime(desk: Desk) -> None:
    desk.answers = [["first"], ["second"]]
    assert desk.reads.remembered(ANSWER, REQUEST, 5.0) == ["first"]
    desk.later(5.0)
    assert desk.reads.remembered(ANSWER, REQUEST, 5.0) == ["first"]
    desk.later(0.1)
    assert desk.reads.remembered(ANSWER, REQUEST, 5.0) == ["second"]
    assert (desk.counters.hits, desk.counters.misses) == (1, 2)


def test_what_is_given_again_is_the_callers_own_down_to_the_last_part() -> None:
    desk = Desk()
    answer = {"symbols": [{"filters": [{"tickSize": "0.10"}], "onboardDate": 1569398400000, "x": None, "y": 0.1}]}
    desk.answers = [answer]
    for _ in range(3):
        given = desk.reads.remembered(ANSWER, REQUEST, 5.0)
        assert given == {
            "symbols": [{"filters": [{"tickSize": "0.10"}], "onboardDate": 1569398400000, "x": None, "y": 0.1}]
        }
        given["symbols"][0]["filters"][0].clear()
        given["symbols"].append(1)
    assert answer["symbols"][0]["filters"] == [{"tickSize": "0.10"}]
    assert len(desk.asked) == 1


def test_ask_makes_a_request_each_time() -> None:
    desk = Desk()
    desk.answers = ["first", "second", RequestTimeout("x")]
    assert [desk.reads.ask(ANSWER, REQUEST) for _ in range(2)] == ["first", "second"]
    with pytest.raises(DataUnavailableError):
        desk.reads.ask(ANSWER, REQUEST)
