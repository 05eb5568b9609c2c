from __future__ import annotations

from typing import Any

import pytest

from ats_sync.feeds import FEEDS, Kind
from ats_sync.store import remembered
from ats_sync.store.assess import CONFIRMED_WITHIN
from ats_sync.store.klines import KlineSeries
from ats_sync.store.order import AHEAD
from ats_sync.store.series import Origin
from ats_sync.store.snapshot import LEAST_REMEMBERED, SPARE
from ats_sync.venue.klines import float_row, packed_float_rows, packed_string_rows
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT
from .candles import LINK, STARTS, Truth, asked, warmed

# --- the turn of the candle -----------------------------------------------------------------------


def test_a_quiet_candle_is_shown_as_rest_shows_it() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0, 0, 5])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, final=True), LINK)
    now = truth.opens[2] + 1
    assert series.rows(10, now, exact=True) == [*truth.finals(0, 2), truth.row(2)]
    assert series.rows(10, now, exact=True) == truth.rest(now)
    assert series.state(now).rows == 3
    assert not series.state(now).doubt
    assert series.rows(10, None, exact=True) == truth.finals(0, 2)
    assert len(series) == 2, "a provisional row is never stored"


@pytest.mark.parametrize("final", [False, True])
def test_a_candle_that_has_just_begun_is_flat_at_the_newest_close_whatever_an_earlier_answer_shows(
    final: bool,
) -> None:
    """REST may answer after the close, and the last trades of the candle before come later than that."""
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    series = warmed(truth, 1)
    turn = truth.opens[2]
    before = truth.row(1, 3)
    began = samples.row(turn, length=60_000, trades=0, price=str(before[4]), volume="0")
    if final:
        series.apply(truth.frame(1, final=True), LINK)
    series.replace([samples.row_text(row) for row in (before, began)], Origin(turn + 4, 2))
    if not final:
        series.apply(truth.frame(1, 4), LINK)
    *_, closed, newest = series.rows(3, turn + 1_000, exact=True)
    assert closed == truth.row(1)
    assert newest == truth.row(2, 0)


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
def test_the_newest_row_covers_now_whatever_the_limit(limit: int) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 0, 0, 0])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, 5), LINK)
    for i in (2, 3, 4):
        now = truth.opens[i] + 30_000
        rows = series.rows(limit, now, exact=True)
        assert [row[0] for row in rows] == truth.opens[: i + 1][-limit:]
        if i < 3:
            continue
        assert rows[-1] == truth.row(i)


def test_a_provisional_row_is_replaced_by_an_event_and_by_an_answer() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5])
    for replace in ("event", "answer"):
        series = warmed(truth, 1)
        series.apply(truth.frame(1, final=True), LINK)
        now = truth.told_at(2, 1)
        assert series.rows(1, now, exact=True)[0][8] == 0
        if replace == "event":
            series.apply(truth.frame(2, 1), LINK)
        else:
            series.replace(truth.texts(now, 2), Origin(now, 2))
        assert series.rows(1, now, exact=True) == [truth.row(2, 1)]


@pytest.mark.parametrize("kind", [Kind.KLINES, Kind.SPOT_KLINES])
def test_a_candle_with_trades_is_soon_in_doubt_without_its_final_event(kind: Kind) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 0])
    series = KlineSeries("BTCUSDT", "1m", 500, kind=kind)
    series.replace(truth.texts(asked(truth, 1)), Origin(asked(truth, 1), 499))
    series.apply(truth.frame(1, 4), LINK)
    closed, patience = truth.opens[2], FEEDS[kind].final_within
    assert 2_004 < patience < 6_000, "about 2 s is when the exchange sends it, and REST is final after 5"
    assert not series.state(closed + patience - 1).doubt
    assert "overdue" in series.state(closed + patience).doubt
    now = asked(truth, 2)
    series.replace(truth.texts(now, 2), Origin(now, 2))
    assert not series.state(now).doubt
    assert series.rows(3, now, exact=True) == truth.rest(now, 3)


def test_a_candle_without_any_event_must_be_confirmed_within_a_minute() -> None:
    truth = Truth("1h", MIDNIGHT, [3, 0, 0])
    series = warmed(truth, 1)
    closed = truth.opens[2]
    assert series.rows(3, closed, exact=True) == truth.finals(0, 3)
    assert not series.state(closed + CONFIRMED_WITHIN - 1).doubt
    assert "confirmed" in series.state(closed + CONFIRMED_WITHIN).doubt


def test_three_unconfirmed_candles_are_too_many() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 0, 0, 0, 0])
    series = warmed(truth, 1)
    assert series.state(truth.opens[3]).doubt


@pytest.mark.parametrize("interval", STARTS)
def test_candles_of_every_calendar_close_on_time(interval: str) -> None:
    truth = Truth(interval, STARTS[interval], [3, 4, 5, 0])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, final=True), LINK)
    assert series.rows(10, truth.opens[3] - 1, exact=True) == truth.finals(0, 3)
    rows = series.rows(10, truth.opens[3], exact=True)
    assert rows == truth.finals()
    assert rows[-1][6] == truth.end - 1


# --- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_what_is_returned_is_the_callers_own(exact: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 5, 6])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, 2), LINK)
    now = truth.opens[3] + 1
    first = series.rows(4, now, exact=exact)
    kept = [row[:] for row in first]
    for row in first:
        row[:] = ["spoilt"] * 12
    first.clear()
    assert series.rows(4, now, exact=exact) == kept


