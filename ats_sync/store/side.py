"""One side of an order book, as far as it is known."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from math import inf

from ..venue import decode
from ..venue.decode import Level

MOST_LEVELS = 3000
LEVELS_LEFT = 2000
"""What a side is cut to when it has grown beyond the most."""


class Side:
    """Levels that are exact from the best one as far as ``edge``; beyond it nothing is known.

    A level is found by its *rank*: its price as a number, negated for bids, so that the best ranks lowest on
    either side. The texts of price and quantity stay as the exchange wrote them. Levels are shared with those who
    read them: replaced, never changed in place.
    """

    __slots__ = ("_levels", "_ranks", "edge", "sign")

    def __init__(self, levels: Iterable[Level], *, sign: int, limit: int) -> None:
        """``sign``: 1 for asks, -1 for bids. ``levels``: all there are, or the best ``limit`` of them."""
        levels = list(levels)
        self.sign = sign
        self._levels = {sign * float(level[0]): level[:2] for level in levels if float(level[1])}
        self._ranks = sorted(self._levels)
        whole = len(levels) < limit or not self._ranks
        self.edge = inf if whole else self._ranks[-1]
        """The rank of the last level that is known, infinite where the side is known whole."""

    def apply(self, changes: Mapping[float, Level]) -> None:
        """Take new quantities by rank; zero removes. :class:`~ats_sync.venue.decode.DecodeError` for an unusable
        level, with part of the changes taken."""
        levels, ranks, edge = self._levels, self._ranks, self.edge
        for rank, level in changes.items():
            quantity = decode.level_quantity(level)
            if rank > edge:
                continue
            if quantity:
                if rank not in levels:
                    insort(ranks, rank)
                levels[rank] = level
            elif rank in levels:
                del levels[rank]
                del ranks[bisect_left(ranks, rank)]
        if len(ranks) > MOST_LEVELS:
            for rank in ranks[LEVELS_LEFT:]:
                del levels[rank]
            del ranks[LEVELS_LEFT:]
            self.edge = ranks[-1]

    def covers(self, limit: int) -> bool:
        """Whether the best ``limit`` levels are known, or all there are."""
        return len(self._ranks) >= limit or self.edge == inf

    def top(self, limit: int) -> list[Level]:
        """The best ``limit`` known levels, best first: a new list of shared levels."""
        levels = self._levels
        return [levels[rank] for rank in self._ranks[:limit]]

    def best(self) -> float:
        """The best price, infinitely bad where there is none."""
        return self.sign * (self._ranks[0] if self._ranks else inf)

    def agrees(self, other: Side) -> bool:
        """Whether two pictures of one moment show the same quantities wherever both know."""
        edge = min(self.edge, other.edge)
        return self._quantities(edge) == other._quantities(edge)

    def _quantities(self, edge: float) -> dict[float, float]:
        return {rank: float(level[1]) for rank, level in self._levels.items() if rank <= edge}

    def __len__(self) -> int:
        return len(self._ranks)
