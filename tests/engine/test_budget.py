from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.engine.budget import AUDIT_SHARE, Budget, Usage
from ats_sync.engine.moment import Moment
from ats_sync.engine.window import Window, minute_of_count
from ats_sync.feeds import Cause
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host, Request, is_whole_depth

from ..venue.samples import MIDNIGHT

CONFIG = Config(futures_weight_limit=100, spot_weight_limit=100, weight_share=0.8, repair_share=0.1)


def at(second: float) -> Moment:
    """Return a moment; ``second`` is counted from the start of a minute."""
    return Moment(5_000.0 + second, MIDNIGHT + round(second * 1000))


def weighing(weight: int, *, host: Host = Host.FUTURES) -> Request:
    return Request(host, "/x", weight=weight, bucket=Bucket.SPOT if host is Host.SPOT else Bucket.FUTURES)


def send(budget: Budget, weight: int, second: float) -> None:
    budget.spend(weighing(weight), at(second), Cause.READ)


def spend(budget: Budget, weight: int, second: float) -> None:
    """Send a request that is answered at once, without a report."""
    send(budget, weight, second)
    budget.ended(weighing(weight), at(second))


def free(budget: Budget, weight: int, second: float, cause: Cause = Cause.READ) -> float:
    """Return the seconds until a request may go."""
    return budget.free_at(weighing(weight), cause, at(second)) - at(second).steady


def test_inside_the_share_it_goes_at_once_and_beyond_it_waits_for_the_oldest() -> None:
    budget = Budget(CONFIG)
    spend(budget, 50, 0)
    spend(budget, 20, 10)
    assert free(budget, 10, 20) == 0
    assert free(budget, 11, 20) == pytest.approx(40)
    assert free(budget, 80, 20) == pytest.approx(50)
    assert free(budget, 11, 60) == 0


def test_a_share_is_kept_for_reads_and_repairs() -> None:
    budget = Budget(CONFIG)
    spend(budget, 70, 0)
    for cause in Cause:
        expected = 0 if cause in (Cause.READ, Cause.REPAIR, Cause.PROBE) else 60
        assert free(budget, 10, 0, cause) == pytest.approx(expected), cause


def test_a_full_book_without_a_reader_leaves_room_for_all_candles() -> None:
    budget = Budget(CONFIG)
    budget.candles(30, 0)
    now = at(0)
    partial, full = endpoints.depth("BTCUSDT", 20), endpoints.depth("BTCUSDT", 500)
    spend(budget, 39, 0)
    for cause, request, expected in (
        (Cause.WARM_UP, partial, 0),
        (Cause.WARM_UP, full, 60),
        (Cause.AUDIT, full, 60),
        (Cause.REPAIR, full, 0),
        (Cause.READ, full, 0),
    ):
        assert budget.free_at(request, cause, now) - now.steady == pytest.approx(expected), (cause, request)


def test_the_use_of_others_counts_until_their_minute_is_over() -> None:
    budget = Budget(CONFIG)
    spend(budget, 10, 20)
    budget.answered(weighing(10), 75, at(21), at(21).steady)
    assert budget.usage(Bucket.FUTURES, at(21)) == Usage(1, 75, 80, 100)
    assert free(budget, 6, 21) == pytest.approx(39)
    assert free(budget, 5, 21) == 0
    assert free(budget, 70, 60) == 0
    assert free(budget, 71, 60) == pytest.approx(2), "one may go ahead to see whether the count restarted"


def test_a_count_lower_than_our_own_changes_nothing() -> None:
    budget = Budget(CONFIG)
    spend(budget, 60, 5)
    budget.answered(weighing(60), 3, at(6), at(6).steady)
    assert budget.usage(Bucket.FUTURES, at(6)).cost == 60


def test_a_request_before_the_end_of_a_minute_is_not_counted_twice() -> None:
    budget = Budget(CONFIG)
    send(budget, 30, 50.5)
    # It was under way for long: the exchange counted it in the new minute.
    budget.ended(weighing(30), at(60.2))
    spend(budget, 10, 62)
    budget.answered(weighing(10), 40, at(62.2), at(62).steady)
    assert budget.usage(Bucket.FUTURES, at(62.2)).cost == 40


