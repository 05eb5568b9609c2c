"""Which faults there are, and how often each is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., object])


class Catalogue(Generic[Maker]):
    """Functions that make a fault, by their names."""

    def __init__(self) -> None:
        self._makers: dict[str, Maker] = {}
        self._weights: dict[str, float] = {}

    def add(self, weight: float) -> Callable[[Maker], Maker]:
        """Decorate a function that makes a fault; ``weight``: how often it is drawn beside the others."""

        def added(maker: Maker) -> Maker:
            self._makers[maker.__name__] = maker
            self._weights[maker.__name__] = weight
            return maker

        return added

    def names(self) -> list[str]:
        """Every fault there is."""
        return list(self._makers)

    def draw(self, rng: random.Random, only: Collection[str] = (), without: Collection[str] = ()) -> Maker:
        """Return one that makes a fault, of those named in ``only`` where some are and of none in ``without``."""
        names = [name for name in self._makers if name not in without and (name in only or not only)]
        return self._makers[rng.choices(names, [self._weights[name] for name in names])[0]]
