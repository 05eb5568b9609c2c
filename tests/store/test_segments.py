from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ats_sync.store.order import REORDERED_WITHIN
from ats_sync.store.segments import Segment, inserted, trimmed
from ats_sync.store.series import Change, Origin
from ats_sync.store.trades import TradeSeries
from ats_sync.venue.trades import Trade, rest_trades

from ..venue import samples
from ..venue.samples import MIDNIGHT, compact
from .candles import LINK

LATER = REORDERED_WITHIN + 1


def run(first: int, count: int) -> Segment:
    return Segment(first, [b"%d" % number for number in range(first, first + count)])


def ids(segments: list[Segment]) -> list[list[int]]:
    return [[int(text) for text in segment.entries.texts()] for segment in segments]


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


def test_a_run_that_lacks_one_trade_is_two() -> None:
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
    assert joined.entries.texts()[:64] == [b"%d" % number for number in range(64)]
    assert joined.after == 128


@given(
    st.tuples(st.integers(0, 20), st.integers(1, 20), st.booleans()),
    st.tuples(st.integers(0, 20), st.integers(1, 20), st.booleans()),
)
def test_what_is_known_to_be_written_as_rest_does_stays_so_in_a_joined_run(
    one: tuple[int, int, bool], other: tuple[int, int, bool]
) -> None:
    a, b = (
        Segment(first, [b"+" if checked else b"-"] * count, checked=checked) for first, count, checked in (one, other)
    )
    kept = inserted([a], b)
    for segment in kept:
        begin, end = segment.checked
        assert segment.first <= begin <= end <= segment.after
        assert set(segment.entries.texts()[begin - segment.first : end - segment.first]) <= {b"+"}
    if len(kept) == 1 and one[2] and other[2]:
        assert kept[0].checked == (kept[0].first, kept[0].after)


def test_only_the_part_that_is_not_known_needs_checking() -> None:
    segment = run(10, 20)
    assert segment.unchecked(15) == 15
    segment.check(15, 25)
    assert [segment.unchecked(first) for first in (10, 15, 24, 25, 28)] == [10, 25, 25, 25, 28]
    segment.check(25, 30)
    assert segment.unchecked(15) == 30
    segment.check(10, 12)
    assert segment.unchecked(15) == 30, "the longer stretch is the one to be noted"
    segment.rewrite(8, [b"gone", b"gone", b"ten", b"eleven"])
    assert segment.entries.texts()[:3] == [b"ten", b"eleven", b"12"]
    assert len(segment.entries) == 20


# --- ids that begin again -------------------------------------------------------------------------


def trade_answer(first: int, last: int, time: int) -> list[Trade]:
    return rest_trades(compact([{**samples.rest_trade(number), "T": time} for number in range(first, last + 1)]))


def test_trades_whose_ids_restart_begin_a_new_ring() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    old = trade_answer(5_000, 5_020, MIDNIGHT)
    ring.replace(old, Origin(MIDNIGHT, 21))
    ring.replace(trade_answer(4_000, 4_010, MIDNIGHT - 9_000), Origin(MIDNIGHT + 60_000, 11))  # a page of old
    assert ring.last_id() == 5_020
    ring.replace(trade_answer(1, 20, MIDNIGHT + LATER), Origin(MIDNIGHT + 60_000, 500))
    assert [trade.id for trade in ring.read(100)] == list(range(1, 21))
    assert ring.complete


