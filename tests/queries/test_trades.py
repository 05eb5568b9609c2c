from __future__ import annotations

import json

import pytest

from ats_sync.errors import DataUnavailableError, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.trades import TradesInColumns, TradesText
from ats_sync.store.trade_columns import TradeColumns
from ats_sync.venue.endpoints import AGG_TRADES_MOST
from ats_sync.venue.trades import Trade, trades_text

from ..desk import SYMBOL, Desk
from ..venue import samples
from ..venue.samples import MIDNIGHT

KEY = Key(Kind.TRADES, SYMBOL)
ANSWER = [Trade(number, "1.5", "2", number, number, MIDNIGHT, False, None) for number in range(40)]


def followed() -> Desk:
    desk = Desk(KEY)
    desk.merge(KEY, [samples.rest_trade(number, at=MIDNIGHT) for number in range(10, 40)], limit=30)
    desk.store.trades(SYMBOL).go_live(desk.link)
    return desk


def test_trades_that_memory_has_come_from_there() -> None:
    desk = followed()
    rows = [samples.rest_trade(number, at=MIDNIGHT) for number in range(35, 40)]
    assert desk.read(TradesText(SYMBOL, 5, None)) == samples.compact(rows)
    columns = desk.read(TradesInColumns(SYMBOL, 5, None))
    assert isinstance(columns, TradeColumns)
    assert (columns.first, columns.after) == (35, 40)
    assert desk.asked == []


@pytest.mark.parametrize(("limit", "max_age"), [(5, 0), (31, None)])
def test_where_memory_has_fewer_as_many_as_one_request_brings_are_requested(limit: int, max_age: float | None) -> None:
    desk = followed()
    desk.answers = [ANSWER]
    assert desk.read(TradesText(SYMBOL, limit, max_age)) == trades_text(ANSWER[-limit:])
    assert [fetch.request.rows for fetch in desk.asked] == [AGG_TRADES_MOST]


def test_where_rest_fails_what_is_known_stands_in_the_error() -> None:
    desk = followed()
    desk.store.trades(SYMBOL).suspect("dead")
    desk.answers = [RequestTimeout("x"), RequestTimeout("x")]
    with pytest.raises(StaleDataError) as caught:
        desk.read(TradesText(SYMBOL, 3, None))
    assert [row["a"] for row in json.loads(caught.value.data)] == [37, 38, 39]
    with pytest.raises(DataUnavailableError):
        desk.read(TradesText("ETHUSDT", 3, None))


def test_forced_orders_are_those_that_were_seen() -> None:
    desk = Desk(KEY)
    desk.deliver(samples.liquidation_frame(SYMBOL), samples.liquidation_frame("ETHUSDT"))
    assert [each.symbol for each in desk.store.liquidations.read(None, 9)] == [SYMBOL, "ETHUSDT"]
    assert [each.symbol for each in desk.store.liquidations.read("ETHUSDT", 9)] == ["ETHUSDT"]
    assert desk.asked == []
