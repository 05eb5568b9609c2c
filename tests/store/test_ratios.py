from __future__ import annotations

import itertools
from typing import Any

import pytest

from ats_sync.feeds import RATIOS, Cause, Key, Kind
from ats_sync.store.ratios import RatioSeries
from ats_sync.store.series import Origin

from ..venue.samples import HOUR, MIDNIGHT, ratio_row

KEY = Key(Kind.TOP_POSITIONS, "BTCUSDT", "1h")


def series_of(key: Key = KEY, depth: int = 50) -> RatioSeries:
    return RatioSeries(key, depth, lambda: "PERPETUAL")


def rows(*hours: int, value: str = "1.0") -> list[dict[str, Any]]:
    return [ratio_row(KEY.kind.value, MIDNIGHT + hour * HOUR, value) for hour in hours]


def hours(series: RatioSeries) -> list[int]:
    return [(row["timestamp"] - MIDNIGHT) // HOUR for row in series.read(1_000)]


def test_it_asks_for_all_at_first_and_then_for_what_is_new() -> None:
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


def test_of_two_rows_the_later_answer_wins_in_any_order() -> None:
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


def test_an_answer_that_does_not_reach_what_is_known_leaves_no_hole() -> None:
    series = series_of()
    series.replace(rows(0, 1, 2), Origin(MIDNIGHT + 2 * HOUR, 3))
    series.replace(rows(9, 10), Origin(MIDNIGHT + 10 * HOUR, 2))
    assert hours(series) == [9, 10]


def test_a_quarterly_is_asked_for_by_the_type_it_has_now() -> None:
    kinds = iter(["NEXT_QUARTER", "CURRENT_QUARTER"])
    series = RatioSeries(Key(Kind.BASIS, "BTCUSDT_261225", "1h"), 50, lambda: next(kinds))
    for kind in ("NEXT_QUARTER", "CURRENT_QUARTER"):
        params = dict(series.request(MIDNIGHT, Cause.POLL, None).params)
        assert (params["pair"], params["contractType"]) == ("BTCUSDT", kind)
