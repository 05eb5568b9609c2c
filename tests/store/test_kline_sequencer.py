"""Which versions of its candles a series takes, and when they close, whatever order they come in."""

from __future__ import annotations

import pytest

from ats_sync.store.closed import Closing, Source
from ats_sync.store.kline_sequencer import FINAL_IN_REST_AFTER
from ats_sync.store.klines import KlineSeries
from ats_sync.store.pending import MOST_PENDING
from ats_sync.store.series import Change, Origin
from ats_sync.venue.klines import text_open_time
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, STARTS, Truth, asked, series_of, state, warmed


def test_frames_without_an_answer_are_not_a_history() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3])
    series = series_of(truth)
    for i in range(2):
        series.apply(truth.frame(i, final=True), LINK)
    assert series.state(truth.end).doubt
    assert series.rows(5, truth.end, exact=True) == []


def test_frames_before_the_first_answer_are_not_a_gap() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3])
    series = series_of(truth)
    assert [series.apply(truth.frame(i, 1), LINK) for i in range(2)] == [None, None]
    assert series.counts().lost == 0


def test_what_was_buffered_before_the_answer_joins_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    series.apply(truth.frame(2, 5, final=True), LINK)
    series.apply(truth.frame(3, 2), LINK)
    now = truth.told_at(3, 2)
    series.replace(truth.texts(truth.opens[2] + 100), Origin(truth.opens[2] + 100, 499))
    # Candle 1 had closed only 100 ms before the request, so what REST showed may not have been final.
    assert series.following() == truth.opens[1]
    assert series.state(now).doubt
    series.replace(truth.texts(truth.opens[3] + 100), Origin(truth.opens[3] + 100, 499))
    assert series.following() == truth.opens[3]
    assert series.rows(4, now, exact=True) == [*truth.finals(0, 3), truth.row(3, 2)]
    assert not series.state(now).doubt


@pytest.mark.parametrize("first", ["the final event", "the answer of one row"])
def test_the_final_event_of_a_candle_before_an_answer_of_one_row_counts_once_another_answer_reaches_back(
    first: str,
) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3, 4, 5])
    series = series_of(truth)
    now = truth.opens[3] + 250

    def show(rows: int) -> None:
        series.replace(truth.texts(now, rows), Origin(now, rows))

    if first == "the final event":
        series.apply(truth.frame(2, final=True), LINK)
        show(1)
    else:
        show(1)
        assert series.apply(truth.frame(2, final=True), LINK) is None
    assert series.following() == truth.opens[3]
    assert series.rows(5, now, exact=True) == [truth.row(3, 0)]
    assert series.counts().out_of_order == 0
    show(3)
    assert series.following() == truth.opens[3]
    assert series.closed_rows() == truth.texts(now, 3)[:2]


def test_what_came_before_the_first_candle_that_closed_is_out_of_order() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3, 4, 5])
    series = series_of(truth)
    now = truth.opens[2] + 250
    series.replace(truth.texts(now, 1), Origin(now, 1))
    series.apply(truth.frame(0, final=True), LINK)
    series.apply(truth.frame(2, final=True), LINK)
    series.apply(truth.frame(3, 1), LINK)
    assert series.following() == truth.opens[3]
    assert series.counts().out_of_order == 0
    assert not series.state(truth.told_at(3, 1)).doubt
    series.apply(truth.frame(1, final=True), LINK)
    assert series.counts().out_of_order == 1


@pytest.mark.parametrize("late", [-1, 0])
def test_a_row_of_rest_is_final_five_seconds_after_its_close(late: int) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = series_of(truth)
    now = truth.opens[2] + FINAL_IN_REST_AFTER + late
    series.replace(truth.texts(now), Origin(now, 499))
    assert series.following() == (truth.opens[2] if late >= 0 else truth.opens[1])


def test_final_beats_open_and_more_trades_beat_fewer() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    now = asked(truth, 1)
    for frames, expected in (
        ([truth.frame(1, 5), truth.frame(1, 4)], truth.row(1, 5)),
        ([truth.frame(1, 4), truth.frame(1, 5)], truth.row(1, 5)),
    ):
        series = warmed(truth, 1)
        for frame in frames:
            series.apply(frame, LINK)
        assert series.rows(1, now, exact=True) == [expected]
        series.apply(truth.frame(1, 9, final=True), LINK)
        series.apply(truth.frame(1, 9), LINK)
        assert series.rows(1, None, exact=True) == [truth.row(1)]
        assert series.following() == truth.end


