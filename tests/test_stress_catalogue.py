"""Which faults are drawn."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from ats_sync.stress.catalogue import Catalogue


def a_catalogue() -> Catalogue[Callable[[], str]]:
    catalogue: Catalogue[Callable[[], str]] = Catalogue()

    @catalogue.add(3.0)
    def often() -> str:
        return "often"

    @catalogue.add(1.0)
    def seldom() -> str:
        return "seldom"

    return catalogue


def test_each_is_drawn_as_often_as_its_weight_says() -> None:
    rng, catalogue = random.Random(5), a_catalogue()
    drawn = Counter(catalogue.draw(rng)() for _ in range(4_000))
    assert catalogue.names() == ["often", "seldom"]
    assert set(drawn) == {"often", "seldom"}
    assert 2.5 < drawn["often"] / drawn["seldom"] < 3.5


def test_some_can_be_chosen_or_left_out() -> None:
    rng, catalogue = random.Random(), a_catalogue()
    assert {catalogue.draw(rng, only=("seldom",))() for _ in range(50)} == {"seldom"}
    assert {catalogue.draw(rng, without=("seldom",))() for _ in range(50)} == {"often"}
