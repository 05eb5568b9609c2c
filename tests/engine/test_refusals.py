"""Messages that the exchange refuses or drops because of one name in them."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from ats_sync.engine import connections
from ats_sync.engine.connection import Send
from ats_sync.engine.connections import ACKNOWLEDGED_WITHIN
from ats_sync.engine.refusals import FIRST_PAUSE, LONGEST_PAUSE, Refusals
from ats_sync.logs import RateLimitedLogger
from ats_sync.venue.endpoints import BYTES_PER_MESSAGE, Route

from .wire import Wire, names, settle, wire_of


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Return what the connections log, of which nothing is suppressed because another test made them log it."""
    monkeypatch.setattr(connections, "log", RateLimitedLogger(logging.getLogger("ats_sync.tests")))
    caplog.set_level(logging.INFO, logger="ats_sync.tests")
    return caplog


REFUSAL = {"error": {"code": 2, "msg": "Invalid request: invalid stream"}}


def refusing(wire: Wire, *bad: str, refusal: Any = REFUSAL) -> None:
    """Refuse every SUBSCRIBE that has a bad name in it."""
    wire.answer = lambda number, method, batch: (
        refusal if method == "SUBSCRIBE" and set(bad) & set(batch) else {"result": None}
    )


@pytest.mark.parametrize("bad", [("s0@x",), ("s149@x",), ("s70@x", "s71@x", "s120@x")])
def test_one_bad_name_keeps_no_other_from_being_subscribed(bad: tuple[str, ...]) -> None:
    wire = wire_of(names(150))
    refusing(wire, *bad)
    wire.run(20)
    assert wire.delivered() == {name for name, _ in names(150)} - set(bad)
    assert not wire.disconnects
    for name in bad:
        assert wire.connections.refusals.reason(name) == "Invalid request: invalid stream"
    assert wire.connections.refusals.reason("s5@x") == ""


def test_a_refused_stream_is_tried_again_rarely_and_alone() -> None:
    wire = wire_of(names(150))
    refusing(wire, "s7@x")
    wire.run(20)
    before = len(wire.messages)
    wire.run(3_600)
    later = wire.messages[before:]
    assert 5 <= len(later) <= 14
    assert all(batch == ["s7@x"] for _, _, _, batch in later)


def test_after_a_reconnect_a_refused_stream_spoils_no_batch() -> None:
    wire = wire_of(names(150))
    refusing(wire, "s7@x")
    wire.run(200)
    wire.cut_all()
    before = len(wire.messages)
    wire.run(5)
    assert len(wire.messages[before:]) == 2
    assert wire.delivered() == {name for name, _ in names(150)} - {"s7@x"}


def test_a_replacement_takes_over_though_one_stream_is_refused() -> None:
    wire = wire_of(names(20), connection_max_age=100.0)
    refusing(wire, "s7@x")
    wire.run(115)
    assert len(wire.attempts) == 2
    assert [reason for _, _, reason in wire.disconnects] == ["replaced before its age limit"]
    assert wire.delivered() == {name for name, _ in names(20)} - {"s7@x"}


def test_when_one_refused_stream_is_accepted_all_are_tried_again() -> None:
    wire = wire_of(names(40))
    wire.answer = lambda number, method, batch: REFUSAL
    wire.run(600)
    assert not wire.live
    wire.answer = lambda number, method, batch: {"result": None}
    wire.run(LONGEST_PAUSE / 2)
    assert wire.delivered() == {name for name, _ in names(40)}


def test_where_everything_is_refused_the_exchange_is_not_hammered() -> None:
    wire = wire_of(names(400))
    wire.answer = lambda number, method, batch: REFUSAL
    wire.run(60)
    assert len(wire.messages) <= 2 * 60 * 1.5
    assert not wire.disconnects


def test_an_error_without_an_id_is_that_of_the_oldest_message() -> None:
    wire = wire_of(names(150))
    refusing(wire, "s7@x")
    told = wire._reply

    def nameless(number: int, link: Any, message: dict[str, Any]) -> None:
        told(number, link, message.get("error", message))

    wire._reply = nameless  # type: ignore[method-assign]
    wire.run(20)
    assert wire.delivered() == {name for name, _ in names(150)} - {"s7@x"}
    assert not wire.disconnects


def test_an_error_about_too_many_streams_refuses_no_name(logged: pytest.LogCaptureFixture) -> None:
    wire = wire_of(names(10))
    wire.answer = lambda number, method, batch: None
    wire.run(1)
    (number,) = wire.open
    wire.connections.replied(number, {"error": {"code": 4, "msg": "Too many subscriptions"}}, wire.at())
    wire.answer = lambda number, method, batch: {"result": None}
    wire.cut(number)
    settle(wire)
    assert len(wire.delivered()) == 10
    assert "Too many" in logged.text


