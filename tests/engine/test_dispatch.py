from __future__ import annotations

import random
from dataclasses import replace

import pytest

from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.dispatch import LEAST_TIMEOUT, MOST_AT_ONCE, Dispatcher, Done, Retry, Send
from ats_sync.engine.jobs import Fetch, PendingRead
from ats_sync.engine.moment import Moment
from ats_sync.errors import (
    AtsSyncError,
    ConnectionFailed,
    ExchangeFailure,
    MalformedAnswer,
    NotRunning,
    RateLimited,
    RequestRejected,
    RequestTimeout,
    SharedStoreUnavailable,
)
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.store.link import Link
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Host

from ..venue.samples import MIDNIGHT

START = 1_000.0
WALL = 1_700_000_000.0
TIMEOUT = Config().request_timeout


def at(seconds: float = 0.0) -> Moment:
    return Moment(START + seconds, MIDNIGHT + round(seconds * 1000))


def to_wall(steady: float) -> float:
    return steady - START + WALL


def dispatcher_of(limit: int = 2_400, *, once: bool = False) -> Dispatcher:
    config = Config(futures_weight_limit=limit)
    return Dispatcher(config, Budget(config), to_wall, random.Random(7), once=once)


def fetch(symbol: str = "A", cause: Cause = Cause.READ, *, link: Link | None = None, weight: int = 2) -> Fetch:
    request = replace(endpoints.klines(symbol, "1m", 50), weight=weight)
    return Fetch(Key(Kind.KLINES, symbol, "1m"), request, cause, link)


def budget_of(dispatcher: Dispatcher) -> Budget:
    return dispatcher.queue.budget


def dispatcher_used_up_until_three() -> Dispatcher:
    dispatcher = dispatcher_of(100)
    budget_of(dispatcher).spend(fetch("X", weight=80).request, at(-57), Cause.READ)
    budget_of(dispatcher).ended(fetch("X", weight=80).request, at(-57))
    return dispatcher


def used(dispatcher: Dispatcher, seconds: float = 0.0) -> int:
    return budget_of(dispatcher).windows[Bucket.FUTURES].used(at(seconds))


def ask(dispatcher: Dispatcher, wanted: Fetch, patience: float = 5.0, seconds: float = 0.0) -> PendingRead:
    return dispatcher.ask(wanted, START + seconds + patience, at(seconds))


def sent(dispatcher: Dispatcher, seconds: float = 0.0) -> Send:
    found = dispatcher.next(at(seconds))
    assert isinstance(found, Send)
    return found


def again(outcome: Done | Retry) -> float:
    """Return the earliest second after the start at which it is sent again."""
    assert isinstance(outcome, Retry)
    return outcome.at - START


class TestManyAtOnce:
    def test_where_not_all_of_them_fit_each_waits_for_another_to_end(self) -> None:
        dispatcher = dispatcher_of()
        for number in range(MOST_AT_ONCE + 10):
            dispatcher.submit(fetch(str(number), Cause.WARM_UP, weight=2))
        dispatcher.submit(fetch("heavy", Cause.WARM_UP, weight=2_000))
        sends = [sent(dispatcher) for _ in range(MOST_AT_ONCE)]
        assert dispatcher.next(at()) is None
        ask(dispatcher, fetch("read"))
        assert sent(dispatcher).fetch.cause is Cause.READ
        for send in sends[:2]:
            dispatcher.answered(send, None, START, at(0.2))
            dispatcher.done(send, "rows", at(0.2))
        assert isinstance(dispatcher.next(at(0.2)), Send)
        assert dispatcher.next(at(0.2)) is None

    def test_where_all_of_them_fit_none_waits(self) -> None:
        dispatcher = dispatcher_of()
        for number in range(2 * MOST_AT_ONCE):
            dispatcher.submit(fetch(str(number), Cause.WARM_UP, weight=2))
        assert len([sent(dispatcher) for _ in range(2 * MOST_AT_ONCE)]) == dispatcher.under_way

    def test_what_is_under_way_is_not_waiting(self) -> None:
        dispatcher = dispatcher_of()
        for symbol in "ABC":
            dispatcher.submit(fetch(symbol))
        sent(dispatcher)
        assert (len(dispatcher), dispatcher.under_way, dispatcher.waiting()) == (3, 1, 2)


