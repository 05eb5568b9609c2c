from __future__ import annotations

from typing import Any

import pytest

from ats_sync.errors import InvalidArgument, MalformedAnswer
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket
from ats_sync.venue.ratios import RATIOS, check_ratio, rest_ratios

from .samples import HOUR, MIDNIGHT, compact, ratio_row


@pytest.mark.parametrize("kind", RATIOS)
def test_rows_come_as_written_and_oldest_first(kind: str) -> None:
    rows = [ratio_row(kind, MIDNIGHT + hour * HOUR) for hour in (2, 0, 1)]
    assert rest_ratios(kind, compact(rows)) == [rows[1], rows[2], rows[0]]
    assert rest_ratios(kind, b"[]") == []


@pytest.mark.parametrize("kind", RATIOS)
def test_a_row_without_a_number_is_refused(kind: str) -> None:
    good = ratio_row(kind, MIDNIGHT)
    for name in (*RATIOS[kind].numbers, "timestamp"):
        for spoilt in ({**good, name: None}, {**good, name: "x"}, {key: good[key] for key in good if key != name}):
            with pytest.raises(MalformedAnswer):
                rest_ratios(kind, compact([good, spoilt]))
    for bad in (b"{}", b"[1]", b"x"):
        with pytest.raises(MalformedAnswer):
            rest_ratios(kind, bad)


def test_only_the_yearly_rate_of_a_perpetual_may_be_empty() -> None:
    assert rest_ratios("basis", compact([ratio_row("basis", MIDNIGHT)]))[0]["annualizedBasisRate"] == ""
    with pytest.raises(MalformedAnswer):
        rest_ratios("basis", compact([ratio_row("basis", MIDNIGHT, "")]))


@pytest.mark.parametrize("kind", RATIOS)
def test_each_is_requested_by_its_own_parameters_in_the_bucket_of_open_interest(kind: str) -> None:
    request = endpoints.ratio(kind, "BTCUSDT_261225", "1h", 30, contract_type="CURRENT_QUARTER")
    names: dict[str, Any] = {"symbol": "BTCUSDT_261225"}
    if kind == "basis":
        names = {"pair": "BTCUSDT", "contractType": "CURRENT_QUARTER"}
    assert dict(request.params) == {**names, "period": "1h", "limit": 30}
    assert (request.path, request.weight, request.bucket) == (f"/futures/data/{kind}", 1, Bucket.OPEN_INTEREST)
    assert request.rows == 30
    assert endpoints.ratio(kind, "A", "1h", 30, start=1).rows == 0
    assert request == endpoints.ratio(kind, "BTCUSDT_261225", "1h", 30, contract_type="CURRENT_QUARTER")


@pytest.mark.parametrize("bad", ["", "Basis", "openInterestHist", None, 5, ["basis"]])
def test_an_unknown_kind_is_refused(bad: object) -> None:
    with pytest.raises(InvalidArgument, match="takerlongshortRatio"):
        check_ratio(bad)
