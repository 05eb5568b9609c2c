from __future__ import annotations

import itertools
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.feeds import Kind
from ats_sync.store.klines import CONFIRMED_WITHIN, FINAL_EVENT_WITHIN, FINAL_IN_REST_AFTER, KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.notices import Event
from ats_sync.venue import decode
from ats_sync.venue.decode import DecodeError
from ats_sync.venue.intervals import next_open

from ..venue import recording as real
from ..venue import samples
from ..venue.samples import DAY, MIDNIGHT, MINUTE
from .candles import Truth

LINK = Link(1, "market", 0.0)
STARTS = {
    "1m": MIDNIGHT,
    "1h": MIDNIGHT,
    "3d": MIDNIGHT + DAY,  # off the epoch's own count of three days
    "1w": MIDNIGHT - 5 * DAY,  # Monday 2026-11-16
    "1M": 1_790_812_800_000,  # 2026-10-01
}


def series_of(truth: Truth, depth: int = 500) -> KlineSeries:
    return KlineSeries("BTCUSDT", truth.interval, depth)


def warmed(truth: Truth, upto: int, *, depth: int = 500, limit: int = 499) -> KlineSeries:
    """A series with the answer asked for once candle ``upto`` has opened and all before it are final in REST."""
    series = series_of(truth, depth)
    series.merge_rest(truth.texts(asked(truth, upto), limit), asked(truth, upto), limit)
    return series


def asked(truth: Truth, upto: int) -> int:
    return truth.opens[upto] + FINAL_IN_REST_AFTER + 1_000


def state(series: KlineSeries, now: int) -> Any:
    """Everything of a series that a reader can tell."""
    standing = series.standing(now)
    return (
        standing._replace(link=None),
        series.following(),
        series.rows(10_000, now, exact=True),
        series.rows(10_000, now, exact=False),
        series.rows(10_000, None, exact=True),
        series.last_close(),
        series.audit_rows(),
    )


# --- merging --------------------------------------------------------------------------------------


def test_nothing_is_known_at_first() -> None:
    series = KlineSeries("BTCUSDT", "1m", 500)
    standing = series.standing(MIDNIGHT)
    assert (standing.rows, standing.link, standing.complete, standing.event) == (0, None, False, 0)
    assert standing.doubt
    assert series.rows(5, MIDNIGHT, exact=True) == []
    assert (series.following(), series.last_close(), series.closed_after(0), len(series)) == (0, 0, None, 0)


def test_frames_without_an_answer_are_no_history() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 3])
    series = series_of(truth)
    for i in range(2):
        series.ingest(truth.frame(i, final=True), LINK)
    assert series.standing(truth.end).doubt
    assert series.rows(5, truth.end, exact=True) == []


def test_what_was_buffered_before_the_answer_joins_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = series_of(truth)
    series.ingest(truth.frame(2, 5, final=True), LINK)
    series.ingest(truth.frame(3, 2), LINK)
    now = truth.told_at(3, 2)
    series.merge_rest(truth.texts(truth.opens[2] + 100), truth.opens[2] + 100, 499)
    # Candle 1 had closed only 100 ms before it was asked for, so REST may not have had its last word.
    assert series.following() == truth.opens[1]
    assert series.standing(now).doubt
    series.merge_rest(truth.texts(truth.opens[3] + 100), truth.opens[3] + 100, 499)
    assert series.following() == truth.opens[3]
    assert series.rows(4, now, exact=True) == [*truth.finals(0, 3), truth.row(3, 2)]
    assert not series.standing(now).doubt


@pytest.mark.parametrize("late", [-1, 0])
def test_a_row_of_rest_is_final_five_seconds_after_its_close(late: int) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = series_of(truth)
    now = truth.opens[2] + FINAL_IN_REST_AFTER + late
    series.merge_rest(truth.texts(now), now, 499)
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
            series.ingest(frame, LINK)
        assert series.rows(1, now, exact=True) == [expected]
        series.ingest(truth.frame(1, 9, final=True), LINK)
        series.ingest(truth.frame(1, 9), LINK)
        assert series.rows(1, None, exact=True) == [truth.row(1)]
        assert series.following() == truth.end


