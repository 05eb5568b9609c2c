from __future__ import annotations

from pathlib import Path

import pytest

from ats_sync.feeds import Cause
from ats_sync.store.events import Change
from ats_sync.store.klines import FINAL_IN_REST_AFTER, KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.series import FIRST_FRAME_WITHIN as WAIT
from ats_sync.store.series import Origin
from ats_sync.venue.klines import flat_text, text_open_time
from ats_sync.venue.payload import DecodeError

from ..venue import recording as real
from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, STARTS, Truth, asked, series_of, state, warmed

# --- a new subscription ---------------------------------------------------------------------------


def test_it_goes_on_where_all_candles_before_the_first_one_of_a_link_are_closed() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    other = Link(2, "market", 0.0)
    series = warmed(truth, 1)
    series.subscribed_on(other)
    series.apply(truth.frame(1, 1), LINK)
    assert (series.patience(live_once=False), series.is_contiguous()) == (WAIT, False)
    series.apply(truth.frame(1, 2), other)
    assert (series.patience(live_once=False), series.is_contiguous()) == (0.0, True)
    series.subscribed_on(other)
    series.apply(truth.frame(1, 1), other)
    assert series.patience(live_once=False) == WAIT, "what comes late proves nothing"
    series.apply(truth.frame(2, 1), other)
    assert (series.patience(live_once=False), series.is_contiguous()) == (0.0, False), "the one before may have gone on"
    series.apply(truth.frame(1, final=True), other)
    assert series.is_contiguous()


def test_an_answer_from_just_after_a_turn_is_no_reason_to_ask_for_all_rows_again() -> None:
    """Its last closed row was not final yet, so that it brought one less than was asked for."""
    truth = Truth("1m", MIDNIGHT - 300 * MINUTE, [1] * 330)
    series = series_of(truth, depth=100)
    asked_at = truth.opens[200] + FINAL_IN_REST_AFTER - 1
    series.replace(truth.texts(asked_at, 100), Origin(asked_at, 100))
    assert series.following() == truth.opens[199]
    later = asked(truth, 205)
    assert series.request(later, Cause.REPAIR, None) == series.newest_rows(8)
    few = series_of(truth, depth=100)
    few.replace(truth.texts(asked(truth, 200), 50), Origin(asked(truth, 200), 50))
    assert few.request(later, Cause.REPAIR, None) == few.newest_rows(100)


# --- merging --------------------------------------------------------------------------------------


def test_nothing_is_known_at_first() -> None:
    series = KlineSeries("BTCUSDT", "1m", 500)
    standing = series.state(MIDNIGHT)
    assert (standing.rows, standing.link, standing.complete, standing.event) == (0, None, False, 0)
    assert standing.doubt
    assert series.rows(5, MIDNIGHT, exact=True) == []
    assert (series.following(), series.closed_after(0), len(series)) == (0, None, 0)


def test_frames_without_an_answer_are_no_history() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3])
    series = series_of(truth)
    for i in range(2):
        series.apply(truth.frame(i, final=True), LINK)
    assert series.state(truth.end).doubt
    assert series.rows(5, truth.end, exact=True) == []


def test_what_was_buffered_before_the_answer_joins_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    series.apply(truth.frame(2, 5, final=True), LINK)
    series.apply(truth.frame(3, 2), LINK)
    now = truth.told_at(3, 2)
    series.replace(truth.texts(truth.opens[2] + 100), Origin(truth.opens[2] + 100, 499))
    # Candle 1 had closed only 100 ms before it was asked for, so REST may not have had its last word.
    assert series.following() == truth.opens[1]
    assert series.state(now).doubt
    series.replace(truth.texts(truth.opens[3] + 100), Origin(truth.opens[3] + 100, 499))
    assert series.following() == truth.opens[3]
    assert series.rows(4, now, exact=True) == [*truth.finals(0, 3), truth.row(3, 2)]
    assert not series.state(now).doubt


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


