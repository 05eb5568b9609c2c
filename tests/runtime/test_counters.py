from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from ats_sync.feeds import Cause, Key, Kind
from ats_sync.runtime.counters import STALE, UNAVAILABLE, Counters, Traffic
from ats_sync.venue.endpoints import Host

BTC, ETH = Key(Kind.KLINES, "BTCUSDT", "1m"), Key(Kind.TRADES, "ETHUSDT")


@pytest.fixture
def counters() -> Counters:
    return Counters()


def test_before_anything_has_happened_every_cause_and_every_kind_is_there(counters: Counters) -> None:
    assert counters.requests() == {cause.value: 0 for cause in Cause}
    assert counters.reads() == dict.fromkeys(Kind, (0, 0))
    assert (counters.hits, counters.misses) == (0, 0)
    assert (counters.outcomes(), counters.read_errors(), counters.limits()) == ({}, {}, {})
    assert counters.streams_ended() == ({}, {})
    assert counters.repairs() == (0, None)


def test_requests_are_counted_by_cause(counters: Counters) -> None:
    for cause in (Cause.READ, Cause.POLL, Cause.READ):
        counters.request(cause)
    found = counters.requests()
    assert (found.pop("read"), found.pop("poll")) == (2, 1)
    assert set(found.values()) == {0}


def test_a_request_without_an_answer_has_no_status_and_differs_from_one_with_status_0(counters: Counters) -> None:
    for status in (200, None, 0, 200):
        counters.outcome(Host.FUTURES, Cause.READ, status)
    counters.outcome(Host.SPOT, Cause.READ, 200)
    counters.outcome(Host.FUTURES, Cause.POLL, 200)
    assert counters.outcomes() == {
        (Host.FUTURES, Cause.READ, "200"): 2,
        (Host.FUTURES, Cause.READ, "none"): 1,
        (Host.FUTURES, Cause.READ, "0"): 1,
        (Host.SPOT, Cause.READ, "200"): 1,
        (Host.FUTURES, Cause.POLL, "200"): 1,
    }


def test_reads_are_counted_by_kind_and_in_all(counters: Counters) -> None:
    counters.hit(Kind.KLINES)
    counters.hit(Kind.KLINES)
    counters.miss(Kind.KLINES)
    counters.miss(Kind.ANSWER)
    reads = counters.reads()
    assert (reads[Kind.KLINES], reads[Kind.ANSWER], reads[Kind.MARK]) == ((2, 1), (0, 1), (0, 0))
    assert (counters.hits, counters.misses) == (2, 2)


def test_a_read_fails_with_data_that_is_too_old_or_without_any(counters: Counters) -> None:
    counters.read_failed(Kind.MARK, stale=True)
    counters.read_failed(Kind.MARK, stale=False)
    counters.read_failed(Kind.MARK, stale=False)
    counters.read_failed(Kind.BOOK, stale=True)
    assert counters.read_errors() == {(Kind.MARK, STALE): 1, (Kind.MARK, UNAVAILABLE): 2, (Kind.BOOK, STALE): 1}


def test_the_traffic_of_a_route_is_that_of_all_its_connections(counters: Counters) -> None:
    counters.stream_ended("market", Traffic(10, 2_000, (1, 2, 3), 0.5), "closed")
    counters.stream_ended("market", Traffic(), "not connected")
    counters.stream_ended("market", Traffic(5, 100, (4, 0, 1), 0.25), "closed")
    counters.stream_ended("public", Traffic(1, 7), "silent")
    traffic, endings = counters.streams_ended()
    assert traffic == {"market": Traffic(15, 2_100, (5, 2, 4), 0.75), "public": Traffic(1, 7, (), 0.0)}
    assert endings == {("market", "closed"): 2, ("market", "not connected"): 1, ("public", "silent"): 1}


def test_where_the_manager_was_closed_the_traffic_counts_and_no_ending(counters: Counters) -> None:
    counters.stream_ended("market", Traffic(10, 2_000), "")
    assert counters.streams_ended() == ({"market": Traffic(10, 2_000)}, {})


@pytest.mark.parametrize("lags", [(), (1, 2, 3)])
def test_nothing_added_to_traffic_changes_nothing(lags: tuple[int, ...]) -> None:
    some = Traffic(10, 2_000, lags, 0.5)
    assert some.plus(Traffic()) == Traffic().plus(some) == some


def test_lags_of_other_bounds_are_not_added() -> None:
    with pytest.raises(ValueError, match="zip"):
        Traffic(lags=(1, 2)).plus(Traffic(lags=(1, 2, 3)))


def test_the_newest_repair_and_the_newest_refusal_of_each_host_are_shown(counters: Counters) -> None:
    counters.repaired(BTC)
    counters.repaired(ETH)
    assert counters.repairs() == (2, ETH)
    counters.limited(Host.FUTURES, "429")
    counters.limited(Host.SPOT, "slow down")
    counters.limited(Host.FUTURES, "418")
    assert counters.limits() == {Host.FUTURES: "418", Host.SPOT: "slow down"}


def test_what_was_returned_does_not_change_with_what_happens_next(counters: Counters) -> None:
    def everything() -> list[object]:
        return [
            counters.outcomes(),
            counters.reads(),
            counters.read_errors(),
            *counters.streams_ended(),
            counters.limits(),
            counters.requests(),
        ]

    def happen() -> None:
        counters.outcome(Host.SPOT, Cause.READ, 200)
        counters.hit(Kind.MARK)
        counters.read_failed(Kind.MARK, stale=True)
        counters.stream_ended("market", Traffic(1), "closed")
        counters.limited(Host.SPOT, "418")
        counters.request(Cause.READ)

    happen()
    before, kept = everything(), [str(each) for each in everything()]
    counters.limited(Host.FUTURES, "429")
    happen()
    assert [str(each) for each in before] == kept
    assert all(one != other for one, other in zip(before, everything(), strict=True))


@pytest.fixture
def _switching() -> Iterator[None]:
    """Threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_switching")
def test_no_traffic_is_lost_where_several_connections_end_at_once(counters: Counters) -> None:
    together = threading.Barrier(8)

    def end() -> None:
        together.wait()
        for _ in range(2_000):
            counters.stream_ended("market", Traffic(1), "")

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.streams_ended()[0]["market"].frames == 16_000
