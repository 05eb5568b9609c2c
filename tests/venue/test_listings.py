from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ats_sync.errors import MalformedAnswer
from ats_sync.venue.listings import Phase, exchange_info, is_perpetual, server_time, stream_contract

from . import recording as real
from . import samples
from .samples import MIDNIGHT, compact


def test_the_real_exchange_info(recording: Path) -> None:
    info = exchange_info(real.exchange_info(recording))
    assert {"SUSHIUSDT", "AKROUSDT", "KEEPUSDT", "CTKUSDT"} <= info.trading
    assert info.weight_limit == 2400


def test_exchange_info_has_the_trading_contracts_and_the_limit() -> None:
    body = samples.exchange_info({"BTCUSDT": "TRADING", "OLDUSDT": "SETTLING"}, weight=1200)
    info = exchange_info(compact(body))
    assert info.trading == {"BTCUSDT"}
    assert info.listed == {"BTCUSDT", "OLDUSDT"}
    assert info.weight_limit == 1200
    del body["rateLimits"]
    assert exchange_info(compact(body)).weight_limit is None


@pytest.mark.parametrize("body", [b'{"symbols":[]}', b'{"symbols":{}}', b'{"rateLimits":[]}'])
def test_exchange_info_without_symbols_would_delist_everything(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        exchange_info(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"symbols":[{"symbol":["x"],"status":"TRADING"},{"symbol":"A","status":"TRADING"}]}',
        b'{"symbols":[{"symbol":5},{"symbol":"A","status":"TRADING"}],"rateLimits":5}',
        b'{"symbols":[{},null,{"symbol":"A","status":["x"]},{"symbol":"A","status":"TRADING"}],"rateLimits":[5,null]}',
    ],
)
def test_bad_parts_of_exchange_info_are_left_out(body: bytes) -> None:
    info = exchange_info(body)
    assert info.listed == {"A"}
    assert info.weight_limit is None


@pytest.mark.parametrize("limit", [0, -1, True, 2400.5, "2400", None])
def test_an_impossible_limit_is_ignored(limit: Any) -> None:
    body = samples.exchange_info({"A": "TRADING"})
    body["rateLimits"][0]["limit"] = limit
    assert exchange_info(compact(body)).weight_limit is None


def test_the_time_of_the_exchange() -> None:
    assert server_time(b'{"serverTime":1795219200000}') == MIDNIGHT
    for body in (b"{}", b'{"serverTime":"1795219200000"}', b'{"serverTime":1.5}', b'{"serverTime":null}', b"[]"):
        with pytest.raises(MalformedAnswer):
            server_time(body)


@pytest.mark.parametrize(
    ("status", "phase"),
    [
        ("TRADING", Phase.TRADING),
        ("TRADING_HALT", Phase.PAUSED),
        ("TRADING_CANCEL_ONLY", Phase.PAUSED),
        ("PRE_SETTLE", Phase.PAUSED),
        ("PENDING_TRADING", Phase.PENDING),
        ("SETTLING", Phase.GONE),
        ("CLOSE", Phase.GONE),
        ("DELIVERED", Phase.GONE),
        ("A_STATUS_OF_NEXT_YEAR", Phase.TRADING),
    ],
)
def test_only_what_is_known_to_be_final_is_gone(status: str, phase: Phase) -> None:
    info = exchange_info(compact(samples.exchange_info({"A": status})))
    assert info.phase("A") is phase
    assert info.statuses["A"] == status
    assert ("A" in info.trading) == (phase in (Phase.TRADING, Phase.PAUSED))
    assert info.phase("B") is Phase.GONE, "it is not listed"


def test_perpetuals_of_any_kind() -> None:
    for contract_type, expected in (
        ("PERPETUAL", True), ("TRADIFI_PERPETUAL", True), ("CURRENT_QUARTER", False), ("", False),
    ):  # fmt: skip
        assert is_perpetual(contract_type) is expected


def test_an_event_about_a_contract() -> None:
    event = stream_contract(samples.contract_frame("NEWUSDT", "PENDING_TRADING", event=MIDNIGHT))
    assert event is not None
    assert (event.symbol, event.status, event.time) == ("NEWUSDT", "PENDING_TRADING", MIDNIGHT)
    assert event.onboarded == MIDNIGHT - 100 * samples.DAY
    coin_margined = samples.contract_frame("BTCUSD_PERP", "TRADING").replace(b'"st":1', b'"st":2')
    assert stream_contract(coin_margined) is None
