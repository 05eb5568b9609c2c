from __future__ import annotations

from decimal import Decimal
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.side import LEVELS_LEFT, MOST_LEVELS, Side
from ats_sync.venue.books import by_price
from ats_sync.venue.payload import DecodeError

PRICES = st.decimals(min_value=Decimal("0.1"), max_value=Decimal(120), places=1)
CHANGES = st.lists(st.tuples(PRICES, st.integers(0, 3)), max_size=40)


@pytest.mark.parametrize("sign", [1, -1])
@given(first=CHANGES, batches=st.lists(CHANGES, max_size=6), limit=st.integers(1, 12))
def test_it_behaves_like_a_dictionary(
    sign: int, first: list[tuple[Decimal, int]], batches: list[list[tuple[Decimal, int]]], limit: int
) -> None:
    truth = {price: quantity for price, quantity in first if quantity}
    best = sorted(truth, key=lambda price: sign * price)[:limit]
    side = Side([(str(price), str(truth[price])) for price in best], sign=sign, limit=limit)
    edge = sign * best[-1] if len(best) == limit else None
    for batch in batches:
        side.apply(by_price([str(price) for price, _ in batch], [str(quantity) for _, quantity in batch]))
        truth.update(batch)
        known = sorted(
            (p for p, q in truth.items() if q and (edge is None or sign * p <= edge)), key=lambda p: sign * p
        )
        assert side.top(1000) == [(str(price), str(truth[price])) for price in known]
        assert len(side) == len(known)
        assert side.covers(len(known))
        assert side.covers(len(known) + 1) == (edge is None)
        assert side.best() == (float(known[0]) if known else sign * inf)


def test_a_side_that_grows_too_long_forgets_its_worst_levels() -> None:
    side = Side([("1", "1")], sign=-1, limit=500)
    prices = [str(price) for price in range(2, MOST_LEVELS + 2)]
    side.apply(by_price(prices, ["1"] * len(prices)))
    assert len(side) == LEVELS_LEFT
    assert side.covers(LEVELS_LEFT)
    assert not side.covers(LEVELS_LEFT + 1)
    assert side.top(1) == [(str(MOST_LEVELS + 1), "1")]
    side.apply(by_price(["2", "5000"], ["1", "1"]))
    assert side.top(5000)[-1] == (str(MOST_LEVELS + 2 - LEVELS_LEFT), "1")


def test_snapshots_of_one_moment_are_compared_where_both_know_the_levels() -> None:
    near = Side([("10", "1"), ("11", "2.0")], sign=1, limit=2)
    far = Side([("10.0", "1"), ("11", "2"), ("12", "3")], sign=1, limit=3)
    assert near.agrees(far)
    assert far.agrees(near)
    far.apply(by_price(["10.5"], ["1"]))
    assert not near.agrees(far)
    assert not far.agrees(near)


def test_a_malformed_quantity_is_refused() -> None:
    side = Side([("10", "1")], sign=1, limit=2)
    with pytest.raises(DecodeError, match="quantity"):
        side.apply({10.0: ("10", "1.2.3")})