class TestAnAnswer:
    def test_goes_to_every_waiting_reader_and_to_the_engine(self) -> None:
        dispatcher, woken = dispatcher_of(), []
        first = dispatcher.ask(fetch(), START + 5, at(), lambda: woken.append("first"))
        send = sent(dispatcher)
        second = dispatcher.ask(fetch(), START + 5, at(0.1), lambda: woken.append("second"))
        assert dispatcher.next(at(0.1)) is None
        dispatcher.answered(send, None, START, at(0.2))
        done = dispatcher.done(send, "rows", at(0.2))
        assert (done.fetch, done.error, done.readers) == (send.fetch, None, [first, second])
        assert [reader.value for reader in done.readers if reader.settled] == ["rows", "rows"]
        assert woken == []
        for reader in done.readers:
            reader.wake()
        assert woken == ["first", "second"]
        assert (len(dispatcher), dispatcher.under_way) == (0, 0)

    def test_of_the_engine_needs_no_reader(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.REPAIR))
        send = sent(dispatcher)
        assert send.timeout == TIMEOUT
        assert dispatcher.done(send, "rows", at(1)) == Done(send.fetch, None, [])

    def test_is_paid_for_when_it_is_handed_out(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(weight=30))
        assert used(dispatcher) == 0
        send = sent(dispatcher)
        assert used(dispatcher) == 30
        dispatcher.done(send, "rows", at(2))
        assert used(dispatcher, 61) == 30  # counted from its answer on
        assert used(dispatcher, 62.1) == 0

    def test_corrects_the_budget_by_the_use_of_others_on_this_address(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(weight=30))
        send = sent(dispatcher, 10)
        dispatcher.answered(send, 500, START + 10, at(10.2))
        dispatcher.done(send, "rows", at(10.2))
        assert used(dispatcher, 11) == 500

    def test_that_is_unusable_is_final(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch())
        send = sent(dispatcher)
        dispatcher.answered(send, None, START, at(0.2))
        error = MalformedAnswer("no candles")
        assert dispatcher.failed(send, error, at(0.2)) == Done(send.fetch, error, [reader])
        assert reader.error is error


class TestTime:
    def test_for_a_reader_ends_when_it_gives_up(self) -> None:
        dispatcher = dispatcher_of()
        ask(dispatcher, fetch(), 3.0)
        assert sent(dispatcher, 1).timeout == pytest.approx(2.0)

    def test_for_the_engine_outlasts_the_readers(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch())
        ask(dispatcher, fetch(), 3.0)
        assert sent(dispatcher, 1).timeout == TIMEOUT

    def test_is_never_zero(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch())
        ask(dispatcher, fetch(), 0.01)
        assert sent(dispatcher, 0.02).timeout >= LEAST_TIMEOUT

    def test_too_short_to_be_worth_the_weight_sends_nothing(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 1.0)
        assert dispatcher.next(at(0.95)) is None
        assert used(dispatcher, 0.95) == 0
        assert isinstance(dispatcher.gave_up(reader, at(1.0)), RequestTimeout)