def test_a_streamed_trade_of_a_lower_id_and_a_later_time_begins_a_new_ring_and_is_reported() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    ring.replace(trade_answer(5_000, 5_020, 1_000_000), Origin(1_000_000, 21))
    notice = ring.apply(samples.trade_frame(10), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert [trade.id for trade in ring.read(100)] == [10]
    assert ring.apply(samples.trade_frame(11), LINK) is None
    ring.apply(samples.trade_frame(10), LINK)
    assert [trade.id for trade in ring.read(100)] == [10, 11]


def test_a_steady_flow_of_trades_of_a_new_count_is_not_taken_for_late_ones() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    ring.replace(trade_answer(5_000, 5_020, MIDNIGHT), Origin(MIDNIGHT, 21))
    for number in range(1, 30):
        ring.apply(samples.trade_frame(number, at=MIDNIGHT + 100 * number), LINK)
    assert ring.last_id() == 29
    assert ring.first_id() == 1
    assert ring.last_heard()[0] == 59


def test_a_single_trade_of_a_new_count_replaces_the_old_ones_however_soon_it_comes() -> None:
    """It may be the only one for a long time, in the stream as in REST."""
    for streamed in (True, False):
        ring = TradeSeries("BTCUSDT", 100)
        ring.replace(trade_answer(5_000, 5_020, MIDNIGHT), Origin(MIDNIGHT, 21))
        if streamed:
            assert ring.apply(samples.trade_frame(10, at=MIDNIGHT + 200), LINK) is not None
        else:
            ring.replace(trade_answer(10, 10, MIDNIGHT + 200), Origin(MIDNIGHT + 60_000, 500))
        assert (ring.first_id(), ring.last_id()) == (10, 10)


def test_the_newest_trade_under_a_lower_id_shows_a_new_count() -> None:
    """Nothing was traded since, but it is later than what was traded before under greater ids."""
    for known in (1, 3):
        ring = TradeSeries("BTCUSDT", 100)
        for number in range(known):
            ring.apply(samples.trade_frame(5_000 + number, at=MIDNIGHT + number), LINK)
        newest = ring.read(1)[0]
        ring.replace([newest._replace(id=10)], Origin(MIDNIGHT + 60_000, 500))
        assert (ring.first_id(), ring.last_id()) == (10, 10)


@pytest.mark.parametrize("last", [5_010, 5_020, 5_030])
def test_an_answer_with_other_trades_under_the_same_ids_shows_a_new_count(last: int) -> None:
    """This happens after a restart with saved trades, or when ids have begun again twice."""
    ring = TradeSeries("BTCUSDT", 100)
    ring.replace(trade_answer(5_000, 5_020, MIDNIGHT), Origin(MIDNIGHT, 21))
    answer = trade_answer(5_005, last, MIDNIGHT + 50_000)
    ring.replace(answer, Origin(MIDNIGHT + 60_000, 500))
    assert ring.read(100) == answer


@pytest.mark.parametrize("first", [5_000, 5_020])
def test_a_known_id_under_a_later_time_shows_a_new_count_even_in_the_ms_of_the_newest_trade(first: int) -> None:
    ring = TradeSeries("BTCUSDT", 100)
    ring.replace(
        [*trade_answer(5_000, 5_020, MIDNIGHT), *trade_answer(5_021, 5_021, MIDNIGHT + 30)], Origin(MIDNIGHT, 22)
    )
    answer = trade_answer(first, first, MIDNIGHT + 30)
    ring.replace(answer, Origin(MIDNIGHT + 60_000, 500))
    assert ring.read(100) == answer


def test_an_answer_that_shows_them_again_and_more_is_joined() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    known, more = trade_answer(5_000, 5_020, MIDNIGHT), trade_answer(5_021, 5_030, MIDNIGHT + 50_000)
    ring.replace(known, Origin(MIDNIGHT, 21))
    ring.replace([*known[-5:], *more], Origin(MIDNIGHT + 60_000, 500))
    assert ring.read(100) == [*known, *more]
    assert ring.counted_since == 0


def test_a_replica_that_lags_does_not_show_a_new_count() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    for number in range(3):
        ring.apply(samples.trade_frame(5_000 + number, at=MIDNIGHT), LINK)
    ring.replace(trade_answer(4_990, 4_999, MIDNIGHT), Origin(MIDNIGHT + 60_000, 500))  # of the same ms
    assert (ring.first_id(), ring.last_id()) == (4_990, 5_002)


def test_late_trades_set_nothing_back() -> None:
    ring = TradeSeries("BTCUSDT", 100)
    ring.replace(trade_answer(5_000, 5_020, MIDNIGHT), Origin(MIDNIGHT, 21))
    ring.apply(samples.trade_frame(5_021, at=MIDNIGHT - 50), LINK)  # an engine whose clock was set back
    ring.apply(samples.trade_frame(5_020, at=MIDNIGHT), LINK)  # again
    assert (ring.first_id(), ring.last_id()) == (5_000, 5_021)
    for number in range(4_900, 4_990):
        ring.apply(samples.trade_frame(number, at=MIDNIGHT - 10), LINK)
    assert ring.last_id() == 5_021
