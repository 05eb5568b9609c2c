from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.errors import InvalidArgument, InvalidInterval
from ats_sync.venue import intervals
from ats_sync.venue.intervals import (
    DAY,
    INTERVALS,
    PERIODS,
    candles_between,
    next_open,
    next_opens,
    nominal_length,
    open_time,
)

moments = st.integers(min_value=0, max_value=4_102_444_800_000)  # 1970 to 2100
every_interval = st.sampled_from(INTERVALS)


def utc(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, timezone.utc)


def ms(*date: int) -> int:
    return int(datetime(*date, tzinfo=timezone.utc).timestamp()) * 1000  # type: ignore[misc,arg-type]


@given(every_interval, st.lists(moments, max_size=4))
def test_many_next_candles_open_as_if_one_by_one(interval: str, opens: list[int]) -> None:
    assert next_opens(interval, opens) == [next_open(interval, opened) for opened in opens]


def test_every_interval_of_the_exchange_is_known() -> None:
    expected = ["1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
    assert list(INTERVALS) == expected
    assert list(PERIODS) == ["5m", "15m", "30m", "1h", "2h", "4h", "6h", "12h", "1d"]


@settings(deadline=None, max_examples=60)
@given(every_interval, moments)
def test_a_candle_covers_the_moment_it_was_computed_for(interval: str, at: int) -> None:
    opened = open_time(interval, at)
    assert opened <= at < next_open(interval, opened)


@settings(deadline=None, max_examples=60)
@given(every_interval, moments)
def test_the_last_millisecond_belongs_to_the_candle_and_the_next_begins_another(interval: str, at: int) -> None:
    opened = open_time(interval, at)
    following = next_open(interval, opened)
    assert open_time(interval, opened) == opened
    assert open_time(interval, following - 1) == opened
    assert open_time(interval, following) == following


@settings(deadline=None, max_examples=60)
@given(every_interval, moments, st.integers(0, 40))
def test_candles_between_counts_what_next_open_steps_through(interval: str, at: int, steps: int) -> None:
    first = last = open_time(interval, at)
    for _ in range(steps):
        last = next_open(interval, last)
    assert candles_between(interval, first, last) == steps + 1
    assert candles_between(interval, next_open(interval, last), last) == 0


@settings(deadline=None, max_examples=60)
@given(moments)
def test_weeks_open_on_monday(at: int) -> None:
    opened = utc(open_time("1w", at))
    assert (opened.weekday(), opened.hour, opened.minute, opened.second) == (0, 0, 0, 0)


@settings(deadline=None, max_examples=60)
@given(moments)
def test_months_open_on_the_first(at: int) -> None:
    opened = utc(open_time("1M", at))
    assert (opened.day, opened.hour, opened.minute, opened.second) == (1, 0, 0, 0)
    assert (opened.year, opened.month) == (utc(at).year, utc(at).month)


@settings(deadline=None, max_examples=60)
@given(moments)
def test_days_open_at_midnight(at: int) -> None:
    assert open_time("1d", at) == at - at % DAY


def test_months_have_their_own_lengths_and_years_end() -> None:
    assert next_open("1M", ms(2024, 2, 1)) - ms(2024, 2, 1) == 29 * DAY
    assert next_open("1M", ms(2026, 2, 1)) - ms(2026, 2, 1) == 28 * DAY
    assert next_open("1M", ms(2026, 12, 1)) == ms(2027, 1, 1)
    assert candles_between("1M", ms(2025, 11, 1), ms(2027, 2, 1)) == 16
    assert open_time("1M", ms(2026, 3, 1) - 1) == ms(2026, 2, 1)


def test_the_known_monday() -> None:
    assert open_time("1w", ms(2026, 11, 22, 23, 59, 59)) == ms(2026, 11, 16)
    assert open_time("1w", ms(2026, 11, 23)) == ms(2026, 11, 23)


@settings(deadline=None, max_examples=60)
@given(moments, st.integers(0, 2), st.integers(-400, 400))
def test_three_days_follow_the_alignment_of_the_rows(at: int, phase: int, steps: int) -> None:
    base = at - at % (3 * DAY) + phase * DAY
    known = base + steps * 3 * DAY
    opened = open_time("3d", at, known_open=known)
    assert (opened - known) % (3 * DAY) == 0
    assert opened <= at < opened + 3 * DAY


@settings(deadline=None, max_examples=60)
@given(every_interval, moments, moments)
def test_a_known_open_of_the_usual_calendar_changes_nothing(interval: str, at: int, other: int) -> None:
    assert open_time(interval, at, known_open=open_time(interval, other)) == open_time(interval, at)


def test_nominal_lengths() -> None:
    assert nominal_length("1m") == 60_000
    assert nominal_length("1w") == 7 * DAY
    assert nominal_length("1M") == 31 * DAY


@pytest.mark.parametrize("interval", INTERVALS)
def test_known_intervals_pass(interval: str) -> None:
    assert intervals.check_interval(interval) == interval


@pytest.mark.parametrize("wrong", ["", "1H", "1min", "60", " 1h", "1h ", "2d", None, 60, ["1h"], b"1h", "1m\n"])
def test_unknown_intervals_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidInterval, match="1h"):
        intervals.check_interval(wrong)


def test_repeated_intervals_are_taken_once() -> None:
    assert intervals.check_intervals(["1h", "1m", "1h"]) == ("1h", "1m")
    assert intervals.check_intervals([]) == ()


@pytest.mark.parametrize("wrong", ["1h", None, 5, ["1h", "7m"]])
def test_what_is_not_a_list_of_intervals_is_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument):
        intervals.check_intervals(wrong)


@pytest.mark.parametrize("wrong", ["1m", "8h", "3d", "1w", "1M", "", None, 5, {}])
def test_unknown_periods_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="12h"):
        intervals.check_period(wrong)