def test_the_count_of_the_minute_before_is_not_taken_for_the_current_one() -> None:
    budget = Budget(CONFIG)
    spend(budget, 60, 30)
    budget.ended(weighing(60), at(31))
    spend(budget, 10, 59.9)
    budget.answered(weighing(10), 70, at(60.4), at(59.9).steady)
    assert budget.usage(Bucket.FUTURES, at(60.4)).cost == 70
    assert budget.usage(Bucket.FUTURES, at(92)).cost == 10


def test_a_request_without_an_answer_may_arrive_late_and_counts_for_longer() -> None:
    budget = Budget(CONFIG)
    send(budget, 30, 0)
    send(budget, 20, 1)
    budget.ended(weighing(30), at(10), lost=True)
    budget.ended(weighing(20), at(10))
    assert budget.usage(Bucket.FUTURES, at(69.9)).cost == 50
    assert budget.usage(Bucket.FUTURES, at(70.1)).cost == 30, "the other one is not held up"
    assert budget.usage(Bucket.FUTURES, at(99.9)).cost == 30
    assert budget.usage(Bucket.FUTURES, at(100.1)).cost == 0


def test_an_older_count_that_arrives_later_does_not_free_anything() -> None:
    budget = Budget(CONFIG)
    for second in (1.0, 1.1, 1.2):
        spend(budget, 10, second)
    budget.answered(weighing(10), 70, at(2), at(2).steady)
    before = budget.usage(Bucket.FUTURES, at(2)).cost
    budget.answered(weighing(10), 50, at(2.1), at(2.1).steady)
    assert budget.usage(Bucket.FUTURES, at(2.1)).cost >= before


def test_counts_that_are_known_to_be_wrong_are_ignored() -> None:
    budget = Budget(CONFIG)
    budget.answered(endpoints.book_ticker(), 2_000, at(1), at(1).steady)
    budget.answered(endpoints.open_interest_hist("A", "1h", 5), 2_000, at(1), at(1).steady)
    budget.answered(weighing(1), None, at(1), at(1).steady)
    for bucket in Bucket:
        assert budget.usage(bucket, at(1)).cost == 0


def test_buckets_and_hosts_are_counted_apart() -> None:
    budget = Budget(CONFIG)
    spend(budget, 80, 0)
    now = at(1)
    for request in (
        weighing(5, host=Host.SPOT),
        endpoints.open_interest_hist("A", "1h", 5),
        endpoints.funding_rate("A", 5),
    ):
        assert budget.free_at(request, Cause.READ, now) == now.steady
    assert budget.usage(Bucket.OPEN_INTEREST, now).allowed == 800
    assert budget.usage(Bucket.FUNDING, now).allowed == 400


def test_request_buckets_count_requests_over_five_minutes() -> None:
    budget = Budget(CONFIG)
    request = endpoints.funding_rate("A", 5)
    for i in range(400):
        assert budget.free_at(request, Cause.READ, at(i / 10)) == at(i / 10).steady
        budget.spend(request, at(i / 10), Cause.READ)
    assert budget.free_at(request, Cause.READ, at(100)) == pytest.approx(at(300).steady)


def test_nothing_is_sent_to_a_blocked_host_while_the_other_is_free() -> None:
    budget = Budget(CONFIG)
    budget.block(Host.FUTURES, at(90).steady)
    budget.block(Host.FUTURES, at(30).steady)
    assert free(budget, 1, 0) == pytest.approx(90)
    now = at(0).steady
    assert budget.free_at(endpoints.open_interest_hist("A", "1h", 5), Cause.PROBE, at(0)) == pytest.approx(now + 90)
    assert budget.free_at(weighing(1, host=Host.SPOT), Cause.READ, at(0)) == now
    assert budget.blocked_until(Host.FUTURES, now) == at(90).steady
    assert budget.blocked_until(Host.SPOT, now) is None
    assert budget.blocked_until(Host.FUTURES, at(90).steady) is None
    assert free(budget, 1, 90) == 0


def test_the_exchanges_own_limit_is_adopted() -> None:
    budget = Budget(CONFIG)
    budget.set_limit(Host.FUTURES, 1_000)
    assert budget.usage(Bucket.FUTURES, at(0)).allowed == 800
    assert budget.usage(Bucket.SPOT, at(0)).allowed == 80


