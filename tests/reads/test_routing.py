from __future__ import annotations

import threading

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
from ats_sync.reads.routing import Routing, memory_only
from ats_sync.venue import endpoints

from .desk import SYMBOL, Desk

KEY = Key(Kind.KLINES, SYMBOL, "1h")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def route(desk: Desk) -> Routing:
    return desk.reads.candles._route


def test_memory_only_sends_nothing_and_holds_for_its_thread_alone(desk: Desk, route: Routing) -> None:
    request = endpoints.klines(SYMBOL, "1h", 5)
    desk.answers = ["elsewhere", "afterwards"]
    found: list[str] = []
    with memory_only():
        with memory_only(), pytest.raises(NotInMemory):
            route.fetch(KEY, request, 5)
        with pytest.raises(NotInMemory):
            route.fetch(KEY, request, 5)
        assert desk.asked == []
        other = threading.Thread(target=lambda: found.append(route.fetch(KEY, request, 5)))
        other.start()
        other.join()
    assert found == ["elsewhere"]
    assert route.fetch(KEY, request, 5) == "afterwards"
    assert desk.counters.misses == 2


def test_a_delisted_symbol_is_refused_with_the_reason(desk: Desk, route: Routing) -> None:
    desk.store.delisted = {SYMBOL: "it no longer trades"}
    with pytest.raises(InvalidSymbol, match="no longer trades"):
        route.fetch(KEY, endpoints.klines(SYMBOL, "1h", 5), 5)
    with pytest.raises(InvalidSymbol, match="no longer trades"):
        route.check_listed(SYMBOL)
    assert desk.asked == []


def test_while_the_time_is_in_doubt_so_is_every_stream(desk: Desk, route: Routing) -> None:
    now = desk.clock.exchange()
    assert route.stream_doubt(desk.link, "", now, 3.0) == ""
    assert route.stream_doubt(desk.link, "dead", now, 3.0)
    desk.clock.doubt()
    assert "time" in route.stream_doubt(desk.link, "", now, 3.0)


def test_with_data_the_failure_is_staleness_and_without_it_is_absence(route: Routing) -> None:
    late = RequestTimeout("too late")
    with pytest.raises(StaleDataError, match=r"7\.5 s old") as stale:
        route.fail(late, KEY, age=7.5, bound=3.0, data=[1])
    assert (stale.value.age, stale.value.bound, stale.value.data) == (7.5, 3.0, [1])
    assert stale.value.__cause__ is late
    with pytest.raises(DataUnavailableError) as absent:
        route.fail(late, KEY)
    assert absent.value.retryable == late.retryable


def test_what_is_final_is_raised_as_it_is(route: Routing) -> None:
    with pytest.raises(InvalidSymbol, match=SYMBOL):
        route.fail(RequestRejected("Invalid symbol.", status=400, code=-1121), KEY)
    for final in (RequestRejected("Bad.", status=400, code=-1100), NotRunning("closed")):
        with pytest.raises(type(final)) as caught:
            route.fail(final, KEY, data=[1])
        assert caught.value is final


def test_when_to_come_back_is_passed_on(route: Routing) -> None:
    with pytest.raises(DataUnavailableError) as caught:
        route.fail(RateLimited("wait", retry_at=99.0), KEY)
    assert caught.value.retry_at == 99.0
