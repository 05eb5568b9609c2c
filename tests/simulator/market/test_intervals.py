"""Where candles open."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from ats_sync.simulator.market import UnknownInterval
from ats_sync.simulator.market.intervals import check_interval, floor_open, next_open, opens_back


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=timezone.utc).timestamp() * 1000)


@pytest.mark.parametrize(
    ("interval", "at", "opened", "following"),
    [
        ("1m", "2026-11-22T19:21:29", "2026-11-22T19:21", "2026-11-22T19:22"),
        ("4h", "2026-11-22T19:21", "2026-11-22T16:00", "2026-11-22T20:00"),
        ("1d", "2026-11-22T00:00", "2026-11-22", "2026-11-23"),
        ("1w", "2026-11-22T23:59", "2026-11-16", "2026-11-23"),
        ("1w", "2026-11-23T00:00", "2026-11-23", "2026-11-30"),
        ("1M", "2026-12-31T23:59", "2026-12-01", "2027-01-01"),
        ("1M", "2028-02-29T12:00", "2028-02-01", "2028-03-01"),
    ],
)
def test_opens(interval: str, at: str, opened: str, following: str) -> None:
    assert floor_open(interval, ms(at)) == ms(opened)
    assert next_open(interval, ms(opened)) == ms(following)
    assert opens_back(interval, ms(following), 1) == ms(opened)


def test_months_back_over_a_year() -> None:
    assert opens_back("1M", ms("2026-02-01"), 14) == ms("2024-12-01")


@pytest.mark.parametrize("interval", ["", "1s", "1H", "60", "1y"])
def test_no_such_interval(interval: str) -> None:
    with pytest.raises(UnknownInterval):
        check_interval(interval)