def test_an_answer_older_than_the_stream_changes_nothing() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 9, 9])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, final=True), LINK)
    series.apply(truth.frame(3, 7), LINK)
    now = truth.told_at(3, 7)
    before = state(series, now)
    lagging = truth.told_at(2, 4)
    series.replace(truth.texts(lagging), Origin(lagging, 499))
    assert state(series, now)[1:] == before[1:]


def test_the_final_event_closes_the_candle_and_is_reported() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    assert series.apply(truth.frame(1, 2), LINK) is None
    notice = series.apply(truth.frame(1, final=True), LINK)
    assert notice is not None
    assert (notice.change, notice.key) == (Change.CLOSED, series.key)
    assert series.closed_after(truth.opens[0]) == samples.row_text(truth.row(1))
    assert series.closed_after(truth.opens[1]) is None
    assert series.apply(truth.frame(1, final=True), LINK) is None
    assert text_open_time(series.closed_rows()[-1]) == truth.opens[1]


def test_the_final_event_also_closes_a_candle_without_any_other_frame() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, final=True), LINK)
    quiet = Truth("1m", MIDNIGHT, [3, 4, 5, 1])
    notice = series.apply(quiet.frame(3, final=True), LINK)
    assert notice is not None
    assert notice.change is Change.CLOSED
    assert series.following() == quiet.end


def test_a_repeated_frame_of_a_candle_before_the_newest_reports_nothing() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 3), LINK)
    series.apply(truth.frame(2, 1), LINK)
    now = truth.told_at(2, 1)
    before = state(series, now)
    assert [series.apply(truth.frame(1, trades), LINK) for trades in (3, 2)] == [None, None]
    assert state(series, now) == before


def test_the_final_version_counts_even_where_it_has_fewer_trades() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9, 5])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 5), LINK)
    final = truth.row(1, 4)
    series.apply(samples.kline_frame(final, event=truth.opens[2] + 200, final=True), LINK)
    assert series.following() == truth.opens[2]
    assert series.rows(1, None, exact=True) == [final]


def test_a_later_frame_of_fewer_trades_of_a_candle_before_the_newest_must_be_confirmed_by_rest() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9, 5])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 5), LINK)
    series.apply(truth.frame(2, 1), LINK)
    fewer = samples.kline_frame(truth.row(1, 4), event=truth.told_at(1, 5) + 1)
    notice = series.apply(fewer, LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.rows(3, None, exact=True)[1] == truth.row(1, 5)


def test_a_candle_beyond_a_gap_reports_it_once() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    assert series.apply(truth.frame(2, 1), LINK) is not None
    series.apply(truth.frame(3, 1), LINK)
    assert series.apply(truth.frame(2, 2), LINK) is None


def test_endless_frames_that_no_answer_joins_take_bounded_memory() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * (MOST_PENDING + 50))
    series = series_of(truth)
    for i in range(len(truth)):
        series.apply(truth.frame(i, final=True), LINK)
    texts = series.copied().texts
    assert len(texts) == MOST_PENDING
    assert text_open_time(texts[-1]) == truth.opens[-1]


def test_what_made_each_candle_final_is_noted_with_the_time() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 5, 6], first_trade=500)
    times = [MIDNIGHT]
    series = KlineSeries("BTCUSDT", "1m", 500, exchange_ms=lambda: times[-1])
    series.replace(truth.texts(asked(truth, 1)), Origin(asked(truth, 1), 499))
    times.append(truth.opens[2] + 200)
    series.apply(truth.frame(1, final=True), LINK)
    times.append(truth.told_at(3, 1))
    series.apply(truth.frame(3, 1), LINK)
    times.append(asked(truth, 4))
    series.replace(truth.texts(asked(truth, 4)), Origin(asked(truth, 4), 499))
    assert [series.closing(opened) for opened in truth.opens] == [
        None,
        Closing(truth.opens[2] + 200, Source.STREAM),
        Closing(truth.told_at(3, 1), Source.FLAT),
        Closing(asked(truth, 4), Source.REST),
        None,
    ]


