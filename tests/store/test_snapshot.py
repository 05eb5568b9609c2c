from __future__ import annotations

from collections.abc import Sequence

import pytest

from ats_sync.store.closed import ClosedCandles
from ats_sync.store.klines import KlineSeries
from ats_sync.store.pending import MOST_PENDING, OPEN, Candle
from ats_sync.store.snapshot import LEAST_REMEMBERED, KlineSnapshot, KlineText, extent
from ats_sync.venue.klines import float_row, packed_string_rows
from ats_sync.venue.payload import DecodeError

from ..venue import samples
from ..venue.samples import MIDNIGHT, MINUTE
from .candles import LINK, STARTS, Truth, warmed

TRUTH = Truth("1m", MIDNIGHT, [3, 4, 5, 6, 7, 8, 0, 0])
LAST = str(TRUTH.row(4)[4])
"""The close of the newest closed candle of :func:`series`."""


def closed(truth: Truth, count: int) -> ClosedCandles:
    """Return the first candles, closed."""
    rows = ClosedCandles(truth.interval, 500)
    rows.begin(truth.opens[0])
    for row in truth.finals(0, count):
        rows.append(samples.row_text(row))
    return rows


def candle(opened: int) -> Candle:
    return Candle(opened, OPEN, 1, opened, b"", True)


def series(truth: Truth = TRUTH) -> KlineSeries:
    """Return a series with five closed candles, and nothing of the sixth."""
    made = warmed(truth, 4)
    made.apply(truth.frame(4, final=True), LINK)
    return made


def look(made: KlineSeries, limit: int, now: int, *, exact: bool = False) -> KlineSnapshot:
    return made.look(limit, now, now, exact)[1]


def text(made: KlineSeries, limit: int, now: int) -> KlineText:
    return made.look_text(limit, now, now)[1]


def opens(rows: Sequence[Sequence[object]]) -> list[object]:
    return [row[0] for row in rows]


# --- which rows ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("now", [None, 0, MIDNIGHT + 1_000_000])
def test_where_nothing_is_known_there_is_no_row(now: int | None) -> None:
    assert extent(ClosedCandles("1m", 500), [], 10, now) == (0, 0, 0)


@pytest.mark.parametrize(("after", "missing"), [(-1, 0), (0, 1), (MINUTE - 1, 1), (MINUTE, 2), (-10 * MINUTE, 0)])
def test_a_candle_is_missing_from_the_moment_at_which_it_begins(after: int, missing: int) -> None:
    rows, beyond = closed(TRUTH, 5), TRUTH.opens[5]
    assert extent(rows, [], 10, beyond + after) == (beyond, missing, 5)
    chain = [candle(beyond)]
    assert extent(rows, chain, 10, beyond + MINUTE + after) == (beyond + MINUTE, missing, 5)


def test_without_a_time_none_is_missing() -> None:
    assert extent(closed(TRUTH, 5), [], 10, None) == (TRUTH.opens[5], 0, 5)


@pytest.mark.parametrize(("limit", "shown"), [(1, 0), (3, 0), (4, 1), (7, 4), (8, 5), (9, 5)])
def test_closed_rows_fill_what_the_others_leave(limit: int, shown: int) -> None:
    chain = [candle(TRUTH.opens[5])]
    assert extent(closed(TRUTH, 5), chain, limit, TRUTH.opens[7]) == (TRUTH.opens[6], 2, shown)


def test_a_clock_far_ahead_makes_no_endless_answer() -> None:
    _, missing, _ = extent(closed(TRUTH, 5), [], 10, MIDNIGHT + 10**10)
    assert missing == MOST_PENDING


@pytest.mark.parametrize("interval", STARTS)
def test_candles_of_every_calendar_are_counted(interval: str) -> None:
    truth = Truth(interval, STARTS[interval], [3] * 6)
    for number in range(2, 6):
        assert extent(closed(truth, 2), [], 10, truth.opens[number])[1] == number - 1


# --- what they show -----------------------------------------------------------------------------------


@pytest.mark.parametrize("exact", [True, False])
def test_it_stays_as_it_was_whatever_comes_next(exact: bool) -> None:
    made = series()
    made.apply(TRUTH.frame(5, 2), LINK)
    now = TRUTH.told_at(5, 2)
    before, letters = look(made, 4, now, exact=exact), text(made, 4, now)
    made.apply(TRUTH.frame(5, 7), LINK)
    made.apply(TRUTH.frame(5, final=True), LINK)
    expected = [*TRUTH.finals(2, 5), TRUTH.row(5, 2)]
    assert before.rows() == (expected if exact else list(map(float_row, expected)))
    assert packed_string_rows(letters.json()[2:-2]) == expected


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 10])
def test_candles_whose_time_has_come_are_flat_at_the_newest_close(limit: int) -> None:
    made, now = series(), TRUTH.opens[7]
    rows = look(made, limit, now, exact=True).rows()
    assert opens(rows) == TRUTH.opens[:8][-limit:]
    for row in rows[-min(limit, 3) :]:
        assert row[1:5] == [LAST] * 4
        assert (float(row[5]), row[6], row[8]) == (0.0, row[0] + MINUTE - 1, 0)
    assert packed_string_rows(text(made, limit, now).json()[2:-2]) == rows
    assert look(made, limit, now).rows() == list(map(float_row, rows))


