from __future__ import annotations

import pytest

from ats_sync.errors import RequestTimeout, StaleDataError
from ats_sync.feeds import FEEDS, RATIOS, Key, Kind
from ats_sync.queries.periods import OpenInterest, OpenInterestInColumns, RatioRows
from ats_sync.shapes import shape_ratios

from ..desk import SYMBOL, Desk
from ..venue.samples import HOUR, MIDNIGHT, contract_row, open_interest_row, ratio_row

INTEREST = Key(Kind.OPEN_INTEREST, SYMBOL, "1h")
ROWS = [open_interest_row(MIDNIGHT + (i - 9) * HOUR) for i in range(10)]


class TestOpenInterest:
    def test_within_its_bound_it_comes_from_memory_as_the_callers_own(self) -> None:
        desk = Desk(INTEREST)
        desk.merge(INTEREST, ROWS, limit=10)
        for _ in range(2):
            rows = desk.read(OpenInterest(SYMBOL, "1h", 3, None))
            assert rows == ROWS[-3:]
            rows[0].clear()
        columns = desk.read(OpenInterestInColumns(SYMBOL, "1h", 3, None))
        assert not isinstance(columns, list)
        assert list(columns[0]) == [row["timestamp"] for row in ROWS[-3:]]
        assert desk.asked == []

    def test_beyond_it_it_is_requested(self) -> None:
        desk = Desk(INTEREST)
        desk.merge(INTEREST, ROWS, limit=10)
        desk.later((FEEDS[Kind.OPEN_INTEREST].max_age(streams=True) or 0.0) + 1.0)
        desk.answers = [ROWS, RequestTimeout("x")]
        assert desk.read(OpenInterest(SYMBOL, "1h", 3, None)) == ROWS[-3:]
        with pytest.raises(StaleDataError) as caught:
            desk.read(OpenInterest(SYMBOL, "1h", 3, None))
        assert caught.value.data == ROWS[-3:]

    def test_another_period_of_a_watched_symbol_is_demanded(self) -> None:
        desk = Desk(INTEREST)
        desk.answers = [ROWS]
        desk.read(OpenInterest(SYMBOL, "4h", 3, None))
        assert desk.wanted == [Key(Kind.OPEN_INTEREST, SYMBOL, "4h")]


def rows(kind: Kind) -> list[dict[str, object]]:
    return [ratio_row(kind.value, MIDNIGHT + (hour - 9) * HOUR) for hour in range(10)]


@pytest.mark.parametrize("kind", RATIOS)
def test_within_its_bound_it_comes_from_memory_and_beyond_it_is_requested(kind: Kind) -> None:
    key, wanted = Key(kind, SYMBOL, "1h"), rows(kind)
    desk = Desk(key)
    desk.merge(key, wanted, limit=10)
    query = RatioRows(kind.value, SYMBOL, "1h", 3, None)
    desk.read(query)[0].clear()
    assert desk.read(query) == wanted[-3:]
    desk.later(FEEDS[kind].max_age(streams=True) or 0.0)
    assert desk.read(query) == wanted[-3:]
    assert desk.asked == []
    desk.later(1.0)
    desk.answers = [wanted, RequestTimeout("x")]
    assert desk.read(query) == wanted[-3:]
    with pytest.raises(StaleDataError) as caught:
        desk.read(query)
    assert (caught.value.data, caught.value.age) == (wanted[-3:], 301.0)


def test_the_first_read_requests_what_the_series_needs() -> None:
    key = Key(Kind.BASIS, SYMBOL, "1h")
    desk = Desk(key)
    desk.merge(Key(Kind.LISTINGS), {"symbols": [contract_row(SYMBOL) | {"contractType": "TRADIFI_PERPETUAL"}]})
    desk.answers = [rows(Kind.BASIS)]
    desk.read(RatioRows("basis", SYMBOL, "1h", 3, None))
    params = dict(desk.asked[0].request.params)
    assert (params["limit"], params["pair"], params["contractType"]) == (300, SYMBOL, "TRADIFI_PERPETUAL")
    assert desk.wanted == [key]


def test_rows_in_numbers() -> None:
    assert shape_ratios("basis", [ratio_row("basis", MIDNIGHT, "13.94")]) == [
        {
            "timestamp": MIDNIGHT, "basis": 13.94, "basisRate": 0.0004, "annualizedBasisRate": None,
            "futuresPrice": 34414.1, "indexPrice": 34400.15945055,
        }
    ]  # fmt: skip
    assert shape_ratios("takerlongshortRatio", [ratio_row("takerlongshortRatio", MIDNIGHT)]) == [
        {"timestamp": MIDNIGHT, "buySellRatio": 1.0048, "buyVol": 387.33, "sellVol": 248.503}
    ]
    for kind in RATIOS[:3]:
        assert shape_ratios(kind.value, [ratio_row(kind.value, MIDNIGHT)]) == [
            {"timestamp": MIDNIGHT, "longShortRatio": 1.0048, "longAccount": 0.5012, "shortAccount": 0.4988}
        ]