def test_no_candle_becomes_final_before_its_close_though_our_idea_of_the_time_lags_behind() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    times = [asked(truth, 1)]
    series = KlineSeries("BTCUSDT", "1m", 500, exchange_ms=lambda: times[-1])
    series.replace(truth.texts(asked(truth, 1)), Origin(asked(truth, 1), 499))
    times.append(truth.opens[2] - 2_016)
    series.apply(truth.frame(1, final=True), LINK)
    assert series.closing(truth.opens[1]) == Closing(truth.opens[2], Source.STREAM)


def test_what_closed_between_a_dump_and_the_first_answer_did_not_close_here() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7])
    series = series_of(truth)
    series.load(warmed(truth, 2).dump())
    series.replace(truth.texts(asked(truth, 4)), Origin(asked(truth, 4), 499))
    assert series.following() == truth.opens[4]
    assert [series.closing(opened) for opened in truth.opens] == [None] * 5


def test_saved_candles_are_joined_by_the_frames_that_came_before_they_were_loaded() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    for frame in (truth.frame(0, final=True), truth.frame(1, final=True), truth.frame(2, 2)):
        series.apply(frame, LINK)
    now = truth.told_at(2, 2)
    series.load(warmed(truth, 1).dump())
    assert series.following() == truth.opens[2]
    assert series.rows(9, now, exact=True) == [*truth.finals(0, 2), truth.row(2, 2)]


def test_a_frame_of_a_saved_candle_leaves_no_doubt() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series, now = series_of(truth), truth.told_at(2, 1)
    for frame in (truth.frame(1, 3), truth.frame(2, 1)):
        series.apply(frame, LINK)
    series.load(warmed(truth, 2).dump())
    assert series.state(now).doubt == ""
    assert series.rows(9, now, exact=True) == [*truth.finals(0, 2), truth.row(2, 1)]


def test_saved_candles_count_though_an_answer_had_none() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = series_of(truth)
    series.replace([], Origin(MIDNIGHT - 60, 499))
    series.load(warmed(truth, 1).dump())
    assert series.apply(truth.frame(1, 1), LINK) is None, "it is not the first"
    assert series.rows(9, truth.told_at(1, 1), exact=True) == [*truth.finals(0, 1), truth.row(1, 1)]


def test_a_candle_after_one_that_was_never_final_is_a_gap() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    notice = series.apply(truth.frame(2, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.apply(truth.frame(2, 2), LINK) is None
    now = truth.told_at(2, 2)
    assert "final" in series.state(now).doubt
    assert series.counts().lost == 1
    # REST makes up for the lost final event once the candle is final there.
    series.replace(truth.texts(asked(truth, 2), 2), Origin(asked(truth, 2), 2))
    assert series.rows(3, now, exact=True) == [*truth.finals(0, 2), truth.row(2, 2)]
    assert not series.state(now).doubt


def test_a_candle_that_an_answer_showed_before_its_stream_is_not_a_gap_until_the_stream_shows_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    now = truth.opens[2] + 200
    series.replace(truth.texts(now, 2), Origin(now, 2))
    assert not series.state(now).doubt
    notice = series.apply(truth.frame(2, 2), LINK)
    now = truth.told_at(2, 2)
    assert notice is not None
    assert notice.change is Change.GAP
    assert "lost" in series.state(now).doubt
    assert series.apply(truth.frame(2, 3), LINK) is None, "reported once"


def test_a_late_event_of_a_closed_candle_is_counted_and_dropped() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 2)
    before = state(series, truth.end - 1)
    assert series.apply(truth.frame(1, 2), LINK) is None
    assert series.apply(truth.frame(1, final=True), LINK) is None
    assert series.counts().out_of_order == 2
    assert state(series, truth.end - 1)[1:] == before[1:]


def test_a_final_event_that_comes_after_the_next_candle_began_heals_the_gap() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4), LINK)
    series.apply(truth.frame(2, 1), LINK)
    series.apply(truth.frame(2, final=True), LINK)
    series.apply(truth.frame(3, 1), LINK)
    assert series.following() == truth.opens[1]
    notice = series.apply(truth.frame(1, final=True), LINK)
    assert notice is not None
    assert notice.change is Change.CLOSED
    now = truth.told_at(3, 1)
    assert series.rows(4, now, exact=True) == [*truth.finals(0, 3), truth.row(3, 1)]
    assert not series.state(now).doubt