def test_after_an_open_candle_they_are_flat_at_its_close() -> None:
    made = series()
    made.apply(TRUTH.frame(5, 3), LINK)
    row = look(made, 1, TRUTH.opens[6], exact=True).rows()[0]
    assert row[1:5] == [TRUTH.row(5, 3)[4]] * 4 != [LAST] * 4
    assert packed_string_rows(text(made, 1, TRUTH.opens[6]).json()[2:-2]) == [row]


@pytest.mark.parametrize("limit", [1, 2, 4, 10])
@pytest.mark.parametrize("number", [5, 6, 7])
def test_columns_show_the_same_as_rows(limit: int, number: int) -> None:
    made = series()
    made.apply(TRUTH.frame(5, 2), LINK)
    now = TRUTH.opens[number] + 50_000
    columns = look(made, limit, now).columns()
    assert [list(row) for row in zip(*columns, strict=True)] == look(made, limit, now).rows()
    assert [column.typecode for column in columns] == [*"qdddddqdqddd"]


def test_no_rows_are_twelve_empty_columns() -> None:
    columns = look(KlineSeries("BTCUSDT", "1m", 500), 5, MIDNIGHT).columns()
    assert [column.typecode for column in columns] == [*"qdddddqdqddd"]
    assert [len(column) for column in columns] == [0] * 12


def test_exact_strings_have_no_columns() -> None:
    with pytest.raises(TypeError, match="floats"):
        look(series(), 3, TRUTH.opens[5], exact=True).columns()


def test_columns_are_the_callers_own() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    made, now = warmed(truth, 50), truth.opens[50]
    for _ in range(3):  # decoded, then remembered, then from memory
        columns = look(made, 30, now).columns()
        assert columns[0].tolist() == truth.opens[21:51]
        for column in columns:
            column[0] = 0
            column.pop()


@pytest.mark.parametrize("exact", [True, False])
def test_rows_are_the_callers_own_that_of_the_open_candle_too(exact: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 50 + [9])
    made, now = warmed(truth, 50), truth.told_at(50, 5)
    made.apply(truth.frame(50, 5), LINK)
    for _ in range(4):
        rows = look(made, 30, now, exact=exact).rows()
        assert rows[-1] == (truth.row(50, 5) if exact else float_row(truth.row(50, 5)))
        assert opens(rows) == truth.opens[21:51]
        for row in rows:
            row[:] = ["spoilt"] * 12


def test_an_unusable_open_candle_is_an_error_in_every_form() -> None:
    bad = TRUTH.row(5, 2)
    bad[4] = ""
    for read in (
        lambda made, now: look(made, 3, now).rows(),
        lambda made, now: look(made, 3, now, exact=True).rows(),
        lambda made, now: look(made, 3, now).columns(),
        lambda made, now: text(made, 3, now).json(),
    ):
        made = series()
        made.apply(TRUTH.frame(5, 1), LINK)
        made.apply(samples.kline_frame(bad, event=TRUTH.told_at(5, 2)), LINK)
        with pytest.raises(DecodeError):
            read(made, TRUTH.told_at(5, 3))


# --- what is remembered -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("closed_rows", "remembered"),
    [(LEAST_REMEMBERED - 1, False), (LEAST_REMEMBERED, True), (LEAST_REMEMBERED + 9, True)],
)
def test_what_is_read_again_is_remembered_where_it_is_worth_it(closed_rows: int, remembered: bool) -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    made, rows = warmed(truth, 50), closed_rows + 1  # one is open
    before = made.size()
    first = made.rows(rows, None, exact=False)
    assert made.size() == before, "it may have been read once only"
    assert made.rows(rows, None, exact=False) == first
    assert (made.size() > before) is remembered
    assert made.rows(rows, None, exact=False) == first


def test_what_was_decoded_of_candles_that_have_changed_since_is_not_remembered() -> None:
    truth = Truth("1m", MIDNIGHT, [1] * 60)
    made = warmed(truth, 50)
    made.rows(30, None, exact=False)
    old = look(made, 30, truth.opens[50])
    for number in (50, 51):
        made.apply(truth.frame(number, final=True), LINK)
    before = made.size()
    assert opens(old.rows())[-1] == truth.opens[50]
    assert made.size() == before
    assert opens(made.rows(30, None, exact=False)) == truth.opens[22:52]
