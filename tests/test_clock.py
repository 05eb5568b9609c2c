from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.clock import Clock, SystemTime

EXCHANGE = 1_795_219_200.0
WALL = EXCHANGE - 7.0


class HandTime:
    """Clocks that are set by hand."""

    def __init__(self) -> None:
        self.at_wall = WALL
        self.at_steady = 500.0

    def wall(self) -> float:
        return self.at_wall

    def steady(self) -> float:
        return self.at_steady

    def passes(self, seconds: float) -> None:
        self.at_wall += seconds
        self.at_steady += seconds


@pytest.fixture
def source() -> HandTime:
    return HandTime()


@pytest.fixture
def clock(source: HandTime) -> Clock:
    """A clock that knows the exchange's time."""
    clock = Clock(source)
    clock.set_exchange(EXCHANGE)
    return clock


def test_the_wall_clock_serves_until_the_exchange_has_answered(source: HandTime) -> None:
    clock = Clock(source)
    assert not clock.synchronised
    assert clock.exchange() == WALL
    source.passes(3.0)
    assert clock.exchange() == WALL + 3.0


def test_exchange_time_advances_from_the_answer(source: HandTime, clock: Clock) -> None:
    assert clock.synchronised
    source.passes(2.5)
    assert clock.exchange() == EXCHANGE + 2.5
    assert clock.exchange_ms() == int((EXCHANGE + 2.5) * 1000)
    assert clock.offset() == pytest.approx(7.0)
    assert clock.proven()


def test_setting_the_wall_clock_back_makes_no_data_look_younger(source: HandTime, clock: Clock) -> None:
    source.passes(10.0)
    source.at_wall -= 600.0
    assert clock.exchange() == EXCHANGE + 10.0
    assert not clock.proven()
    source.passes(1.0)
    assert clock.exchange() == EXCHANGE + 11.0


def test_setting_the_wall_clock_forward_makes_all_data_look_old_and_unconfirmed(source: HandTime, clock: Clock) -> None:
    source.passes(10.0)
    source.at_wall += 600.0
    assert clock.exchange() == EXCHANGE + 610.0
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + 10.0)
    assert clock.proven()
    assert clock.exchange() == EXCHANGE + 10.0


def test_a_slow_answer_leaves_both_ends_open(source: HandTime) -> None:
    clock = Clock(source)
    clock.set_exchange(EXCHANGE, EXCHANGE + 4.0)
    assert clock.exchange() == EXCHANGE + 4.0
    assert clock.earliest_ms() == EXCHANGE * 1000
    assert clock.uncertainty() == 4.0
    assert clock.proven()


def test_events_narrow_what_a_slow_answer_left_open(source: HandTime) -> None:
    clock = Clock(source)
    clock.set_exchange(EXCHANGE, EXCHANGE + 3.0)
    clock.saw_event(int((EXCHANGE + 2.9) * 1000))
    assert clock.earliest_ms() == int((EXCHANGE + 2.9) * 1000)
    assert clock.exchange() == EXCHANGE + 3.0
    source.passes(10.0)
    assert clock.uncertainty() == pytest.approx(0.1, abs=0.01)


def test_a_fast_answer_narrows_a_slow_one_but_not_vice_versa(source: HandTime) -> None:
    clock = Clock(source)
    clock.set_exchange(EXCHANGE, EXCHANGE + 3.0)
    clock.set_exchange(EXCHANGE + 1.0, EXCHANGE + 1.1)
    clock.set_exchange(EXCHANGE - 1.0, EXCHANGE + 2.0)
    assert (clock.earliest_ms(), clock.exchange()) == ((EXCHANGE + 1.0) * 1000, EXCHANGE + 1.1)


def test_an_event_does_not_hide_that_the_wall_clock_was_set_forward(source: HandTime, clock: Clock) -> None:
    source.passes(10.0)
    source.at_wall += 600.0
    clock.saw_event(int((EXCHANGE + 10.2) * 1000))
    assert not clock.proven()


