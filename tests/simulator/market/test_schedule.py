from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ats_sync.simulator.market.schedule import Frame, Schedule

START = 1_700_049_600_000


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 6))
def test_what_is_due_happens_in_order_of_time_then_of_the_calls(delays: list[int], until: int) -> None:
    schedule = Schedule(START)
    happened: list[tuple[int, int]] = []
    for number, delay in enumerate(delays):
        schedule.at(START + delay, lambda number: happened.append((schedule.now, number)), number)
    schedule.run(START + until)
    due = sorted((START + delay, number) for number, delay in enumerate(delays) if delay <= until)
    assert happened == due
    schedule.run(START + 6)
    assert len(happened) == len(delays)


def test_subjects_at_the_same_time_need_no_order_of_their_own() -> None:
    schedule = Schedule(START)
    happened: list[object] = []
    for subject in (object(), object(), object()):
        schedule.at(START, happened.append, subject)
    schedule.run(START)
    assert len(happened) == 3


def test_an_event_that_schedules_others_has_those_run_too_which_are_due() -> None:
    schedule = Schedule(START)
    happened: list[tuple[int, int]] = []

    def each_second(count: int) -> None:
        happened.append((schedule.now, count))
        schedule.at(schedule.now + 1_000, each_second, count + 1)

    schedule.at(START + 500, each_second, 0)
    schedule.run(START + 2_500)
    assert happened == [(START + 500, 0), (START + 1_500, 1), (START + 2_500, 2)]


def test_afterwards_it_is_as_late_as_was_said_whatever_was_due() -> None:
    schedule = Schedule(START)
    assert schedule.now == START
    schedule.at(START + 5, lambda _: None, None)
    for now in (START + 3, START + 9, START + 10_000):
        schedule.run(now)
        assert schedule.now == now


def test_a_frame_bears_the_time_of_the_event_that_sent_it_and_is_taken_once() -> None:
    schedule = Schedule(START)
    schedule.at(START + 20, lambda name: schedule.emit(name, "{}"), "b@aggTrade")
    schedule.at(START + 10, lambda name: schedule.emit(name, "[]", spot=True), "a@kline_1m")
    schedule.run(START + 60)
    taken = schedule.take()
    assert taken == [Frame("a@kline_1m", START + 10, "[]", True), Frame("b@aggTrade", START + 20, "{}", False)]
    schedule.emit("c", "{}")
    assert [frame.event_time for frame in schedule.take()] == [START + 60]
    assert schedule.take() == []
    assert len(taken) == 2, "they belong to who took them"
