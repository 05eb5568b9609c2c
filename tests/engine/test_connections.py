from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ats_sync.config import Config
from ats_sync.engine.connection import Connect, Phase, Progress, Streams
from ats_sync.engine.connections import ACKNOWLEDGED_WITHIN, CONNECT_WITHIN, Connections
from ats_sync.engine.refusals import LONGEST_PAUSE
from ats_sync.store.link import Link
from ats_sync.venue.endpoints import MESSAGES_PER_SECOND, NAMES_PER_SUBSCRIBE, Route

from .wire import Wire, names, settle, wire_of

# --- subscribing ----------------------------------------------------------------------------------


def test_every_stream_is_subscribed_and_reported_once() -> None:
    wanted = [*names(850), *names(201, Route.PUBLIC, "b")]
    wire = wire_of(wanted)
    settle(wire)
    wire.run(30)
    assert wire.delivered() == {name for name, _ in wanted}
    assert Counter(name for name, _ in wire.live) == Counter(name for name, _ in wanted)
    for name, link in wire.live:
        assert link is wire.open[wire.connections.assigned_to[name]]
        assert link.route == dict(wanted)[name].value
    assert not wire.disconnects


def test_two_hundred_symbols_need_three_connections_and_market_is_spread_over_two() -> None:
    wire = wire_of([*names(1002), *names(201, Route.PUBLIC, "b")])
    settle(wire)
    by_route = Counter(each.route for each in wire.connections.connections.values())
    assert by_route == {Route.MARKET: 2, Route.PUBLIC: 1}
    sizes = [len(each.streams) for each in wire.connections.connections.values() if each.route is Route.MARKET]
    assert max(sizes) - min(sizes) <= 1


def test_books_stay_on_one_connection_so_that_there_are_five_with_spot_candles_and_a_replacement() -> None:
    wire = wire_of([*names(1002), *names(401, Route.PUBLIC, "b"), *names(9, Route.SPOT, "spot")])
    settle(wire)
    assert len(wire.connections.connections) == 4


@pytest.mark.parametrize(
    ("count", "most", "needed"), [(1, 1024, 1), (255, 1024, 1), (256, 1024, 2), (2049, 1024, 3), (11, 5, 3)]
)
def test_more_streams_take_more_connections(count: int, most: int, needed: int) -> None:
    wire = wire_of(names(count), max_streams_per_connection=most)
    settle(wire)
    assert len(wire.open) == needed
    assert all(len(held) <= most for held in wire.subscribed.values())


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*Progress, None])), max_size=40))
def test_the_names_in_each_state_of_subscription_are_kept_apart(changes: list[tuple[str, Progress | None]]) -> None:
    streams, plain = Streams({"a": Progress.SENT}), {"a": Progress.SENT}
    for name, progress in changes:
        if progress is None:
            assert streams.pop(name, None) is plain.pop(name, None)
        else:
            streams[name] = plain[name] = progress
        assert dict(streams) == plain
        assert len(streams) == len(plain)
        for each in Progress:
            assert set(streams.at(each)) == {name for name, known in plain.items() if known is each}


def test_later_streams_fill_up_existing_connections() -> None:
    wire = wire_of(names(4), max_streams_per_connection=5)
    settle(wire)
    wire.connections.subscribe([*names(4), *names(6, prefix="t")], wire.at())
    settle(wire)
    assert len(wire.open) == 2
    assert all(len(held) <= 5 for held in wire.subscribed.values())
    assert len(wire.delivered()) == 10


@pytest.mark.parametrize("route", list(Route))
def test_batches_and_message_limits_are_kept(route: Route) -> None:
    wire = wire_of(names(1000, route), max_streams_per_connection=1024)
    settle(wire)
    wire.connections.unsubscribe([f"s{i}@x" for i in range(0, 1000, 2)], wire.at())
    wire.run(20)
    for _, _, _, batch in wire.messages:
        assert 1 <= len(batch) <= NAMES_PER_SUBSCRIBE
    for number in wire.links:
        times = [when for when, where, _, _ in wire.messages if where == number]
        for i, first in enumerate(times):
            in_a_second = [when for when in times[i:] if when < first + 1.0]
            # Pings and pongs count too, so something must be left for them.
            assert len(in_a_second) <= MESSAGES_PER_SECOND[route.value] - 2


