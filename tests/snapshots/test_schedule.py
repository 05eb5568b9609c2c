"""Which series are due when."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.feeds import Key, Kind
from ats_sync.snapshots.schedule import EVERY, WriteSchedule

KEYS = [Key(Kind.KLINES, f"S{number}USDT", "1m") for number in range(120)]


@settings(max_examples=30)
@given(st.floats(0, 1e6), st.lists(st.floats(0.01, 20.0), min_size=1, max_size=60))
def test_each_series_is_due_once_a_minute_however_late_the_checks_are(begin: float, pauses: list[float]) -> None:
    schedule = WriteSchedule(begin)
    found: Counter[Key] = Counter()
    now = begin
    for pause in pauses:
        now += pause
        found.update(schedule.due(KEYS, now))
    minutes = (int(now) - int(begin)) / EVERY
    for key in KEYS:
        assert int(minutes) <= found[key] <= int(minutes) + 1


def test_they_are_spread_over_the_minute() -> None:
    schedule = WriteSchedule(0.0)
    most = max(len(schedule.due(KEYS, now)) for now in range(1, EVERY + 1))
    assert most < len(KEYS) / 10


def test_after_a_long_pause_each_comes_once() -> None:
    schedule = WriteSchedule(0.0)
    assert schedule.due(KEYS, 10_000.0) == KEYS
    assert schedule.due(KEYS, 10_000.5) == []


def test_nothing_is_due_while_the_clock_stands_still() -> None:
    schedule = WriteSchedule(100.0)
    assert schedule.due(KEYS, 100.0) == schedule.due(KEYS, 90.0) == []
