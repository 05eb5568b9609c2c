from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.moment import Moment
from ats_sync.engine.window import REPORTS_LAG, Window
from ats_sync.feeds import Cause
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host

from .counting import MIDNIGHT, MINUTE, Scene, most_in_a_minute, of

LIMIT, SHARE = 400, 0.8
ALLOWED, UNRESERVED = int(LIMIT * SHARE), int(LIMIT * 0.7)
CONFIG = Config(futures_weight_limit=LIMIT, weight_share=SHARE, repair_share=0.1)
FRESH = int(REPORTS_LAG * 1000)

seeds = st.integers(0, 2**32)
starts = st.integers(0, MINUTE - 1).map(lambda ms: MIDNIGHT + ms)
errors = st.integers(-2_000, 2_000)
"""By how much (ms) the clocks differ."""

# --- one window by itself ---------------------------------------------------------------------------


def when(second: float, *, uncertain: int = 0) -> Moment:
    """Return a moment; ``second`` is counted from the start of a minute, which clocks that differ may see 2 s earlier
    or later."""
    return Moment(1_000.0 + second, MIDNIGHT + round(second * 1000), True, uncertain)


def spend(window: Window, cost: int, second: float) -> None:
    """Send a request that is answered at once."""
    window.spend(when(second), cost)
    window.ended(when(second), cost, unsent=False, lost=False)


def report(window: Window, count: int, second: float, *, sent: float | None = None) -> None:
    window.reported(count, when(second), when(second if sent is None else sent).steady)


def free(window: Window, cost: int, second: float, allowed: int = 80, **more: int) -> float:
    """Return the second from which it may be sent."""
    return window.free_at(when(second), cost, allowed, **more) - when(0).steady


def test_what_does_not_fit_waits_until_enough_has_become_a_minute_old() -> None:
    window = Window(100, 60.0)
    assert free(window, 90, 5) == 5, "what never fits may go alone"
    spend(window, 50, 0)
    spend(window, 20, 10)
    assert window.requests(when(20).steady) == 2
    assert [free(window, cost, 20) for cost in (10, 11, 60, 61, 80, 90)] == [20, 60, 60, 70, 70, 70]
    assert [free(window, cost, 60) for cost in (60, 61)] == [60, 70]


def test_our_own_costs_fit_into_a_part_of_the_limit_once_enough_is_a_minute_old() -> None:
    window = Window(100, 60.0)
    for second in (0, 5, 8):
        spend(window, 11, second)
    parts = [window.own_free_at(when(9).steady, share) - when(0).steady for share in (0.33, 0.32, 0.22, 0.21, 0.05)]
    assert parts == [9, 60, 60, 65, 68]


def test_what_others_use_counts_until_their_minute_is_over() -> None:
    window = Window(100, 60.0)
    spend(window, 10, 20)
    report(window, 75, 21)
    assert free(window, 6, 21) == 60
    assert [window.sliding(when(second).steady) for second in (21, 59.9, 60)] == [75, 75, 10]


def test_what_was_answered_just_after_the_new_minute_is_not_the_use_of_others() -> None:
    window = Window(100, 60.0)
    spend(window, 30, 0.2)
    report(window, 40, 4)
    assert window.sliding(when(4).steady) == 40


def test_only_a_report_of_the_next_minute_shows_what_others_use_even_where_the_clock_has_become_surer() -> None:
    window = Window(100, 60.0)
    window.reported(75, when(30, uncertain=3_000), when(30).steady)
    report(window, 5, 61)
    assert window.sliding(when(61).steady) == 5


def test_an_older_report_that_arrives_late_makes_no_room_and_takes_none() -> None:
    window = Window(200, 60.0)
    spend(window, 60, -30)
    report(window, 1, 4)
    report(window, 41, 12)
    assert window.used(when(12)) == 41
    report(window, 5, 13, sent=6)
    assert window.used(when(13)) == 41


def test_the_newest_report_of_a_minute_is_the_highest_of_that_minute_alone() -> None:
    window = Window(200, 60.0)
    report(window, 70, 50)
    assert window.mark(when(63)) is None, "it is of the minute before"
    report(window, 3, 64)
    report(window, 80, 64.5, sent=57)
    report(window, 2, 65, sent=64)
    mark = window.mark(when(65))
    assert mark is not None
    assert (mark.used, mark.sent, mark.arrived) == (3, when(64).steady, when(65).steady)
    report(window, 9, 66)
    mark = window.mark(when(66))
    assert mark is not None
    assert mark.used == 9
    assert window.mark(when(65)._replace(proven=False)) is None