def test_audits_of_futures_candles_do_not_use_the_limit_of_the_spot_market() -> None:
    budget = Budget(CONFIG)
    budget.set_limit(Host.SPOT, 1_000)
    assert budget.usage(Bucket.SPOT, at(0)).allowed == 800
    for _ in range(8):
        budget.spend(audit(), at(0), Cause.AUDIT)
    assert budget.free_at(audit(), Cause.AUDIT, at(0)) == pytest.approx(at(60).steady)
    for _ in range(8):
        budget.ended(audit(), at(1))
    assert budget.free_at(audit(), Cause.AUDIT, at(61)) == at(61).steady


def test_there_is_room_for_all_requests_only_beside_the_reserve() -> None:
    budget = Budget(CONFIG)
    spend(budget, 30, 0)
    assert budget.has_room(Bucket.FUTURES, 40, at(0))
    assert not budget.has_room(Bucket.FUTURES, 41, at(0))
    assert budget.has_room(Bucket.SPOT, 70, at(0))
    assert budget.has_room(Bucket.FUTURES, 70, at(60))


def test_a_refusal_by_a_shared_account_delays_requests_of_its_weight_and_tier() -> None:
    budget = Budget(CONFIG)
    budget.refuse(weighing(5), Cause.POLL, at(30).steady)
    assert [free(budget, weight, 0, Cause.POLL) for weight in (4, 5, 6)] == [0, 30, 30]
    assert free(budget, 5, 0, Cause.READ) == 0
    assert budget.free_at(weighing(5, host=Host.SPOT), Cause.POLL, at(0)) == at(0).steady
    assert free(budget, 5, 30, Cause.POLL) == 0


def test_a_refusal_that_ends_early_makes_no_room() -> None:
    budget = Budget(CONFIG)
    spend(budget, 70, 0)
    budget.refuse(weighing(5), Cause.POLL, at(30).steady)
    assert free(budget, 5, 0, Cause.POLL) == pytest.approx(60)


def test_a_repair_may_use_more_of_the_limit_than_a_poll_and_no_more_than_another_repair() -> None:
    budget = Budget(CONFIG)
    assert budget.better_tier(weighing(1), Cause.REPAIR, Cause.POLL)
    assert not budget.better_tier(weighing(1), Cause.POLL, Cause.REPAIR)
    assert not budget.better_tier(weighing(1), Cause.REPAIR, Cause.REPAIR)


def reported(budget: Budget, request: Request[Any], count: int, second: float, cause: Cause = Cause.WARM_UP) -> None:
    """Send a request that is answered at once, with what the exchange has counted."""
    budget.spend(request, at(second), cause)
    budget.ended(request, at(second))
    budget.answered(request, count, at(second), at(second).steady)


def test_a_book_costs_what_reports_show_until_the_exchange_refuses_a_request() -> None:
    budget, book = Budget(Config()), endpoints.depth("BTCUSDT", 500)
    assert budget.form_of(book, at(10)) is book, "there is no report to compare with"
    reported(budget, endpoints.time(), 1, 10)
    trial = budget.form_of(book, at(11))
    assert (is_whole_depth(trial), trial.weight) == (True, book.weight)
    reported(budget, trial, 2, 11)
    assert budget.form_of(book, at(12)) is book, "one is enough to find out"
    reported(budget, endpoints.time(), 3, 17)
    assert budget.form_of(book, at(18)).weight == 1
    budget.block(Host.SPOT, at(20).steady)
    assert budget.form_of(book, at(18)).weight == 1, "the other host has its own limit"
    budget.block(Host.FUTURES, at(20).steady)
    assert budget.form_of(book, at(21)) is book


def test_a_cost_above_the_whole_share_can_go_alone() -> None:
    budget = Budget(CONFIG)
    assert free(budget, 90, 0) == 0
    spend(budget, 1, 0)
    assert free(budget, 90, 1) == pytest.approx(59)


def test_the_most_that_was_ever_used_is_remembered() -> None:
    budget = Budget(CONFIG)
    assert set(budget.most_used.values()) == {0}
    spend(budget, 30, 0)
    spend(budget, 20, 30)
    spend(budget, 5, 70)
    assert budget.most_used[Bucket.FUTURES] == 50


def _when(steady: float) -> Moment:
    return Moment(steady, int(steady * 1000))