def test_an_answer_older_than_the_stream_changes_nothing() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 9, 9])
    series = warmed(truth, 2)
    series.ingest(truth.frame(2, final=True), LINK)
    series.ingest(truth.frame(3, 7), LINK)
    now = truth.told_at(3, 7)
    before = state(series, now)
    lagging = truth.told_at(2, 4)
    series.merge_rest(truth.texts(lagging), lagging, 499)
    assert state(series, now)[1:] == before[1:]


def test_the_final_event_closes_the_candle_and_tells_so() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    assert series.ingest(truth.frame(1, 2), LINK) is None
    notice = series.ingest(truth.frame(1, final=True), LINK)
    assert notice is not None
    assert (notice.event, notice.key) == (Event.CLOSED, series.key)
    assert series.closed_after(truth.opens[0]) == samples.row_text(truth.row(1))
    assert series.closed_after(truth.opens[1]) is None
    assert series.ingest(truth.frame(1, final=True), LINK) is None
    assert series.last_close() == truth.opens[1]


def test_a_candle_after_one_that_was_never_final_is_a_gap() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7])
    series = warmed(truth, 1)
    series.ingest(truth.frame(1, 4), LINK)
    notice = series.ingest(truth.frame(2, 1), LINK)
    assert notice is not None
    assert notice.event is Event.GAP
    assert series.ingest(truth.frame(2, 2), LINK) is None
    now = truth.told_at(2, 2)
    assert "final" in series.standing(now).doubt
    assert series.lost == 1
    # The lost final event, made good by REST once it is final there.
    series.merge_rest(truth.texts(asked(truth, 2), 2), asked(truth, 2), 2)
    assert series.rows(3, now, exact=True) == [*truth.finals(0, 2), truth.row(2, 2)]
    assert not series.standing(now).doubt


def test_a_late_event_of_a_closed_candle_is_counted_and_dropped() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 2)
    before = state(series, truth.end - 1)
    assert series.ingest(truth.frame(1, 2), LINK) is None
    assert series.ingest(truth.frame(1, final=True), LINK) is None
    assert series.out_of_order == 2
    assert state(series, truth.end - 1)[1:] == before[1:]


def test_a_final_event_that_comes_after_the_next_candle_began_heals_the_gap() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 1)
    series.ingest(truth.frame(1, 4), LINK)
    series.ingest(truth.frame(2, 1), LINK)
    series.ingest(truth.frame(2, final=True), LINK)
    series.ingest(truth.frame(3, 1), LINK)
    assert series.following() == truth.opens[1]
    notice = series.ingest(truth.frame(1, final=True), LINK)
    assert notice is not None
    assert notice.event is Event.CLOSED
    now = truth.told_at(3, 1)
    assert series.rows(4, now, exact=True) == [*truth.finals(0, 3), truth.row(3, 1)]
    assert not series.standing(now).doubt


def test_rest_corrects_a_closed_candle_and_the_correction_is_counted() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    wrong = truth.row(1)
    wrong[4] = "7.0000"
    series.ingest(samples.kline_frame(wrong, final=True), LINK)
    series.rows(5, None, exact=True)
    series.rows(5, None, exact=False)
    series.merge_rest(truth.texts(asked(truth, 2)), asked(truth, 2), 499)
    assert series.rows(2, None, exact=True)[0] == truth.row(1)
    assert series.rows(2, None, exact=False)[0][4] == float(truth.row(1)[4])
    assert (series.mismatches, series.audited) == (1, 2)


def test_an_unusable_final_event_does_not_close_the_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = warmed(truth, 1)
    bad = truth.row(1)
    bad[4] = ""
    with pytest.raises(DecodeError):
        series.ingest(samples.kline_frame(bad, final=True), LINK)
    assert series.following() == truth.opens[1]


