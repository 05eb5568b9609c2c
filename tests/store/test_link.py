from __future__ import annotations

from ats_sync.store.link import AHEAD, Link


def test_it_is_alive_while_up_and_proved_within_the_bound() -> None:
    link = Link(3, "market", 100.0)
    assert link.alive(103.0, 3.0)
    assert not link.alive(103.1, 3.0)
    assert link.age(103.5) == 3.5
    link.up = False
    assert not link.alive(100.0, 3.0)


def test_a_watermark_only_ever_advances() -> None:
    link = Link(3, "market", 100.0)
    link.advance(105.0, 105.2)
    link.advance(104.0, 105.3)
    assert link.watermark == 105.0


def test_a_watermark_from_a_clock_that_was_ahead_is_worth_nothing_and_replaced() -> None:
    link = Link(3, "market", 700.0)
    assert not link.alive(100.0, 3.0)
    assert link.alive(700.0 - AHEAD, 3.0)
    link.advance(99.9, 100.0)
    assert link.watermark == 99.9
    assert link.alive(100.0, 3.0)


def test_it_says_which_it_is() -> None:
    link = Link(3, "market", 0.0)
    assert repr(link) == "Link(3, 'market', up)"
    link.up = False
    assert "down" in repr(link)
