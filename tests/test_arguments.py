from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from ats_sync.arguments import check_after, check_limit, check_max_age, check_timeout
from ats_sync.errors import InvalidArgument


def test_what_makes_sense_passes() -> None:
    assert check_limit(1) == 1
    assert check_limit(1500, 1500) == 1500
    assert check_max_age(None) is None
    assert check_max_age(0) == 0.0
    assert check_max_age(2.5) == 2.5


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "7", None, True, 1501])
def test_impossible_limits_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        check_limit(wrong, 1500)


@pytest.mark.parametrize("wrong", [-0.1, "1", True, float("nan"), [1]])
def test_impossible_ages_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="max_age"):
        check_max_age(wrong)


@pytest.mark.parametrize("kind", [np.int16, np.int64, np.uint32])
def test_numpy_integers_are_whole_numbers(kind: type[np.integer]) -> None:
    limit = check_limit(kind(100), 1500)
    assert limit == 100
    assert type(limit) is int
    age = check_max_age(kind(5))
    assert age == 5.0
    assert type(age) is float


@pytest.mark.parametrize("half", [np.float32(2.5), np.float64(2.5), Fraction(5, 2)])
def test_any_real_number_is_an_age_and_a_timeout(half: float) -> None:
    assert check_max_age(half) == 2.5
    assert check_timeout(half) == 2.5


@pytest.mark.parametrize("wrong", [np.bool_(True), np.float32("nan"), np.float64(3)])
def test_other_types_of_numpy_are_refused_as_limits(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="limit"):
        check_limit(wrong)


@pytest.mark.parametrize("wrong", [np.bool_(True), np.float32("nan"), "1", True, [1]])
def test_what_is_not_a_number_is_neither_an_age_nor_a_timeout(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="max_age"):
        check_max_age(wrong)
    with pytest.raises(InvalidArgument, match="timeout"):
        check_timeout(wrong)


def test_an_infinite_timeout_is_no_timeout() -> None:
    assert check_timeout(math.inf) is None
    assert check_timeout(None) is None
    assert check_timeout(-1) == 0.0


@pytest.mark.parametrize("time", [0, 1_790_000_000_000, np.int64(1_790_000_000_000), 1_790_000_000_000.0])
def test_times_in_ms_pass(time: float) -> None:
    after = check_after(time)
    assert after == time
    assert type(after) is int


@pytest.mark.parametrize("seconds", [1_790_000_000, 1_790_000_000.25])
def test_seconds_are_refused_in_one_sentence(seconds: float) -> None:
    with pytest.raises(InvalidArgument, match=r"ms since 1970.*looks like seconds, multiply by 1000"):
        check_after(seconds)


@pytest.mark.parametrize("wrong", [-1, 5, 1_790_000_000_000_000, math.nan, math.inf, True, None, "1790000000000"])
def test_times_that_cannot_be_ms_are_refused(wrong: object) -> None:
    with pytest.raises(InvalidArgument, match="after must be a time in ms"):
        check_after(wrong)