def test_a_report_is_of_the_minute_that_had_surely_begun_when_its_request_was_sent() -> None:
    for sent, known in ((1.9, False), (2.0, True)):
        window = Window(200, 60.0)
        report(window, 3, 10, sent=sent)
        assert (window.mark(when(10)) is not None) is known


def test_the_next_report_can_show_what_surely_arrived_since_up_to_all_that_may_have() -> None:
    window = Window(200, 60.0)
    report(window, 7, 10.5, sent=10)
    mark = window.mark(when(11))
    assert mark is not None
    assert window.expected(mark, when(30), when(30).steady) == (7, 7)
    spend(window, 1, 4)  # it was surely counted before
    for cost, sent, answered in ((2, 10, 11), (4, 10.5, 12), (8, 12, 25), (16, 12, 25.5)):
        window.spend(when(sent), cost)
        window.ended(when(answered), cost, unsent=False, lost=False)
    window.spend(when(20), 32)
    assert window.expected(mark, when(30), when(30).steady) == (7 + 4 + 8, 7 + 2 + 4 + 8 + 16 + 32)
    assert window.expected(mark, when(59), when(58).steady) is None, "another minute may have begun"
    assert window.expected(mark, when(70), when(70).steady) is None
    assert window.expected(mark, when(30)._replace(proven=False), when(30).steady) is None


def test_the_answered_one_of_two_requests_of_equal_cost_may_be_the_older() -> None:
    window = Window(200, 60.0)
    window.spend(when(3), 20)
    report(window, 20, 5.5, sent=5)
    mark = window.mark(when(6))
    assert mark is not None
    window.spend(when(10), 20)
    window.ended(when(11), 20, unsent=False, lost=True)
    window.ended(when(12), 20, unsent=False, lost=False)
    assert window.expected(mark, when(20), when(20).steady) == (20, 60)


@pytest.mark.parametrize(
    ("count", "second", "evidence"), [(50, 40, False), (49, 40, True), (1, 57.9, True), (1, 58, False), (1, 63, True)]
)
def test_a_report_of_less_than_half_shows_that_the_count_began_again_except_near_a_new_minute(
    count: int, second: float, evidence: bool
) -> None:
    """Some requests may cost less than they are said to, and near the start of a minute a report may be of either
    one."""
    window = Window(200, 60.0)
    spend(window, 100, 20)
    report(window, count, second)
    assert window.restarts is evidence


@pytest.mark.parametrize(("sent", "evidence"), [(1.9, False), (2.0, True)])
def test_only_a_report_that_is_surely_of_this_minute_shows_it(sent: float, evidence: bool) -> None:
    window = Window(200, 60.0)
    spend(window, 100, -20)
    report(window, 1, 10, sent=sent)
    assert window.restarts is evidence


@pytest.mark.parametrize(("second", "used"), [(-2.1, 0), (-1.99, 40)])
def test_what_may_belong_to_this_minute_counts_whatever_is_reported(second: float, used: int) -> None:
    window = Window(100, 60.0)
    spend(window, 40, second)
    report(window, 0, 20)
    assert window.used(when(50)) == used


def test_a_report_above_everything_that_is_known_shows_a_surplus() -> None:
    window = Window(200, 60.0)
    assert window.surplus(70) == 0, "nothing is known"
    report(window, 50, 10)
    spend(window, 5, 11)
    assert [window.surplus(count) for count in (50, 55, 62)] == [0, 0, 7]


def test_no_request_goes_ahead_where_a_report_of_this_minute_leaves_no_room() -> None:
    for count, second in ((75, 60), (70, 10)):
        window = Window(100, 60.0)
        spend(window, 50, -90)
        report(window, 1, -56)
        assert window.restarts
        report(window, count, 10, sent=2)
        assert free(window, 10, 10) == second