def test_rest_corrects_a_closed_candle_and_the_correction_is_counted() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    wrong = truth.row(1)
    wrong[4] = "7.0000"
    series.apply(samples.kline_frame(wrong, final=True), LINK)
    series.rows(5, None, exact=True)
    series.rows(5, None, exact=False)
    series.replace(truth.texts(asked(truth, 2)), Origin(asked(truth, 2), 499))
    assert series.rows(2, None, exact=True)[0] == truth.row(1)
    assert series.rows(2, None, exact=False)[0][4] == float(truth.row(1)[4])
    assert (series.counts().mismatches, series.counts().audited) == (1, 2)


def test_an_unusable_final_event_does_not_close_the_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = warmed(truth, 1)
    bad = truth.row(1)
    bad[4] = ""
    with pytest.raises(DecodeError):
        series.apply(samples.kline_frame(bad, final=True), LINK)
    assert series.following() == truth.opens[1]


def test_rows_out_of_order_are_all_refused() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    texts = truth.texts(truth.end)
    for wrong in ([texts[1], texts[0]], [texts[0], texts[0]]):
        series = series_of(truth)
        with pytest.raises(DecodeError):
            series.replace(wrong, Origin(truth.end, 499))
        assert series.following() == 0


@pytest.mark.parametrize("interval", STARTS)
def test_history_grows_across_period_ends_of_every_calendar(interval: str) -> None:
    truth = Truth(interval, STARTS[interval], [3, 4, 0, 5, 2, 6])
    series = warmed(truth, 1)
    for i in (1, 2, 3, 4, 5):
        if truth.trades[i]:
            series.apply(truth.frame(i, 1), LINK)
            series.apply(truth.frame(i, final=True), LINK)
        else:
            series.replace(truth.texts(asked(truth, i + 1), 2), Origin(asked(truth, i + 1), 2))
    assert series.rows(10, None, exact=True) == truth.finals()
    assert series.following() == truth.end


# --- the exchange's history as a whole ------------------------------------------------------------


def test_older_rows_are_prepended_to_what_is_known() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 3 for i in range(20)])
    now = asked(truth, 19)
    series = series_of(truth)
    series.replace(truth.texts(now, 3), Origin(now, 3))
    series.rows(3, now, exact=True)
    assert not series.complete
    assert len(series.rows(100, now, exact=True)) == 3
    series.replace(truth.texts(now, 15), Origin(now, 15))
    assert series.rows(100, now, exact=True) == truth.rest(now, 15)
    series.replace(truth.texts(now, 499), Origin(now, 499))
    assert series.rows(100, now, exact=True) == truth.rest(now)
    assert series.complete


def test_a_short_history_is_complete_and_a_full_answer_is_not_complete() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 9)
    now = asked(truth, 8)
    series = series_of(truth)
    series.replace(truth.texts(now, 9), Origin(now, 9))
    assert not series.complete
    series.replace(truth.texts(now, 10), Origin(now, 10))
    assert series.complete
    assert series.state(now).complete


def test_a_short_answer_does_not_undo_that_the_history_is_complete() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 9)
    series, now = warmed(truth, 7), asked(truth, 8)
    assert series.complete
    series.replace(truth.texts(now, 2), Origin(now, 2))
    assert (series.complete, len(series.closed_rows())) == (True, 8)


def test_a_whole_history_that_begins_later_is_that_of_a_new_contract_of_the_same_name() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 20)
    series, now = warmed(truth, 18), asked(truth, 19)
    series.replace(truth.texts(now)[5:], Origin(now, 499))
    assert series.rows(100, now, exact=True) == truth.rest(now)[5:]
    assert series.complete