def test_the_final_event_closes_the_candle_and_tells_so() -> None:
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
    # The lost final event, made good by REST once it is final there.
    series.replace(truth.texts(asked(truth, 2), 2), Origin(asked(truth, 2), 2))
    assert series.rows(3, now, exact=True) == [*truth.finals(0, 2), truth.row(2, 2)]
    assert not series.state(now).doubt


def test_a_candle_that_an_answer_told_of_before_its_stream_is_no_gap_until_the_stream_does() -> None:
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
    assert series.apply(truth.frame(2, 3), LINK) is None, "told once"


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


def test_rows_out_of_order_are_refused_whole() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    texts = truth.texts(truth.end)
    for wrong in ([texts[1], texts[0]], [texts[0], texts[0]]):
        series = series_of(truth)
        with pytest.raises(DecodeError):
            series.replace(wrong, Origin(truth.end, 499))
        assert series.following() == 0


@pytest.mark.parametrize("interval", STARTS)
def test_history_grows_over_turns_of_every_calendar(interval: str) -> None:
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


def test_older_rows_are_put_before_what_is_known() -> None:
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


def test_a_short_history_is_complete_and_a_full_answer_is_not() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 9)
    now = asked(truth, 8)
    series = series_of(truth)
    series.replace(truth.texts(now, 9), Origin(now, 9))
    assert not series.complete
    series.replace(truth.texts(now, 10), Origin(now, 10))
    assert series.complete
    assert series.state(now).complete


def test_a_new_listing_may_have_but_an_open_candle() -> None:
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


def test_rows_older_than_all_that_is_held_are_of_no_use() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    now = asked(truth, 55)
    series = series_of(truth)
    series.replace(truth.texts(now, 5), Origin(now, 5))
    before = state(series, now)
    series.replace(truth.texts(asked(truth, 20), 10), Origin(asked(truth, 20), 10))
    assert state(series, now) == before


def test_after_an_absence_longer_than_the_ring_it_begins_anew() -> None:
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


def test_a_hole_that_the_exchange_got_while_we_followed_does_not_leave_it_in_doubt_for_ever() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series.apply(truth.frame(39, 1), LINK)
    series.replace(texts[8:10] + texts[25:], Origin(now, 17))
    assert not series.state(now).doubt
    assert series.rows(100, now, exact=True) == [*truth.finals(0, 10), *truth.finals(25, 39), truth.row(39, 1)]


def test_no_candle_is_made_up_for_a_halt_that_rest_has_shown() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40, first_trade=1)
    series = warmed(truth, 10)
    series.apply(truth.frame(10, 1), LINK)
    series.replace(truth.texts(asked(truth, 10), 2), Origin(asked(truth, 30), 2))
    after = Truth("1m", MIDNIGHT, [1] * 11 + [0] * 24 + [1] * 5, first_trade=1)
    notice = series.apply(after.frame(35, 1), LINK)
    assert notice is not None
    assert notice.change is Change.GAP
    assert len(series.closed_rows()) == 10


def test_an_event_of_a_time_far_ahead_does_not_spoil_the_series() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    far = samples.kline_frame(samples.row(MIDNIGHT + 10_000 * MINUTE), event=MIDNIGHT)
    with pytest.raises(DecodeError):
        series.apply(far, LINK)
    assert not series.state(asked(truth, 10)).doubt


# --- the real exchange ----------------------------------------------------------------------------


