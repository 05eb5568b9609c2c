from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.jobs import Fetch, Job, JobQueue
from ats_sync.engine.moment import Moment
from ats_sync.feeds import PRIORITY, Cause, Key, Kind
from ats_sync.store.link import Link
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Host

from ..venue.samples import MIDNIGHT

NOW = Moment(1_000.0, MIDNIGHT)


def queue_of(limit: int = 2_400) -> JobQueue:
    return JobQueue(Budget(Config(futures_weight_limit=limit)))


def fetch(
    symbol: str = "A", cause: Cause = Cause.POLL, *, order: int = 0, link: Link | None = None, limit: int = 50
) -> Fetch:
    return Fetch(Key(Kind.KLINES, symbol, "1m"), endpoints.klines(symbol, "1m", limit), cause, link, order=order)


def popped(queue: JobQueue, at: Moment = NOW) -> list[str]:
    """Return the symbols of all jobs that may go now, in order."""
    symbols = []
    while isinstance(job := queue.pop(at), Job):
        symbols.append(job.fetch.key.symbol)
    return symbols


def test_jobs_go_by_cause_then_by_order_then_by_age() -> None:
    queue = queue_of()
    for cause in (Cause.AUDIT, Cause.WARM_UP, Cause.POLL, Cause.REPAIR, Cause.READ, Cause.PROBE):
        queue.add(fetch(f"{cause.value} late", cause, order=2))
        queue.add(fetch(f"{cause.value} early", cause, order=1))
        queue.add(fetch(f"{cause.value} last", cause, order=2))
    expected = [
        f"{cause.value} {when}"
        for cause in (Cause.PROBE, Cause.READ, Cause.REPAIR, Cause.POLL, Cause.WARM_UP, Cause.AUDIT)
        for when in ("early", "late", "last")
    ]
    assert popped(queue) == expected
    assert queue.pop(NOW) is None


def test_every_cause_has_its_place() -> None:
    assert set(PRIORITY) == set(Cause)
    assert len(set(PRIORITY.values())) == len(Cause)


def test_fetches_of_one_identity_are_one_job() -> None:
    queue = queue_of()
    job = queue.add(fetch())
    assert queue.add(fetch()) is job
    assert len(queue) == 1
    assert queue.add(fetch(limit=60)) is not job
    assert len(queue) == 2
    assert popped(queue) == ["A", "A"]


def test_a_reader_moves_a_job_forward_in_line() -> None:
    queue = queue_of()
    queue.add(fetch("first", Cause.REPAIR))
    slow = queue.add(fetch("slow", Cause.WARM_UP))
    assert queue.add(fetch("slow", Cause.READ)) is slow
    assert slow.fetch.cause is Cause.READ
    assert popped(queue) == ["slow", "first"]


def test_what_another_process_has_requested_does_not_serve_a_reader() -> None:
    queue = queue_of()
    queue.add(replace(fetch("first"), since=MIDNIGHT))
    job = queue.add(fetch("first", Cause.READ))
    assert job.fetch.since is None
    queue.add(replace(fetch("first", Cause.AUDIT), since=MIDNIGHT))
    assert job.fetch.since is None


def test_a_lesser_cause_does_not_slow_a_job_down() -> None:
    queue = queue_of()
    job = queue.add(fetch("a", Cause.READ))
    queue.add(fetch("b", Cause.REPAIR))
    queue.add(fetch("a", Cause.AUDIT))
    assert job.fetch.cause is Cause.READ
    assert popped(queue) == ["a", "b"]


@pytest.mark.parametrize("first", [Cause.READ, Cause.WARM_UP])
def test_a_job_in_line_learns_of_the_subscription_that_came_meanwhile(first: Cause) -> None:
    queue, link = queue_of(), Link(1, "market", 0.0)
    job = queue.add(fetch(cause=first))
    queue.add(fetch(cause=Cause.REPAIR, link=link))
    assert job.fetch.link is link
    queue.add(fetch(cause=Cause.READ))
    assert job.fetch.link is link