def test_a_history_with_a_hole_is_no_reason_to_drop_older_candles() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 20)
    series, now = warmed(truth, 18), asked(truth, 19)
    texts, rest = truth.texts(now), truth.rest(now)
    series.replace(texts[5:8] + texts[10:], Origin(now, 499))
    assert series.rows(100, now, exact=True) == rest[:8] + rest[10:]


def test_a_new_listing_may_have_only_an_open_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [5, 5])
    series = series_of(truth)
    now = truth.told_at(0, 2)
    series.replace(truth.texts(now), Origin(now, 499))
    assert series.complete
    assert series.state(now).rows == 1
    assert not series.state(now).doubt
    assert series.rows(100, now, exact=True) == [truth.row(0, 2)]
    series.apply(truth.frame(0, final=True), LINK)
    series.apply(truth.frame(1, 1), LINK)
    assert series.rows(100, truth.told_at(1, 1), exact=True) == [truth.row(0), truth.row(1, 1)]


def test_history_is_trimmed_to_its_depth_and_then_not_complete() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 30)
    series = warmed(truth, 5, depth=8)
    assert series.complete
    for i in range(5, 30):
        series.apply(truth.frame(i, final=True), LINK)
        assert len(series) <= 8
        assert series.rows(100, None, exact=True) == truth.finals(max(0, i - 7), i + 1)
    assert not series.complete
    series.replace(truth.texts(truth.end + 10_000), Origin(truth.end + 10_000, 499))
    assert len(series.closed_rows()) == 8


def test_it_can_be_deepened_and_then_keeps_what_an_answer_adds() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 50, depth=8, limit=9)
    assert len(series.closed_rows()) == 8
    series.deepen(30)
    series.deepen(10)
    assert series.depth == 30
    now = asked(truth, 50)
    series.replace(truth.texts(now, 41), Origin(now, 41))
    assert len(series.closed_rows()) == 30
    assert series.rows(31, now, exact=True)[:-1] == truth.finals(20, 50)
    series.apply(truth.frame(50, final=True), LINK)
    assert len(series.closed_rows()) == 30


def test_an_answer_that_does_not_touch_what_is_known_waits_and_shrinks_nothing() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 40)
    now = asked(truth, 55)
    series.replace(truth.texts(now, 5), Origin(now, 5))
    assert series.following() == truth.opens[40]
    assert len(series.closed_rows()) == 40
    assert series.state(now).doubt
    series.replace(truth.texts(now, 20), Origin(now, 20))
    assert not series.state(now).doubt
    assert series.rows(100, now, exact=True) == truth.rest(now)


def test_rows_that_wait_join_as_soon_as_those_before_them_come() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 40)
    now = asked(truth, 55)
    series.replace(truth.texts(now, 5), Origin(now, 5))
    series.replace(truth.texts(asked(truth, 51), 12), Origin(asked(truth, 51), 12))
    assert series.following() == truth.opens[55]
    assert series.rows(100, now, exact=True) == truth.rest(now)
    closings = [series.closing(truth.opens[i]) for i in (45, 52)]
    assert [closing.source for closing in closings if closing is not None] == [Source.REST, Source.REST]


def test_rows_older_than_all_that_is_kept_are_of_no_use() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    now = asked(truth, 55)
    series = series_of(truth)
    series.replace(truth.texts(now, 5), Origin(now, 5))
    before = state(series, now)
    series.replace(truth.texts(asked(truth, 20), 10), Origin(asked(truth, 20), 10))
    assert state(series, now) == before


def test_after_an_absence_longer_than_the_ring_it_begins_again() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 2 for i in range(200)])
    series = warmed(truth, 30, depth=20, limit=19)
    series.rows(20, None, exact=True)
    series.apply(truth.frame(190, 1), LINK)
    now = asked(truth, 190)
    series.replace(truth.texts(now, 19), Origin(now, 19))
    assert not series.state(now).doubt
    assert series.rows(19, now, exact=True) == [*truth.finals(172, 190), truth.row(190, 1)]
    assert series.following() == truth.opens[190]


