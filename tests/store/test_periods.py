from __future__ import annotations

import itertools
import threading
from typing import Any

import orjson
import pytest

from ats_sync.feeds import RATIOS, Cause, Key, Kind
from ats_sync.store.periods import OpenInterestSeries, RatioSeries
from ats_sync.store.series import Origin
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Request

from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, ratio_row


def interest(*hours: int, value: str = "1.0") -> list[dict[str, Any]]:
    return [samples.open_interest_row(MIDNIGHT + hour * HOUR, f"{value}{hour}") for hour in hours]


def stamps(series: OpenInterestSeries, limit: int = 1_000) -> list[int]:
    return [(row["timestamp"] - MIDNIGHT) // HOUR for row in series.read(limit)]


def test_open_interest_grows_and_is_trimmed() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 5)
    assert (series.state(0).answered, series.newest(), series.read(3), len(series)) == (0, 0, [], 0)
    series.replace(interest(0, 1, 2), Origin(MIDNIGHT + 3 * HOUR, 3))
    series.replace(interest(2, 3), Origin(MIDNIGHT + 4 * HOUR, 2))
    assert stamps(series) == [0, 1, 2, 3]
    assert stamps(series, 2) == [2, 3]
    series.replace(interest(4, 5, 6), Origin(MIDNIGHT + 7 * HOUR, 3))
    assert stamps(series) == [2, 3, 4, 5, 6]
    assert series.newest() == MIDNIGHT + 6 * HOUR
    assert series.state(0).answered == MIDNIGHT + 7 * HOUR