class TestRetry:
    def test_after_a_pause_that_grows(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 30.0)
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        assert 1.2 <= resumed <= 1.4
        assert dispatcher.next(at(1)) == START + resumed
        assert dispatcher.under_way == 0
        send = sent(dispatcher, resumed)
        assert used(dispatcher, resumed) == 4  # each attempt is paid for
        second = again(dispatcher.failed(send, ConnectionFailed("reset"), at(2)))
        assert 2.4 <= second <= 2.6
        last = ConnectionFailed("reset again")
        send = sent(dispatcher, second)
        assert dispatcher.failed(send, last, at(3)) == Done(send.fetch, last, [reader])
        assert dispatcher.next(at(60)) is None

    def test_less_often_where_no_reader_waits(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.REPAIR))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        assert isinstance(dispatcher.failed(sent(dispatcher, resumed), ExchangeFailure("503"), at(2)), Done)

    @pytest.mark.parametrize(
        ("error", "seconds"),
        [
            (RequestRejected("400"), 1.0),
            (SharedStoreUnavailable("no shared store"), 1.0),
            (ExchangeFailure("503, and no time left for a pause"), 4.9),
        ],
    )
    def test_not_where_it_cannot_help(self, error: AtsSyncError, seconds: float) -> None:
        dispatcher = dispatcher_of()
        ask(dispatcher, fetch(), 5.0)
        assert isinstance(dispatcher.failed(sent(dispatcher), error, at(seconds)), Done)

    def test_never_where_each_request_is_sent_once(self) -> None:
        for error in (ExchangeFailure("503"), RateLimited("429", retry_at=WALL + 1)):
            dispatcher = dispatcher_of(once=True)
            ask(dispatcher, fetch(), 5.0)
            assert isinstance(dispatcher.failed(sent(dispatcher), error, at(0.1)), Done)

    def test_ends_when_its_last_reader_has_withdrawn(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch())
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        dispatcher.withdraw(reader)
        assert dispatcher.next(at(resumed)) is None
        assert len(dispatcher) == 0

    def test_lets_other_requests_go_meanwhile(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch("A"))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        dispatcher.submit(fetch("B", Cause.AUDIT))
        assert dispatcher.waiting() == 2
        assert sent(dispatcher, 1).fetch.key.symbol == "B"
        assert sent(dispatcher, resumed).fetch.key.symbol == "A"

    def test_the_pause_is_not_shortened_by_a_newcomer(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.WARM_UP))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        ask(dispatcher, fetch(), seconds=1.0)
        assert dispatcher.next(at(1)) == START + resumed

    def test_the_end_of_a_pause_is_not_missed_while_another_request_waits_for_the_budget(self) -> None:
        dispatcher = dispatcher_of(100)
        dispatcher.submit(fetch("A", weight=10))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        dispatcher.submit(fetch("B", Cause.REPAIR, weight=95))
        assert dispatcher.next(at(1)) == START + resumed
        assert sent(dispatcher, resumed).fetch.key.symbol == "A"

    def test_the_moment_at_which_the_budget_has_room_is_not_missed_during_a_pause(self) -> None:
        dispatcher = dispatcher_of(100)
        other = fetch("X", weight=70).request
        budget_of(dispatcher).spend(other, at(), Cause.READ)
        budget_of(dispatcher).ended(other, at())
        dispatcher.submit(fetch("A", weight=5))
        resumed = again(dispatcher.failed(sent(dispatcher, 59), ExchangeFailure("503"), at(59.9)))
        dispatcher.submit(fetch("B", weight=50))
        assert resumed > 60
        assert dispatcher.next(at(59.9)) == START + 60
        assert sent(dispatcher, 60).fetch.key.symbol == "B"

    def test_a_requeued_job_has_the_priority_of_the_fetches_that_joined_it(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch("A", Cause.WARM_UP))
        send = sent(dispatcher)
        reader = ask(dispatcher, fetch("A"))
        resumed = again(dispatcher.failed(send, ExchangeFailure("503"), at(1)))
        dispatcher.submit(fetch("B", Cause.REPAIR))
        send = sent(dispatcher, resumed)
        assert (send.fetch.key.symbol, send.fetch.cause) == ("A", Cause.READ)
        assert dispatcher.done(send, "rows", at(2)).readers == [reader]

    def test_is_dropped_with_the_stream_that_it_was_to_complete(self) -> None:
        dispatcher, link = dispatcher_of(), Link(1, "market", 0.0)
        dispatcher.submit(fetch(cause=Cause.REPAIR, link=link))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        link.up = False
        assert dispatcher.next(at(resumed)) is None
        assert len(dispatcher) == 0

    @pytest.mark.parametrize("cause", [Cause.REPAIR, Cause.PROBE])
    def test_is_not_dropped_where_a_reader_waits_for_it(self, cause: Cause) -> None:
        dispatcher, link = dispatcher_of(), Link(1, "market", 0.0)
        dispatcher.submit(fetch(cause=cause, link=link))
        send = sent(dispatcher)
        reader = ask(dispatcher, fetch())
        resumed = again(dispatcher.failed(send, ExchangeFailure("503"), at(1)))
        link.up = False
        assert dispatcher.done(sent(dispatcher, resumed), "rows", at(2)).readers == [reader]

    def test_waits_for_the_budget_and_counts_its_attempts_again_after_a_long_wait(self) -> None:
        dispatcher = dispatcher_of(100)
        dispatcher.submit(fetch(cause=Cause.REPAIR, weight=60))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        free = dispatcher.next(at(resumed))
        assert free == START + 61
        send = sent(dispatcher, 61)
        assert send.timeout == TIMEOUT
        assert isinstance(dispatcher.failed(send, ExchangeFailure("503"), at(62)), Retry)


