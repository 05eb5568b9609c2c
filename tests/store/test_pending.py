from __future__ import annotations

import pytest

from ats_sync.store.order import MOST_LATE, REORDERED_WITHIN
from ats_sync.store.pending import (
    ANSWERED_WITHIN,
    AT_ONCE,
    FINAL_BY_REST,
    FINAL_BY_STREAM,
    OPEN,
    Candle,
    PendingCandles,
)
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT

MINUTE = 60_000
LATER = REORDERED_WITHIN + 1


def frame(trades: int, event: int, opened: int = MIDNIGHT) -> Candle:
    return Candle(
        opened, OPEN, trades, event, samples.kline_frame(samples.row(opened, trades=trades), event=event), True
    )


def row(trades: int, requested_at: int, opened: int = MIDNIGHT, rank: int = OPEN) -> Candle:
    return Candle(opened, rank, trades, requested_at, samples.row_text(samples.row(opened, trades=trades)), False)


def pending(*candles: Candle) -> PendingCandles:
    found = PendingCandles("1m")
    found.candles.update({candle.opened: candle for candle in candles})
    return found


def test_a_frame_of_fewer_trades_replaces_a_candle_once_it_is_surely_later() -> None:
    known = frame(9, MIDNIGHT + 1_000)
    fewer, surely = frame(5, MIDNIGHT + 1_001), frame(5, MIDNIGHT + 1_000 + LATER)
    candles = pending(known)
    assert candles.contradict(known, fewer)
    assert candles.doubted_from() == AT_ONCE
    assert candles.candles[MIDNIGHT] is known
    assert candles.contradict(known, surely)
    assert candles.candles[MIDNIGHT] is surely
    assert not candles.is_contradicted()


def test_a_frame_of_fewer_trades_than_an_answer_puts_the_candle_in_doubt_once_it_is_surely_later() -> None:
    known = row(9, MIDNIGHT + 1_000)
    candles = pending(known)
    assert candles.contradict(known, frame(5, MIDNIGHT + 1_000 + LATER))
    assert candles.doubted_from() == AT_ONCE
    assert candles.candles[MIDNIGHT] is known
    later = frame(6, MIDNIGHT + 1_000 + ANSWERED_WITHIN + LATER)
    assert candles.contradict(known, later)
    assert candles.candles[MIDNIGHT] is later


def test_a_frame_that_an_answer_may_have_overtaken_puts_the_candle_in_doubt_where_none_follows_it() -> None:
    known = row(9, MIDNIGHT + 1_000)
    candles = pending(known)
    assert candles.contradict(known, frame(5, MIDNIGHT + 1_500))
    assert candles.doubted_from() == MIDNIGHT + 1_500 + REORDERED_WITHIN
    candles.candles[MIDNIGHT] = frame(10, MIDNIGHT + 1_750)
    assert candles.doubted_from() == 0
    assert candles.contradiction is None, "reads take the short path again"


@pytest.mark.parametrize(
    ("event", "doubted"), [(999, False), (1_000, True), (1_000 + REORDERED_WITHIN, True), (2_500, False)]
)
def test_a_row_that_may_have_overtaken_a_frame_is_in_doubt_where_no_frame_reaches_it(event: int, doubted: bool) -> None:
    """The candle may have been recomputed while the answer was under way."""
    answer = row(9, MIDNIGHT + 1_000)
    candles = pending(frame(5, MIDNIGHT + event))
    candles.add_row(answer, streaming=False)
    assert candles.candles[MIDNIGHT] is answer
    assert candles.doubted_from() == (MIDNIGHT + event + REORDERED_WITHIN if doubted else 0)
    candles.candles[MIDNIGHT] = frame(9, MIDNIGHT + 2_900)
    assert candles.doubted_from() == 0


def test_an_answer_settles_what_a_frame_that_may_have_been_overtaken_left_open() -> None:
    for trades in (5, 6, 9, 10):
        known = row(9, MIDNIGHT + 1_000)
        candles = pending(known)
        candles.contradict(known, frame(5, MIDNIGHT + 1_500))
        answer = row(trades, MIDNIGHT + 1_500 + LATER)
        candles.add_row(answer, streaming=True)
        assert candles.candles[MIDNIGHT] is answer
        assert candles.doubted_from() == 0


@pytest.mark.parametrize("by_stream", [True, False])
def test_a_candle_that_is_recomputed_once_more_after_what_contradicted_it_is_settled(by_stream: bool) -> None:
    """Answers show fewer trades than that; the market rests, and no frame comes."""
    known = frame(30, MIDNIGHT + 1_000)
    candles = pending(known)
    if by_stream:
        candles.contradict(known, frame(10, MIDNIGHT + 1_300))
        assert not candles.contradict(known, frame(14, MIDNIGHT + 1_800))
    else:
        candles.add_row(row(10, MIDNIGHT + 2_500), streaming=True)
    candles.add_row(row(8, MIDNIGHT + 4_000), streaming=True)
    assert candles.doubted_from()
    settled = row(8, MIDNIGHT + 2_500 + ANSWERED_WITHIN + LATER)
    candles.add_row(settled, streaming=True)
    assert candles.candles[MIDNIGHT] is settled
    assert candles.doubted_from() == 0