def test_an_answer_counts_only_once_its_rows_can_be_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole history was once shown as complete and fresh before its first row could be read."""
    series = OpenInterestSeries("BTCUSDT", "4h", 500)
    keep, seen = series._keep, []
    reader = threading.Thread(target=lambda: seen.append(series.state(0)))

    def slowly(kept: int, later: Any) -> None:
        reader.start()
        reader.join(0.2)
        keep(kept, later)

    monkeypatch.setattr(series, "_keep", slowly)
    series.replace(interest(0, 4, 8), Origin(MIDNIGHT + 12 * HOUR, 500))
    reader.join()
    assert [(state.rows, state.complete) for state in seen] == [(3, True)]


def test_open_interest_can_be_deepened() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 2)
    series.replace(interest(0, 1, 2, 3, 4), Origin(MIDNIGHT + 5 * HOUR, 5))
    assert stamps(series) == [3, 4]
    series.deepen(4)
    series.deepen(3)
    series.replace(interest(0, 1, 2, 3, 4), Origin(MIDNIGHT + 5 * HOUR, 5))
    assert stamps(series) == [1, 2, 3, 4]


def test_the_later_answer_about_a_row_wins_in_either_order() -> None:
    early, late = (interest(0, 1, value="1."), MIDNIGHT + HOUR), (interest(1, 2, value="2."), MIDNIGHT + 2 * HOUR)
    for order in ([early, late], [late, early]):
        series = OpenInterestSeries("BTCUSDT", "1h", 50)
        for rows, asked in order:
            series.replace(rows, Origin(asked, 2))
        assert [row["sumOpenInterest"] for row in series.read(5)] == ["1.0", "2.1", "2.2"]
        assert series.state(0).answered == MIDNIGHT + 2 * HOUR


def test_a_short_history_of_open_interest_is_complete() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 3)
    series.replace(interest(0, 1), Origin(MIDNIGHT, 2))
    assert not series.complete
    series.replace(interest(0, 1), Origin(MIDNIGHT, 30))
    assert series.complete
    series.replace(interest(2, 3), Origin(MIDNIGHT, 2))
    assert not series.complete, "the oldest row was dropped"


def test_an_answer_without_rows_shows_nothing_about_rows_that_have_come_since() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace([], Origin(MIDNIGHT, 30))
    assert series.complete
    series.replace(interest(2), Origin(MIDNIGHT + 3 * HOUR, 1))
    assert not series.complete
    series.replace(interest(1, 2), Origin(MIDNIGHT + 3 * HOUR, 30))
    assert series.complete


def test_it_reaches_no_further_back_than_rest_does() -> None:
    month = range(0, 30 * 24 + 1, 24)
    series = OpenInterestSeries("BTCUSDT", "1d", 500)
    series.replace(interest(*month), Origin(MIDNIGHT + 30 * 24 * HOUR, 200))
    assert stamps(series) == [*month]
    series.replace(interest(30 * 24, 31 * 24), Origin(MIDNIGHT + 31 * 24 * HOUR + 1, 2))
    assert stamps(series) == [*month[2:], 31 * 24]
    assert series.complete
    series.replace(interest(*month), Origin(MIDNIGHT + 30 * 24 * HOUR, 200))
    assert stamps(series) == [*month[2:], 31 * 24], "an answer from before changes nothing"


def test_periods_without_a_row_are_not_a_hole() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace(interest(0, 1, 5, 6), Origin(MIDNIGHT + 7 * HOUR, 4))
    assert stamps(series) == [0, 1, 5, 6]


def test_an_answer_that_does_not_reach_what_is_known_leaves_no_hole() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace(interest(*range(10)), Origin(MIDNIGHT + 10 * HOUR, 10))
    series.replace(interest(40, 41, 42), Origin(MIDNIGHT + 43 * HOUR, 3))
    assert stamps(series) == [40, 41, 42]
    assert not series.complete


def test_rows_of_open_interest_are_the_callers_own() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace(interest(0), Origin(MIDNIGHT, 5))
    series.read(1)[0]["sumOpenInterest"] = "spoilt"
    assert series.read(1)[0]["sumOpenInterest"] == "1.00"


def test_numbers_are_those_of_the_rows() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace(interest(0, 1, 2, 3), Origin(MIDNIGHT + 4 * HOUR, 4))
    rows, columns = series.read(3), series.columns(3)
    assert columns.stamps.tolist() == [row["timestamp"] for row in rows]
    assert columns.amounts.tolist() == [float(row["sumOpenInterest"]) for row in rows]
    assert columns.values.tolist() == [float(row["sumOpenInterestValue"]) for row in rows]
    columns.amounts[0] = 0.0
    assert series.columns(3).amounts[0] == float(rows[0]["sumOpenInterest"])


def test_a_poll_that_brings_one_more_row_does_not_write_the_others_again(monkeypatch: pytest.MonkeyPatch) -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 100)
    series.replace(interest(*range(100)), Origin(MIDNIGHT + 100 * HOUR, 100))
    page = series._rows.pages()[0]
    written: list[Any] = []
    honest = orjson.dumps

    def counting(rows: Any) -> bytes:
        written.extend(rows)
        return honest(rows)

    monkeypatch.setattr(orjson, "dumps", counting)
    for hour in (99, 100, 101):
        series.replace(interest(hour, hour + 1), Origin(MIDNIGHT + (hour + 2) * HOUR, 2))
    assert written == interest(99, 100, 100, 101, 101, 102)
    assert series._rows.pages()[0] is page
    assert stamps(series) == list(range(3, 103))


def test_rows_that_differ_replace_those_known_and_columns_follow() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 100)
    series.replace(interest(*range(70)), Origin(MIDNIGHT + 70 * HOUR, 100))
    series.replace(interest(30, 31, value="5."), Origin(MIDNIGHT + 71 * HOUR, 2))
    series.replace(interest(31, 32, value="4."), Origin(MIDNIGHT + 69 * HOUR, 2))
    series.replace(interest(69, 70), Origin(MIDNIGHT + 72 * HOUR, 2))
    expected = interest(*range(30)) + interest(30, 31, value="5.") + interest(*range(32, 71))
    assert series.read(100) == expected
    assert series.read(3) == expected[-3:]
    assert series.columns(100).amounts.tolist() == [float(row["sumOpenInterest"]) for row in expected]
    assert series.columns(100).stamps.tolist() == [row["timestamp"] for row in expected]


@pytest.mark.parametrize("odd", [{"more": [{"a": 1}, {"b": 2}]}, {"symbol": "},{"}, {"more": {}}])
def test_rows_keep_what_the_exchange_adds_to_them(odd: dict[str, Any]) -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    answer = [{**row, **odd} for row in interest(0, 1, 2)]
    series.replace(answer, Origin(MIDNIGHT + 3 * HOUR, 3))
    assert series.read(5) == answer
    assert series.read(1) == answer[-1:]


def test_its_body_is_copied_only_when_its_rows_have_changed() -> None:
    series, copy = (OpenInterestSeries("BTCUSDT", "1h", 50) for _ in range(2))
    mark: object = None
    bodies: list[bool] = []
    for hours, at in (((0, 1), 2), ((0, 1), 3), ((1, 2), 4), ((), 5)):
        series.replace(interest(*hours), Origin(MIDNIGHT + at * HOUR, 2))
        copied = series.copied(mark)
        assert copied is not None
        mark = copied.mark
        bodies.append(copied.body is not None)
        assert copy.take_copy(copied)
        assert (copy.read(9), copy.columns(9), copy.state(0)) == (series.read(9), series.columns(9), series.state(0))
    assert bodies == [True, False, True, False]


KEY = Key(Kind.TOP_POSITIONS, "BTCUSDT", "1h")


def series_of(key: Key = KEY, depth: int = 50) -> RatioSeries:
    return RatioSeries(key, depth, lambda: "PERPETUAL")


def rows(*hours: int, value: str = "1.0") -> list[dict[str, Any]]:
    return [ratio_row(KEY.kind.value, MIDNIGHT + hour * HOUR, value) for hour in hours]


def hours(series: RatioSeries) -> list[int]:
    return [(row["timestamp"] - MIDNIGHT) // HOUR for row in series.read(1_000)]


def test_it_requests_everything_at_first_and_then_what_is_new() -> None:
    series = series_of()
    assert dict(series.request(MIDNIGHT, Cause.WARM_UP, None).params)["limit"] == 50
    series.replace(rows(0, 1, 2), Origin(MIDNIGHT + 2 * HOUR, 50))
    assert dict(series.request(MIDNIGHT + 2 * HOUR, Cause.POLL, None).params)["limit"] == 2
    assert dict(series.request(MIDNIGHT + 7 * HOUR, Cause.POLL, None).params)["limit"] == 7


@pytest.mark.parametrize("kind", RATIOS)
def test_it_is_as_old_as_its_answer(kind: Kind) -> None:
    series = series_of(Key(kind, "BTCUSDT", "1h"))
    assert (series.state(0).answered, len(series), bool(series.unsettled(0))) == (0, 0, True)
    series.replace([ratio_row(kind.value, MIDNIGHT)], Origin(MIDNIGHT + 5, 50))
    state = series.state(0)
    assert (state.event, state.answered, state.rows, state.complete) == (MIDNIGHT + 5, MIDNIGHT + 5, 1, True)
    assert not series.unsettled(0)
    assert series.read(5) == [ratio_row(kind.value, MIDNIGHT)]


def test_the_later_answer_about_a_row_wins_in_any_order() -> None:
    answers = [
        (rows(0, 1, value="1.1"), Origin(MIDNIGHT + HOUR, 2)),
        (rows(1, 2, value="2.2"), Origin(MIDNIGHT + 2 * HOUR, 2)),
        (rows(2, 3, value="3.3"), Origin(MIDNIGHT + 3 * HOUR, 2)),
    ]
    for order in itertools.permutations(answers):
        series = series_of()
        for answer, asked in (*order, order[0]):
            series.replace(answer, asked)
        found = {hour: row["longShortRatio"] for hour, row in zip(hours(series), series.read(9), strict=True)}
        assert found.items() >= {2: "3.3", 3: "3.3"}.items()
        assert series.state(0).answered == MIDNIGHT + 3 * HOUR


def test_it_is_trimmed_deepened_and_reaches_back_a_month() -> None:
    series = series_of(depth=3)
    series.replace(rows(0, 1, 2, 3, 4), Origin(MIDNIGHT + 4 * HOUR, 5))
    assert hours(series) == [2, 3, 4]
    assert not series.complete
    series.deepen(5)
    series.replace(rows(0, 1, 2, 3, 4), Origin(MIDNIGHT + 4 * HOUR, 5))
    assert hours(series) == [0, 1, 2, 3, 4]
    series.replace(rows(720, 721), Origin(MIDNIGHT + 721 * HOUR, 500))
    assert hours(series) == [1, 2, 3, 4, 720, 721][-5:]


def test_an_answer_of_ratios_that_does_not_reach_what_is_known_leaves_no_hole() -> None:
    series = series_of()
    series.replace(rows(0, 1, 2), Origin(MIDNIGHT + 2 * HOUR, 3))
    series.replace(rows(9, 10), Origin(MIDNIGHT + 10 * HOUR, 2))
    assert hours(series) == [9, 10]


def test_a_quarterly_is_requested_by_its_current_type() -> None:
    kinds = iter(["NEXT_QUARTER", "CURRENT_QUARTER"])
    series = RatioSeries(Key(Kind.BASIS, "BTCUSDT_261225", "1h"), 50, lambda: next(kinds))
    for kind in ("NEXT_QUARTER", "CURRENT_QUARTER"):
        params = dict(series.request(MIDNIGHT, Cause.POLL, None).params)
        assert (params["pair"], params["contractType"]) == ("BTCUSDT", kind)


LISTED = MIDNIGHT - 100 * 24 * HOUR


def asking(count: int) -> Request[Any]:
    return endpoints.open_interest_hist("BTCUSDT", "1h", count)


def test_a_copy_contains_the_answer_to_a_request_for_as_many_rows_as_it_has() -> None:
    series, own = (OpenInterestSeries("BTCUSDT", "1h", 50) for _ in range(2))
    series.replace(interest(0, 1, 2), Origin(MIDNIGHT + 3 * HOUR, 3))
    series.replace(interest(2, 3), Origin(MIDNIGHT + 4 * HOUR, 2))
    copied = series.copied()
    assert copied is not None
    assert own.answer_in(copied, asking(2), LISTED) == (interest(2, 3), MIDNIGHT + 4 * HOUR)
    assert own.answer_in(copied, asking(4), LISTED) == (interest(0, 1, 2, 3), MIDNIGHT + 4 * HOUR)
    assert own.answer_in(copied, asking(5), LISTED) is None, "there may be older ones"
    assert own.answer_in(copied._replace(body=None), asking(2), LISTED) is None


def test_a_copy_of_a_whole_history_contains_the_answer_to_every_request() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace([], Origin(MIDNIGHT, 50))
    copied = series.copied()
    assert copied is not None
    assert series.answer_in(copied, asking(50), LISTED) == ([], MIDNIGHT)
    series.replace(interest(0, 1), Origin(MIDNIGHT + 2 * HOUR, 50))
    copied = series.copied()
    assert copied is not None
    assert series.answer_in(copied, asking(50), LISTED) == (interest(0, 1), MIDNIGHT + 2 * HOUR)


def test_a_copy_of_what_was_only_loaded_contains_no_answer() -> None:
    series, loaded = (OpenInterestSeries("BTCUSDT", "1h", 50) for _ in range(2))
    series.replace(interest(0, 1), Origin(MIDNIGHT + 2 * HOUR, 50))
    loaded.load(series.dump())
    copied = loaded.copied()
    assert copied is not None
    assert loaded.answer_in(copied, asking(1), LISTED) is None


def test_a_copy_with_rows_from_before_the_contract_was_listed_contains_no_answer() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 50)
    series.replace(interest(0, 9, 10), Origin(MIDNIGHT + 10 * HOUR, 3))
    copied = series.copied()
    assert copied is not None
    listed = MIDNIGHT + 9 * HOUR + HOUR // 2  # a row may bear the beginning of its period
    assert series.answer_in(copied, asking(2), listed) is not None
    assert series.answer_in(copied, asking(3), listed) is None
    assert series.answer_in(copied, asking(2), listed + HOUR) is None


@pytest.mark.parametrize("kind", RATIOS)
def test_a_copy_of_a_ratio_contains_the_answer_too(kind: Kind) -> None:
    series = series_of(Key(kind, "BTCUSDT", "1h"))
    series.replace([ratio_row(kind.value, MIDNIGHT)], Origin(MIDNIGHT + 5, 50))
    copied = series.copied()
    assert copied is not None
    request = series.request(MIDNIGHT, Cause.POLL, None)
    assert series.answer_in(copied, request, LISTED) == ([ratio_row(kind.value, MIDNIGHT)], MIDNIGHT + 5)
