from __future__ import annotations

from ats_sync.simulator.limits import Bucket, HostLimits

START = 1_700_049_600_000  # a full minute
MINUTE = 60_000


def limits(weight: int = 100, **options: float) -> HostLimits:
    return HostLimits(weight, {"funding": 3}, ban_seconds=options.get("ban_seconds", 120.0), patience=2)


def test_a_bucket_is_a_calendar_window() -> None:
    bucket = Bucket(10, MINUTE)
    assert bucket.add(START + 59_999, 7) == 7
    assert bucket.ends(START + 59_999) == START + MINUTE
    assert bucket.add(START + MINUTE, 1) == 1


def test_up_to_the_limit_nothing_is_refused() -> None:
    host = limits()
    assert host.admit(START, 60) is None
    assert host.admit(START + 1, 40) is None
    assert host.max_used == 100


def test_over_the_weight_is_429_until_the_minute_ends() -> None:
    host = limits()
    host.spend(START, 100)
    refusal = host.admit(START + 15_500, 1)
    assert refusal is not None
    assert (refusal.status, refusal.until) == (429, START + MINUTE)
    assert refusal.retry_after(START + 15_500) == 45
    assert host.admit(START + MINUTE, 1) is None


def test_continuing_after_a_429_is_a_ban() -> None:
    host = limits()
    host.spend(START, 100)
    statuses = [host.admit(START + number, 1) for number in range(5)]
    assert [refusal.status for refusal in statuses if refusal] == [429, 429, 429, 418, 418]
    assert host.banned_until == START + 3 + 120_000
    # The minute is over, the ban is not.
    still = host.admit(START + MINUTE + 1, 1)
    assert still is not None
    assert still.status == 418
    assert host.admit(host.banned_until, 1) is None
    assert host.sent_while_banned == 2


def test_every_further_ban_is_longer() -> None:
    host = limits(ban_seconds=10.0)
    now, lengths = START, []
    for _ in range(3):
        host.spend(now, 101)
        while now >= host.banned_until:
            host.admit(now, 1)
        lengths.append(host.banned_until - now)
        now = host.banned_until
    assert lengths == [10_000, 20_000, 40_000]


def test_hammering_during_a_ban_prolongs_it() -> None:
    host = limits(ban_seconds=10.0)
    first = host.ban(START)
    for number in range(3):
        host.admit(START + number, 1)
    assert host.banned_until > first
    assert host.banned_until == START + 2 + 20_000


def test_a_full_bucket_refuses_only_its_own() -> None:
    host = limits()
    for _ in range(3):
        assert host.admit(START, 0, "funding") is None
    refusal = host.admit(START, 0, "funding")
    assert refusal is not None
    assert (refusal.status, refusal.until, refusal.limit) == (429, START + 300_000, 3)
    assert host.admit(START, 1) is None
    assert host.admit(START + 300_000, 0, "funding") is None


def test_a_pardon_ends_a_ban_but_returns_no_weight() -> None:
    host = limits()
    host.spend(START, 60)
    host.ban(START)
    host.pardon()
    assert host.admit(START, 40) is None
    assert host.admit(START, 1) is not None


def test_weight_is_kept_by_minute() -> None:
    host = limits()
    host.spend(START + 5, 10)
    host.spend(START + 6, 10)
    host.spend(START + MINUTE, 3)
    assert list(host.used_by_minute) == [(START, 20), (START + MINUTE, 3)]
    assert host.max_used == 20


def test_a_sliding_weight_is_that_of_the_last_minute() -> None:
    host = HostLimits(100, {}, ban_seconds=120.0, patience=2, sliding=True)
    assert host.admit(START + 50_000, 60) is None
    assert host.reported(START + 70_000) == 60
    refusal = host.admit(START + 80_000, 41)
    assert refusal is not None
    assert refusal.status == 429
    assert host.reported(START + 110_000) == 41
    assert host.reported(START + 140_000) == 0


def test_a_report_may_lag() -> None:
    for sliding in (False, True):
        host = HostLimits(100, {}, ban_seconds=120.0, patience=2, sliding=sliding, report_lag=2_000)
        host.spend(START + 57_000, 30)
        host.spend(START + 59_500, 5)
        assert host.reported(START + 59_999) == 30
        assert host.reported(START + MINUTE + 1_600) == 35, "still that of the minute before"
        host.spend(START + MINUTE + 1_000, 7)
        assert host.reported(START + MINUTE + 3_100) == (42 if sliding else 7)