def test_rows_out_of_order_are_refused_whole() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    texts = truth.texts(truth.end)
    for wrong in ([texts[1], texts[0]], [texts[0], texts[0]]):
        series = series_of(truth)
        with pytest.raises(DecodeError):
            series.merge_rest(wrong, truth.end, 499)
        assert series.following() == 0


@pytest.mark.parametrize("interval", STARTS)
def test_history_grows_over_turns_of_every_calendar(interval: str) -> None:
    truth = Truth(interval, STARTS[interval], [3, 4, 0, 5, 2, 6])
    series = warmed(truth, 1)
    for i in (1, 2, 3, 4, 5):
        if truth.trades[i]:
            series.ingest(truth.frame(i, 1), LINK)
            series.ingest(truth.frame(i, final=True), LINK)
        else:
            series.merge_rest(truth.texts(asked(truth, i + 1), 2), asked(truth, i + 1), 2)
    assert series.rows(10, None, exact=True) == truth.finals()
    assert series.following() == truth.end


# --- the exchange's history as a whole ------------------------------------------------------------


def test_older_rows_are_put_before_what_is_known() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 3 for i in range(20)])
    now = asked(truth, 19)
    series = series_of(truth)
    series.merge_rest(truth.texts(now, 3), now, 3)
    series.rows(3, now, exact=True)
    assert not series.complete
    assert len(series.rows(100, now, exact=True)) == 3
    series.merge_rest(truth.texts(now, 15), now, 15)
    assert series.rows(100, now, exact=True) == truth.rest(now, 15)
    series.merge_rest(truth.texts(now, 499), now, 499)
    assert series.rows(100, now, exact=True) == truth.rest(now)
    assert series.complete


def test_a_short_history_is_complete_and_a_full_answer_is_not() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 9)
    now = asked(truth, 8)
    series = series_of(truth)
    series.merge_rest(truth.texts(now, 9), now, 9)
    assert not series.complete
    series.merge_rest(truth.texts(now, 10), now, 10)
    assert series.complete
    assert series.standing(now).complete


def test_a_new_listing_may_have_but_an_open_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [5, 5])
    series = series_of(truth)
    now = truth.told_at(0, 2)
    series.merge_rest(truth.texts(now), now, 499)
    assert series.complete
    assert series.standing(now).rows == 1
    assert not series.standing(now).doubt
    assert series.rows(100, now, exact=True) == [truth.row(0, 2)]
    series.ingest(truth.frame(0, final=True), LINK)
    series.ingest(truth.frame(1, 1), LINK)
    assert series.rows(100, truth.told_at(1, 1), exact=True) == [truth.row(0), truth.row(1, 1)]


def test_history_is_trimmed_to_its_depth_and_then_not_complete() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 30)
    series = warmed(truth, 5, depth=8)
    assert series.complete
    for i in range(5, 30):
        series.ingest(truth.frame(i, final=True), LINK)
        assert len(series) <= 8
        assert series.rows(100, None, exact=True) == truth.finals(max(0, i - 7), i + 1)
    assert not series.complete
    series.merge_rest(truth.texts(truth.end + 10_000), truth.end + 10_000, 499)
    assert len(series.audit_rows()) == 8


def test_an_answer_that_does_not_touch_what_is_known_waits_and_shrinks_nothing() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 40)
    now = asked(truth, 55)
    series.merge_rest(truth.texts(now, 5), now, 5)
    assert series.following() == truth.opens[40]
    assert len(series.audit_rows()) == 40
    assert series.standing(now).doubt
    series.merge_rest(truth.texts(now, 20), now, 20)
    assert not series.standing(now).doubt
    assert series.rows(100, now, exact=True) == truth.rest(now)


