from __future__ import annotations

import itertools
import json
import random

from ats_sync.engine.moment import Moment
from ats_sync.engine.schedule import BARRED_RETRY, RETRY_MOST, DueQueue
from ats_sync.engine.state import State
from ats_sync.errors import AccessDenied, AtsSyncError, ExchangeFailure
from ats_sync.feeds import FEEDS, Cause, Key, Kind

from ..venue.samples import compact
from .bench import TURN, Bench, deep, failing

A, B = Key(Kind.KLINES, "AUSDT", "1m"), Key(Kind.DEPTH, "BUSDT")


AUDIT_EVERY, DEPTH_AUDIT_EVERY = 300.0, 600.0


def made() -> tuple[DueQueue, State, State]:
    a, b = State(A, FEEDS[A.kind]), State(B, FEEDS[B.kind])
    return DueQueue({A: a, B: b}, random.Random(1)), a, b


def test_the_earliest_moment_counts_and_each_comes_once() -> None:
    agenda, a, b = made()
    agenda.schedule(a, 20.0, Cause.AUDIT)
    agenda.schedule(a, 10.0, Cause.REPAIR)
    agenda.schedule(a, 15.0, Cause.AUDIT)
    agenda.schedule(b, 12.0, Cause.POLL)
    assert (a.due, a.cause) == (10.0, Cause.REPAIR)
    assert agenda.next_due() == 10.0
    assert agenda.pop(9.9) is None
    assert agenda.pop(12.0) is a
    a.due = None
    assert agenda.pop(12.0) is b
    b.due = None
    assert agenda.pop(99.0) is None
    assert agenda.next_due() is None
    assert len(agenda) == 0


def test_an_audit_that_is_due_first_has_the_cause_of_what_is_due_after_it() -> None:
    agenda, a, _ = made()
    agenda.schedule(a, 10.0, Cause.AUDIT)
    agenda.schedule(a, 11.0, Cause.REPAIR)
    assert (a.due, a.cause) == (10.0, Cause.REPAIR), "as an audit it would wait behind everything"
    agenda.schedule(a, 12.0, Cause.AUDIT)
    assert (a.due, a.cause) == (10.0, Cause.REPAIR)


def test_a_repair_that_is_due_is_not_put_off_by_an_audit_before_it() -> None:
    agenda, a, _ = made()
    agenda.schedule(a, 12.0, Cause.REPAIR)
    agenda.schedule(a, 11.0, Cause.AUDIT)
    assert (a.due, a.cause) == (11.0, Cause.REPAIR), "an audit that has failed is tried again, and goes as the last"


def test_what_has_failed_is_needed_no_sooner_than_after_its_pause() -> None:
    agenda, a, _ = made()
    agenda.retry(a, Moment(9.0, TURN), ExchangeFailure("502", status=502), Cause.AUDIT)
    again = a.due
    assert again is not None
    assert again > 9.5
    agenda.need(a, 9.5, Cause.REPAIR)
    assert (a.due, a.cause) == (again, Cause.REPAIR)
    a.retry_at = None
    agenda.need(a, 9.5, Cause.REPAIR)
    assert a.due == 9.5, "it has been answered since"


def test_what_a_reader_could_not_get_does_not_wait_for_an_audit_to_be_repaired() -> None:
    agenda, a, _ = made()
    agenda.schedule(a, 300.0, Cause.AUDIT)
    a.error = ExchangeFailure("418", status=418)
    agenda.need(a, 10.0, Cause.REPAIR)
    assert (a.due, a.cause) == (10.0, Cause.REPAIR)


def test_what_is_suspected_or_delisted_is_never_due() -> None:
    a, b = State(A, FEEDS[A.kind]), State(B, FEEDS[B.kind])
    states = {A: a, B: b}
    agenda = DueQueue(states, random.Random(1))
    agenda.schedule(a, 1.0, Cause.POLL)
    agenda.schedule(b, 2.0, Cause.POLL)
    a.delisted = "delisted"
    del states[B]
    assert agenda.pop(5.0) is None


def test_what_is_paused_is_due_after_its_release() -> None:
    agenda, a, _ = made()
    agenda.schedule(a, 1.0, Cause.WARM_UP)
    assert agenda.pop(2.0) is a
    agenda.hold(a)
    assert agenda.pop(2.0) is None
    assert len(agenda) == 1
    agenda.release()
    assert agenda.next_due() == 1.0
    assert agenda.pop(2.0) is a


def test_audits_are_spread_and_those_of_books_rarer() -> None:
    agenda, a, b = made()
    at = Moment(1_000.0, 1_700_000_000_000)
    for state, every in ((a, AUDIT_EVERY), (b, DEPTH_AUDIT_EVERY)):
        agenda.schedule_audit(state, at)
        assert state.due is not None
        assert 0.7 * every <= state.due - at.steady <= every
        assert state.cause is Cause.AUDIT
        before, state.due = state.due, None
        agenda.schedule_audit(state, at)
        assert state.due == before, "it is not due yet"


def failed(error: AtsSyncError) -> tuple[Bench, list[float]]:
    """Make requests of open interest fail with this error; return the bench, and when they were sent."""
    bench = Bench([deep("AUSDT", 0)], follow=False)
    bench.fails = failing(Kind.OPEN_INTEREST, error)
    bench.follow("AUSDT")
    bench.run(200)
    return bench, [when for when, _ in bench.of(Kind.OPEN_INTEREST)]


def test_failures_are_tried_again_after_growing_pauses() -> None:
    bench, times = failed(ExchangeFailure("x"))
    pauses = [b - a for a, b in itertools.pairwise(times)]
    assert 6 <= len(times) <= 30
    assert pauses[0] < 2 < pauses[2] < pauses[4]
    assert max(pauses) <= RETRY_MOST * 1.25 + 0.2
    bench.fails = lambda fetch: None
    assert bench.run(40, until=bench.all_live)
    assert bench.engine.reconciler.states[Key(Kind.OPEN_INTEREST, "AUSDT", "1h")].error is None


def test_a_permanent_failure_is_not_tried_again_and_again() -> None:
    _, times = failed(AccessDenied("403"))
    assert min(b - a for a, b in itertools.pairwise(times)) >= BARRED_RETRY


def test_every_series_is_audited_every_five_minutes_at_weight_one() -> None:
    bench = Bench([deep(f"S{i}USDT", 12, minutes=16) for i in range(4)])
    bench.warm()
    bench.run(900)
    for name in bench.symbols:
        audits = bench.of(Kind.KLINES, cause=Cause.AUDIT, symbol=name)
        times = [0.0, *(when for when, _ in audits)]
        assert max(b - a for a, b in itertools.pairwise(times)) <= AUDIT_EVERY + 30
        assert {fetch.request.weight for _, fetch in audits} == {1}
        assert {fetch.request.rows for _, fetch in audits} == {100}


def test_an_audit_corrects_what_was_wrong_and_counts_it() -> None:
    bench = Bench([deep("AUSDT", 10)])
    bench.warm()

    def falsify(stream: str, frame: bytes) -> bool:
        if stream != "ausdt@kline_1m" or b'"x":true' not in frame:
            return False
        message = json.loads(frame)
        message["data"]["k"]["v"] = "1.0"
        bench.dropped = lambda stream, frame: False
        bench.deliver(stream, compact(message))
        return True

    bench.dropped = falsify
    bench.run(TURN - bench.seconds + 1)
    assert not bench.agrees()
    bench.run(AUDIT_EVERY + 40)
    assert bench.agrees()
    assert bench.series().counts().mismatches == 1
