from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ats_sync.simulator.clock import ExchangeClock, before_midnight, before_turn, local_ms, start_ms

DAY = 86_400_000
NOON = 1_700_049_600_000  # 2023-11-15 12:00 UTC, a Wednesday


def test_midnight_is_the_next_one() -> None:
    assert before_midnight(3, after=NOON) == NOON + DAY // 2 - 3000


def test_a_turn_that_is_too_near_is_skipped() -> None:
    assert before_turn("1m", 3, after=NOON - 2000) == NOON + 57_000
    assert before_turn("1m", 3, after=NOON - 3000) == NOON - 3000 + 60_000
    assert before_turn("1m", 3, after=NOON - 3001) == NOON - 3000


def test_weeks_begin_on_monday_and_months_on_the_first() -> None:
    week = datetime.fromtimestamp((before_turn("1w", 1, after=NOON) + 1000) / 1000, timezone.utc)
    month = datetime.fromtimestamp((before_turn("1M", 1, after=NOON) + 1000) / 1000, timezone.utc)
    assert (week.year, week.month, week.day, week.hour) == (2023, 11, 20, 0)
    assert (month.year, month.month, month.day, month.hour) == (2023, 12, 1, 0)


def test_starts_are_ms_datetimes_or_now() -> None:
    moment = datetime(2023, 11, 15, 12)
    assert start_ms(NOON) == NOON
    assert start_ms(moment) == NOON
    assert start_ms(moment.replace(tzinfo=timezone.utc)) == NOON
    before = local_ms()
    assert before <= start_ms(None) <= local_ms()


@pytest.mark.parametrize("bad", [0, -1, True, 1.5, "now"])
def test_other_starts_are_refused(bad: object) -> None:
    with pytest.raises(ValueError, match="start"):
        start_ms(bad)  # type: ignore[arg-type]


def test_it_runs_and_jumps() -> None:
    clock = ExchangeClock(0)
    clock.begin(NOON)
    first = clock.now()
    assert NOON <= first < NOON + 60_000
    clock.jump(-DAY)
    assert clock.now() < first
    clock.jump(2 * DAY)
    assert clock.now() >= first + DAY