def test_a_running_job_is_joined_and_no_longer_changed() -> None:
    queue, link = queue_of(), Link(1, "market", 0.0)
    queue.add(fetch())
    job = queue.pop(NOW)
    assert isinstance(job, Job)
    assert job.running
    assert queue.add(fetch(cause=Cause.READ, link=link)) is job
    assert (job.fetch.cause, job.fetch.link) == (Cause.POLL, None)
    assert queue.pop(NOW) is None
    queue.done(job)
    assert len(queue) == 0
    assert queue.add(fetch()) is not job


def test_a_job_that_two_pay_for_costs_no_other_its_place_in_line() -> None:
    """A reader's request that a repair also needs waits in both lines."""
    queue = queue_of()
    queue.add(fetch("REPAIR", Cause.REPAIR))
    job = queue.add(fetch("READ", Cause.READ))
    queue.add(fetch("REPAIR", Cause.READ))
    assert queue.add(fetch("READ", Cause.REPAIR)) is job
    assert job.charged_to is Cause.REPAIR
    assert popped(queue) == ["READ", "REPAIR"]


def test_popping_a_job_spends_its_weight() -> None:
    queue = queue_of()
    queue.add(fetch(limit=499))
    queue.pop(NOW)
    assert queue.budget.windows[endpoints.Bucket.FUTURES].used(NOW) == 2


def test_without_budget_it_returns_when_to_try_again() -> None:
    queue = queue_of(limit=100)
    for i in range(3):
        queue.add(Fetch(Key(Kind.TRADES, f"{i}"), endpoints.agg_trades(f"{i}", 1000), Cause.WARM_UP))
    before = Moment(NOW.steady - 20, NOW.exchange - 20_000)
    queue.budget.spend(endpoints.agg_trades("x", 1), before, Cause.REPAIR)
    queue.budget.ended(endpoints.agg_trades("x", 1), before)
    assert isinstance(queue.pop(NOW), Job)
    assert isinstance(queue.pop(NOW), Job)
    again = queue.pop(NOW)
    assert again == pytest.approx(NOW.steady + 40)
    assert isinstance(again, float)
    assert isinstance(queue.pop(Moment(again, NOW.exchange + 40_000)), Job)


def test_a_blocked_host_does_not_hold_up_the_other() -> None:
    queue = queue_of()
    queue.budget.block(Host.FUTURES, NOW.steady + 30)
    queue.add(fetch("futures", Cause.READ))
    queue.add(Fetch(Key(Kind.SPOT), endpoints.spot_price(), Cause.POLL))
    job = queue.pop(NOW)
    assert isinstance(job, Job)
    assert job.fetch.key.kind is Kind.SPOT
    assert queue.pop(NOW) == NOW.steady + 30


def test_a_cancelled_job_is_never_sent_and_may_be_queued_again() -> None:
    queue = queue_of()
    job = queue.add(fetch())
    queue.cancel(job)
    assert len(queue) == 0
    assert queue.pop(NOW) is None
    assert queue.add(fetch()) is not job
    assert popped(queue) == ["A"]


def test_a_running_job_cannot_be_cancelled() -> None:
    queue = queue_of()
    job = queue.add(fetch())
    queue.pop(NOW)
    queue.cancel(job)
    assert len(queue) == 1


@pytest.mark.parametrize("cause", [Cause.WARM_UP, Cause.REPAIR, Cause.POLL, Cause.AUDIT])
def test_a_fetch_for_a_stream_that_has_ended_is_dropped(cause: Cause) -> None:
    queue, link = queue_of(), Link(1, "market", 0.0)
    queue.add(fetch("dead", cause, link=link))
    queue.add(fetch("alive", cause, link=Link(2, "market", 0.0)))
    link.up = False
    assert popped(queue) == ["alive"]
    assert len(queue) == 1


def test_a_fetch_with_a_reader_is_sent_although_the_stream_has_ended() -> None:
    queue, link = queue_of(), Link(1, "market", 0.0)
    queue.add(fetch("a", Cause.REPAIR, link=link))
    queue.add(fetch("a", Cause.READ))
    link.up = False
    assert popped(queue) == ["a"]


