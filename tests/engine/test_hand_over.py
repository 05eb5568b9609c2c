from __future__ import annotations

import itertools

import pytest

from ats_sync.engine.connection import Acknowledged, Ended
from ats_sync.engine.connections import ACKNOWLEDGED_WITHIN, OVERLAP
from ats_sync.venue.endpoints import Route

from .wire import START, Wire, moment, names, settle, wire_of

# --- moving ---------------------------------------------------------------------------------------


def test_a_stream_is_resubscribed_on_its_own_connection() -> None:
    wire = wire_of(names(3))
    settle(wire)
    wire.live.clear()
    assert wire.connections.resubscribe("s1@x", wire.at())
    settle(wire)
    assert [(method, batch) for _, _, method, batch in wire.messages[-2:]] == [
        ("UNSUBSCRIBE", ["s1@x"]),
        ("SUBSCRIBE", ["s1@x"]),
    ]
    assert [name for name, _ in wire.live] == ["s1@x"]
    assert "s1@x" in wire.delivered()
    assert not wire.connections.resubscribe("unknown", wire.at())


def test_a_stream_is_moved_to_another_connection_of_its_route() -> None:
    wire = wire_of([*names(300), *names(1, Route.PUBLIC, "b")])
    settle(wire)
    wire.live.clear()
    before = wire.connections.assigned_to["s1@x"]
    assert wire.connections.move("s1@x", wire.at())
    settle(wire)
    after = wire.connections.assigned_to["s1@x"]
    assert after != before
    assert "s1@x" in wire.subscribed[after]
    assert "s1@x" not in wire.subscribed[before]
    assert wire.live == [("s1@x", wire.open[after])]
    assert not wire.connections.move("b0@x", wire.at())
    assert not wire.connections.move("unknown", wire.at())


def test_a_stream_acknowledged_while_its_connection_is_given_up_is_not_live() -> None:
    wire = wire_of(names(3))
    settle(wire)
    ((number, link),) = wire.open.items()
    connections, connection = wire.connections, wire.connections.connections[1]
    wire.answer = lambda number, method, batch: None
    for name in ("s0@x", "s1@x"):
        connections.resubscribe(name, wire.at())
        wire.run(1.5)
    answered, unanswered = [identity for identity, (_, _, subscribes) in connection.requests.items() if subscribes]
    sent = connection.requests[unanswered][1]
    wire.live.clear()
    late = moment(sent + ACKNOWLEDGED_WITHIN + 0.1)
    connections.replied(number, {"result": None, "id": answered}, late)
    assert connections.changes == [Acknowledged("s0@x", link), Ended(link)], "one was acknowledged, the other never"


# --- the age limit --------------------------------------------------------------------------------


def replacing(wire: Wire) -> bool:
    return any(each.replaces is not None for each in wire.connections.connections.values())


def test_a_replacement_takes_over_without_a_gap_and_one_at_a_time() -> None:
    wanted = [*names(600), *names(200, Route.PUBLIC, "b")]
    wire = wire_of(wanted, connection_max_age=300.0)
    settle(wire)
    everything = {name for name, _ in wanted}
    before = dict(wire.open)
    wire.live.clear()
    for _ in range(2_600):
        wire.run(0.25)
        assert wire.delivered() == everything
        assert len(wire.open) <= 4
    assert not set(before.values()) & set(wire.open.values())
    assert wire.live == [], "a hand-over is not a new subscription"
    assert {name for name, _ in wire.moved} == everything
    for name, link in dict(wire.moved).items():
        assert link is wire.open[wire.connections.assigned_to[name]]
    assert wire.connections.reconnects == 0
    assert wire.most_open <= 4


def test_the_old_and_the_new_one_overlap_for_a_while() -> None:
    wire = wire_of(names(3), connection_max_age=100.0)
    settle(wire)
    assert wire.run(200, until=lambda: bool(wire.moved))
    started = wire.attempts[-1][0]
    assert wire.now - started >= OVERLAP
    assert wire.now - START <= 100.0


def test_connections_are_replaced_before_their_age_limit_and_not_together() -> None:
    wire = wire_of([*names(600), *names(200, Route.PUBLIC, "b")])
    settle(wire)
    wire.run(23.5 * 3600)
    assert len(wire.disconnects) >= 3
    for _, number, reason in wire.disconnects:
        assert "replaced" in reason
        assert number not in wire.open
    times = sorted(when for when, _, _ in wire.disconnects)
    assert all(b - a > 60 for a, b in itertools.pairwise(times))


