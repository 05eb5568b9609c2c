from __future__ import annotations

from typing import Any

from ats_sync.store.open_interest import OpenInterestSeries
from ats_sync.store.series import Origin

from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT


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


def test_open_interest_can_be_deepened() -> None:
    series = OpenInterestSeries("BTCUSDT", "1h", 2)
    series.replace(interest(0, 1, 2, 3, 4), Origin(MIDNIGHT + 5 * HOUR, 5))
    assert stamps(series) == [3, 4]
    series.deepen(4)
    series.deepen(3)
    series.replace(interest(0, 1, 2, 3, 4), Origin(MIDNIGHT + 5 * HOUR, 5))
    assert stamps(series) == [1, 2, 3, 4]


def test_of_two_rows_the_later_answer_wins_in_either_order() -> None:
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


def test_periods_without_a_row_are_no_hole() -> None:
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