def test_the_real_final_candles_are_final(recording: Path) -> None:
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"):
        series = KlineSeries(symbol, "1m", 500)
        seen = list(real.of_stream(recording, f"{symbol.lower()}@kline_1m"))
        finals = [data["k"] for _, data in seen if data["k"]["x"]]
        first = min(data["k"]["t"] for _, data in seen)
        before = [samples.row(first - MINUTE), samples.row(first, trades=0)]
        series.replace([samples.row_text(row) for row in before], Origin(first + 10_000, 2))
        for frame, _ in seen:
            series.apply(frame, LINK)
        (final,) = finals
        last = seen[-1][1]
        (closed, newest) = series.rows(2, last["E"], exact=True)
        assert closed[0] == final["t"]
        assert (closed[4], closed[5], closed[8]) == (final["c"], final["v"], final["n"])
        assert text_open_time(series.closed_rows()[-1]) == final["t"]
        if last["k"]["t"] > final["t"]:
            assert (newest[0], newest[4], newest[8]) == (last["k"]["t"], last["k"]["c"], last["k"]["n"])
        assert not series.state(last["E"]).doubt


def flat(opened: int, truth: Truth) -> bytes:
    return flat_text(opened, opened + MINUTE - 1, truth.texts(truth.end)[-1])


def test_while_the_exchange_has_no_candles_memory_serves_what_it_has() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    series.apply(truth.frame(10, 1), LINK)
    series.apply(truth.frame(10, 1, final=True), LINK)
    halted = truth.texts(truth.end)
    now = truth.end + 2 * MINUTE
    assert [row[0] for row in series.rows(3, now, exact=True)][-1] > truth.opens[-1], "a flat row stands in"
    series.replace(halted[-2:], Origin(truth.end + MINUTE + 5_050, 2))
    for later in (now, now + 3_600_000, now + 10 * 3_600_000):
        standing, cut = series.look(11, later, later, True)
        assert (standing.doubt, standing.rows) == ("", 11)
        assert cut.rows() == truth.rest(truth.end)
    after = Truth("1m", now, [3], first_trade=12)
    assert series.apply(after.frame(0, 1), LINK) is not None, "it trades again: what came before is asked for"
    assert series.state(now + 1_000).doubt


def test_what_rest_showed_of_a_halt_is_in_doubt_as_soon_as_the_contract_is_said_to_trade() -> None:
    """A quiet one may have no trade for hours, while REST shows flat candles again."""
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    assert not series.note_trading(MIDNIGHT), "it had not stopped"
    series.apply(truth.frame(10, 1, final=True), LINK)
    asked = truth.end + MINUTE + 5_050
    series.replace(truth.texts(truth.end)[-2:], Origin(asked, 2))
    assert not series.note_trading(asked - 1), "REST has shown since that it stands still"
    assert not series.state(asked + 10).doubt
    assert series.note_trading(asked + 20)
    assert series.state(asked + 30).doubt
    series.replace(truth.texts(truth.end)[-2:], Origin(asked + 10, 2))  # was on its way
    assert series.state(asked + 30).doubt
    series.replace([*truth.texts(truth.end)[-1:], flat(truth.end + MINUTE, truth)], Origin(asked + 40, 2))
    assert not series.state(asked + 50).doubt
    assert series.rows(1, asked + 50, exact=True)[0][0] == truth.end + MINUTE


def test_an_answer_that_lags_is_no_halt() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 11, first_trade=1)
    series = warmed(truth, 10)
    series.apply(truth.frame(10, 1, final=True), LINK)
    series.replace(truth.texts(truth.end)[-2:], Origin(truth.end + 9_000, 2))
    assert not series.stopped()
    assert series.rows(1, truth.end + 10_000, exact=True)[0][0] == truth.end


def test_that_no_trade_came_between_two_frames_says_nothing_of_the_candles_before_both() -> None:
    truth = Truth("1m", MIDNIGHT, [2, 3, 1, 4], first_trade=100)
    series = series_of(truth)
    half = truth.opens[0] + MINUTE // 2
    series.replace(truth.texts(half, 1), Origin(half, 1))
    series.apply(truth.frame(0, final=True), LINK)
    series.apply(truth.frame(2, 1), LINK)  # of candle 1 nothing came
    series.apply(truth.frame(3, 1), LINK)
    assert series.following() == truth.opens[1]
    assert series.closed_rows() == truth.texts(truth.opens[1] - 1)