def test_one_request_goes_ahead_to_learn_whether_the_count_began_again_once_a_report_can_show_it() -> None:
    window = Window(100, 60.0)
    spend(window, 80, 0)
    report(window, 80, 1, sent=0.5)
    assert [free(window, 10, second, allowed=70, whole=100) for second in (5, 20)] == [12, 20]
    assert free(window, 10, 20, allowed=70, whole=85) == 60, "what is kept for repairs would not be enough"


def test_no_request_goes_ahead_for_a_report_that_may_lack_what_is_under_way() -> None:
    window = Window(100, 60.0)
    window.spend(when(0), 80)
    report(window, 0, 1, sent=0.5)
    assert free(window, 10, 20, allowed=70, whole=100) == 60


def restarting() -> Window:
    """Return a window where others have used most of the minute, according to a report that may be of the minute
    before; it is known that the count begins again with the minute."""
    window = Window(100, 60.0)
    spend(window, 50, -90)
    report(window, 1, -56)
    report(window, 75, 1, sent=0.5)
    assert window.restarts
    return window


def test_one_request_goes_ahead_for_a_report_of_this_minute_but_not_around_the_next() -> None:
    window = restarting()
    assert [free(window, 10, second) for second in (30, 59)] == [30, 60]


def test_each_further_request_of_a_minute_goes_ahead_after_twice_as_long() -> None:
    window = restarting()
    for second, following in ((30, 31), (31, 33), (33, 37)):
        assert free(window, 10, second) == second
        window.spend(when(second), 10, 80)
        window.ended(when(second), 10, unsent=False, lost=False)
        assert free(window, 10, second) == following


def test_what_just_fits_has_not_gone_ahead() -> None:
    window = restarting()
    window.spend(when(30), 5, 80)
    assert free(window, 10, 30) == 30


def test_what_was_never_sent_costs_nothing() -> None:
    window = Window(100, 60.0)
    report(window, 0, 5)
    window.spend(when(10), 30)
    assert window.used(when(10)) == 30
    window.ended(when(10), 30, unsent=True, lost=False)
    assert (window.used(when(10)), window.sliding(when(10).steady), window.requests(when(10).steady)) == (0, 0, 0)


def test_a_report_that_may_be_of_the_minute_before_shows_no_use_by_others_in_this_one() -> None:
    for sent, others_use in ((59.9, 0), (60.3, 70)):
        window = Window(100, 60.0)
        report(window, 70, 60.4, sent=sent)
        assert window.sliding(when(60.4).steady) == others_use


def test_what_can_wait_does_not_wait_for_a_new_minute_that_is_far_off() -> None:
    window = Window(100, 60.0)
    report(window, 0, 20)
    window.spend(when(30), 20)
    assert free(window, 2, 31, patient=100) == 31


@pytest.mark.parametrize(("second", "free_at"), [(57.9, 59), (58, 62)])
def test_what_can_wait_waits_for_the_new_minute_where_a_tenth_was_sent_since_it_may_have_begun(
    second: float, free_at: float
) -> None:
    window = Window(100, 60.0)
    report(window, 0, 30)
    spend(window, 5, second)
    spend(window, 2, 58.5)
    assert free(window, 2, 59, patient=100) == free_at
    assert free(window, 2, 59, patient=10) == 59


# --- a client and an exchange ------------------------------------------------------------------------


def scene(seed: int, **more: object) -> Scene:
    return Scene(Budget(CONFIG), rng=random.Random(seed), **more)  # type: ignore[arg-type]


def warming_up(seed: int = 0, **more: object) -> Scene:
    """Return the scene of a start, where nobody uses the reserve."""
    return scene(seed, costs=(2,), causes=(Cause.WARM_UP,), **more)


def others(scene: Scene, most: int, minutes: int = 4) -> None:
    """Let another program spend at most this much a minute, at moments of its own."""
    for minute in range(minutes):
        left = scene.rng.randrange(most + 1)
        while left > 0:
            cost = min(left, scene.rng.choice((1, 5, 40, 200)))
            begun = scene.start // MINUTE * MINUTE + minute * MINUTE
            scene.others(begun + scene.rng.randrange(MINUTE), cost)
            left -= cost


