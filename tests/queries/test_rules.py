from __future__ import annotations

import pytest

from ats_sync.errors import DataUnavailableError, InvalidSymbol, RequestTimeout, StaleDataError
from ats_sync.feeds import Key, Kind
from ats_sync.queries.values import Rules
from ats_sync.venue.listings import exchange_info

from ..desk import SYMBOL, Desk
from ..venue.samples import compact, contract_row

LISTINGS = Key(Kind.LISTINGS)
ANSWER = {"symbols": [contract_row(SYMBOL), {"symbol": "ODDUSDT", "status": "TRADING"}]}


def listed() -> Desk:
    desk = Desk()
    desk.merge(LISTINGS, ANSWER)
    return desk


def test_the_rules_of_every_contract_come_from_the_kept_answer() -> None:
    desk = listed()
    assert desk.read(Rules(SYMBOL, None)).symbol == SYMBOL
    assert desk.asked == []


def test_an_old_answer_is_requested_again_and_shown_where_rest_fails() -> None:
    desk = listed()
    desk.later(3601.0)
    desk.answers = [exchange_info(compact({"symbols": [contract_row(SYMBOL, tick="0.50")]})), RequestTimeout("x")]
    assert str(desk.read(Rules(SYMBOL, None)).tick_size) == "0.50"
    with pytest.raises(StaleDataError) as caught:
        desk.read(Rules(SYMBOL, None))
    assert str(caught.value.data.tick_size) == "0.10"
    assert caught.value.age > 3600


def test_a_misspelt_symbol_costs_no_request_each_time() -> None:
    desk = listed()
    for _ in range(3):
        with pytest.raises(InvalidSymbol, match="NOUSDT"):
            desk.read(Rules("NOUSDT", None))
    assert desk.asked == []
    desk.later(5.0)
    desk.answers = [exchange_info(compact({"symbols": [contract_row("NOUSDT")]}))]
    assert desk.read(Rules("NOUSDT", None)).symbol == "NOUSDT"


def test_rules_that_cannot_be_read_are_not_taken_for_a_misspelling() -> None:
    with pytest.raises(DataUnavailableError, match="ODDUSDT"):
        listed().read(Rules("ODDUSDT", None))