def test_the_doubt_about_a_candle_that_is_over_does_not_hide_that_the_next_one_was_recomputed() -> None:
    over, known = frame(90, MIDNIGHT + 1_000), frame(15, MIDNIGHT + 64_000, opened=MIDNIGHT + 60_000)
    candles = pending(over)
    candles.add_row(row(70, MIDNIGHT + 59_000), streaming=True)
    candles.candles[known.opened] = known
    assert candles.contradict(known, frame(2, MIDNIGHT + 64_300, opened=MIDNIGHT + 60_000))
    assert candles.doubted_from() == AT_ONCE


@pytest.mark.parametrize("by_stream", [True, False])
def test_fewer_trades_count_even_where_an_answer_has_just_shown_more(by_stream: bool) -> None:
    """The candle was recomputed twice, and then the market rests."""
    known = frame(30, MIDNIGHT + 6_200)
    candles = pending(known)
    candles.note_recomputed(MIDNIGHT, MIDNIGHT + 2_500)
    candles.add_row(row(31, MIDNIGHT + 6_150), streaming=True)
    assert candles.contradiction is not None
    assert candles.candles[MIDNIGHT] is known
    if by_stream:
        assert candles.contradict(known, frame(10, MIDNIGHT + 6_700))
    for requested in (7_500, 18_500):
        answer = row(10, MIDNIGHT + requested)
        candles.add_row(answer, streaming=True)
    assert candles.candles[MIDNIGHT] is answer
    assert candles.doubted_from() == 0


def test_where_stream_and_rest_agree_the_later_of_the_two_counts() -> None:
    """The frame between the first one of fewer trades and the answer was once dropped."""
    known, last = frame(20, MIDNIGHT + 1_000), frame(4, MIDNIGHT + 1_650)
    candles = pending(known)
    candles.contradict(known, frame(3, MIDNIGHT + 1_250))
    assert not candles.contradict(known, last)
    candles.add_row(row(3, MIDNIGHT + 1_600), streaming=True)
    assert candles.candles[MIDNIGHT] is last
    assert candles.doubted_from() == 0


def test_an_answer_from_long_after_the_last_frame_may_show_another_recomputation_though_they_agree() -> None:
    known, last, first = frame(15, MIDNIGHT + 1_000), frame(8, MIDNIGHT + 1_900), MIDNIGHT + 1_250
    candles = pending(known)
    candles.contradict(known, frame(3, first))
    assert not candles.contradict(known, last)
    candles.add_row(row(7, first + ANSWERED_WITHIN), streaming=True)
    assert candles.candles[MIDNIGHT] is last
    assert candles.doubted_from() == AT_ONCE
    settled = row(7, MIDNIGHT + 1_900 + ANSWERED_WITHIN + LATER)
    candles.add_row(settled, streaming=True)
    assert candles.candles[MIDNIGHT] is settled
    assert candles.doubted_from() == 0


@pytest.mark.parametrize(
    ("requested", "counts", "doubted"),
    [(-1, False, False), (0, False, True), (ANSWERED_WITHIN - 1, False, True), (ANSWERED_WITHIN, True, False)],
)
def test_an_answer_that_may_be_from_before_a_recomputation_does_not_bring_the_old_candle_back(
    requested: int, counts: bool, doubted: bool
) -> None:
    """This holds however late it comes. An answer that was requested since may come from a lagging replica, or show
    that the stream is behind."""
    fewer = MIDNIGHT + 1_250
    known, follows = frame(17, MIDNIGHT + 1_000), frame(3, MIDNIGHT + 1_000 + LATER)
    candles = pending(known)
    candles.contradict(known, frame(2, fewer))
    assert candles.contradict(known, follows)
    answer = row(17, fewer + requested)
    candles.add_row(answer, streaming=True)
    assert candles.candles[MIDNIGHT] is (answer if counts else follows)
    assert (candles.doubted_from() == AT_ONCE) is doubted
    candles.candles[MIDNIGHT] = frame(18, MIDNIGHT + 4_000)
    assert candles.doubted_from() == 0, "the stream has gone on"