@pytest.mark.parametrize("route", list(Route))
def test_message_limits_are_kept_where_messages_arrive_however_late_they_are_sent(route: Route) -> None:
    wire = wire_of(names(1, route))
    settle(wire)
    (number,) = wire.open
    arrived: list[float] = []
    told = wire.answer

    def answer(where: int, method: str, batch: list[str]) -> Any:
        # In order: a message that was sent later does not arrive sooner.
        arrived.append(max([wire.now + wire.latency / 2, *arrived[-1:]]))
        return told(where, method, batch)

    wire.answer = answer
    for i in range(100):
        # A thread that is held up for a while then sends everything it was given at once.
        wire.latency = 2.0 - 0.1 * (i % 20)
        wire.connections.subscribe([(f"t{i}@x", route)], wire.at())
        wire.run(0.1)
    settle(wire)
    assert wire.subscribed[number] >= {f"t{i}@x" for i in range(100)}
    for i, first in enumerate(arrived):
        assert sum(when < first + 1.0 for when in arrived[i:]) <= MESSAGES_PER_SECOND[route.value] - 2


def test_every_message_has_its_own_id_and_is_utf8() -> None:
    connections = Connections(Config(), random.Random(1))
    wire = Wire(connections)
    sent: list[str] = []
    connections.subscribe([("币安人生usdt@aggTrade", Route.MARKET), *names(250)], wire.at())
    original = wire._do

    def spy(action: Any) -> None:
        sent.extend([action.text] if hasattr(action, "text") else [])
        original(action)

    wire._do = spy  # type: ignore[method-assign]
    settle(wire)
    ids = [json.loads(text)["id"] for text in sent]
    assert len(set(ids)) == len(ids) == 3
    assert "币安人生usdt@aggTrade" in sent[0]


def test_an_acknowledgement_of_something_else_is_ignored() -> None:
    wire = wire_of(names(1))
    wire.answer = lambda number, method, batch: None
    wire.run(1)
    (number,) = wire.open
    for message in ({"result": None, "id": 999}, {"result": None}, {"result": None, "id": "1"}, {"id": None}):
        wire.connections.replied(number, message, wire.at())
    wire.connections.replied(77, {"result": None, "id": 1}, wire.at())
    wire.carry_out()
    assert wire.live == []


def test_an_unacknowledged_subscription_ends_the_connection_and_is_repeated() -> None:
    wire = wire_of(names(150))
    silent = True
    wire.answer = lambda number, method, batch: None if silent and "s120@x" in batch else {"result": None}
    wire.run(ACKNOWLEDGED_WITHIN - 0.5)
    assert not wire.disconnects
    wire.run(1.0)
    assert len(wire.disconnects) == 1
    assert "acknowledged" in wire.disconnects[0][2]
    silent = False
    settle(wire)
    assert wire.delivered() == {name for name, _ in names(150)}


@pytest.mark.parametrize(
    "refusal",
    [{"error": {"code": 2, "msg": "Invalid request"}}, {"result": ["x"]}, {"code": 3, "msg": "x"}],
)
def test_a_refused_subscription_is_repeated_without_hammering_the_exchange(refusal: dict[str, Any]) -> None:
    wire = wire_of(names(1))
    wire.answer = lambda number, method, batch: refusal
    wire.run(120)
    assert wire.live == []
    assert 2 <= len(wire.messages) <= 30
    wire.run(3_600)
    wire.answer = lambda number, method, batch: {"result": None}
    wire.run(LONGEST_PAUSE + 1)
    assert [name for name, _ in wire.live] == ["s0@x"]


# --- losing and coming back -----------------------------------------------------------------------


def test_a_lost_connection_comes_back_with_all_its_streams() -> None:
    wire = wire_of(names(300))
    settle(wire)
    before = dict(wire.connections.assigned_to)
    number = next(iter(wire.open))
    old = wire.open[number]
    wire.live.clear()
    wire.cut(number)
    settle(wire)
    assert wire.gone == [old]
    assert {name for name, _ in wire.live} == {name for name, home in before.items() if home == number}
    assert wire.connections.assigned_to == before
    assert len(wire.delivered()) == 300
    assert wire.links[number] is not old