DELAYS = st.floats(0.0, 4.0)


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0.1, 700.0), st.sampled_from(["time", "event", "both"]), DELAYS, DELAYS, DELAYS),
        min_size=1,
        max_size=15,
    ),
    st.floats(-600.0, 600.0),
    st.floats(-1e-4, 1e-4),
)
def test_the_true_time_is_always_between_the_two_ends(
    happened: list[tuple[float, str, float, float, float]], ahead: float, drift: float
) -> None:
    """This holds however long requests and answers travel, and however late events arrive."""
    source = HandTime()
    source.at_wall = EXCHANGE + ahead
    clock = Clock(source)
    clock.set_exchange(EXCHANGE - 0.2, EXCHANGE + 0.3)
    true = EXCHANGE

    def passes(seconds: float) -> None:
        nonlocal true
        true += seconds
        source.passes(seconds * (1.0 + drift))

    for pause, what, out, back, late in happened:
        passes(pause)
        if what != "event":
            sent = clock.now()
            passes(out)
            told, passed = true, clock.now()
            passes(back)
            assert passed <= clock.now()
            clock.set_exchange(told, told + clock.now() - sent)
        if what != "time":
            clock.saw_event(int((true - late) * 1000))
        assert clock.proven()
        assert clock.earliest_ms() <= true * 1000 + 2
        # The late end may lag by as much as the clocks have drifted apart.
        assert clock.exchange() >= true - abs(drift) * (true - EXCHANGE) - 0.01


@pytest.mark.parametrize("told", [0.0, -0.5, -4.0])
def test_a_slow_answer_does_not_spoil_what_was_known(source: HandTime, clock: Clock, told: float) -> None:
    source.at_wall -= 600.0
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + told, EXCHANGE + told + 4.0)
    assert clock.exchange() == EXCHANGE
    assert clock.proven()


@pytest.mark.parametrize("wrong", [-0.1, 0.1])
def test_an_answer_that_contradicts_the_estimate_replaces_it(source: HandTime, clock: Clock, wrong: float) -> None:
    earliest = EXCHANGE + (wrong if wrong > 0 else wrong - 0.04)
    clock.set_exchange(earliest, earliest + 0.04)
    assert clock.exchange() == pytest.approx(earliest + 0.04)
    assert clock.earliest_ms() == pytest.approx(earliest * 1000, abs=1)


def test_a_steady_clock_that_stood_still_makes_no_data_look_younger(source: HandTime, clock: Clock) -> None:
    source.at_wall += 3_600.0  # the machine slept
    assert clock.exchange() == EXCHANGE + 3_600.0
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + 3_600.2)
    assert clock.proven()


@pytest.mark.parametrize(("apart", "proven"), [(0.0, True), (0.9, True), (-0.9, True), (1.1, False), (-1.1, False)])
def test_a_second_of_disagreement_is_tolerated(source: HandTime, clock: Clock, apart: float, proven: bool) -> None:
    source.passes(60.0)
    source.at_wall += apart
    assert clock.proven() is proven


def test_an_event_a_little_ahead_corrects_the_clock(source: HandTime, clock: Clock) -> None:
    source.passes(5.0)
    clock.saw_event(int((EXCHANGE + 5.4) * 1000))
    assert clock.exchange() == pytest.approx(EXCHANGE + 5.4)
    source.passes(1.0)
    assert clock.exchange() == pytest.approx(EXCHANGE + 6.4)
    assert clock.proven()


def test_an_event_behind_changes_nothing(source: HandTime, clock: Clock) -> None:
    source.passes(5.0)
    clock.saw_event(int((EXCHANGE + 4.0) * 1000))
    clock.saw_event(0)
    assert clock.exchange() == EXCHANGE + 5.0
    assert clock.proven()


@pytest.mark.parametrize("slept", [0.0, 56.0])
def test_an_event_does_not_hide_that_the_wall_clock_was_set_back(source: HandTime, clock: Clock, slept: float) -> None:
    """Where the machine slept meanwhile and its steady clock stood still, it is not known how old the event is."""
    source.passes(5.0)
    source.at_wall += slept - 600.0
    clock.saw_event(int((EXCHANGE + 5.1) * 1000))
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + 5.0 + slept)
    assert clock.proven()
    source.passes(1.0)
    assert clock.exchange() == pytest.approx(EXCHANGE + 6.0 + slept)


@pytest.mark.parametrize("back", [2.0, 600.0])
def test_a_time_that_has_surely_come_stays_so_when_the_clock_is_set_back(
    source: HandTime, clock: Clock, back: float
) -> None:
    source.passes(30.0)
    clock.keep()
    reached = clock.earliest_ms()
    source.at_wall -= back
    source.passes(1.0)
    clock.keep()
    assert not clock.proven()
    assert clock.earliest_ms() == clock.reading().earliest_ms == reached > (EXCHANGE + 29.9) * 1000
    clock.set_exchange(EXCHANGE - 5.0)  # the exchange may set its own back
    assert clock.earliest_ms() == clock.reading().earliest_ms == (EXCHANGE - 5.0) * 1000