class TestRateLimited:
    def test_it_is_queued_again_until_the_host_accepts_requests(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.REPAIR))
        assert again(dispatcher.failed(sent(dispatcher), RateLimited("429", retry_at=WALL + 31), at(1))) == 31
        dispatcher.submit(fetch("B", Cause.REPAIR))
        assert dispatcher.next(at(30)) == START + 31
        sent(dispatcher, 31)

    def test_the_attempts_count_from_zero_again(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.REPAIR))
        assert again(dispatcher.failed(sent(dispatcher), RateLimited("429", retry_at=WALL + 2), at(1))) == 2
        resumed = again(dispatcher.failed(sent(dispatcher, 2), ExchangeFailure("503"), at(3)))
        assert isinstance(dispatcher.failed(sent(dispatcher, resumed), ExchangeFailure("503"), at(5)), Done)

    def test_a_reader_whose_deadline_comes_first_fails_at_once(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 5.0)
        error = RateLimited("429", retry_at=WALL + 31)
        send = sent(dispatcher)
        assert dispatcher.failed(send, error, at(1)) == Done(send.fetch, error, [reader])
        with pytest.raises(RateLimited, match="has rate-limited this address") as caught:
            ask(dispatcher, fetch(), 5.0, 2.0)
        assert caught.value.retry_at == pytest.approx(WALL + 31)

    def test_a_reader_whose_deadline_is_the_moment_when_the_host_accepts_requests_again_fails_at_once(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 5.0)
        error = RateLimited("429", retry_at=WALL + 5)
        send = sent(dispatcher)
        assert dispatcher.failed(send, error, at(1)) == Done(send.fetch, error, [reader])

    def test_requests_to_the_other_host_go_meanwhile(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch())
        dispatcher.failed(sent(dispatcher), RateLimited("418", retry_at=WALL + 120), at(1))
        dispatcher.submit(Fetch(Key(Kind.SPOT), endpoints.spot_price(), Cause.POLL))
        assert sent(dispatcher, 1).fetch.request.host is Host.SPOT