def test_a_new_subscription_keeps_the_job_of_the_old_one() -> None:
    queue, old, new = queue_of(), Link(1, "market", 0.0), Link(2, "market", 0.0)
    queue.add(fetch("a", Cause.REPAIR, link=old))
    old.up = False
    job = queue.add(fetch("a", Cause.REPAIR, link=new))
    assert job.fetch.link is new
    assert popped(queue) == ["a"]


def test_a_job_that_has_to_wait_after_all_goes_back_in_line_once() -> None:
    queue = queue_of()
    queue.add(fetch("a", Cause.WARM_UP))
    queue.add(fetch("a", Cause.READ))
    job = queue.pop(NOW)
    assert isinstance(job, Job)
    queue.requeue(job)
    assert queue.pop(NOW) is job
    assert queue.pop(NOW) is None
    queue.done(job)
    assert queue.pop(NOW) is None


def test_clearing_takes_every_job() -> None:
    queue = queue_of()
    jobs = [queue.add(fetch(symbol)) for symbol in "abc"]
    running = queue.pop(NOW)
    assert set(map(id, queue.clear())) == set(map(id, jobs))
    assert running in jobs
    assert len(queue) == 0
    assert queue.pop(NOW) is None


def test_where_much_is_under_way_more_is_sent_only_if_all_of_it_fits() -> None:
    room = int(2_400 * 0.7)
    queue = queue_of()
    for number in range(room // 2):
        queue.add(fetch(str(number), Cause.WARM_UP, limit=499))
    assert isinstance(queue.pop(NOW, crowded=True), Job)
    over = queue.add(fetch("over", Cause.REPAIR, limit=499))
    assert not queue.fits(NOW)
    assert queue.pop(NOW, crowded=True) is None
    read = queue.add(fetch("read", Cause.READ, limit=499))
    assert queue.pop(NOW, crowded=True) is read, "nobody waits for the others"
    assert queue.pop(NOW) is over
    queue.clear()
    assert queue.fits(NOW)


@pytest.mark.parametrize("seed", range(60))
def test_after_any_changes_each_queued_job_is_sent_once(seed: int) -> None:
    generator = random.Random(seed)
    queue, at = queue_of(generator.choice([20, 2_400])), NOW
    wanted: set[int] = set()
    running: list[Job] = []

    def pop() -> bool:
        job = queue.pop(at)
        if not isinstance(job, Job):
            return False
        wanted.remove(id(job))
        running.append(job)
        return True

    for change in generator.choices(["add", "pop", "done", "again", "cancel"], [20, 4, 3, 1, 1], k=60):
        if change == "add":
            cause = generator.choice([Cause.READ, Cause.REPAIR] * 4 + [*Cause])
            known = set(map(id, queue._jobs.values()))
            job = queue.add(fetch(generator.choice("ABC"), cause))
            made = id(job) not in known
            assert made == (id(job) not in wanted and job not in running)
            wanted |= {id(job)} if made else set()
        elif change == "pop":
            pop()
        elif running and change == "done":
            queue.done(running.pop())
        elif running and change == "again":
            queue.requeue(running[-1])
            wanted.add(id(running.pop()))
        elif change == "cancel" and (waiting := [job for job in queue._jobs.values() if not job.running]):
            queue.cancel(waiting[0])
            wanted.remove(id(waiting[0]))
        entries = [entry for heap in queue._heaps.values() for entry in heap]
        assert sum(queue._costs.values()) == sum(cost for _, _, _, cost in entries)
    for _ in range(len(wanted) + 1):
        while pop():
            pass
        at = Moment(at.steady + 61, at.exchange + 61_000)
    assert wanted == set()


def test_a_fetch_that_joined_a_running_job_is_kept_when_the_earlier_stream_ends() -> None:
    queue = queue_of()
    before, now = Link(1, "market", 0.0), Link(2, "market", 0.0)
    job = queue.add(fetch(cause=Cause.REPAIR, link=before))
    assert queue.pop(NOW) is job
    assert queue.add(fetch(cause=Cause.REPAIR, link=now)) is job
    before.up = False
    queue.requeue(job)
    assert queue.pop(NOW) is job
    assert job.fetch.link is now
