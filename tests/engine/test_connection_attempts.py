from __future__ import annotations

import random

import pytest

from ats_sync.config import Config
from ats_sync.engine.connection import Attempts
from ats_sync.venue.endpoints import CONNECTION_ATTEMPT_LIMIT


def attempts(**settings: float) -> Attempts:
    return Attempts(Config(**settings), random.Random(1))  # type: ignore[arg-type]


def test_two_thirds_of_the_limit_are_used_in_any_window() -> None:
    most, seconds = CONNECTION_ATTEMPT_LIMIT
    made, at = attempts(), 1_000.0
    for number in range(most * 2 // 3):
        assert made.free_at(at + number / 10) == at + number / 10
        made.add(at + number / 10)
    now = at + most / 10
    assert made.free_at(now) == pytest.approx(at + seconds)
    assert made.free_at(at + seconds) == pytest.approx(at + seconds)
    made.add(at + seconds)
    assert made.free_at(at + seconds) == pytest.approx(at + seconds + 0.1)


@pytest.mark.parametrize(("failures", "longest"), [(0, 1.0), (1, 2.0), (3, 8.0), (5, 20.0), (10_000, 20.0)])
def test_back_off_doubles_up_to_its_maximum_and_has_jitter(failures: int, longest: float) -> None:
    waits = {attempts(reconnect_min=1.0, reconnect_max=20.0).back_off(failures)}
    made = attempts(reconnect_min=1.0, reconnect_max=20.0)
    waits |= {made.back_off(failures) for _ in range(200)}
    assert longest / 2 <= min(waits) < longest * 0.55
    assert longest * 0.95 < max(waits) <= longest
