from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.segments import Segment, inserted, trimmed


def run(first: int, count: int) -> Segment:
    return Segment(first, [b"%d" % number for number in range(first, first + count)])


def ids(segments: list[Segment]) -> list[list[int]]:
    return [[int(text) for text in segment.entries.all()] for segment in segments]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 8)), max_size=12))
def test_runs_are_the_longest_there_are_whatever_the_order_they_came_in(added: list[tuple[int, int]]) -> None:
    segments: list[Segment] = []
    known: set[int] = set()
    for first, count in added:
        segments = inserted(segments, run(first, count))
        known |= set(range(first, first + count))
    assert [number for numbers in ids(segments) for number in numbers] == sorted(known)
    for older, newer in itertools.pairwise(segments):
        assert older.after < newer.first, "those that touch are one"
    assert all(segment.first == numbers[0] for segment, numbers in zip(segments, ids(segments), strict=True))


def test_the_oldest_trades_go_first() -> None:
    segments, cut = trimmed([run(0, 5), run(10, 5), run(20, 5)], 7)
    assert ids(segments) == [[13, 14], [20, 21, 22, 23, 24]]
    assert cut
    segments, cut = trimmed([run(0, 5), run(10, 5)], 5)
    assert ids(segments) == [[10, 11, 12, 13, 14]]
    assert not cut, "what is kept is whole"


def test_a_run_without_one_trade_is_two() -> None:
    assert ids(run(5, 4).without(6)) == [[5], [7, 8]]
    assert ids(run(5, 4).without(5)) == [[6, 7, 8]]
    assert ids(run(5, 4).without(8)) == [[5, 6, 7]]
    assert ids(run(5, 1).without(5)) == []
    whole = run(5, 4)
    assert whole.without(9) == [whole]


def test_what_is_shortened_stays_out_of_a_joined_run() -> None:
    a, b = (
        Segment(first, [b"{x}%d" % number for number in range(first, first + 64)], ((b"{x}", b""),))
        for first in (0, 64)
    )
    (joined,) = inserted([a], b)
    assert joined.entries.all()[:64] == [b"%d" % number for number in range(64)]
    assert joined.after == 128


@given(
    st.tuples(st.integers(0, 20), st.integers(1, 20), st.booleans()),
    st.tuples(st.integers(0, 20), st.integers(1, 20), st.booleans()),
)
def test_what_is_known_to_be_written_as_by_rest_stays_so_in_a_joined_run(
    one: tuple[int, int, bool], other: tuple[int, int, bool]
) -> None:
    a, b = (
        Segment(first, [b"+" if checked else b"-"] * count, checked=checked) for first, count, checked in (one, other)
    )
    kept = inserted([a], b)
    for segment in kept:
        begin, end = segment.checked
        assert segment.first <= begin <= end <= segment.after
        assert set(segment.entries.all()[begin - segment.first : end - segment.first]) <= {b"+"}
    if len(kept) == 1 and one[2] and other[2]:
        assert kept[0].checked == (kept[0].first, kept[0].after)


def test_only_the_part_that_is_not_known_is_to_be_checked() -> None:
    segment = run(10, 20)
    assert segment.unchecked(15) == 15
    segment.check(15, 25)
    assert [segment.unchecked(first) for first in (10, 15, 24, 25, 28)] == [10, 25, 25, 25, 28]
    segment.check(25, 30)
    assert segment.unchecked(15) == 30
    segment.check(10, 12)
    assert segment.unchecked(15) == 30, "the longer stretch is the one to be noted"
    segment.rewrite(8, [b"gone", b"gone", b"ten", b"eleven"])
    assert segment.entries.all()[:3] == [b"ten", b"eleven", b"12"]
    assert len(segment.entries) == 20