@settings(deadline=None, max_examples=40)
@given(seeds, starts, errors, st.sampled_from([0, 0, 800, 4_000, 30_000, 90_000]), st.sampled_from([0, 0, 50, 400]))
def test_no_clock_minute_has_more_than_the_share(seed: int, start: int, error: int, lag: int, foreign: int) -> None:
    """Others spend, clocks differ, reports are old or missing, and answers are lost or are refusals."""
    rng = random.Random(seed)
    gaps = rng.choice((0.0, 0.0, 0.3))
    found = scene(
        seed,
        start=start,
        clock_error=error,
        uncertain=rng.choice((0, 0, 150, 1_500)),
        lag=lag,
        reports=lambda now: rng.random() >= gaps,
        lost=rng.choice((0.0, 0.05, 0.3)),
        refused=rng.choice((0.0, 0.2)),
        one_way=rng.choice(((5, 90), (5, 2_000), (1, 4_500))),
    )
    others(found, foreign)
    found.run(190)
    assert found.own.most() <= ALLOWED


@settings(deadline=None, max_examples=15)
@given(seeds, starts, errors)
def test_without_reports_no_minute_wherever_it_begins_has_more_than_the_share(
    seed: int, start: int, error: int
) -> None:
    found = scene(seed, start=start, clock_error=error, reports=lambda now: False, lost=0.05).run(190)
    assert most_in_a_minute(found.sent) <= ALLOWED


@settings(deadline=None, max_examples=25)
@given(
    seeds, starts, errors, st.integers(0, FRESH), st.one_of(st.just("sliding"), st.integers(1, MINUTE - 1)),
    st.sampled_from([0, 0, 60]),
)  # fmt: skip
def test_an_exchange_that_counts_in_another_way_is_not_overrun(
    seed: int, start: int, error: int, lag: int, window: str | int, foreign: int
) -> None:
    found = scene(seed, start=start, clock_error=error, lag=lag, window=window, lost=0.05)
    others(found, foreign)
    found.run(190)
    # Minutes that begin at another moment than the clock's may contain the requests that go ahead at the clock's new
    # minute.
    ahead = 0 if window == "sliding" else 3 * max(found.costs)
    assert found.own.most() <= ALLOWED + ahead


@settings(deadline=None, max_examples=15)
@given(seeds, starts, errors, st.integers(0, FRESH))
def test_when_the_reports_end_so_does_what_they_had_shown(seed: int, start: int, error: int, lag: int) -> None:
    """From one minute after the last report, no minute has more than the share."""
    found = scene(seed, start=start, clock_error=error, lag=lag, reports=lambda now: now < start + 100_000).run(260)
    late = [(time, cost) for time, cost in found.sent if time > start + 100_000 + 1_000]
    assert most_in_a_minute(late) <= ALLOWED