def test_an_unusable_open_candle_is_reported_once_and_never_made_up() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 50])
    series = warmed(truth, 2)
    series.apply(truth.frame(2, 7), LINK)
    bad = truth.row(2, 8)
    bad[4] = ""
    series.apply(samples.kline_frame(bad, event=truth.told_at(2, 8)), LINK)
    now = truth.told_at(2, 9)
    with pytest.raises(DecodeError):
        series.rows(3, now, exact=True)
    assert series.state(now).doubt, "what is left is not the truth"
    series.apply(truth.frame(2, 10), LINK)
    assert not series.state(now).doubt
    assert series.rows(1, now, exact=True) == [truth.row(2, 10)]


def test_an_answer_ends_the_doubt_after_an_unusable_open_candle() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4, 50])
    series = warmed(truth, 2)
    bad = truth.row(2, 8)
    bad[1] = None
    series.apply(samples.kline_frame(bad), LINK)
    now = truth.told_at(2, 9)
    with pytest.raises(DecodeError):
        series.rows(1, now, exact=False)
    series.replace(truth.texts(now, 2), Origin(now, 2))
    assert not series.state(now).doubt
    assert series.rows(1, now, exact=True) == [truth.row(2, 9)]


def test_closed_rows_are_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    series = warmed(truth, 40, depth=40)
    decoded: list[int] = []
    rows_of = packed_float_rows

    def counting(text: bytes) -> Any:
        rows = rows_of(text)
        decoded.append(len(rows))
        return rows

    monkeypatch.setattr(remembered, "packed_float_rows", counting)
    series.rows(30, None, exact=False)
    assert 30 <= sum(decoded) <= 30 + SPARE
    series.rows(30, None, exact=False)  # (what is read once is not remembered)
    decoded.clear()
    for i in range(40, 50):
        series.apply(truth.frame(i, final=True), LINK)
        assert series.rows(30, None, exact=False) == list(map(float_row, truth.finals(i - 29, i + 1)))
    assert sum(decoded) == 10, "one new candle a minute, not the history again"


def test_suspicion_ends_with_an_event_but_the_series_is_live_again_only_after_an_answer() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 4])
    series = warmed(truth, 1)
    series.go_live(LINK)
    assert series.state(truth.opens[1]).link is LINK
    series.suspect("silent")
    assert series.state(truth.opens[1])[:2] == (None, "silent")
    series.apply(truth.frame(1, 1), LINK)
    assert series.state(truth.opens[1])[:2] == (None, "")
    series.go_live(LINK)
    assert series.state(truth.opens[1])[:2] == (LINK, "")


def test_a_late_duplicate_is_not_a_sign_of_life() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    series.apply(truth.frame(1, 5), LINK)
    series.suspect("silent")
    series.apply(truth.frame(1, 4), LINK)
    assert series.suspected


def test_it_returns_when_the_answer_was_requested_that_shows_no_current_candle() -> None:
    """This is a halt: a candle from long before it would be shown all the same."""
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    later = truth.end + 1_200_000
    series.replace(truth.texts(truth.end), Origin(later, 9))
    assert series.last_heard() == (-1, 0, later)


def test_it_returns_the_last_trade_that_its_frames_showed() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    assert series.last_heard() == (-1, 0, asked(truth, 1))
    series.apply(truth.frame(1, 5), LINK)
    series.apply(truth.frame(1, 4), LINK)
    assert series.last_heard()[:2] == (2_004, truth.told_at(1, 5))
    assert series.trade_shown(truth.told_at(1, 5)) == (2_004, truth.told_at(1, 5)), "one that came later may lack"


def test_an_event_from_the_future_does_not_make_later_frames_old() -> None:
    truth = Truth("1m", MIDNIGHT, [3, 9])
    series = warmed(truth, 1)
    wrong = truth.frame(1, 4).replace(b'"E":1', b'"E":9', 1)
    series.apply(wrong, LINK)
    told = truth.told_at(1, 4)
    assert series.last_heard(told)[1] == told
    assert series.last_heard(told - AHEAD + 1)[1] == told, "that may be, our clock may be behind"
    series.suspect("silent")
    series.apply(truth.frame(1, 5), LINK)
    assert not series.suspected
    assert series.last_heard()[:2] == (2_004, truth.told_at(1, 5))


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 70])
@pytest.mark.parametrize("closed", [0, 1, 2, 66])
def test_the_text_is_that_of_the_rows(limit: int, closed: int) -> None:
    truth = Truth("1m", MIDNIGHT, [3] * 67 + [5, 0, 0, 0])
    series = warmed(truth, 66)
    for index in range(66, 66 + min(closed, 1)):
        series.apply(truth.frame(index, final=True), LINK)
    if closed > 1:
        series.apply(truth.frame(67, 2), LINK)
    for ahead in range(4):
        now = truth.opens[67] + 1 + 60_000 * ahead
        state, text = series.look_text(limit, now, now)
        assert packed_string_rows(text.json()[2:-2]) == series.rows(limit, now, exact=True)
        assert state == series.look(limit, now, now, True)[0]


def test_the_text_of_no_rows_is_an_empty_list() -> None:
    series = KlineSeries("BTCUSDT", "1m", 500)
    assert series.look_text(5, MIDNIGHT, MIDNIGHT)[1].json() == b"[]"


@pytest.mark.parametrize(
    ("rows", "ahead"), [(LEAST_REMEMBERED - 1, 0), (LEAST_REMEMBERED, LEAST_REMEMBERED), (320, 300)]
)
def test_the_rows_of_a_usual_read_are_decoded_ahead_where_they_are_not_few(rows: int, ahead: int) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * (rows + 2))
    series = warmed(truth, rows)
    floats = series._closed.floats
    assert floats.take(1) is None
    series.decode_ahead()
    columns = floats.take(max(1, ahead))
    assert (columns is not None) == (ahead > 0)
    assert floats.take(ahead + 1) is None
    series.decode_ahead()
    assert floats.take(ahead + 1) is None