def test_rows_older_than_all_that_is_held_are_of_no_use() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    now = asked(truth, 55)
    series = series_of(truth)
    series.merge_rest(truth.texts(now, 5), now, 5)
    before = state(series, now)
    series.merge_rest(truth.texts(asked(truth, 20), 10), asked(truth, 20), 10)
    assert state(series, now) == before


def test_after_an_absence_longer_than_the_ring_it_begins_anew() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 2 for i in range(200)])
    series = warmed(truth, 30, depth=20, limit=19)
    series.rows(20, None, exact=True)
    series.ingest(truth.frame(190, 1), LINK)
    now = asked(truth, 190)
    series.merge_rest(truth.texts(now, 19), now, 19)
    assert not series.standing(now).doubt
    assert series.rows(19, now, exact=True) == [*truth.finals(172, 190), truth.row(190, 1)]
    assert series.following() == truth.opens[190]


def test_only_what_follows_a_hole_of_the_exchange_is_a_series() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series = series_of(truth)
    series.merge_rest(texts[:10] + texts[25:], now, 499)
    assert series.rows(100, now, exact=True) == truth.rest(now)[25:]
    assert not series.complete
    assert not series.standing(now).doubt


def test_a_hole_that_the_exchange_got_while_we_followed_does_not_leave_it_in_doubt_for_ever() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    now = asked(truth, 39)
    texts = truth.texts(now)
    series.ingest(truth.frame(39, 1), LINK)
    series.merge_rest(texts[8:10] + texts[25:], now, 32)
    assert not series.standing(now).doubt
    assert series.rows(100, now, exact=True) == [*truth.finals(25, 39), truth.row(39, 1)]


def test_an_event_of_a_time_far_ahead_does_not_spoil_the_series() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 40)
    series = warmed(truth, 10)
    far = samples.kline_frame(samples.row(MIDNIGHT + 10_000 * MINUTE), event=MIDNIGHT)
    with pytest.raises(DecodeError):
        series.ingest(far, LINK)
    assert not series.standing(asked(truth, 10)).doubt


# --- the turn of the candle -----------------------------------------------------------------------


def test_a_quiet_candle_is_shown_as_rest_shows_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 0, 5])
    series = warmed(truth, 1)
    series.ingest(truth.frame(1, final=True), LINK)
    now = truth.opens[2] + 1
    assert series.rows(10, now, exact=True) == [*truth.finals(0, 2), truth.row(2)]
    assert series.rows(10, now, exact=True) == truth.rest(now)
    assert series.standing(now).rows == 3
    assert not series.standing(now).doubt
    assert series.rows(10, None, exact=True) == truth.finals(0, 2)
    assert len(series) == 2, "a provisional row is never stored"


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_newest_row_covers_now_whatever_the_limit(limit: int) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 0, 0, 0])
    series = warmed(truth, 2)
    series.ingest(truth.frame(2, 5), LINK)
    for i in (2, 3, 4):
        now = truth.opens[i] + 30_000
        rows = series.rows(limit, now, exact=True)
        assert [row[0] for row in rows] == truth.opens[: i + 1][-limit:]
        if i < 3:
            continue
        assert rows[-1] == truth.row(i)


def test_a_provisional_row_gives_way_to_an_event_and_to_an_answer() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    for replace in ("event", "answer"):
        series = warmed(truth, 1)
        series.ingest(truth.frame(1, final=True), LINK)
        now = truth.told_at(2, 1)
        assert series.rows(1, now, exact=True)[0][8] == 0
        if replace == "event":
            series.ingest(truth.frame(2, 1), LINK)
        else:
            series.merge_rest(truth.texts(now, 2), now, 2)
        assert series.rows(1, now, exact=True) == [truth.row(2, 1)]