@pytest.mark.parametrize("ahead", [2.0, 86_400.0, 1e12])
def test_one_wrong_event_makes_no_data_look_old_but_prompts_a_check(
    source: HandTime, clock: Clock, ahead: float
) -> None:
    source.passes(5.0)
    clock.saw_event(int((EXCHANGE + 5.0 + ahead) * 1000))
    assert clock.exchange() == EXCHANGE + 5.0
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + 5.0)
    assert clock.proven()


def test_a_doubt_lasts_until_the_exchange_answers(source: HandTime, clock: Clock) -> None:
    clock.doubt()
    source.passes(100.0)
    clock.saw_event(int((EXCHANGE + 100.1) * 1000))
    assert not clock.proven()
    clock.set_exchange(EXCHANGE + 100.0)
    assert clock.proven()


def test_the_earliest_possible_time_allows_for_every_doubt(source: HandTime, clock: Clock) -> None:
    source.passes(10.0)
    assert clock.earliest_ms() == pytest.approx(clock.exchange_ms(), abs=3)
    source.at_wall += 600.0
    assert clock.earliest_ms() == pytest.approx((EXCHANGE + 10.0) * 1000, abs=3)
    source.at_wall -= 1_200.0
    assert clock.earliest_ms() <= int((EXCHANGE + 10.0) * 1000)
    clock.set_exchange(EXCHANGE + 10.0)
    clock.doubt()
    assert clock.earliest_ms() < int((EXCHANGE - 600.0) * 1000)


def test_before_the_first_answer_the_wall_clock_may_be_minutes_off(source: HandTime) -> None:
    clock = Clock(source)
    assert clock.earliest_ms() <= int((WALL - 600.0) * 1000)


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.floats(-1_000, 1_000)), max_size=20))
def test_exchange_time_is_never_less_than_either_clock_says(happened: list[tuple[float, float, float]]) -> None:
    """Whatever the two clocks do, data looks at least as old as the steady clock says."""
    source = HandTime()
    clock = Clock(source)
    clock.set_exchange(EXCHANGE)
    really = 0.0
    for slept, awake, jump in happened:
        source.at_wall += slept + awake + jump
        source.at_steady += awake
        really += awake
        assert clock.exchange() >= EXCHANGE + really - 1e-3
        assert clock.earliest_ms() <= (EXCHANGE + really) * 1000 + 1


def test_moments_are_translated_to_the_wall_clock(source: HandTime, clock: Clock) -> None:
    assert clock.to_wall(source.at_steady + 30.0) == WALL + 30.0
    source.passes(10.0)
    assert clock.to_wall(clock.now()) == WALL + 10.0


def test_waiting_ends_with_the_event_or_the_time() -> None:
    event = threading.Event()
    assert not Clock.wait(event, 0.0)
    event.set()
    assert Clock.wait(event, None)


def test_the_machines_own_clocks() -> None:
    clock = Clock()
    assert clock.wall() == pytest.approx(time.time(), abs=5)
    assert clock.exchange() == pytest.approx(time.time(), abs=5)
    assert clock.proven()
    first = SystemTime.steady()
    assert SystemTime.steady() >= first


def test_it_can_be_corrected_in_a_forked_child() -> None:
    clock = Clock(HandTime())
    clock._lock.acquire()
    clock.after_fork()
    clock.set_exchange(EXCHANGE)
    assert clock.exchange() == EXCHANGE


@given(
    answers=st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 2)), max_size=4),
    wall=st.floats(-3, 30),
    steady=st.floats(0, 30),
    doubted=st.booleans(),
)
def test_a_reading_agrees_with_the_single_queries(
    answers: list[tuple[float, float]], wall: float, steady: float, doubted: bool
) -> None:
    hand = HandTime()
    clock = Clock(hand)
    for earliest, width in answers:
        clock.set_exchange(1000.0 + earliest, 1000.0 + earliest + width)
    hand.at_wall += wall
    hand.at_steady += steady
    if doubted:
        clock.doubt()
    assert clock.reading() == (clock.exchange(), clock.earliest_ms(), clock.proven())
