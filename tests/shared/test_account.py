from __future__ import annotations

import heapq
import itertools
import random
from collections import Counter, deque
from typing import Any

import pytest

from ats_sync.shared.account import CAUTION, SEEN_FOR, WINDOWS, Account, Count, Taken, Use, Wish
from ats_sync.shared.client import SharedStore
from ats_sync.venue.endpoints import Bucket, Host

from .servers import StoreServer, time_ms

MINUTE = 60_000_000
START = 1_795_000_000 * 1_000_000 // MINUTE * MINUTE


class Time:
    """The time that the scripts are given instead of the server's, in microseconds."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> int:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += round(seconds * 1e6)


class Process:
    """One process's use of an account, by hand."""

    def __init__(self, store: SharedStore, name: str, time: Time) -> None:
        self.account = Account(store, name, now=time)
        self.generation = ""
        self.numbers = itertools.count()

    def wish(self, cost: int = 1, allowed: int = 100, rank: int = 1, **changes: Any) -> Wish:
        return Wish(**{"bucket": Bucket.FUTURES, "host": Host.FUTURES, "cost": cost, "allowed": allowed, "rank": rank,
                       "life": 40.0, "patience": 60.0, **changes})  # fmt: skip

    def take(self, wish: Wish, *, seed: int = 0, owed: int = 0, block: float = 0.0) -> tuple[Taken, str]:
        grant = f"{self.account.process}:{next(self.numbers)}"
        taken = self.account.take(wish, grant, self.generation, owed=owed)
        if taken.verdict == "seed":
            taken = self.account.take(wish, grant, taken.generation, seed=seed, seed_block=block)
        self.generation = taken.generation
        return taken, grant

    def granted(self, cost: int = 1, **options: Any) -> str:
        taken, grant = self.take(self.wish(cost, **options))
        assert taken.verdict == "granted", taken
        return grant

    def refused(self, cost: int = 1, **options: Any) -> float:
        taken, _ = self.take(self.wish(cost, **options))
        assert taken.verdict == "refused", taken
        return taken.wait

    def end(self, grant: str, cost: int, **options: Any) -> None:
        self.account.end(Bucket.FUTURES, Host.FUTURES, grant, cost, **options)

    def look(self, bucket: Bucket = Bucket.FUTURES, host: Host = Host.FUTURES) -> Use:
        return self.account.look(bucket, host)


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def two(store: SharedStore, time: Time) -> tuple[Process, Process]:
    return Process(store, "a", time), Process(store, "b", time)