@pytest.mark.parametrize("kind", [Kind.KLINES, Kind.SPOT_KLINES])
def test_ended_without_its_final_event_it_is_doubted_soon_if_it_had_trades(kind: Kind) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0])
    series = KlineSeries("BTCUSDT", "1m", 500, kind=kind)
    series.merge_rest(truth.texts(asked(truth, 1)), asked(truth, 1), 499)
    series.ingest(truth.frame(1, 4), LINK)
    closed, patience = truth.opens[2], FINAL_EVENT_WITHIN[kind]
    assert 2_004 < patience < 6_000, "about 2 s is when the exchange sends it, and REST is final after 5"
    assert not series.standing(closed + patience - 1).doubt
    assert "overdue" in series.standing(closed + patience).doubt
    now = asked(truth, 2)
    series.merge_rest(truth.texts(now, 2), now, 2)
    assert not series.standing(now).doubt
    assert series.rows(3, now, exact=True) == truth.rest(now, 3)


def test_ended_without_any_event_it_must_be_confirmed_within_a_minute() -> None:
    truth = Truth("1h", MIDNIGHT, [3, 0, 0])
    series = warmed(truth, 1)
    closed = truth.opens[2]
    assert series.rows(3, closed, exact=True) == truth.finals(0, 3)
    assert not series.standing(closed + CONFIRMED_WITHIN - 1).doubt
    assert "confirmed" in series.standing(closed + CONFIRMED_WITHIN).doubt


def test_a_candle_without_trades_is_proven_by_the_numbers_of_those_around_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 0, 5, 2], first_trade=500)
    series = warmed(truth, 1)
    series.ingest(truth.frame(1, final=True), LINK)
    notice = series.ingest(truth.frame(4, 1), LINK)
    assert notice is None or notice.event is Event.CLOSED
    now = truth.told_at(4, 1)
    assert series.following() == truth.opens[4]
    assert not series.standing(now).doubt
    assert series.rows(9, now, exact=True) == [*truth.finals(0, 4), truth.row(4, 1)]


@pytest.mark.parametrize("lost", ["a trade between them", "the final event before them"])
def test_a_candle_is_not_taken_for_one_without_trades_where_the_numbers_leave_room(lost: str) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 2, 0, 5, 2], first_trade=500)
    series = warmed(truth, 1)
    if lost == "a trade between them":
        series.ingest(truth.frame(1, final=True), LINK)
    else:
        series.ingest(truth.frame(1, 4), LINK)
    notice = series.ingest(truth.frame(4, 1), LINK)
    assert notice is not None
    assert notice.event is Event.GAP
    assert series.standing(truth.told_at(4, 1)).doubt
    assert series.following() == truth.opens[2 if lost == "a trade between them" else 1]


def test_three_unconfirmed_candles_are_too_many() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 0, 0, 0, 0])
    series = warmed(truth, 1)
    assert series.standing(truth.opens[3]).doubt


@pytest.mark.parametrize("interval", STARTS)
def test_the_turn_of_every_calendar(interval: str) -> None:
    truth = Truth(interval, STARTS[interval], [3, 4, 5, 0])
    series = warmed(truth, 2)
    series.ingest(truth.frame(2, final=True), LINK)
    assert series.rows(10, truth.opens[3] - 1, exact=True) == truth.finals(0, 3)
    rows = series.rows(10, truth.opens[3], exact=True)
    assert rows == truth.finals()
    assert rows[-1][6] == truth.end - 1


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_returned_is_the_callers_own(exact: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 2)
    series.ingest(truth.frame(2, 2), LINK)
    now = truth.opens[3] + 1
    first = series.rows(4, now, exact=exact)
    kept = [row[:] for row in first]
    for row in first:
        row[:] = ["spoilt"] * 12
    first.clear()
    assert series.rows(4, now, exact=exact) == kept