@settings(deadline=None, max_examples=70)
@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(1, 40)), min_size=1, max_size=60),
    st.sampled_from([0.3, 0.5, 0.8, 1.0]),
)
def test_no_sixty_seconds_contain_more_than_the_share_wherever_they_begin(
    asked: list[tuple[float, int]], share: float
) -> None:
    window, sent, now = Window(100, 60.0), deque[tuple[float, int]](), 1_000.0
    for pause, cost in asked:
        now += pause
        if cost > int(100 * share):
            continue
        tries = 0
        while (moment := window.free_at(_when(now), cost, int(100 * share))) > now:
            now, tries = moment, tries + 1
            assert tries < 3, "the moment it names is the moment it may go"
        window.spend(_when(now), cost)
        window.ended(_when(now), cost, unsent=False, lost=False)
        sent.append((now, cost))
        # It is counted again naively, over every minute that ends with a request.
        assert sum(cost for when, cost in sent if now - 60.0 + 1e-6 < when <= now) <= math.floor(100 * share)
        assert window.used(_when(now)) == sum(cost for when, cost in sent if when > now - 60.0)
        assert window.requests(now) == sum(1 for when, _ in sent if when > now - 60.0)


MILLISECONDS = st.integers(0, 8_000).map(lambda ms: ms / 1000)
"""Seconds; the exchange's time is told in whole milliseconds."""


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(MILLISECONDS, st.integers(1, 25), st.integers(0, 30)), min_size=1, max_size=40))
def test_with_others_on_the_address_the_exchange_never_counts_more_than_its_limit(
    happened: list[tuple[float, int, int]],
) -> None:
    """Others spend before each of our requests; each is answered at once, with the exchange's count of its minute."""
    budget = Budget(CONFIG)
    second, counted, minute = 0.0, 0, 0
    for pause, cost, others in happened:
        second += pause
        while second % 60 < 0.25 or free(budget, cost, second) > 1e-6:
            # Whole milliseconds: just before the new minute, the exchange's time would be rounded up to it.
            second = math.ceil(round((second + free(budget, cost, second)) * 1000, 3)) / 1000
            # Before that it is uncertain which minute's count an answer reports.
            second = max(second, second - second % 60 + 0.25)
        if int(at(second).exchange // 60_000) != minute:
            minute, counted = int(at(second).exchange // 60_000), 0
        spend(budget, cost, second)
        counted += cost
        assert counted <= 80, "the answer before showed what the others had used"
        counted = min(counted + others, 100)
        budget.ended(weighing(cost), at(second))
        budget.answered(weighing(cost), counted, at(second), at(second).steady)


# --- audits ---------------------------------------------------------------------------------------


def audit(symbol: str = "AUSDT") -> Request:
    return endpoints.klines(symbol, "1m", 99)


def test_audits_of_candles_use_a_tenth_of_the_share_beside_expensive_requests() -> None:
    budget = Budget(CONFIG)
    now = at(0)
    while budget.free_at(endpoints.agg_trades("A", 1000), Cause.WARM_UP, now) == now.steady:
        budget.spend(endpoints.agg_trades("A", 1000), at(0), Cause.WARM_UP)
    for _ in range(8):
        assert budget.free_at(audit(), Cause.AUDIT, now) == now.steady
        budget.spend(audit(), at(0), Cause.AUDIT)
    assert budget.free_at(audit(), Cause.AUDIT, now) == pytest.approx(now.steady + 60)
    assert budget.free_at(audit(), Cause.REPAIR, now) == now.steady, "the same request for another cause"
    budget.set_limit(Host.FUTURES, 200)
    assert budget.free_at(audit(), Cause.AUDIT, now) == now.steady


def test_audits_leave_room_for_repairing_all_candles_and_never_wait_for_the_ticker() -> None:
    budget = Budget(CONFIG)
    budget.candles(30, 0)
    spend(budget, 40, 0)
    now = at(0)
    assert budget.free_at(audit(), Cause.AUDIT, now) > now.steady
    assert budget.free_at(weighing(30), Cause.AUDIT, now) == now.steady, "the answer that finds dead streams"


def unsure(second: float) -> Moment:
    """Return what :func:`at` does, but the exchange's time may be three seconds earlier."""
    return at(second)._replace(uncertain=3_000)


def test_where_the_time_is_uncertain_a_count_of_the_minute_before_is_not_taken_for_the_current_one() -> None:
    budget = Budget(CONFIG)
    budget.answered(weighing(1), 70, unsure(2.0), at(1.9).steady)
    assert free(budget, 20, 2.0) == 0
    budget.answered(weighing(1), 70, unsure(5.0), at(4.9).steady)
    assert free(budget, 20, 5.0) > 0


def test_with_an_uncertain_clock_the_use_of_others_counts_until_the_minute_is_surely_over() -> None:
    budget = Budget(CONFIG)
    budget.answered(weighing(1), 70, unsure(30.0), at(29.9).steady)
    assert budget.free_at(weighing(20), Cause.READ, unsure(61.0)) == pytest.approx(at(63.0).steady)
    assert free(budget, 20, 63.1) == 0


def test_the_budget_also_says_what_may_be_used() -> None:
    budget = Budget(CONFIG)
    assert budget.allowance(weighing(1), Cause.POLL) == 70
    assert budget.allowance(weighing(1), Cause.REPAIR) == 80
    for followed, lacking, kept in ((4, 3, 4), (30, 3, 8), (30, 20, 20), (90, 60, 40)):
        budget.candles(followed, lacking)
        assert budget.allowance(weighing(1), Cause.READ) == 80 - kept
    spend(budget, 80, 0)
    assert budget.allowance(weighing(1), Cause.REPAIR) == 80
    ranks = [budget.rank(weighing(1), cause) for cause in (Cause.REPAIR, Cause.READ, Cause.POLL)]
    assert ranks == sorted(set(ranks))


def test_without_a_shared_account_a_process_uses_a_fraction_whatever_others_use() -> None:
    budget = Budget(CONFIG)
    request = weighing(10)

    def alone(second: float, cause: Cause = Cause.READ) -> float:
        return budget.alone_at(request, cause, at(second).steady, 0.25) - at(second).steady

    spend(budget, 10, 0)
    assert alone(0) == 0
    spend(budget, 10, 5)
    assert alone(5) == 0
    assert alone(5, Cause.POLL) == pytest.approx(55)
    spend(budget, 10, 8)
    assert alone(8) == pytest.approx(52)
    budget.answered(request, 75, at(9), at(8.5).steady)
    assert alone(9) == pytest.approx(51)
    assert budget.own(Bucket.FUTURES, at(9).steady) == 30
    assert alone(61) == 0


def test_a_count_belongs_to_the_minute_of_its_request() -> None:
    assert minute_of_count(at(10), MIDNIGHT + 9_000) == MIDNIGHT
    assert minute_of_count(at(60.5), MIDNIGHT + 60_400) == MIDNIGHT + 60_000
    assert minute_of_count(at(60.5), MIDNIGHT + 59_900) is None
    assert minute_of_count(at(60.5), MIDNIGHT + 60_100) is None
    assert minute_of_count(at(60.5)._replace(uncertain=300), MIDNIGHT + 60_400) is None


# --- where the exchange's count restarts with the clock minute -----------------------------------------


def confirmed() -> Budget:
    """Return a budget that has seen the count restart, 4 s into the new minute."""
    budget = Budget(CONFIG)
    budget.candles(30, 0)
    spend(budget, 50, -30)
    send(budget, 1, 4)
    budget.ended(weighing(1), at(4))
    budget.answered(weighing(1), 1, at(4), at(4).steady)
    assert budget.windows[Bucket.FUTURES].restarts
    return budget


def test_what_is_kept_for_the_repair_of_candles_shrinks_towards_the_new_minute() -> None:
    budget = confirmed()
    trades = endpoints.agg_trades("A", 1000)
    spend(budget, 20, 5)
    spend(budget, 20, 5)

    def wait(second: float) -> float:
        return budget.free_at(trades, Cause.WARM_UP, at(second)) - at(second).steady

    # They would be 61 of 70: of the 30 that are kept at the start of a minute, fewer are kept later.
    assert wait(12) == pytest.approx(35, abs=2)
    assert wait(50) == 0
    assert budget.free_at(audit(), Cause.AUDIT, at(12)) == at(12).steady
    assert budget.allowance(trades, Cause.WARM_UP) == 40, "an account that others share knows nothing of it"


def test_however_soon_enough_is_let_go_a_request_waits_for_a_moment() -> None:
    budget = Budget(Config(futures_weight_limit=10_000, weight_share=0.8, repair_share=0.1))
    budget.candles(4_000, 0)
    spend(budget, 50, -30)
    reported(budget, weighing(1), 1, 4)
    trades = endpoints.agg_trades("A", 1000)
    # Beside the 4,000 for repairs 3,000 may be used, and at :12 a sixth of the 4,000.
    spend(budget, 3_000 + 666 - trades.weight, 5)
    assert budget.free_at(trades, Cause.WARM_UP, at(12)) == pytest.approx(at(12.05).steady)


def test_what_fits_is_not_taken_for_a_request_that_went_ahead_for_a_report() -> None:
    budget = confirmed()
    reported(budget, weighing(1), 40, 5, Cause.READ)
    spend(budget, 30, 6)
    assert free(budget, 1, 6.5, Cause.POLL) == 0, "others have used 39, but a report may show less by now"
    budget.spend(weighing(1), at(6.5), Cause.POLL)
    assert free(budget, 1, 6.6, Cause.POLL) > 0, "one is enough to find out"


@pytest.mark.parametrize("blocked", [False, True])
def test_without_reports_every_sixty_seconds_count_again(blocked: bool) -> None:
    budget = confirmed()
    assert budget.usage(Bucket.FUTURES, at(5)).cost == 2, "what was counted, and what the report may lack"
    if blocked:
        budget.block(Host.FUTURES, at(5).steady)
    else:
        budget.answered(weighing(1), None, at(5), at(5).steady)
    assert budget.usage(Bucket.FUTURES, at(5)).cost == 51


def test_what_reads_leave_for_repairs_is_kept_until_the_new_minute() -> None:
    budget = confirmed()
    spend(budget, 64, 5)
    assert [free(budget, weight, second) == 0 for second in (12, 50) for weight in (7, 8)] == [True, False] * 2


def test_requests_that_can_wait_are_not_sent_in_numbers_around_a_new_minute() -> None:
    budget = confirmed()
    for second in (59.0, 59.2, 60.5):
        assert budget.free_at(weighing(2), Cause.POLL, at(second), waiting=100) == at(second).steady
        spend(budget, 2, second)
    assert budget.free_at(weighing(2), Cause.POLL, at(61), waiting=100) == pytest.approx(at(62).steady)
    assert budget.free_at(weighing(2), Cause.POLL, at(61), waiting=1) == at(61).steady, "all of them fit"
    assert budget.free_at(weighing(40), Cause.POLL, at(61)) == at(61).steady, "it is alone"
    assert budget.free_at(weighing(4), Cause.POLL, at(61), waiting=20) == pytest.approx(at(62).steady)
    assert budget.free_at(weighing(2), Cause.REPAIR, at(61), waiting=100) == at(61).steady
    assert budget.free_at(weighing(2), Cause.POLL, at(62), waiting=100) == at(62).steady


def test_candles_are_audited_as_often_as_intended_or_as_the_share_for_audits_allows() -> None:
    budget = Budget(Config())
    budget.candles(800, 0)
    assert budget.audit_every() == 300.0
    budget.candles(3_200, 0)
    share = int(2_400 * Config().weight_share * AUDIT_SHARE)
    assert budget.audit_every() == pytest.approx(60.0 * 3_200 / share)
    sent, now = 0, at(0)
    while now.steady < at(budget.audit_every()).steady:
        free = budget.free_at(audit(), Cause.AUDIT, now)
        if free > now.steady:
            now = at(free - at(0).steady + 0.001)
            continue
        budget.spend(audit(), now, Cause.AUDIT)
        budget.ended(audit(), now)
        sent += 1
    assert 3_200 <= sent <= 3_200 + share, "every series once"
    budget.set_limit(Host.FUTURES, 9_600)
    assert budget.audit_every() == 300.0


def test_where_the_limit_is_tiny_one_candle_series_a_minute_is_audited() -> None:
    budget = Budget(Config(futures_weight_limit=10))
    budget.candles(10, 4)
    assert budget.lacking == 4
    assert budget.audit_every() == 600.0
