"""The figures are counted, so they hold on every machine."""

from __future__ import annotations

import pytest

from ats_sync.venue.endpoints import Bucket

from .minutes import INTERVALS, dictated, ours, repair_of, seconds_of, start_of

SHARE = 1_920
"""How much of a minute's weight a process may use."""


@pytest.mark.parametrize("second", [0, 52])
def test_a_start_of_500_symbols_takes_little_more_than_the_clock_minutes_dictate(second: int) -> None:
    fetches = start_of(500, trades=False)
    found = ours(fetches, second, candles=500 * len(INTERVALS))
    assert seconds_of(found) <= 1.1 * seconds_of(dictated(fetches, second, candles=500 * len(INTERVALS)))
    assert found.most <= SHARE


@pytest.mark.parametrize("second", [30])
def test_a_start_with_trades_takes_little_more_than_the_clock_minutes_dictate(second: int) -> None:
    fetches = start_of(200, trades=True)
    found = ours(fetches, second, candles=800)
    assert seconds_of(found) <= 1.1 * seconds_of(dictated(fetches, second, candles=800))
    assert found.most <= SHARE


def test_a_repair_finds_the_whole_share_again_at_the_new_minute() -> None:
    found = ours(repair_of(200), 30, candles=800, quiet=130_000)
    assert seconds_of(found) < 110, "two minutes' shares more than what was left of the first"
    assert found.most <= SHARE


@pytest.mark.parametrize("second", [54, 57])
def test_starts_around_a_new_minute_lose_nothing_for_good(second: int) -> None:
    fetches = start_of(500, trades=False)
    found = ours(fetches, second, candles=500 * len(INTERVALS))
    weight = sum(fetch.request.weight for fetch in fetches if fetch.request.bucket is Bucket.FUTURES)
    minutes = -(-weight // 1_680)
    assert seconds_of(found) <= 60 - second + 60 * (minutes - 1) + 10
    assert found.most <= SHARE