def test_an_unusable_open_candle_is_told_once_and_never_made_up() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 50])
    series = warmed(truth, 2)
    series.ingest(truth.frame(2, 7), LINK)
    bad = truth.row(2, 8)
    bad[4] = ""
    series.ingest(samples.kline_frame(bad, event=truth.told_at(2, 8)), LINK)
    now = truth.told_at(2, 9)
    with pytest.raises(DecodeError):
        series.rows(3, now, exact=True)
    assert series.standing(now).doubt, "what is left is not the truth"
    series.ingest(truth.frame(2, 10), LINK)
    assert not series.standing(now).doubt
    assert series.rows(1, now, exact=True) == [truth.row(2, 10)]


def test_an_answer_ends_the_doubt_after_an_unusable_open_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 50])
    series = warmed(truth, 2)
    bad = truth.row(2, 8)
    bad[1] = None
    series.ingest(samples.kline_frame(bad), LINK)
    now = truth.told_at(2, 9)
    with pytest.raises(DecodeError):
        series.rows(1, now, exact=False)
    series.merge_rest(truth.texts(now, 2), now, 2)
    assert not series.standing(now).doubt
    assert series.rows(1, now, exact=True) == [truth.row(2, 9)]


def test_closed_rows_once_decoded_stay_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 40, depth=40)
    decoded: list[int] = []
    rows_of = decode.string_rows

    def counting(texts: Any) -> Any:
        texts = list(texts)
        decoded.append(len(texts))
        return rows_of(texts)

    monkeypatch.setattr(series._strings, "decode", counting)
    series.rows(30, None, exact=True)
    assert sum(decoded) == 30
    decoded.clear()
    for i in range(40, 50):
        series.ingest(truth.frame(i, final=True), LINK)
        assert series.rows(30, None, exact=True) == truth.finals(i - 29, i + 1)
    assert sum(decoded) == 10, "one new candle a turn, not the history again"


def test_suspicion_ends_with_an_event_but_the_series_is_live_again_only_after_an_answer() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = warmed(truth, 1)
    series.go_live(LINK)
    assert series.standing(truth.opens[1]).link is LINK
    series.suspect("silent")
    assert series.standing(truth.opens[1])[:2] == (None, "silent")
    series.ingest(truth.frame(1, 1), LINK)
    assert series.standing(truth.opens[1])[:2] == (None, "")
    series.go_live(LINK)
    assert series.standing(truth.opens[1])[:2] == (LINK, "")


def test_a_late_duplicate_is_no_sign_of_life() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    series.ingest(truth.frame(1, 5), LINK)
    series.suspect("silent")
    series.ingest(truth.frame(1, 4), LINK)
    assert series.suspected


def test_it_tells_the_last_trade_it_has_heard_of() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    assert series.last_heard() == (-1, 0, asked(truth, 1))
    series.ingest(truth.frame(1, 5), LINK)
    series.ingest(truth.frame(1, 4), LINK)
    assert series.last_heard()[:2] == (2_004, truth.told_at(1, 5))


# --- properties -----------------------------------------------------------------------------------


@st.composite
def happenings(draw: st.DrawFn, *, numbered: bool) -> tuple[Truth, list[tuple[Any, ...]], int]:
    """A truth and events about it in any order, doubled and lost; among them one answer that holds everything."""
    interval = draw(st.sampled_from(list(STARTS)))
    trades = draw(st.lists(st.integers(0, 4), min_size=2, max_size=9))
    truth = Truth(
        interval, STARTS[interval], trades, first_trade=draw(st.sampled_from([None, 77])) if numbered else None
    )
    now = truth.opens[-1] + draw(st.integers(0, truth.end - truth.opens[-1] - 1))
    told: list[tuple[Any, ...]] = []
    for i, count in enumerate(trades):
        told += [("frame", i, n, False) for n in range(1, count + 1) if truth.told_at(i, n) <= now]
        if count and truth.close_time(i) + 204 <= now:
            told.append(("frame", i, count, True))
    events = draw(st.lists(st.sampled_from(told), max_size=14)) if told else []
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(truth.opens[0], now))
        events.append(("rest", at, draw(st.integers(1, 12))))
    events.append(("rest", now, 499))
    return truth, draw(st.permutations(events)), now


