"""One side of an order book, as far as it is known."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Mapping
from math import inf

from ..venue.books import Level, Pair, by_price, quantity_of

MOST_LEVELS = 3000
LEVELS_LEFT = 2000
"""What a side is cut to when it has grown beyond the most."""
MANY = 8
"""From one change to so many levels on, sorting them all again is quicker."""


class Side:
    """Levels that are exact from the best one as far as ``edge``; beyond it nothing is known.

    A level is found by its *rank*: its price as a number, negated for bids, so that the best ranks lowest on
    either side. The texts of price and quantity stay as the exchange wrote them.
    """

    __slots__ = ("_levels", "_ranks", "edge", "sign")

    def __init__(self, levels: list[Level], *, sign: int, limit: int) -> None:
        """``sign``: 1 for asks, -1 for bids. ``levels``: all there are, or the best ``limit`` of them."""
        self.sign = sign
        self._levels: dict[float, Pair] = {}
        self._ranks: list[float] = []
        self.edge = inf
        """The rank of the last level that is known, infinite where the side is known whole."""
        self.apply(by_price([level[0] for level in levels], [level[1] for level in levels]))
        if len(levels) >= limit and self._ranks:
            self.edge = self._ranks[-1]

    def apply(self, changes: Mapping[float, Pair]) -> None:
        """Take new quantities by price; zero removes. :class:`~ats_sync.venue.payload.DecodeError` for an unusable
        quantity, with part of the changes taken."""
        levels, ranks, edge, sign = self._levels, self._ranks, self.edge, self.sign
        many = len(changes) > len(ranks) // MANY
        for price, level in changes.items():
            rank = sign * price
            if rank > edge:
                continue
            if quantity_of(level):
                if not many and rank not in levels:
                    insort(ranks, rank)
                levels[rank] = level
            elif rank in levels:
                del levels[rank]
                if not many:
                    del ranks[bisect_left(ranks, rank)]
        if many:
            ranks[:] = sorted(levels)
        if len(ranks) > MOST_LEVELS:
            for rank in ranks[LEVELS_LEFT:]:
                del levels[rank]
            del ranks[LEVELS_LEFT:]
            self.edge = ranks[-1]

    def covers(self, limit: int) -> bool:
        """Return whether the best ``limit`` levels are known, or all there are."""
        return len(self._ranks) >= limit or self.edge == inf

    def top(self, limit: int) -> list[Level]:
        """Return the best ``limit`` known levels, best first."""
        levels = self._levels
        return [levels[rank] for rank in self._ranks[:limit]]

    def best(self) -> float:
        """Return the best price, infinitely bad where there is none."""
        return self.sign * (self._ranks[0] if self._ranks else inf)

    def agrees(self, other: Side) -> bool:
        """Return whether two pictures of one moment show the same quantities wherever both know."""
        edge = min(self.edge, other.edge)
        return self._quantities(edge) == other._quantities(edge)

    def _quantities(self, edge: float) -> dict[float, float]:
        return {rank: quantity_of(level) for rank, level in self._levels.items() if rank <= edge}

    def __len__(self) -> int:
        return len(self._ranks)
