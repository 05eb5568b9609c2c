from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from ats_sync import Config, RequestRejected, RestShaped
from ats_sync.store.series import Origin

from .desk import SYMBOL, Desk
from .venue import samples
from .venue.samples import MIDNIGHT

Read = Callable[[RestShaped], Any]


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def rest(desk: Desk) -> RestShaped:
    return RestShaped(desk.reads, Config(), live=True)


def test_an_answer_that_everybody_reads_is_not_copied_part_by_part(
    desk: Desk, rest: RestShaped, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.answers = [{"symbols": [{"symbol": SYMBOL}]}]
    monkeypatch.delattr("ats_sync.rest_shaped._own")
    for _ in range(200):
        found = rest.get("/fapi/v1/exchangeInfo", timeout=5.0)
        assert found.pop("symbols") == [{"symbol": SYMBOL}]
    assert len(desk.asked) == 1


class TestOfADelistedPerpetual:
    @pytest.fixture(autouse=True)
    def delisted(self, desk: Desk) -> None:
        desk.store.delisted = {SYMBOL: "it no longer trades on the exchange; unwatch it"}

    @pytest.mark.parametrize(
        "read",
        [
            lambda rest: rest.klines(SYMBOL, "1h", 5),
            lambda rest: rest.open_interest_hist(SYMBOL, "1h", 5),
            lambda rest: rest.depth(SYMBOL, 20),
            lambda rest: rest.depth(SYMBOL, 100),
            lambda rest: rest.agg_trades(SYMBOL, 5),
            lambda rest: rest.mark_price(SYMBOL),
            lambda rest: rest.funding_hist(SYMBOL, 5),
        ],
    )
    def test_the_refusal_has_the_status_of_the_exchanges_own(self, desk: Desk, rest: RestShaped, read: Read) -> None:
        with pytest.raises(OSError, match=f"{SYMBOL}: it no longer trades.*HTTP 400, code -1121") as caught:
            read(rest)
        assert isinstance(caught.value, RequestRejected)
        assert (caught.value.status, caught.value.code) == (400, -1121)
        assert desk.asked == []

    def test_its_spot_pair_is_still_served(self, desk: Desk, rest: RestShaped) -> None:
        desk.store.spot.replace({SYMBOL: "7.6"}, Origin(MIDNIGHT))
        assert rest.spot_price(SYMBOL) == 7.6
        row = samples.row(MIDNIGHT)
        desk.answers = [[samples.compact(row)[1:-1]]]
        assert rest.spot_klines(SYMBOL, "1h", 1) == [row]

    def test_without_a_spot_pair_the_exchanges_refusal_is_known_beforehand(self, desk: Desk, rest: RestShaped) -> None:
        desk.store.spot.replace({"ETHUSDT": "7.6"}, Origin(MIDNIGHT))
        for read in (lambda: rest.spot_price(SYMBOL), lambda: rest.spot_klines(SYMBOL, "1h", 1)):
            with pytest.raises(RequestRejected, match="HTTP 400, code -1121"):
                read()
        assert desk.asked == []


@pytest.mark.parametrize("number", [np.int64, np.float64, float])
@pytest.mark.parametrize(
    "read",
    [
        lambda rest, limit, start, end: rest.klines(SYMBOL, "1h", limit, start=start, end=end),
        lambda rest, limit, start, end: rest.spot_klines(SYMBOL, "1h", limit, start=start, end=end),
        lambda rest, limit, start, end: rest.open_interest_hist(SYMBOL, "1h", limit, start=start, end=end),
        lambda rest, limit, start, end: rest.funding_hist(SYMBOL, limit, start=start, end=end),
        lambda rest, limit, start, end: rest.agg_trades(SYMBOL, limit, start=start, end=end),
        lambda rest, limit, start, end: rest.get("/x", {"limit": limit, "startTime": start, "endTime": end}, timeout=5),
    ],
)
def test_limits_and_times_of_numpy_are_sent_as_the_exchange_reads_them(
    desk: Desk, rest: RestShaped, read: Callable[..., Any], number: Callable[[int], Any]
) -> None:
    desk.answers = [[]]
    read(rest, number(10), number(MIDNIGHT), number(MIDNIGHT + 1))
    sent = dict(desk.asked[0].request.params)
    assert (sent["limit"], sent["startTime"], sent["endTime"]) == (10, MIDNIGHT, MIDNIGHT + 1)
    assert {type(sent[name]) for name in ("limit", "startTime", "endTime")} == {int}


def test_a_small_integer_of_numpy_does_not_overflow_in_what_is_followed(desk: Desk) -> None:
    depths: list[int] = []
    rest = RestShaped(desk.reads, Config(), live=True, want=lambda key, depth: depths.append(depth))
    desk.answers = [[]]
    rest.klines(SYMBOL, "1h", np.int8(100))
    assert [type(depth) for depth in depths] == [int]