def test_back_off_grows_to_its_limit_with_jitter() -> None:
    wire = wire_of(names(1), reconnect_min=1.0, reconnect_max=15.0)
    wire.refuses = True
    wire.run(200)
    pauses = [b - a - wire.handshake for (a, _), (b, _) in itertools.pairwise(wire.attempts)]
    for i, pause in enumerate(pauses):
        whole = min(15.0, 2.0**i)
        assert whole / 2 - 0.01 <= pause <= whole + 0.01
    assert len(set(pauses[5:])) > 1


def test_back_off_is_not_reset_by_a_mere_connect() -> None:
    wire = wire_of(names(1), healthy_after=60.0)
    settle(wire)
    for _ in range(6):
        wire.cut_all()
        assert wire.run(60, until=wire.settled)
        wire.run(5)
    times = [when for when, _ in wire.attempts]
    assert times[-1] - times[-2] > 10


def test_back_off_is_reset_after_a_while_of_health() -> None:
    wire = wire_of(names(1), healthy_after=60.0)
    wire.refuses = True
    wire.run(100)
    wire.refuses = False
    settle(wire)
    wire.run(61)
    wire.cut_all()
    cut_at = wire.now
    settle(wire)
    assert wire.attempts[-1][0] - cut_at <= 1.0


def test_a_recovered_network_ends_a_long_wait_but_never_the_shortest() -> None:
    wire = wire_of(names(1), reconnect_min=1.0)
    wire.refuses = True
    wire.run(100)
    count = len(wire.attempts)
    wire.connections.network_recovered(wire.at())
    wire.run(1.1)
    assert len(wire.attempts) == count + 1
    for _ in range(50):
        wire.connections.network_recovered(wire.at())
        wire.run(0.1)
    assert len(wire.attempts) <= count + 7


def test_the_exchanges_limit_of_attempts_is_never_approached() -> None:
    wire = wire_of(
        [*names(300), *names(300, Route.PUBLIC, "b")], reconnect_min=0.01, reconnect_max=0.02, handshake=0.01
    )
    wire.refuses = True
    wire.run(1_000)
    times = [when for when, _ in wire.attempts]
    assert len(times) > 300
    for first in times:
        assert sum(first <= when < first + 300.0 for when in times) <= 200


def test_a_connection_that_never_shakes_hands_is_given_up() -> None:
    wire = wire_of(names(1), handshake=1e9)
    wire.run(CONNECT_WITHIN + 3)
    assert len(wire.disconnects) == 1
    assert len(wire.attempts) == 2


def made_again() -> tuple[Wire, int, Link]:
    """Return the number of a connection that was lost and is open again, and its link from before."""
    wire = wire_of(names(1))
    settle(wire)
    ((number, old),) = wire.open.items()
    wire.cut(number)
    settle(wire)
    return wire, number, old


def test_reports_of_an_attempt_that_was_given_up_are_ignored() -> None:
    wire, number, old = made_again()
    state = wire.connections.connections[number]
    wire.connections.lost(number, old, "late news", wire.at())
    wire.connections.opened(number, old, wire.at())
    assert state.phase is Phase.OPEN
    assert state.link is wire.open[number]
    assert wire.connections.reconnects == 1


# --- wanting less ---------------------------------------------------------------------------------


def test_streams_that_are_dropped_are_unsubscribed() -> None:
    wire = wire_of(names(10))
    settle(wire)
    wire.connections.unsubscribe(["s3@x", "s4@x", "unknown"], wire.at())
    settle(wire)
    assert wire.delivered() == {f"s{i}@x" for i in range(10)} - {"s3@x", "s4@x"}
    assert "s3@x" not in wire.connections.assigned_to


def test_a_connection_without_streams_is_closed() -> None:
    wire = wire_of([*names(2), *names(2, Route.PUBLIC, "b")])
    settle(wire)
    wire.connections.unsubscribe(["s0@x", "s1@x"], wire.at())
    wire.run(5)
    assert wire.delivered() == {"b0@x", "b1@x"}
    assert len(wire.connections.connections) == 1
    wire.connections.subscribe(names(1), wire.at())
    settle(wire)
    assert "s0@x" in wire.delivered()