def test_a_hole_of_the_exchange_is_remembered_as_it_shows_it() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series = series_of(truth)
    series.replace(texts[:10] + texts[25:], Origin(now, 499))
    rest = truth.rest(now)
    assert series.rows(100, now, exact=True) == rest[:10] + rest[25:]
    assert series.rows(20, now, exact=True) == (rest[:10] + rest[25:])[-20:]
    assert series.complete
    standing = series.state(now)
    assert (standing.rows, standing.doubt) == (25, "")


def test_a_hole_that_ends_with_the_open_candle_is_remembered() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series = series_of(truth)
    series.replace(texts[:10] + texts[39:], Origin(now, 499))
    assert series.rows(100, now, exact=True) == truth.rest(now)[:10] + truth.rest(now)[39:]
    assert not series.state(now).doubt


def test_a_hole_that_arises_at_the_exchange_while_it_is_followed_does_not_leave_it_in_doubt_for_ever() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series.apply(truth.frame(39, 1), LINK)
    series.replace(texts[8:10] + texts[25:], Origin(now, 17))
    assert not series.state(now).doubt
    assert series.rows(100, now, exact=True) == [*truth.finals(0, 10), *truth.finals(25, 39), truth.row(39, 1)]


@pytest.mark.parametrize(("late", "proven"), [(-1, True), (0, False)])
def test_an_answer_without_newer_candles_shows_a_halt_five_seconds_after_the_close(late: int, proven: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 4 + [0] * 6 + [1], first_trade=1)
    series = warmed(truth, 3)
    series.apply(truth.frame(3, final=True), LINK)
    at = truth.opens[4] + FINAL_IN_REST_AFTER + late
    series.replace(truth.texts(truth.opens[4] - 1, 2), Origin(at, 2))
    series.apply(truth.frame(10, 1), LINK)
    assert series.following() == truth.opens[10 if proven else 4]


def test_an_event_of_a_time_far_ahead_does_not_spoil_the_series() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    far = samples.kline_frame(samples.row(MIDNIGHT + 10_000 * MINUTE), event=MIDNIGHT)
    with pytest.raises(DecodeError):
        series.apply(far, LINK)
    assert not series.state(asked(truth, 10)).doubt


# --- candles without trades -----------------------------------------------------------------------


def test_a_candle_without_trades_is_proven_by_the_trade_ids_around_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 0, 5, 2], first_trade=500)
    series = warmed(truth, 1)
    series.apply(truth.frame(1, final=True), LINK)
    notice = series.apply(truth.frame(4, 1), LINK)
    assert notice is None or notice.change is Change.CLOSED
    now = truth.told_at(4, 1)
    assert series.following() == truth.opens[4]
    assert not series.state(now).doubt
    assert series.rows(9, now, exact=True) == [*truth.finals(0, 4), truth.row(4, 1)]


@pytest.mark.parametrize(
    ("paused", "goes_on", "proven"),
    [
        ((2, 0), None, False),
        ((2, 0), (3, 30_000), False),
        ((1, 30_000), (2, 59_999), True),
        ((4, 0), None, True),
        ((4, 1), None, True),
    ],
)
def test_trade_ids_prove_nothing_where_the_exchange_may_have_no_candle_of_a_halt(
    paused: tuple[int, int], goes_on: tuple[int, int] | None, proven: bool
) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 0, 5, 2], first_trade=500)
    series = warmed(truth, 1)
    series.apply(truth.frame(1, final=True), LINK)
    series.note_paused(truth.opens[paused[0]] + paused[1])
    if goes_on is not None:
        series.note_trading(truth.opens[goes_on[0]] + goes_on[1])
        series.note_trading(truth.opens[5])  # it is said again and again
    notice = series.apply(truth.frame(4, 1), LINK)
    assert (series.following() == truth.opens[4]) is proven
    assert (notice is not None and notice.change is Change.GAP) is not proven
    assert bool(series.state(truth.told_at(4, 1)).doubt) is not proven


