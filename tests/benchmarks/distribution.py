"""Percentiles of many values in constant memory, and whether a series of samples grows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence


class Distribution:
    """Counts values in steps; values below 0 count as 0, and those above ``most`` as ``most``."""

    def __init__(self, step: float, most: float) -> None:
        self._step = step
        self._counts = [0] * (int(most / step) + 1)

    def add(self, value: float) -> None:
        at = int(value / self._step)
        self._counts[min(max(at, 0), len(self._counts) - 1)] += 1

    @property
    def total(self) -> int:
        """Return how many values there are."""
        return sum(self._counts)

    def percentile(self, share: float) -> float:
        """Return the least value, rounded up to a step, that ``share`` of all values do not exceed; 0 if there are
        none."""
        due = share * self.total
        passed = 0
        for at, count in enumerate(self._counts):
            passed += count
            if passed and passed >= due:
                return (at + 1) * self._step
        return 0.0

    @classmethod
    def of(cls, step: float, most: float, values: Iterable[float]) -> Distribution:
        found = cls(step, most)
        for value in values:
            found.add(value)
        return found


def grown(samples: Sequence[float]) -> float | None:
    """Return by how much the median of the last third of the samples exceeds that of the middle third, None for fewer
    than six."""
    third = len(samples) // 3
    if third < 2:
        return None
    return statistics.median(samples[-third:]) - statistics.median(samples[-2 * third : -third])