def apply(series: KlineSeries, truth: Truth, event: tuple[Any, ...]) -> None:
    if event[0] == "frame":
        _, i, n, final = event
        series.ingest(truth.frame(i, n, final=final), LINK)
    else:
        _, at, limit = event
        series.merge_rest(truth.texts(at, limit), at, limit)


@settings(deadline=None, max_examples=150)
@given(happenings(numbered=False), st.randoms(use_true_random=False), st.integers(0, 5))
def test_merging_is_commutative_and_idempotent(
    case: tuple[Truth, list[tuple[Any, ...]], int], order: Any, doubled: int
) -> None:
    truth, events, now = case
    one, other = series_of(truth), series_of(truth)
    for event in events:
        apply(one, truth, event)
    again = events + [order.choice(events) for _ in range(doubled)]
    order.shuffle(again)
    for event in again:
        apply(other, truth, event)
    assert state(one, now) == state(other, now)
    settled = state(one, now)
    for event in again:
        apply(one, truth, event)
    assert state(one, now) == settled


@settings(deadline=None, max_examples=150)
@given(happenings(numbered=True), st.integers(2, 8), st.data())
def test_history_holds_its_invariants_at_every_instant(
    case: tuple[Truth, list[tuple[Any, ...]], int], depth: int, data: st.DataObject
) -> None:
    truth, events, now = case
    series = series_of(truth, depth)
    for event in events:
        apply(series, truth, event)
        limit, exact = data.draw(st.integers(1, 12)), data.draw(st.booleans())
        check(series, truth, now, limit, exact)
    check(series, truth, now, 100, exact=True)
    assert len(series.audit_rows()) <= depth


def check(series: KlineSeries, truth: Truth, now: int, limit: int, exact: bool) -> None:
    """What a reader may rely on at any instant."""
    rows = series.rows(limit, now, exact=exact)
    standing = series.standing(now)
    following = series.following()
    assert len(rows) <= limit
    assert len(rows) == min(limit, max(standing.rows, len(rows)))
    for earlier, later in itertools.pairwise(rows):
        assert later[0] == next_open(truth.interval, earlier[0])
    if not rows:
        assert standing.doubt
        return
    assert rows[-1][0] <= now <= rows[-1][6], "the newest row covers now"
    known = {truth.opens[i]: i for i in range(len(truth))}
    unclosed = 0
    for row in rows:
        i = known[row[0]]
        if row[0] < following:
            assert as_exact(row, exact) == as_exact(truth.row(i), exact)
            continue
        assert row[8] <= truth.trades[i]
        if row[8]:
            assert as_exact(row, exact) == as_exact(truth.row(i, row[8]), exact)
        unclosed += row[6] < now
    if not standing.doubt:
        assert unclosed <= 2
        first_unclosed = next_open(truth.interval, following)
        assert now < first_unclosed + CONFIRMED_WITHIN