def test_all_draw_on_one_limit(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    first = a.granted(60)
    second = b.granted(40)
    assert a.refused(1) == pytest.approx(60)
    assert a.look() == b.look() == (0, 100, 0, 0.0)
    time.go(2)
    a.end(first, 60)
    b.end(second, 40)
    assert a.look() == (100, 0, 0, 0.0)
    time.go(59.9)
    assert 0 < b.refused(1) < 1
    time.go(0.7)
    b.granted(100)


def test_a_request_counts_until_a_window_after_its_answer(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    grant = a.granted(100)
    time.go(30)
    a.end(grant, 100)
    time.go(59)
    b.refused(1)
    time.go(2)
    b.granted(1)


def test_a_request_that_was_never_sent_costs_nothing(two: tuple[Process, Process]) -> None:
    a, b = two
    a.end(a.granted(100), 100, how="unsent")
    b.granted(100)


def test_a_request_without_an_answer_may_arrive_later(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    a.end(a.granted(100), 100, how="lost")
    time.go(89)
    b.refused(1)
    time.go(2)
    b.granted(1)


def test_a_request_whose_process_died_is_assumed_to_have_ended_late(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    a.granted(100)
    time.go(99)
    b.refused(1)
    time.go(2)
    b.granted(1)


def test_a_request_sent_long_after_its_grant_counts_when_it_ends(two: tuple[Process, Process], time: Time) -> None:
    """Its process was stopped in between."""
    a, b = two
    grant = a.granted(100)
    time.go(300)
    a.end(grant, 100)
    time.go(59)
    b.refused(1)
    time.go(2)
    b.granted(1)


def test_others_on_this_address_count_until_their_minute_is_over(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    time.go(20)
    grant = a.granted(10)
    time.go(0.2)
    a.end(grant, 10, count=Count(75, START // 1000, 20.2, 39.8))
    assert b.look() == (10, 0, 65, 0.0)
    assert b.refused(26) == pytest.approx(39.8)
    other = b.granted(25)
    # Within a minute the count only grows; an older answer changes nothing.
    b.end(other, 25, count=Count(50, START // 1000, 20.3, 39.7))
    b.end("", 0, count=Count(9_000, START // 1000 - 60_000, 20.3, 39.7))
    assert b.look() == (35, 0, 65, 0.0)
    time.go(40)
    assert a.look().foreign == 0
    a.end("", 0, count=Count(0, START // 1000 + 60_000, 0.2, 59.8))
    assert a.look().foreign == 0


def test_a_block_applies_to_all_processes_and_to_its_host_only(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    b.granted()
    a.end(a.granted(), 1, block=90.0)
    taken, _ = b.take(b.wish())
    assert (taken.verdict, taken.wait) == ("blocked", pytest.approx(90.0))
    # A shorter one does not shorten it.
    b.end("", 0, block=5.0)
    taken, _ = b.take(b.wish(bucket=Bucket.OPEN_INTEREST))
    assert (taken.verdict, taken.wait) == ("blocked", pytest.approx(90.0))
    assert b.take(b.wish(bucket=Bucket.SPOT, host=Host.SPOT))[0].verdict == "granted"
    time.go(90.1)
    b.granted()


def test_buckets_have_their_own_windows(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    for bucket, seconds in WINDOWS.items():
        taken, grant = a.take(a.wish(100, bucket=bucket))
        assert taken.verdict == "granted"
        a.account.end(bucket, Host.FUTURES, grant, 100)
        assert b.take(b.wish(bucket=bucket))[0].verdict == "refused"
        time.go(seconds * 121.5 / 120)
        assert b.take(b.wish(bucket=bucket))[0].verdict == "granted"


def test_a_read_by_any_process_comes_before_a_warm_up_by_another(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    for grant in [b.granted(10, rank=2) for _ in range(10)]:
        b.end(grant, 10)
        time.go(2)
    # The first room that becomes free goes to the read, though the warm-up asks first.
    time.go(a.refused(10, rank=1))
    assert b.refused(10, rank=2) == pytest.approx(2.0)
    a.granted(10, rank=1)
    time.go(2)
    b.granted(10, rank=2)
    # No room is kept for a read that will not wait that long, nor for ever for one that does not come back.
    a.refused(20, rank=1, patience=3.0)
    time.go(2)
    b.granted(10, rank=2)
    time.go(a.refused(20, rank=1))
    b.refused(10, rank=2)
    time.go(0.6)
    b.granted(10, rank=2)


def test_a_new_account_is_cautious_until_the_exchange_has_said_what_was_used(
    two: tuple[Process, Process], time: Time
) -> None:
    a, b = two
    first = a.granted(10, cautious=20)
    second = b.granted(10, cautious=20)
    assert b.refused(1, cautious=20) == CAUTION
    assert b.refused(81, cautious=20) == pytest.approx(60)
    # Answers that say nothing let one request after the other pass.
    a.end(first, 10)
    assert a.refused(10, cautious=20) == CAUTION
    b.end(second, 10)
    third = a.granted(10, cautious=20)
    assert b.refused(1, cautious=20) == CAUTION
    a.end(third, 10, count=Count(30, START // 1000, 0.0, 60.0))
    b.granted(70, cautious=20)


def test_what_a_process_used_before_is_no_reason_for_caution(two: tuple[Process, Process]) -> None:
    a, _ = two
    taken, _ = a.take(a.wish(10, cautious=20), seed=60)
    assert taken.verdict == "granted"
    a.granted(10, cautious=20)
    a.refused(10, cautious=20)


def test_a_new_account_is_no_longer_cautious_after_a_window_without_a_report(
    two: tuple[Process, Process], time: Time
) -> None:
    a, _ = two
    a.end(a.granted(20, cautious=20), 20)
    time.go(61)
    a.granted(100, cautious=20)


def test_processes_are_counted_while_they_are_seen(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    assert a.take(a.wish())[0].processes == 1
    assert b.account.show() == 2
    assert a.take(a.wish(1000))[0].processes == 2  # also where it is refused
    time.go(SEEN_FOR - 1.0)
    assert a.account.show() == 2
    time.go(1.1)
    assert a.account.show() == 1
    time.go(-3600.0)  # the server's clock is set back
    assert b.account.show() == 1


def test_a_block_that_is_shown_is_new_only_to_an_account_that_knows_of_none(
    two: tuple[Process, Process], time: Time
) -> None:
    a, b = two
    a.account.show(Host.FUTURES, 5.0)
    time.go(1.0)
    b.account.show(Host.FUTURES, 5.0)
    assert a.look().blocked == 4.0, "repeated a little later each time, it would never end"
    assert a.look(Bucket.SPOT, Host.SPOT).blocked == 0.0
    time.go(5.0)
    b.account.show(Host.FUTURES, 0.5)
    assert a.look().blocked == 0.0


def test_an_account_that_was_lost_learns_from_each_process_what_it_used(
    server: StoreServer, two: tuple[Process, Process], time: Time
) -> None:
    a, b = two
    open_one = a.granted(30)
    b.granted(20)
    server.restart()
    a.account.store.run(lambda redis: redis.ping(), insist=True)
    a.end(open_one, 30)  # nobody knows of this grant any longer
    assert a.look() == (0, 0, 0, 0.0)
    assert a.take(a.wish(1), seed=30, block=0.0)[0].verdict == "granted"
    assert b.take(b.wish(1), seed=20, block=7.0)[0] == Taken("blocked", b.generation, pytest.approx(7.0), 2)
    assert a.look()[:2] == (50, 1)
    time.go(7.1)
    assert b.take(b.wish(1), seed=20)[0].verdict == "granted"
    assert a.look()[:2] == (50, 2)  # each process reports it once


def test_what_a_process_used_alone_is_added(two: tuple[Process, Process]) -> None:
    a, b = two
    a.granted(1)
    assert a.take(a.wish(1), owed=50)[0].verdict == "granted"
    assert b.look()[:2] == (50, 2)


def test_a_clock_set_back_does_not_make_a_cost_count_for_an_hour(two: tuple[Process, Process], time: Time) -> None:
    a, b = two
    a.end(a.granted(100), 100)
    time.go(-3600)
    b.refused(1)
    time.go(61)
    b.granted(100)


def test_two_addresses_have_separate_accounts(store: SharedStore, time: Time) -> None:
    first = Process(store, "a", time)
    second = Process(store, "a", time)
    second.account = Account(store, "a", egress="second", now=time)
    first.granted(100)
    second.granted(100)


def test_the_time_is_the_servers_unless_the_test_sets_one(store: SharedStore) -> None:
    process = Process(store, "a", Time())
    process.account = Account(store, "a")
    process.granted(100)
    assert process.look() == (0, 100, 0, 0.0)
    expires = store.run(lambda redis: redis.zrange("ats:1:account:default:futures:open", 0, -1, withscores=True))
    assert abs(expires[0][1] / 1e6 - 40 - time_ms(store) / 1000) < 10
    left = store.run(lambda redis: redis.ttl("ats:1:account:default:futures"))
    assert 100 < left <= 180


# --- any interleaving ----------------------------------------------------------------------------------


class Exchange:
    """Counts weight by the minute of its own clock, which is ahead of the store's by ``offset`` seconds."""

    def __init__(self, offset: float, limit: int) -> None:
        self.offset = offset
        self.limit = limit
        self.ours: Counter[int] = Counter()
        self.all: Counter[int] = Counter()
        self.arrived_in_blocks = 0
        self.rolling: deque[tuple[float, int]] = deque()
        self.most_rolling = 0

    def time(self, now: float) -> float:
        return now + self.offset

    def arrive(self, now: float, cost: int, *, ours: bool = True) -> int:
        minute = int(self.time(now) // 60)
        self.all[minute] += cost
        if ours:
            self.ours[minute] += cost
            self.rolling.append((now, cost))
            while self.rolling[0][0] <= now - 60:
                self.rolling.popleft()
            self.most_rolling = max(self.most_rolling, sum(each for _, each in self.rolling))
        return self.all[minute]


def run_interleaving(store: SharedStore, seed: int, seconds: float, *, losses: bool = False) -> Exchange:
    """Run several processes that always want more, with latencies and losses of all kinds and another program on the
    address. With ``losses`` the store is emptied now and then."""
    rng = random.Random(seed)
    share, limit = 300, 400
    exchange = Exchange(rng.uniform(-40.0, 40.0), limit)
    time = Time()
    store.run(lambda redis: redis.flushall())
    processes = [Process(store, str(number), time) for number in range(rng.randint(1, 5))]
    numbers = itertools.count()
    events: list[tuple[float, int, Any]] = []
    now = rng.uniform(0.0, 60.0)
    blocked_from, blocked_until = 0.0, 0.0
    known_block = dict.fromkeys(processes, 0.0)
    used: dict[Process, list[tuple[float, int]]] = {process: [] for process in processes}

    def used_by(process: Process) -> int:
        return sum(cost for at, cost in used[process] if at > now - 60)

    def later(delay: float, what: Any) -> None:
        heapq.heappush(events, (now + delay, next(numbers), what))

    def want(process: Process) -> None:
        nonlocal blocked_from, blocked_until
        cost, rank = rng.choice([1, 1, 2, 2, 5, 10, 20]), rng.randint(0, 4)
        wish = process.wish(cost, share if rank < 2 else share - 40, rank, cautious=60)
        taken, grant = process.take(wish, seed=used_by(process), block=max(0.0, known_block[process] - now))
        if taken.verdict == "granted":
            used[process].append((now + 40.0, cost))  # as Budget counts until the end of a request is known
            assert not blocked_from <= now < blocked_until - 0.001, "sent after somebody saw a 429"
            sent, there, back = now, rng.expovariate(8.0), rng.expovariate(8.0)
            fate = rng.random()
            if fate < 0.03:
                later(there, lambda: process.end(grant, cost, how="unsent"))
            elif fate < 0.06:  # a time-out, and the request arrives late
                later(10.0, lambda: process.end(grant, cost, how="lost"))
                later(rng.uniform(0.0, 39.0), lambda: exchange.arrive(now, cost))
            elif fate < 0.08:  # its process dies: nobody reports its end
                later(there, lambda: exchange.arrive(now, cost))
            else:
                later(there, lambda: arrived(process, grant, cost, sent, back))
            later(rng.expovariate(20.0), lambda: want(process))
        else:
            assert taken.wait > 0
            later(max(0.05, min(taken.wait, 5.0)) + rng.expovariate(50.0), lambda: want(process))

    def arrived(process: Process, grant: str, cost: int, sent: float, back: float) -> None:
        used = exchange.arrive(now, cost)
        if rng.random() < 0.005:
            later(back, lambda: blocked(process, grant, cost))
        else:
            later(back, lambda: answered(process, grant, cost, used, sent))

    def answered(process: Process, grant: str, cost: int, used: int, sent: float) -> None:
        there = exchange.time(now)
        began = there - there % 60
        count = None
        if exchange.time(sent) >= began + 0.25:
            count = Count(used, round(began * 1000), there - began, 60 - (there - began))
        process.end(grant, cost, count=count)

    def blocked(process: Process, grant: str, cost: int) -> None:
        nonlocal blocked_from, blocked_until
        if now >= blocked_until:
            blocked_from = now
        blocked_until = max(blocked_until, now + 3.0)
        known_block[process] = blocked_until
        process.end(grant, cost, block=3.0)

    def lose() -> None:
        nonlocal blocked_until
        store.run(lambda redis: redis.flushall())
        blocked_until = 0.0  # only the process that saw it still knows it
        later(rng.uniform(60.0, 100.0), lose)

    def foreign() -> None:
        exchange.arrive(now, rng.choice([1, 5, 20]), ours=False)
        later(rng.expovariate(0.2), foreign)

    for process in processes:
        later(rng.random(), lambda process=process: want(process))
    if seed % 2:
        later(0.0, foreign)
    if losses:
        later(rng.uniform(0.0, 100.0), lose)
    ends = now + seconds
    while events and events[0][0] < ends:
        now, _, what = heapq.heappop(events)
        time.now = START + round(now * 1e6)
        what()
    return exchange


def test_no_minute_exceeds_the_limit_where_the_store_loses_its_data(valkey: StoreServer) -> None:
    """What is granted before the exchange or the processes have said what was used is little: caution allows 60."""
    seed = random.SystemRandom().randrange(2**32)
    store = SharedStore(valkey.url)
    for number in range(seed, seed + 4):
        exchange = run_interleaving(store, number, 240.0, losses=True)
        assert max(exchange.ours.values()) <= exchange.limit, f"seed {number}"
    store.close()


@pytest.mark.parametrize("kind", ["valkey", "redis"])
def test_no_minute_of_any_clock_has_more_than_the_share(kind: str, request: pytest.FixtureRequest) -> None:
    from .conftest import started

    seed = random.SystemRandom().randrange(2**32)
    with started(kind) as server:
        store = SharedStore(server.url)
        for number in range(seed, seed + 4):
            exchange = run_interleaving(store, number, 240.0)
            assert exchange.most_rolling <= 300, f"seed {number}"
            assert max(exchange.ours.values()) <= 300, f"seed {number}"
            whole_minutes = sorted(exchange.ours)[1:-1]
            assert whole_minutes, f"seed {number}"
            # What others leave is used.
            assert max(exchange.all[minute] for minute in whole_minutes) >= 200, f"seed {number}"
        store.close()
