from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from .distribution import Distribution, grown
from .reading import percentile

VALUES = st.lists(st.floats(0.0, 99.0), min_size=1, max_size=300)


@given(VALUES, st.floats(0.01, 1.0))
def test_a_percentile_is_that_of_the_values_to_within_a_step(values: list[float], share: float) -> None:
    found = Distribution.of(0.5, 100.0, values).percentile(share)
    ordered = sorted(values)
    exact = ordered[max(0, -(-int(share * len(values) * 1e9) // int(1e9)) - 1)]
    assert exact - 1e-6 <= found <= exact + 0.5 + 1e-6


def test_values_that_are_too_small_or_too_great_are_counted_at_the_ends() -> None:
    found = Distribution.of(1.0, 10.0, [-5.0, 1e9])
    assert found.total == 2
    assert found.percentile(0.5) == 1.0
    assert found.percentile(1.0) == 11.0
    assert Distribution(1.0, 10.0).percentile(0.5) == 0.0


def test_its_memory_does_not_grow_with_the_values() -> None:
    found = Distribution(0.1, 10_000.0)
    before = sys.getsizeof(found._counts)
    for number in range(50_000):
        found.add(number / 100)
    assert sys.getsizeof(found._counts) == before
    assert found.total == 50_000
    assert found.percentile(0.99) == pytest.approx(percentile([n / 100 for n in range(50_000)], 0.99), abs=0.2)


@pytest.mark.parametrize(
    ("samples", "more"),
    [
        ([9.0, 9.0, 5.0, 5.0, 5.0, 5.0], 0.0),  # memory used only during warm-up does not count
        ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2.0),
        ([1.0, 1.0, 1.0, 1.0, 1.0, 50.0, 1.0, 1.0, 1.0], 0.0),
        ([1.0] * 5, None),
    ],
)
def test_growth_is_that_of_the_last_third_beyond_the_middle_one(samples: list[float], more: float | None) -> None:
    assert grown(samples) == more
