from __future__ import annotations

import pytest

from ats_sync.engine.freshness import stream_doubt, within
from ats_sync.store.link import Link


def test_a_living_stream_is_trusted() -> None:
    assert stream_doubt(Link(1, "market", 100.0), "", 102.9, 3.0) == ""


def test_every_reason_against_it_is_named() -> None:
    link = Link(1, "market", 100.0)
    assert "not streamed" in stream_doubt(None, "", 100.0, 3.0)
    assert stream_doubt(link, "its sibling knows more", 100.0, 3.0) == "its sibling knows more"
    assert "3.5 s" in stream_doubt(link, "", 103.5, 3.0)
    link.up = False
    assert "down" in stream_doubt(link, "", 100.0, 3.0)


def test_a_proof_out_of_the_future_is_none() -> None:
    assert stream_doubt(Link(1, "market", 700.0), "", 100.0, 3.0)


@pytest.mark.parametrize(
    ("age", "bound", "max_age", "fresh"),
    [
        (5.0, 5.0, None, True),
        (5.1, 5.0, None, False),
        (5.0, None, None, True),
        (5.0, None, 4.0, False),
        (5.0, 10.0, 4.0, False),
        (5.0, 4.0, 10.0, False),
        (0.0, 5.0, 0.0, True),
        (-1.0, 5.0, None, True),
        (-3.0, 5.0, None, False),
    ],
)
def test_an_age_is_held_against_both_bounds(
    age: float, bound: float | None, max_age: float | None, fresh: bool
) -> None:
    assert within(age, bound, max_age) is fresh
