from __future__ import annotations

import pytest

from ats_sync.simulator import request_log
from ats_sync.simulator.limits import HostLimits
from ats_sync.simulator.request_log import HostRequests, RequestLog

START = 1_700_049_600_000  # a full minute
ALL = 1_000


def host() -> HostRequests:
    return HostRequests(HostLimits(100, {}, ban_seconds=120.0, patience=2))


def log() -> RequestLog:
    return RequestLog({"fapi": host(), "spot": host()})


def numbers(requests: RequestLog, since: int, most: int = ALL) -> list[int]:
    return [record.number for record in requests.since(since, most)]


class TestRetryAfter:
    def test_a_request_before_its_end_has_waited_too_little_and_one_at_its_end_has_not(self) -> None:
        requests = host()
        assert requests.arrive(START, "/x") is None
        requests.refuse(START + 100, START + 5_100)
        assert [requests.arrive(START + 100 + after, "/x") for after in (0, 1, 4_999, 5_000)] == [0, 1, 4_999, None]
        assert requests.stats(START).during_retry_after == 3

    @pytest.mark.parametrize(
        ("first_ends", "second", "second_ends", "arrives", "waited"),
        [
            pytest.param(5_000, 1_000, 9_000, 8_000, 8_000, id="a longer one prolongs it and its beginning stays"),
            pytest.param(9_000, 1_000, 2_000, 8_999, 8_999, id="a shorter one does not end it"),
            pytest.param(5_000, 5_000, 7_000, 6_000, 1_000, id="one that begins as it ends is a new one"),
        ],
    )
    def test_a_second_refusal(self, first_ends: int, second: int, second_ends: int, arrives: int, waited: int) -> None:
        requests = host()
        requests.refuse(START, START + first_ends)
        requests.refuse(START + second, START + second_ends)
        assert requests.arrive(START + arrives, "/x") == waited

    def test_what_was_refused_can_be_forgotten(self) -> None:
        requests = host()
        requests.refuse(START, START + 5_000)
        requests.forget_refusals()
        assert requests.arrive(START + 1, "/x") is None
        requests.refuse(START + 2, START + 5_000)
        assert requests.arrive(START + 3, "/x") == 1


def test_each_host_counts_its_own_by_path() -> None:
    requests = log()
    for path in ("/a", "/b", "/a"):
        requests.arrive(START, "fapi", path, {}, 1)
    requests.hosts["fapi"].refuse(START, START + 5_000)
    entry = requests.arrive(START + 1, "spot", "/a", {}, 1)
    assert entry.waited is None, "the other host has said nothing"
    assert requests.arrive(START + 1, "fapi", "/a", {}, 1).waited == 1
    stats = requests.hosts["fapi"].stats(START + 2)
    assert (stats.requests, stats.requests_by_path) == (4, {"/a": 3, "/b": 1})
    assert requests.hosts["spot"].stats(START + 2).requests == 1


def test_the_weight_in_the_statistics_is_that_of_the_current_minute() -> None:
    requests = host()
    requests.limits.spend(START, 40)
    requests.limits.spend(START + 59_999, 5)
    assert requests.stats(START + 59_999).used_weight == 45
    stats = requests.stats(START + 60_000)
    assert (stats.used_weight, stats.max_weight, stats.weight_by_minute) == (0, 45, {START: 45})


def test_the_statistics_are_those_of_their_moment() -> None:
    requests = host()
    before = requests.stats(START)
    requests.arrive(START, "/x")
    requests.limits.spend(START, 3)
    assert (before.requests, before.requests_by_path, before.weight_by_minute) == (0, {}, {})


class TestSince:
    def test_it_shows_what_arrived_from_that_moment_on_oldest_first(self) -> None:
        requests = log()
        for after in (0, 10, 10, 20):
            requests.arrive(START + after, "fapi", "/x", {}, 1)
        assert numbers(requests, START) == [0, 1, 2, 3]
        assert numbers(requests, START + 10) == [1, 2, 3]
        assert numbers(requests, START + 21) == []

    @pytest.mark.parametrize(("most", "shown"), [(0, []), (2, [2, 3]), (4, [0, 1, 2, 3]), (5, [0, 1, 2, 3])])
    def test_of_too_many_it_shows_the_newest(self, most: int, shown: list[int]) -> None:
        requests = log()
        for _ in range(4):
            requests.arrive(START, "fapi", "/x", {}, 1)
        assert numbers(requests, START, most) == shown

    def test_a_record_shows_the_status_once_it_is_known(self) -> None:
        requests = log()
        entry = requests.arrive(START, "spot", "/api/v3/time", {"symbol": "BTCUSDT"}, 2)
        (unanswered,) = requests.since(START, ALL)
        assert (unanswered.status, unanswered.used_weight) == (0, 0)
        entry.status, entry.used_weight = 200, 7
        (record,) = requests.since(START, ALL)
        assert (record.host, record.path, record.params) == ("spot", "/api/v3/time", {"symbol": "BTCUSDT"})
        assert (record.status, record.weight, record.used_weight, record.number) == (200, 2, 7, 0)

    def test_the_oldest_is_dropped_and_the_others_keep_their_numbers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert request_log._RETENTION == 100_000
        monkeypatch.setattr(request_log, "_RETENTION", 3)
        requests = log()
        for _ in range(7):
            requests.arrive(START, "fapi", "/x", {}, 1)
        assert numbers(requests, START) == [4, 5, 6]
        assert requests.hosts["fapi"].stats(START).requests == 7, "they are still counted"