def test_a_replacement_that_fails_leaves_the_old_one_in_use() -> None:
    wire = wire_of(names(3), connection_max_age=100.0)
    settle(wire)
    number = next(iter(wire.open))
    wire.refuses = True
    wire.run(150)
    assert wire.delivered() == {name for name, _ in names(3)}
    assert set(wire.open) == {number}
    assert 2 <= len(wire.attempts) <= 60
    wire.refuses = False
    assert wire.run(60, until=lambda: number not in wire.open)
    assert wire.delivered() == {name for name, _ in names(3)}


def test_a_replaced_connection_that_had_died_in_silence_may_have_missed_something() -> None:
    wire = wire_of(names(3), connection_max_age=100.0)
    settle(wire)
    (old,) = wire.open.values()
    wire.live.clear()
    assert wire.run(150, until=lambda: replacing(wire))
    wire.frozen.add(old)
    assert wire.run(20, until=lambda: not replacing(wire))
    assert wire.moved == []
    assert {name for name, _ in wire.live} == {name for name, _ in names(3)}
    assert wire.gone == [old]


@pytest.mark.parametrize("acknowledged", [True, False])
def test_what_the_old_one_may_have_missed_when_it_dies_during_the_overlap_is_repaired(acknowledged: bool) -> None:
    wire = wire_of(names(3), connection_max_age=100.0)
    settle(wire)
    (old,) = wire.open
    wire.live.clear()
    assert wire.run(150, until=lambda: replacing(wire) and (not acknowledged or wire.settled()))
    if not acknowledged:
        wire.handshake = 0.5
    wire.cut(old)
    settle(wire)
    assert wire.delivered() == {name for name, _ in names(3)}
    assert {name for name, _ in wire.live} == {name for name, _ in names(3)}, "there may have been a gap"
    assert len(wire.connections.connections) == 1


def test_streams_changed_during_a_hand_over_are_kept() -> None:
    wire = wire_of(names(4), connection_max_age=100.0)
    settle(wire)
    assert wire.run(150, until=lambda: replacing(wire))
    wire.run(0.5)
    wire.connections.unsubscribe(["s0@x"], wire.at())
    wire.connections.subscribe([("late@x", Route.MARKET)], wire.at())
    wire.run(20)
    assert not replacing(wire)
    assert wire.delivered() == {"s1@x", "s2@x", "s3@x", "late@x"}
    assert set(wire.connections.assigned_to) == wire.delivered()


def test_a_stream_added_during_a_hand_over_survives_it() -> None:
    wire = wire_of(names(4), connection_max_age=100.0)
    settle(wire)
    assert wire.run(150, until=lambda: replacing(wire))
    wire.run(0.5)
    wire.connections.subscribe([("late@x", Route.MARKET)], wire.at())
    assert wire.run(5, until=lambda: "late@x" in wire.delivered())
    for _ in range(500):
        wire.run(0.02)
        assert "late@x" in wire.delivered()
    assert not replacing(wire)


def test_a_stream_moved_during_a_hand_over_survives_it() -> None:
    wire = wire_of(names(300), connection_max_age=100.0)
    settle(wire)
    assert wire.run(150, until=lambda: replacing(wire))
    wire.run(0.5)
    (old,) = {each.replaces for each in wire.connections.connections.values()} - {None}
    name = next(each for each, number in wire.connections.assigned_to.items() if number != old)
    assert wire.connections.move(name, wire.at())
    assert wire.connections.assigned_to[name] == old
    assert wire.run(5, until=lambda: name in wire.subscribed[old])
    for _ in range(500):
        wire.run(0.02)
        assert name in wire.delivered()
    assert wire.connections.assigned_to[name] != old


def test_dropping_all_streams_during_a_hand_over_leaves_nothing_behind() -> None:
    wire = wire_of([*names(2), *names(2, Route.PUBLIC, "b")], connection_max_age=100.0)
    settle(wire)
    assert wire.run(150, until=lambda: replacing(wire))
    wire.run(0.5)
    wire.connections.unsubscribe([name for name, _ in [*names(2), *names(2, Route.PUBLIC, "b")]], wire.at())
    wire.run(30)
    assert wire.connections.connections == {}
    assert wire.open == {}
    assert wire.connections.next_due(wire.now) is None
