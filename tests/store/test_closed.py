from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.store.closed import ClosedCandles
from ats_sync.venue.klines import float_rows, text_open_time

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE


def text(minute: int, *, wrong: bool = False) -> bytes:
    return samples.row_text(samples.row(MIDNIGHT + minute * MINUTE, trades=1, price="9.9" if wrong else "7.6"))


def texts(first: int, after: int) -> list[bytes]:
    return [text(minute) for minute in range(first, after)]


def closed(first: int = 0, after: int = 0, *, depth: int = 100) -> ClosedCandles:
    candles = ClosedCandles("1m", depth)
    if after > first:
        merge(candles, first, after)
    return candles


def merge(candles: ClosedCandles, first: int, after: int, *, without: range = range(0)) -> list[tuple[int, bytes]]:
    candles.begin(MIDNIGHT + first * MINUTE)
    rows = [(MIDNIGHT + minute * MINUTE, text(minute)) for minute in range(first, after) if minute not in without]
    return candles.merge(rows, MIDNIGHT + after * MINUTE)


def minutes(candles: ClosedCandles) -> list[int]:
    return [(text_open_time(each) - MIDNIGHT) // MINUTE for each in candles.texts()]


def test_closed_candles_begin_with_the_first_answer_or_an_earlier_one_while_none_has_closed() -> None:
    candles = closed()
    assert candles.following == 0
    candles.begin(MIDNIGHT + MINUTE)
    candles.begin(MIDNIGHT)
    assert candles.following == MIDNIGHT
    candles.append(text(0))
    candles.begin(MIDNIGHT - MINUTE)
    assert candles.following == MIDNIGHT + MINUTE
    assert minutes(candles) == [0]


def test_rows_that_follow_are_appended_and_older_ones_prepended() -> None:
    candles = closed(3, 6)
    assert merge(candles, 5, 8) == []
    assert merge(candles, 1, 4) == []
    assert minutes(candles) == [1, 2, 3, 4, 5, 6, 7]
    assert candles.following == MIDNIGHT + 8 * MINUTE
    assert (candles.audited, candles.mismatches) == (2, 0)
    assert candles.last() == text(7)
    assert candles.newest(2) == texts(6, 8)


def test_rows_that_cannot_be_joined_yet_are_returned_and_older_ones_dropped() -> None:
    candles = closed(3, 6)
    assert merge(candles, 8, 10) == [(MIDNIGHT + 8 * MINUTE, text(8)), (MIDNIGHT + 9 * MINUTE, text(9))]
    assert merge(candles, 0, 2) == []
    assert minutes(candles) == [3, 4, 5]


def test_a_hole_that_an_answer_shows_on_both_sides_is_kept() -> None:
    candles = closed(0, 3)
    candles.complete = True
    assert merge(candles, 2, 12, without=range(3, 9)) == []
    assert minutes(candles) == [0, 1, 2, 9, 10, 11]
    assert candles.complete
    assert candles.following == MIDNIGHT + 12 * MINUTE
    assert (candles.audited, candles.mismatches) == (1, 0)
    assert merge(candles, 1, 12, without=range(3, 9)) == []
    assert (candles.audited, candles.mismatches) == (6, 0)


def test_a_hole_that_exists_only_here_is_not_kept() -> None:
    candles = closed(0, 3)
    assert [opened for opened, _ in merge(candles, 6, 9)] == [MIDNIGHT + minute * MINUTE for minute in (6, 7, 8)]
    assert minutes(candles) == [0, 1, 2]


def test_rows_within_an_answer_that_lacks_them_are_dropped_and_what_it_has_fills_a_hole() -> None:
    candles = closed(0, 9)
    merge(candles, 2, 9, without=range(4, 6))
    assert minutes(candles) == [0, 1, 2, 3, 6, 7, 8]
    assert candles.mismatches == 2
    merge(candles, 2, 9)
    assert minutes(candles) == list(range(9))


def test_after_a_gap_longer_than_the_depth_they_begin_again() -> None:
    candles = closed(0, 3, depth=10)
    assert merge(candles, 20, 25) == []
    assert minutes(candles) == [20, 21, 22, 23, 24]


def test_a_row_that_is_reported_differently_is_replaced_and_counted() -> None:
    candles = closed()
    candles.begin(MIDNIGHT)
    for each in (text(0), text(1, wrong=True), text(2)):
        candles.append(each)
    before = candles.version
    merge(candles, 1, 3)
    assert candles.texts() == texts(0, 3)
    assert (candles.audited, candles.mismatches) == (2, 1)
    assert candles.version != before


def test_what_is_remembered_follows_every_change() -> None:
    candles = closed(0, 30, depth=32)
    floats = candles.floats

    def agrees() -> bool:
        columns = floats.take(len(candles))
        return columns is None or floats.rows(columns) == float_rows(candles.texts())

    floats.put(floats.columns(float_rows(candles.texts())))
    assert floats.take(30) is not None
    for minute in range(30, 36):
        candles.append(text(minute))
        assert agrees()
        assert floats.take(len(candles)) is not None
    assert len(candles) == 32
    merge(candles, 2, 5)
    assert agrees()


@settings(deadline=None, max_examples=60)
@given(
    st.sets(st.integers(0, 60), max_size=30),
    st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=12),
)
def test_closed_candles_have_only_the_holes_of_the_exchange_and_are_never_too_many(
    halted: set[int], answers: list[tuple[int, int]]
) -> None:
    candles = closed(depth=15)
    for first, count in answers:
        shown = [minute for minute in range(first, first + count) if minute not in halted]
        if not shown:
            continue
        after = next(minute for minute in range(shown[-1] + 1, 100) if minute not in halted)
        candles.begin(MIDNIGHT + shown[0] * MINUTE)
        candles.merge([(MIDNIGHT + m * MINUTE, text(m)) for m in shown], MIDNIGHT + after * MINUTE)
        held = minutes(candles)
        assert held == [minute for minute in range(held[0], held[-1] + 1) if minute not in halted]
        assert len(held) <= 15
        assert candles.texts() == [text(minute) for minute in held]