@pytest.mark.parametrize("second", [0, 1, 20, 44, 52, 57, 59])
def test_the_share_is_whole_again_with_each_clock_minute(second: int) -> None:
    start = MIDNIGHT + second * 1000
    found = warming_up(second, start=start, threads=32, one_way=(95, 105), uncertain=100).run(240)
    by_minute = dict.fromkeys(range(5), 0)
    for time, cost in found.sent:
        by_minute[(time - MIDNIGHT) // MINUTE] += cost
    assert found.own.most() <= ALLOWED
    assert all(by_minute[minute] >= 0.98 * UNRESERVED for minute in (2, 3)), by_minute
    assert by_minute[0] + by_minute[1] >= (1.98 if second <= 52 else 0.98) * UNRESERVED, by_minute
    third = min(time for time, _ in found.sent if time >= MIDNIGHT + 2 * MINUTE)
    assert third < MIDNIGHT + 2 * MINUTE + 2_600, "soon after the turn has surely passed"


def test_another_programs_use_is_learned_with_one_request() -> None:
    """What it uses of a minute before our first request of that minute is left to it."""
    for theirs in (100, 250, 300, 390):
        found = scene(theirs, costs=(2,), one_way=(95, 105))
        for minute in range(1, 4):
            found.others(MIDNIGHT + minute * MINUTE, theirs)
        found.run(235)
        unreported = 6 * found.threads  # what is sent before the first report comes that is surely of this minute
        assert found.all.most() <= max(ALLOWED, theirs + 2) + unreported, theirs


def test_a_count_that_does_not_begin_again_frees_nothing() -> None:
    found = warming_up(window="sliding").run(59)
    assert not found.budget.windows[Bucket.FUTURES].restarts
    found.run(130)
    assert not found.budget.windows[Bucket.FUTURES].restarts


def test_the_count_is_known_to_restart_from_the_first_new_minute_until_a_report_contradicts() -> None:
    found = warming_up(start=MIDNIGHT + 20_000)
    window = found.budget.windows[Bucket.FUTURES]
    found.run(39)
    assert not window.restarts
    assert window.left(found.moment()) is None
    found.run(43)
    assert window.restarts
    found.run(80)
    assert window.restarts
    left = window.left(found.moment())
    assert left is not None
    assert left == pytest.approx(22.0, abs=1.0)
    found.own.window = found.all.window = "sliding"
    found.run(170)
    assert not window.restarts


def test_after_a_429_only_our_own_record_counts_until_the_next_report() -> None:
    found = warming_up(start=MIDNIGHT + 20_000).run(43)
    window = found.budget.windows[Bucket.FUTURES]
    assert window.used(found.moment()) < window.sliding(found.moment().steady)
    found.budget.block(Host.FUTURES, found.moment().steady + 5)
    assert window.used(found.moment()) == window.sliding(found.moment().steady)
    assert not window.restarts


def test_while_the_clock_is_in_doubt_only_our_own_record_counts() -> None:
    found = warming_up(start=MIDNIGHT + 20_000).run(43)
    window = found.budget.windows[Bucket.FUTURES]
    doubtful = found.moment()._replace(proven=False)
    assert window.used(doubtful) == window.sliding(doubtful.steady)
    assert window.left(doubtful) is None


def test_what_was_about_to_be_sent_when_the_process_stopped_still_counts() -> None:
    found = scene(1)
    window, at = found.budget.windows[Bucket.FUTURES], found.moment()
    window.spend(at, 300)
    later = at._replace(steady=at.steady + 90, exchange=at.exchange + 90_000)
    assert window.used(later) == 300
    window.ended(later, 300, unsent=False, lost=False)
    assert window.used(later._replace(steady=later.steady + 59)) == 300
    assert window.used(later._replace(steady=later.steady + 60)) == 0


@pytest.mark.parametrize(
    ("how", "evidence"), [({}, True), ({"counted": False}, False), ({"lost": True}, False), ({"unsent": True}, False)]
)
def test_only_what_was_answered_is_evidence_that_the_count_began_again(how: dict[str, bool], evidence: bool) -> None:
    budget = Budget(CONFIG)
    sent = Moment(1_000.0, MIDNIGHT + 30_000)
    later = Moment(1_034.0, MIDNIGHT + 64_000)
    budget.spend(of(100), sent, Cause.READ)
    budget.ended(of(100), sent, **how)
    budget.answered(of(1), 1, later, later.steady)
    assert budget.windows[Bucket.FUTURES].restarts is evidence


@pytest.mark.parametrize(
    ("slept", "ahead", "evidence"),
    [(0, 0, True), (27_000, 0, False), (48_000, 30_000, False), (48_000, 600_000, False)],
)
def test_what_was_sent_before_the_machine_slept_may_be_older_than_a_minute(
    slept: int, ahead: int, evidence: bool
) -> None:
    """The steady clock stood still, and a count that slides had rightly forgotten it. Our idea of the time may have
    been ahead before."""
    budget = Budget(CONFIG)
    sent, later = Moment(1_000.0, MIDNIGHT + 30_000 + ahead), Moment(1_034.0, MIDNIGHT + 64_000 + slept)
    budget.spend(of(100), sent, Cause.READ)
    budget.ended(of(100), sent)
    budget.answered(of(1), 1, later, later.steady)
    assert budget.windows[Bucket.FUTURES].restarts is evidence


def test_a_book_that_may_have_cost_less_than_was_paid_is_not_evidence_either() -> None:
    budget = Budget(CONFIG)
    sent, later = Moment(1_000.0, MIDNIGHT + 30_000), Moment(1_034.0, MIDNIGHT + 64_000)
    request = endpoints.whole_depth("BTCUSDT").priced(10)
    budget.spend(request, sent, Cause.WARM_UP)
    budget.ended(request, sent)
    budget.answered(of(1), 1, later, later.steady)
    assert not budget.windows[Bucket.FUTURES].restarts