class TestGivingUp:
    def test_a_request_in_flight_for_too_long_is_a_timeout(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 3.0)
        send = sent(dispatcher)
        error = dispatcher.gave_up(reader, at(3))
        assert isinstance(error, RequestTimeout)
        assert "within 3 s" in str(error)
        assert dispatcher.done(send, "rows", at(4)).readers == []
        assert not reader.settled

    def test_a_wait_for_the_budget_is_not_a_timeout(self) -> None:
        dispatcher = dispatcher_of(100)
        readers = [ask(dispatcher, fetch(symbol, weight=50), 3.0) for symbol in "AB"]
        sent(dispatcher)
        assert isinstance(dispatcher.next(at()), float)
        error = dispatcher.gave_up(readers[1], at(3))
        assert isinstance(error, RateLimited)
        assert "budget" in str(error)
        assert error.retry_at == pytest.approx(WALL + 60)
        assert "retry in 57 s" in str(error)
        assert dispatcher.next(at(61)) is None  # nobody waits for it any longer

    def test_a_budget_that_is_free_at_the_last_moment_was_the_cause_too(self) -> None:
        dispatcher = dispatcher_used_up_until_three()
        reader = ask(dispatcher, fetch(weight=40), 3.0)
        assert dispatcher.next(at()) == START + 3
        assert isinstance(dispatcher.gave_up(reader, at(3)), RateLimited)

    def test_a_budget_that_was_free_too_late_to_send_anything_was_the_cause_too(self) -> None:
        dispatcher = dispatcher_used_up_until_three()
        reader = ask(dispatcher, fetch(weight=40), 3.05)
        assert dispatcher.next(at()) == START + 3
        assert dispatcher.next(at(3)) is None
        assert isinstance(dispatcher.gave_up(reader, at(3.05)), RateLimited)

    def test_a_budget_that_once_let_nothing_be_sent_is_not_the_cause_for_ever(self) -> None:
        dispatcher = dispatcher_used_up_until_three()
        dispatcher.submit(fetch(weight=40))
        assert dispatcher.next(at()) == START + 3
        sent(dispatcher, 3)
        reader = ask(dispatcher, fetch("B"), 1.0, 4.0)
        assert isinstance(dispatcher.gave_up(reader, at(5)), RequestTimeout)

    def test_a_wait_for_a_free_thread_is_a_timeout(self) -> None:
        dispatcher = dispatcher_of()
        readers = [ask(dispatcher, fetch(symbol), 3.0) for symbol in "AB"]
        sent(dispatcher)
        assert isinstance(dispatcher.gave_up(readers[1], at(3)), RequestTimeout)

    def test_the_last_failure_is_its_cause(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), 1.5)
        failure = ExchangeFailure("503")
        dispatcher.failed(sent(dispatcher), failure, at(1))
        assert dispatcher.gave_up(reader, at(1.5)).__cause__ is failure

    def test_a_request_that_nobody_needs_any_longer_is_not_sent(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch("A"), 30.0)
        dispatcher.withdraw(reader)
        assert len(dispatcher) == 0
        assert dispatcher.next(at()) is None

    def test_a_reader_that_withdraws_after_the_answer_has_come_changes_nothing(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch())
        dispatcher.done(sent(dispatcher), "rows", at(1))
        dispatcher.withdraw(reader)
        assert (reader.value, reader.error, len(dispatcher), dispatcher.under_way) == ("rows", None, 0, 0)

    def test_others_still_get_the_answer(self) -> None:
        dispatcher = dispatcher_of()
        first, second = ask(dispatcher, fetch(), 1.0), ask(dispatcher, fetch(), 5.0)
        dispatcher.gave_up(first, at(1))
        assert dispatcher.done(sent(dispatcher, 1), "rows", at(2)).readers == [second]

    def test_a_request_that_cannot_be_sent_in_time_is_refused_at_once(self) -> None:
        dispatcher = dispatcher_of(100)
        ask(dispatcher, fetch("A", weight=70))
        sent(dispatcher)
        with pytest.raises(RateLimited, match="budget"):
            ask(dispatcher, fetch("B", weight=50))
        assert len(dispatcher) == 1


class TestCostOfAFailure:
    def test_nothing_where_it_was_never_sent(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch())
        unsent = ConnectionFailed("refused")
        unsent.unsent = True
        dispatcher.failed(sent(dispatcher), unsent, at(1))
        assert used(dispatcher, 1) == 0

    def test_longer_where_no_answer_came_since_it_may_still_arrive(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(weight=30))
        dispatcher.failed(sent(dispatcher), RequestTimeout("no answer"), at(10))
        assert used(dispatcher, 10 + 60 + 29) == 30
        assert used(dispatcher, 10 + 60 + 31) == 0

    def test_a_budget_that_is_used_up_bars_no_host(self) -> None:
        """Open interest has a limit of its own: once that is used up, candles can still be requested."""
        dispatcher = dispatcher_of()
        interest = endpoints.open_interest_hist("A", "5m", 30)
        assert interest.host is Host.FUTURES
        dispatcher.submit(Fetch(Key(Kind.OPEN_INTEREST, "A", "5m"), interest, Cause.POLL))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        limit = budget_of(dispatcher).windows[interest.bucket].limit
        budget_of(dispatcher).spend(replace(interest, weight=limit), at(1), Cause.READ)
        assert dispatcher.next(at(resumed)) == START + 301
        with pytest.raises(RateLimited, match="open interest"):
            ask(dispatcher, Fetch(Key(Kind.OPEN_INTEREST, "B", "5m"), interest, Cause.READ), seconds=resumed)
        ask(dispatcher, fetch(), seconds=resumed)
        assert sent(dispatcher, resumed).fetch.key.kind is Kind.KLINES