@pytest.mark.parametrize("pause", [0.0, 0.01, 0.2])
def test_a_stream_added_again_at_once_is_delivered(pause: float) -> None:
    wire = wire_of(names(5))
    settle(wire)
    wire.connections.unsubscribe(["s3@x"], wire.at())
    wire.run(pause)
    wire.connections.subscribe(names(5), wire.at())
    settle(wire)
    assert "s3@x" in wire.delivered()


def test_a_stream_dropped_before_its_message_is_never_sent() -> None:
    wire = wire_of(names(3), handshake=1.0)
    wire.run(0.5)
    wire.connections.unsubscribe(["s1@x"], wire.at())
    settle(wire)
    assert wire.delivered() == {"s0@x", "s2@x"}


def test_a_waiting_connection_emptied_in_the_same_moment_as_another_is_given_up() -> None:
    wire = wire_of([*names(1), *names(1, Route.PUBLIC, "b")])
    wire.answer = lambda number, method, batch: None if batch == ["s0@x"] else {"result": None}
    wire.run(1)
    public = wire.connections.assigned_to["b0@x"]
    sent_at = wire.messages[0][0]
    wire.now = sent_at + ACKNOWLEDGED_WITHIN - 0.01
    wire.cut(public)
    wire.now = sent_at + ACKNOWLEDGED_WITHIN
    wire.connections.unsubscribe(["b0@x"], wire.at())
    assert set(wire.connections.connections) == {wire.connections.assigned_to["s0@x"]}


# --- whatever happens -----------------------------------------------------------------------------


TROUBLES = (
    "cut", "refuse", "accept", "silent", "answer", "error", "want", "unwant", "encourage", "move", "resubscribe",
    "wait",
)  # fmt: skip
happenings = st.lists(
    st.tuples(
        st.sampled_from(TROUBLES),
        st.integers(0, 11),
        st.floats(0.0, 12.0),
    ),
    max_size=25,
)


@settings(deadline=None, max_examples=60)
@given(happenings, st.integers(0, 2**32 - 1))
def test_after_any_trouble_every_stream_is_delivered(story: list[tuple[str, int, float]], seed: int) -> None:
    wanted = dict([*names(8), *names(4, Route.PUBLIC, "b")])
    wire = wire_of(list(wanted.items()), seed=seed, max_streams_per_connection=5, connection_max_age=60.0)
    everything = list(wanted.items())
    for what, which, pause in story:
        name, route = everything[which]
        match what:
            case "cut" if wire.open:
                wire.cut(sorted(wire.open)[which % len(wire.open)])
            case "refuse" | "accept":
                wire.refuses = what == "refuse"
            case "silent":
                wire.answer = lambda number, method, batch: None
            case "answer":
                wire.answer = lambda number, method, batch: {"result": None}
            case "error":
                wire.answer = lambda number, method, batch: {"error": {"code": 1, "msg": "no"}}
            case "want":
                wanted[name] = route
                wire.connections.subscribe([(name, route)], wire.at())
            case "unwant":
                wanted.pop(name, None)
                wire.connections.unsubscribe([name], wire.at())
            case "encourage":
                wire.connections.network_recovered(wire.at())
            case "move":
                wire.connections.move(name, wire.at())
            case "resubscribe":
                wire.connections.resubscribe(name, wire.at())
        wire.run(pause)
        assert set(wire.connections.assigned_to) == set(wanted)
        assert sum(each.replaces is not None for each in wire.connections.connections.values()) <= 1
    wire.refuses = False
    wire.answer = lambda number, method, batch: {"result": None}

    def where_they_are_thought_to_be() -> bool:
        # (One whose move was refused may be delivered by its old connection until that is tried again.)
        return all(name in wire.subscribed.get(home, ()) for name, home in wire.connections.assigned_to.items())

    assert wire.run(
        90 + LONGEST_PAUSE,
        until=lambda: wire.delivered() >= set(wanted) and where_they_are_thought_to_be() and wire.settled(),
    )
    assert all(isinstance(action, Connect) is False for action in wire.connections.actions)


def test_a_connection_that_is_made_again_is_a_new_link() -> None:
    """What other processes know by the number of the old one is not alive because the new one is."""
    wire, number, old = made_again()
    assert wire.open[number].number != old.number
