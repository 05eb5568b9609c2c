"""Integers written as decimals."""

from __future__ import annotations

import pytest

from ats_sync.simulator.market.decimals import fixed, mix, plain


@pytest.mark.parametrize(
    ("value", "decimals", "text"),
    [
        (76110, 4, "7.6110"),
        (813, 0, "813"),
        (0, 4, "0.0000"),
        (5, 8, "0.00000005"),
        (-2350, 3, "-2.350"),
        (100, 2, "1.00"),
    ],
)
def test_fixed(value: int, decimals: int, text: str) -> None:
    assert fixed(value, decimals) == text


def test_plain() -> None:
    assert [plain(1, 3), plain(1, 0), plain(10, 1), plain(2500, 3)] == ["0.001", "1", "1", "2.5"]


def test_mixing_spreads_neighbours() -> None:
    values = [mix(7, i) for i in range(4096)]
    assert len(set(values)) == 4096
    for bit in range(64):
        assert 0.45 < sum(v >> bit & 1 for v in values) / 4096 < 0.55