@pytest.mark.parametrize("lost", ["a trade between them", "the final event before them"])
def test_a_candle_is_not_taken_for_one_without_trades_where_trade_ids_leave_room(lost: str) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 2, 0, 5, 2], first_trade=500)
    series = warmed(truth, 1)
    if lost == "a trade between them":
        series.apply(truth.frame(1, final=True), LINK)
    else:
        series.apply(truth.frame(1, 4), LINK)
    notice = series.apply(truth.frame(4, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.state(truth.told_at(4, 1)).doubt
    assert series.following() == truth.opens[2 if lost == "a trade between them" else 1]


def test_the_very_first_trade_proves_as_much_as_any_other() -> None:
    truth = Truth("1m", MIDNIGHT, [1, 0, 2], first_trade=0)
    series, now = series_of(truth), truth.told_at(0, 1)
    series.replace(truth.texts(now), Origin(now, 499))
    series.apply(truth.frame(0, final=True), LINK)
    series.apply(truth.frame(2, 1), LINK)
    assert series.following() == truth.opens[2]
    assert series.rows(9, None, exact=True) == [*truth.finals(0, 2), truth.row(2, 1)]


def test_a_candle_whose_frame_was_unusable_is_not_taken_for_one_without_trades() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 5], first_trade=500)
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 4).replace(b'"v":"', b'"v":"x', 1), LINK)
    with pytest.raises(DecodeError):
        series.rows(5, None, exact=True)
    notice = series.apply(truth.frame(3, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.following() == truth.opens[1]


def test_candles_without_trades_are_not_made_up_where_none_before_them_is_known() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 0, 0, 5], first_trade=500)
    series = series_of(truth)
    series.apply(truth.frame(0, final=True), LINK)
    now = truth.opens[1] + 100
    series.replace(truth.texts(now, 1), Origin(now, 1))
    notice = series.apply(truth.frame(3, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert series.closed_rows() == []


def test_two_frames_without_a_trade_between_them_show_nothing_about_earlier_candles() -> None:
    truth = Truth("1m", MIDNIGHT, [2, 3, 1, 4], first_trade=100)
    series = series_of(truth)
    half = truth.opens[0] + MINUTE // 2
    series.replace(truth.texts(half, 1), Origin(half, 1))
    series.apply(truth.frame(0, final=True), LINK)
    series.apply(truth.frame(2, 1), LINK)  # nothing came of candle 1
    series.apply(truth.frame(3, 1), LINK)
    assert series.following() == truth.opens[1]
    assert series.closed_rows() == truth.texts(truth.opens[1] - 1)


def test_a_contract_that_has_not_traded_yet_begins_with_its_first_trade() -> None:
    truth = Truth("1m", MIDNIGHT, [2, 3])
    series = series_of(truth)
    series.replace([], Origin(MIDNIGHT - 60, 499))
    assert (series.state(MIDNIGHT).rows, series.state(MIDNIGHT).doubt, series.complete) == (0, "", True)
    assert series.state(MIDNIGHT).answered == MIDNIGHT - 60
    notice = series.apply(truth.frame(0, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP, "REST is to show whether it is the very first"
    assert not series.complete


def test_an_answer_with_as_many_rows_as_requested_does_not_show_the_first_candle() -> None:
    """A reader had requested one row of a contract that had begun to trade meanwhile, and no other row came for
    minutes."""
    truth = Truth("1m", MIDNIGHT, [2, 3, 4])
    series = series_of(truth)
    series.replace([], Origin(MIDNIGHT - 60, 499))
    now = asked(truth, 2)
    series.replace(truth.texts(now, 1), Origin(now, 1))
    assert not series.complete
    series.replace(truth.texts(now, 499), Origin(now, 499))
    assert series.complete


def test_an_empty_answer_does_not_undo_what_a_stream_has_shown() -> None:
    truth = Truth("1m", MIDNIGHT, [2, 3])
    series = series_of(truth)
    series.apply(truth.frame(0, 1), LINK)
    series.replace([], Origin(truth.told_at(0, 1), 499))
    assert not series.complete
    assert series.state(truth.told_at(0, 1)).doubt


@pytest.mark.parametrize("closed", [False, True])
def test_a_later_empty_answer_does_not_undo_what_is_known(closed: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [2, 3])
    series = warmed(truth, 1)
    if closed:
        series.apply(truth.frame(1, final=True), LINK)
    before = state(series, truth.end)
    series.replace([], Origin(truth.end, 499))
    assert state(series, truth.end) == before
