from __future__ import annotations

from collections.abc import Callable

import pytest

from ats_sync.store.link import AHEAD, FirstFrame, Link, stream_doubt, within


def test_it_is_alive_while_up_and_its_watermark_is_within_the_bound() -> None:
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


def test_a_watermark_from_a_clock_that_was_ahead_does_not_count_and_is_replaced() -> None:
    link = Link(3, "market", 700.0)
    assert not link.alive(100.0, 3.0)
    assert link.alive(700.0 - AHEAD, 3.0)
    link.advance(99.9, 100.0)
    assert link.watermark == 99.9
    assert link.alive(100.0, 3.0)


def test_a_watermark_in_the_future_is_replaced_by_the_next_sign_of_life() -> None:
    link = Link(3, "market", 101.5)
    link.advance(99.9, 100.0)
    assert link.watermark == 99.9


def test_a_watermark_in_the_future_counts_as_of_now_where_the_clock_is_corrected() -> None:
    link = Link(3, "market", 101.5)
    link.date_back(102.0, now=7.0)
    assert link.watermark == 101.5
    link.date_back(100.0, now=7.0)
    assert link.watermark == 100.0, "when it was made is not known"


def test_a_watermark_from_a_clock_that_was_ahead_is_corrected_to_when_it_was_made() -> None:
    link = Link(3, "market", 700.0, proved_at=5.0)
    link.date_back(102.0, now=7.0)
    assert link.watermark == 100.0, "it was made two seconds ago, and nothing has come since"
    link.ponged(706.0, 11.0, 707.0)
    link.date_back(110.0, now=15.0)
    assert link.watermark == 106.0, "its ping was sent four seconds ago"
    link.ponged(714.0, 18.0, 715.0)
    link.advance(114.5, 716.0)
    link.date_back(121.0, now=26.0)
    assert link.watermark == 114.5, "a frame has come since"


class Overtaken(Link):
    """A link whose watermark another thread writes just before this one does."""

    __slots__ = ("_before", "_watermark")

    def __init__(self, watermark: float, before: Callable[[Link], None]) -> None:
        self._before: Callable[[Link], None] | None = None
        super().__init__(3, "market", watermark)
        self._before = before

    @property
    def watermark(self) -> float:  # type: ignore[override]
        return self._watermark

    @watermark.setter
    def watermark(self, value: float) -> None:
        before, self._before = self._before, None
        if before is not None:
            before(self)
        self._watermark = value


def advanced(link: Link) -> None:
    link.advance(97.0, 100.0)


def dated_back(link: Link) -> None:
    link.date_back(100.0, now=7.0)


@pytest.mark.parametrize(("first", "then"), [(advanced, dated_back), (dated_back, advanced)])
def test_two_threads_that_write_the_watermark_at_once_leave_what_one_of_them_wrote(
    first: Callable[[Link], None], then: Callable[[Link], None]
) -> None:
    link = Overtaken(700.0, first)
    then(link)
    in_order = []
    for one, other in ((first, then), (then, first)):
        plain = Link(3, "market", 700.0)
        one(plain)
        other(plain)
        in_order.append(plain.watermark)
    assert link.watermark in in_order


def test_a_link_says_which_one_it_is() -> None:
    link = Link(3, "market", 0.0)
    assert repr(link) == "Link(3, 'market', up)"
    link.up = False
    assert "down" in repr(link)


def test_a_live_stream_is_trusted() -> None:
    assert stream_doubt(Link(1, "market", 100.0), "", 102.9, 3.0) == ""


def test_every_reason_against_it_is_named() -> None:
    link = Link(1, "market", 100.0)
    assert "not streamed" in stream_doubt(None, "", 100.0, 3.0)
    assert stream_doubt(link, "its sibling knows more", 100.0, 3.0) == "its sibling knows more"
    assert "3.5 s" in stream_doubt(link, "", 103.5, 3.0)
    link.up = False
    assert "down" in stream_doubt(link, "", 100.0, 3.0)


def test_a_watermark_from_the_future_does_not_count() -> None:
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
def test_an_age_is_compared_with_both_bounds(
    age: float, bound: float | None, max_age: float | None, fresh: bool
) -> None:
    assert within(age, bound, max_age) is fresh


def test_the_first_frame_of_a_subscription_is_that_of_the_newest_one() -> None:
    first, link, other = FirstFrame(), Link(1, "market", 0.0), Link(2, "market", 0.0)
    assert (first.awaited_on, first.place) == (None, -1)
    first.expect(link, 7)
    assert (first.awaited_on, first.after, first.place) == (link, 7, -1)
    first.came(8)
    assert (first.awaited_on, first.place) == (None, 8)
    first.expect(other, 9)
    assert (first.awaited_on, first.after, first.place) == (other, 9, -1), "the one before proves nothing for it"