def as_exact(row: list[Any], exact: bool) -> list[Any]:
    return row if exact else [float(value) if isinstance(value, str) else value for value in row]


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.integers(0, 3), min_size=25, max_size=40),
    st.integers(3, 9),
    st.lists(st.tuples(st.sampled_from("fffrRpcw"), st.integers(1, 12), st.booleans()), max_size=30),
)
def test_remembered_decoding_stays_aligned(trades: list[int], depth: int, steps: list[tuple[str, int, bool]]) -> None:
    """f: a final event, r: a read, R: reads of both forms, p: older rows, c: a correction, w: an answer for all."""
    truth = Truth("1m", MIDNIGHT, trades)
    series = series_of(truth, depth)
    at = 5
    series.merge_rest(truth.texts(asked(truth, at), 3), asked(truth, at), 3)
    for step, number, exact in steps:
        if step == "f" and at < len(truth) - 1:
            if truth.trades[at]:
                series.ingest(truth.frame(at, final=True), LINK)
            else:
                series.merge_rest(truth.texts(asked(truth, at + 1), 2), asked(truth, at + 1), 2)
            at += 1
        elif step == "p":
            series.merge_rest(truth.texts(asked(truth, at), number), asked(truth, at), number)
        elif step == "w":
            series.merge_rest(truth.texts(asked(truth, at)), asked(truth, at), 499)
        elif step == "c" and (held := series.audit_rows()):
            wrong = decode.string_rows(held)[-1]
            wrong[4] = "1.0"
            series.merge_rest([samples.row_text(wrong)], asked(truth, at), 1)
            series.merge_rest(truth.texts(asked(truth, at), number), asked(truth, at), number + 1)
        for form in (True, False) if step == "R" else (exact,):
            texts = series.audit_rows()[-number:]
            expected = decode.string_rows(texts) if form else decode.float_rows(texts)
            assert series.rows(number, None, exact=form)[: len(texts)] == expected or len(series) > len(texts)
        closed = series.audit_rows()
        assert series.rows(1_000, None, exact=exact)[: len(closed)] == (
            decode.string_rows(closed) if exact else decode.float_rows(closed)
        )


def test_readers_see_whole_history_while_a_stream_writes() -> None:
    truth = Truth("1m", MIDNIGHT, [1 + i % 3 for i in range(400)])
    series = warmed(truth, 50, depth=60)
    failures: list[BaseException] = []
    done, begun = threading.Event(), threading.Barrier(4)

    def read(exact: bool, limit: int) -> None:
        begun.wait(10)
        while not done.is_set():
            rows = series.rows(limit, None, exact=exact)
            try:
                assert all(b[0] - a[0] == MINUTE for a, b in itertools.pairwise(rows))
                assert len(rows) >= min(limit, 40)
                for row in rows:
                    i = (row[0] - MIDNIGHT) // MINUTE
                    assert as_exact(truth.row(i), exact) == row or as_exact(truth.row(i, row[8]), exact) == row
            except BaseException as error:  # noqa: BLE001
                failures.append(error)
                return

    threads = [threading.Thread(target=read, args=case) for case in ((True, 45), (False, 60), (True, 3))]
    for thread in threads:
        thread.start()
    begun.wait(10)
    for i in range(50, 400):
        for n in range(1, truth.trades[i] + 1):
            series.ingest(truth.frame(i, n), LINK)
        if i % 7:
            series.ingest(truth.frame(i, final=True), LINK)
        elif i < 399:
            series.merge_rest(truth.texts(asked(truth, i + 1), 3), asked(truth, i + 1), 3)
    done.set()
    for thread in threads:
        thread.join(10)
    assert not failures
    assert not any(thread.is_alive() for thread in threads)


# --- the real exchange ----------------------------------------------------------------------------


def test_the_real_final_candles_are_final(recording: Path) -> None:
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"):
        series = KlineSeries(symbol, "1m", 500)
        seen = list(real.of_stream(recording, f"{symbol.lower()}@kline_1m"))
        finals = [data["k"] for _, data in seen if data["k"]["x"]]
        first = min(data["k"]["t"] for _, data in seen)
        before = [samples.row(first - MINUTE), samples.row(first, trades=0)]
        series.merge_rest([samples.row_text(row) for row in before], first + 10_000, 2)
        for frame, _ in seen:
            series.ingest(frame, LINK)
        (final,) = finals
        last = seen[-1][1]
        (closed, newest) = series.rows(2, last["E"], exact=True)
        assert closed[0] == final["t"]
        assert (closed[4], closed[5], closed[8]) == (final["c"], final["v"], final["n"])
        assert series.last_close() == final["t"]
        if last["k"]["t"] > final["t"]:
            assert (newest[0], newest[4], newest[8]) == (last["k"]["t"], last["k"]["c"], last["k"]["n"])
        assert not series.standing(last["E"]).doubt