@pytest.mark.parametrize(
    ("trades", "requested", "settles"),
    [
        (20, ANSWERED_WITHIN - 1, False),
        (21, ANSWERED_WITHIN - 1, False),
        (20, ANSWERED_WITHIN, True),
        (5, 100, False),
        (3, 100, True),
        (4, 100, True),
        (5, ANSWERED_WITHIN, True),
    ],
)
def test_what_frames_contradict_is_settled_by_an_answer_that_no_lagging_replica_can_have_given(
    trades: int, requested: int, settles: bool
) -> None:
    """Such an answer shows the same as a frame since then, or was requested late enough."""
    known, first = frame(20, MIDNIGHT + 1_000), MIDNIGHT + 1_250
    candles = pending(known)
    candles.contradict(known, frame(3, first))
    candles.contradict(known, frame(4, first + 200))
    candles.add_row(row(trades, first + requested), streaming=True)
    assert candles.is_contradicted() is not settles
    assert (candles.candles[MIDNIGHT] is known) is not settles


def test_a_frame_that_is_minutes_late_proves_nothing() -> None:
    known = frame(9, MIDNIGHT + 1_000)
    candles = pending(known)
    assert not candles.contradict(known, frame(5, MIDNIGHT + MINUTE + MOST_LATE + 1))
    assert candles.candles[MIDNIGHT] is known


@pytest.mark.parametrize(("streaming", "doubted"), [(True, False), (False, True)])
def test_an_answer_of_fewer_trades_that_is_hardly_later_counts_only_without_a_stream(
    streaming: bool, doubted: bool
) -> None:
    candles = pending(frame(9, MIDNIGHT + 1_000))
    candles.add_row(row(5, MIDNIGHT + 1_500), streaming=streaming)
    assert candles.is_contradicted() is doubted


def test_two_answers_that_agree_replace_a_candle_once_no_replica_lags_by_that_much() -> None:
    known = frame(9, MIDNIGHT + 1_000)
    candles = pending(known)
    candles.add_row(row(5, MIDNIGHT + 1_000 + LATER), streaming=True)
    candles.add_row(row(5, MIDNIGHT + 1_000 + ANSWERED_WITHIN), streaming=True)
    assert candles.candles[MIDNIGHT] is known
    agrees = row(5, MIDNIGHT + 1_000 + ANSWERED_WITHIN + LATER)
    candles.add_row(agrees, streaming=True)
    assert candles.candles[MIDNIGHT] is agrees
    assert not candles.is_contradicted()


def test_a_final_row_beats_an_open_candle_of_more_trades() -> None:
    candles = pending(frame(9, MIDNIGHT + 1_000))
    final = row(5, MIDNIGHT, rank=FINAL_BY_REST)
    candles.add_row(final, streaming=True)
    assert candles.candles[MIDNIGHT] is final


def test_the_chain_ends_at_the_first_candle_that_is_missing() -> None:
    first, second = frame(1, MIDNIGHT), frame(1, MIDNIGHT, MIDNIGHT + MINUTE)
    stray = frame(1, MIDNIGHT, MIDNIGHT + 3 * MINUTE)
    candles = pending(first, second, stray)
    assert candles.chain(MIDNIGHT) == [first, second]
    candles.forget_before(MIDNIGHT + MINUTE)
    assert list(candles.candles) == [MIDNIGHT + MINUTE, MIDNIGHT + 3 * MINUTE]
    candles.discard(second)
    assert candles.unusable == second.opened
    assert candles.chain(MIDNIGHT + MINUTE) == []


def test_flat_candles_end_at_one_that_traded() -> None:
    traded = frame(3, MIDNIGHT, MIDNIGHT + 2 * MINUTE)
    candles = pending(traded)
    last = b'%d,"1","2","0.5","1.5","9",%d,"9",3,"4","4","0"' % (MIDNIGHT - MINUTE, MIDNIGHT - 1)
    candles.add_flat(MIDNIGHT, MIDNIGHT + 5 * MINUTE, last)
    assert sorted(candles.candles) == [MIDNIGHT, MIDNIGHT + MINUTE, MIDNIGHT + 2 * MINUTE]
    assert candles.candles[MIDNIGHT].trades == 0
    assert candles.candles[MIDNIGHT + 2 * MINUTE] is traded


def test_its_text_is_the_row_of_rest_in_whatever_form_it_came() -> None:
    row = samples.row(MIDNIGHT)
    text = samples.row_text(row)
    assert Candle(MIDNIGHT, OPEN, 1, 0, samples.kline_frame(row), True).text() == text
    assert Candle(MIDNIGHT, FINAL_BY_REST, 1, 0, text, False).text() == text
    with pytest.raises(DecodeError):
        Candle(MIDNIGHT, OPEN, 1, 0, b'{"data":{}}', True).text()


def test_only_an_open_one_is_not_final() -> None:
    finals = [Candle(MIDNIGHT, rank, 1, 0, b"", False).final for rank in (OPEN, FINAL_BY_STREAM, FINAL_BY_REST)]
    assert finals == [False, True, True]
