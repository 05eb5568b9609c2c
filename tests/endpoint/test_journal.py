"""The journal: what it notes, and what it does not note twice."""

from __future__ import annotations

from ats_sync.endpoint.journal import MOST, Journal, What
from ats_sync.status import ConnectionStatus, Overall


def connection(
    state: str = "open", *, name: str = "market-1", since: float = 100.0, error: str = ""
) -> ConnectionStatus:
    return ConnectionStatus(name, "market", state, 2, 2, since, 7, error)


def noted(journal: Journal) -> list[tuple[What, str, str]]:
    return [(entry.what, entry.subject, entry.reason) for entry in journal.entries()]


def test_each_change_of_state_has_its_reason() -> None:
    journal = Journal()
    journal.state(1.0, Overall.STOPPED, "not started")
    assert noted(journal) == []
    for at, state in enumerate((Overall.STARTING, Overall.LIVE, Overall.LIVE, Overall.DEGRADED, Overall.STOPPED)):
        journal.state(at, state, f"reason {at}")
    assert noted(journal) == [
        (What.STARTING, "", "reason 0"),
        (What.LIVE, "", "reason 1"),
        (What.DEGRADED, "", "reason 3"),
        (What.STOPPED, "", "reason 4"),
    ]


def test_a_connection_that_is_lost_and_made_again_is_noted() -> None:
    journal = Journal()
    journal.connections(1.0, [connection("connecting")])
    journal.connections(2.0, [connection()])
    journal.connections(3.0, [connection("waiting", since=103.0, error="reset")])
    journal.connections(4.0, [connection("connecting", since=104.0, error="reset")])
    journal.connections(7.0, [connection(since=107.0, error="reset")])
    journal.connections(8.0, [connection(since=107.0004, error="reset")])
    assert noted(journal) == [
        (What.CONNECTED, "market-1", ""),
        (What.LOST, "market-1", "reset"),
        (What.CONNECTED, "market-1", "after 4 s"),
    ]


def test_a_connection_that_was_away_between_two_looks() -> None:
    journal = Journal()
    journal.connections(1.0, [connection()])
    journal.connections(2.0, [connection(since=101.0, error="closed by the exchange")])
    assert noted(journal)[1:] == [
        (What.LOST, "market-1", "closed by the exchange"),
        (What.CONNECTED, "market-1", "after 0 s"),
    ]


def test_a_replacement_is_a_connection_of_its_own() -> None:
    journal = Journal()
    journal.connections(1.0, [connection()])
    journal.connections(2.0, [connection(), connection("open (to replace another)", name="market-2")])
    journal.connections(3.0, [connection(name="market-2")])
    assert noted(journal) == [(What.CONNECTED, "market-1", ""), (What.CONNECTED, "market-2", "")]


def test_repairs_of_one_time_are_one_entry_that_grows() -> None:
    journal = Journal()
    journal.repairs(1.0, 3, "BTCUSDT klines 1h", "a candle is missing")
    assert [entry.count for entry in journal.take_new()] == [3]
    journal.repairs(2.0, 3, "BTCUSDT klines 1h", "")
    assert journal.take_new() == []
    journal.repairs(5.0, 10, "ETHUSDT klines 1h", "")
    (grown,) = journal.take_new()
    assert (grown.count, grown.subject, grown.reason, grown.at) == (10, "ETHUSDT klines 1h", "a candle is missing", 5.0)
    journal.repairs(60.0, 11, "ETHUSDT trades", "")
    assert [entry.count for entry in journal.entries()] == [10, 1]


def test_a_ban_is_noted_once_and_again_when_it_grows() -> None:
    journal = Journal()
    journal.limited(1.0, {"futures": 60.0}, {"futures": "429"})
    journal.limited(2.0, {"futures": 60.2}, {"futures": "429"})
    journal.limited(3.0, {"futures": 180.0}, {"futures": "418"})
    journal.limited(200.0, {}, {"futures": "418"})
    assert noted(journal) == [(What.LIMITED, "futures", "429"), (What.LIMITED, "futures", "418")]


def test_contracts_that_halt_and_trade_again() -> None:
    journal = Journal()
    journal.contracts(1.0, {"BTCUSDT": "TRADING_HALT"})
    journal.contracts(2.0, {"BTCUSDT": "TRADING_HALT"})
    journal.contracts(3.0, {})
    assert noted(journal) == [(What.CONTRACT, "BTCUSDT", "TRADING_HALT"), (What.CONTRACT, "BTCUSDT", "TRADING")]


def test_it_keeps_the_newest_and_numbers_them() -> None:
    journal = Journal()
    for at in range(3 * MOST):
        journal.contracts(at, {"BTCUSDT": f"status {at}"})
    entries = journal.entries()
    assert len(entries) == MOST
    assert [entry.number for entry in entries] == list(range(2 * MOST, 3 * MOST))
    assert journal.take_new() == entries