class TestClose:
    def test_waiting_readers_are_released_and_nothing_is_sent(self) -> None:
        dispatcher = dispatcher_of()
        readers = [ask(dispatcher, fetch(symbol)) for symbol in "ABC"]
        send = sent(dispatcher)
        again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(0.1)))
        assert set(dispatcher.close()) == set(readers)
        assert all(isinstance(reader.error, NotRunning) for reader in readers)
        assert dispatcher.next(at(10)) is None
        late = ExchangeFailure("503")
        assert dispatcher.failed(send, late, at(1)) == Done(send.fetch, late, [])
        assert (len(dispatcher), dispatcher.under_way) == (0, 0)

    def test_a_request_that_pauses_before_its_next_attempt_is_not_sent_either(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.REPAIR))
        resumed = again(dispatcher.failed(sent(dispatcher), ExchangeFailure("503"), at(1)))
        assert dispatcher.close() == []
        assert dispatcher.next(at(1)) is None, "there is nothing to come back for"
        assert dispatcher.next(at(resumed)) is None

    def test_nothing_is_accepted_afterwards(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.close()
        dispatcher.submit(fetch())
        assert len(dispatcher) == 0
        with pytest.raises(NotRunning):
            ask(dispatcher, fetch())

    def test_it_is_used_under_the_lock_of_its_budget(self) -> None:
        dispatcher = dispatcher_of()
        lock = budget_of(dispatcher).shared()
        for use in (lambda: ask(dispatcher, fetch()), lambda: dispatcher.next(at()), dispatcher.close):
            with pytest.raises(AssertionError):
                use()
            with lock:
                use()


@pytest.mark.parametrize("seed", range(60))
def test_whatever_happens_every_reader_and_the_engine_get_their_answer(seed: int) -> None:
    rng = random.Random(seed)
    dispatcher = dispatcher_of(rng.choice([60, 2_400]))
    waiting: dict[PendingRead, float] = {}
    under_way: list[Send] = []
    owed: set[str] = set()
    now = 0.0

    def settle(outcome: Done | Retry) -> None:
        if isinstance(outcome, Retry):
            return
        owed.discard(outcome.fetch.key.symbol)
        for reader in outcome.readers:
            assert reader.settled
            del waiting[reader]

    def deliver(send: Send) -> None:
        kind = rng.randrange(5)
        if kind < 2:
            dispatcher.answered(send, None, START + now, at(now))
            settle(dispatcher.done(send, "rows", at(now)))
        else:
            errors = [ExchangeFailure("503"), RequestTimeout("late"), RateLimited("429", retry_at=WALL + now + 5)]
            settle(dispatcher.failed(send, errors[kind - 2], at(now)))

    for _ in range(300):
        now += rng.random()
        step = rng.randrange(4)
        if step == 0:
            patience = rng.uniform(0.5, 20.0)
            try:
                waiting[ask(dispatcher, fetch(rng.choice("ABC")), patience, now)] = now + patience
            except RateLimited:
                pass
        elif step == 1:
            symbol = rng.choice("ABC")
            owed.add(symbol)
            dispatcher.submit(fetch(symbol, rng.choice([Cause.REPAIR, Cause.WARM_UP])))
        elif step == 2 and isinstance(found := dispatcher.next(at(now)), Send):
            under_way.append(found)
        elif under_way:
            deliver(under_way.pop(rng.randrange(len(under_way))))
        for reader in [reader for reader, until in waiting.items() if until <= now]:
            assert isinstance(dispatcher.gave_up(reader, at(now)), (RateLimited, RequestTimeout))
            del waiting[reader]
    for _ in range(2_000):
        if not len(dispatcher):
            break
        while isinstance(found := dispatcher.next(at(now)), Send):
            under_way.append(found)
        now = max(now, found - START) if isinstance(found, float) else now
        for reader in [reader for reader, until in waiting.items() if until <= now]:
            dispatcher.gave_up(reader, at(now))
            del waiting[reader]
        while under_way:
            send = under_way.pop()
            dispatcher.answered(send, None, START + now, at(now))
            settle(dispatcher.done(send, "rows", at(now)))
    assert (len(dispatcher), dispatcher.under_way, owed, waiting) == (0, 0, set(), {})


class TestARefusalByAnAccountThatOthersShare:
    def test_requeues_the_request_as_if_it_had_not_been_sent(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(weight=30))
        send = sent(dispatcher)
        assert again(dispatcher.refused(send, START + 3, at(0.1))) == 3
        assert used(dispatcher) == 0
        assert (len(dispatcher), dispatcher.under_way, dispatcher.waiting()) == (1, 0, 1)
        assert dispatcher.next(at(0.2)) == START + 3
        once_more = sent(dispatcher, 3)
        assert once_more.job.attempts == 1
        assert dispatcher.done(once_more, "rows", at(4)) == Done(send.fetch, None, [])

    def test_applies_to_requests_of_the_same_weight_and_tier(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch("A", Cause.POLL, weight=5))
        dispatcher.refused(sent(dispatcher), START + 30, at())
        dispatcher.submit(fetch("B", Cause.POLL, weight=5))
        assert dispatcher.next(at(1)) == START + 30
        ask(dispatcher, fetch("C", weight=5), seconds=1)
        assert sent(dispatcher, 1).fetch.key.symbol == "C"
        budget = budget_of(dispatcher)
        assert budget.free_at(fetch(weight=4).request, Cause.POLL, at(1)) == START + 1
        assert budget.free_at(fetch(weight=6).request, Cause.POLL, at(1)) == START + 30
        assert budget.free_at(fetch(weight=6).request, Cause.POLL, at(30)) == START + 30

    @pytest.mark.parametrize("until", [5, 20])
    def test_that_outlasts_the_readers_patience_is_their_error(self, until: int) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), patience=5)
        done = dispatcher.refused(sent(dispatcher), START + until, at(1))
        assert isinstance(done, Done)
        assert done.readers == [reader]
        assert isinstance(reader.error, RateLimited)
        assert reader.error.retry_at == WALL + until
        assert (len(dispatcher), dispatcher.under_way) == (0, 0)
        with pytest.raises(RateLimited):
            ask(dispatcher, fetch(), patience=2, seconds=2)

    def test_that_outlasts_it_leaves_what_the_engine_needs_in_the_queue(self) -> None:
        dispatcher = dispatcher_of()
        reader = ask(dispatcher, fetch(), patience=5)
        dispatcher.submit(fetch())
        assert again(dispatcher.refused(sent(dispatcher), START + 20, at(1))) == 20
        assert not reader.settled
        assert isinstance(dispatcher.gave_up(reader, at(5)), RateLimited)
        assert dispatcher.done(sent(dispatcher, 20), "rows", at(21)).error is None

    def test_after_the_end_does_not_count_as_an_attempt(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch())
        send = sent(dispatcher)
        dispatcher.close()
        done = dispatcher.refused(send, START + 1, at(1))
        assert isinstance(done, Done)
        assert isinstance(done.error, NotRunning)
        assert dispatcher.under_way == 0


class TestAnAnswerOfAnotherProcess:
    def test_settles_a_request_that_costs_nothing(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.POLL, weight=30))
        send = sent(dispatcher)
        assert dispatcher.spared(send, "rows", at(0.1)) == Done(send.fetch, None, [])
        assert used(dispatcher) == 0
        assert (len(dispatcher), dispatcher.under_way, send.under_way) == (0, 0, False)

    def test_is_not_for_a_reader_who_has_joined(self) -> None:
        dispatcher = dispatcher_of()
        dispatcher.submit(fetch(cause=Cause.POLL, weight=30))
        send = sent(dispatcher)
        reader = ask(dispatcher, fetch(weight=30))
        assert dispatcher.spared(send, "rows", at(0.1)) is None
        assert (send.under_way, reader.settled, used(dispatcher)) == (True, False, 30)
        assert dispatcher.done(send, "newer rows", at(0.2)).readers == [reader]
        assert reader.value == "newer rows"