@pytest.mark.parametrize("bad", ["s3@x", "s120@x"])
def test_a_message_dropped_silently_is_split_too(bad: str) -> None:
    wire = wire_of(names(150))
    refusing(wire, bad, refusal=None)
    wire.run(16 * ACKNOWLEDGED_WITHIN)
    assert wire.delivered() == {name for name, _ in names(150)} - {bad}
    assert len(wire.disconnects) <= 1, "once the fault is found, the others are left alone"
    assert "never acknowledged" in wire.connections.refusals.reason(bad)


def test_a_refused_unsubscription_is_split_and_spares_streams_added_again() -> None:
    wire = wire_of(names(30))
    settle(wire)
    wire.answer = lambda number, method, batch: (
        REFUSAL if method == "UNSUBSCRIBE" and len(batch) > 3 else {"result": None}
    )
    wire.connections.unsubscribe([f"s{i}@x" for i in range(10)], wire.at())
    wire.connections.subscribe([("s4@x", Route.MARKET)], wire.at())
    wire.run(10)
    assert wire.delivered() == {"s4@x", *(f"s{i}@x" for i in range(10, 30))}


def test_the_refusal_of_a_stream_that_is_no_longer_followed_is_forgotten() -> None:
    wire = wire_of(names(3))
    refusing(wire, "s1@x")
    wire.run(2)
    wire.connections.unsubscribe(["s1@x"], wire.at())
    wire.run(LONGEST_PAUSE)
    assert "s1@x" not in wire.connections.refusals
    assert [batch for _, _, method, batch in wire.messages if method == "UNSUBSCRIBE"] == []


def test_a_refused_stream_is_neither_moved_nor_resubscribed() -> None:
    wire = wire_of(names(300))
    refusing(wire, "s1@x")
    wire.run(5)
    before = len(wire.messages)
    assert not wire.connections.move("s1@x", wire.at())
    assert not wire.connections.resubscribe("s1@x", wire.at())
    wire.run(1)
    assert len(wire.messages) == before


# --- bytes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["SUBSCRIBE", "UNSUBSCRIBE"])
def test_messages_are_cut_by_bytes(method: str) -> None:
    wanted = [(f"{'币安人生' * 4}{i}usdt@depth20@100ms", Route.PUBLIC) for i in range(250)]
    wire = wire_of(wanted)
    sizes: list[int] = []
    original = wire._do

    def spy(action: Any) -> None:
        if isinstance(action, Send) and json.loads(action.text)["method"] == method:
            sizes.append(len(action.text.encode()))
        original(action)

    wire._do = spy  # type: ignore[method-assign]
    settle(wire)
    wire.connections.unsubscribe([name for name, _ in wanted[:200]], wire.at())
    settle(wire)
    assert wire.delivered() == {name for name, _ in wanted[200:]}
    assert max(sizes) <= BYTES_PER_MESSAGE
    assert max(sizes) > BYTES_PER_MESSAGE - 100, "and they are filled"


def test_pauses_grow_and_end() -> None:
    refusals = Refusals()
    for expected in (FIRST_PAUSE, 20.0, 40.0, 80.0, 160.0, 320.0, LONGEST_PAUSE, LONGEST_PAUSE):
        refusals.add("a", "no", 5.0)
        assert refusals.due(["a"]) == 5.0 + expected
    assert refusals.first_due(["a", "b"], 10.0) is None
    assert refusals.first_due(["b", "a"], 1000.0) == "a"
    assert refusals.due(["b"]) is None


# --- the end of a server ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "event", [{"e": "serverShutdown", "E": 1}, {"event": {"e": "serverShutdown", "E": 1}}], ids=["bare", "wrapped"]
)
def test_a_connection_whose_end_is_announced_is_handed_over_at_once(event: dict[str, Any]) -> None:
    wire = wire_of([("spot/btcusdt@kline_1h", Route.SPOT), ("spot/ethusdt@kline_1h", Route.SPOT)])
    settle(wire)
    (number,) = wire.open
    wire.live.clear()
    wire.connections.replied(number, event, wire.at())
    wire.run(10)
    assert number not in wire.open
    assert len(wire.open) == 1
    assert [reason for _, _, reason in wire.disconnects] == ["replaced before its age limit"]
    assert {name for name, _ in wire.moved} == {"spot/btcusdt@kline_1h", "spot/ethusdt@kline_1h"}
    assert wire.live == [], "nothing has to be requested again"


def test_an_announced_end_of_a_replacement_leaves_the_old_connection() -> None:
    wire = wire_of(names(2, Route.SPOT), connection_max_age=50.0)
    settle(wire)
    (number,) = wire.open
    assert wire.run(60, until=lambda: len(wire.open) == 2)
    (other,) = set(wire.open) - {number}
    wire.connections.replied(other, {"e": "serverShutdown"}, wire.at())
    wire.run(0.5)
    assert number in wire.open
    wire.run(30)
    assert len(wire.open) == 1
    assert len(wire.delivered()) == 2


def test_connections_without_trouble_log_no_refusals(logged: pytest.LogCaptureFixture) -> None:
    wire = wire_of(names(2))
    settle(wire)
    assert not logged.records
    assert wire.connections.refusals.release() == []
