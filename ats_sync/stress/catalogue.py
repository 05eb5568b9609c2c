"""The available faults, and how often each is drawn."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Maker = TypeVar("Maker", bound=Callable[..., object])


class Catalogue(Generic[Maker]):
    """Functions that make a fault, by name."""

    def __init__(self) -> None:
        self._makers: dict[str, Maker] = {}
        self._weights: dict[str, float] = {}

    def add(self, weight: float) -> Callable[[Maker], Maker]:
        """Decorate a function that makes a fault; ``weight``: how often it is drawn, relative to the others."""

        def added(maker: Maker) -> Maker:
            self._makers[maker.__name__] = maker
            self._weights[maker.__name__] = weight
            return maker

        return added

    def names(self) -> list[str]:
        """The names of all faults."""
        return list(self._makers)

    def draw(self, rng: random.Random, only: Collection[str] = (), without: Collection[str] = ()) -> Maker:
        """Return a function that makes a fault: from those named in ``only``, if any, and none from ``without``."""
        names = [name for name in self._makers if name not in without and (name in only or not only)]
        return self._makers[rng.choices(names, [self._weights[name] for name in names])[0]]
