from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import websocket

from ats_sync.simulator import SimulatedExchange, before_turn
from ats_sync.simulator.market import Frame
from ats_sync.simulator.stream_faults import StreamFaults

from .plain import Stream, stream, until

TRADE = "btcusdt@aggTrade"
NOW = 1_700_000_000_000


def frames(count: int, name: str = TRADE) -> list[Frame]:
    return [Frame(name, NOW + number, f'{{"a":{number}}}') for number in range(count)]


def sent(faults: StreamFaults, given: list[Frame], now: int = NOW) -> list[int]:
    out: list[int] = []
    for item in faults.apply(given, now):
        assert isinstance(item, Frame)
        out.append(json.loads(item.payload)["a"])
    return out


def test_without_rules_nothing_changes() -> None:
    faults = StreamFaults(1)
    assert not faults.busy
    assert sent(faults, frames(3)) == [0, 1, 2]


def test_lost_doubled_swapped() -> None:
    faults = StreamFaults(1)
    faults.add("lose", "aggTrade", next_n=1)
    faults.add("double", TRADE, next_n=1)
    faults.add("reorder", "*", next_n=1)
    assert sent(faults, frames(6)) == [1, 1, 3, 2, 4, 5]
    assert faults.done == {"lose": 1, "double": 1, "reorder": 1, "delay": 0, "malformed": 0}
    assert not faults.busy or sent(faults, []) == []


def test_late_events_come_after_those_that_followed() -> None:
    faults = StreamFaults(1)
    faults.add("delay", "aggTrade", delay=1.0, next_n=1)
    assert sent(faults, frames(3)) == [1, 2]
    assert sent(faults, frames(1), NOW + 999) == [0]
    assert faults.busy
    assert sent(faults, [Frame(TRADE, NOW, '{"a":9}')], NOW + 1000) == [9, 0]
    assert not faults.busy


def test_a_swapped_event_without_a_next_one_comes_all_the_same() -> None:
    faults = StreamFaults(1)
    faults.add("reorder", "aggTrade", next_n=1)
    assert sent(faults, frames(1)) == []
    assert sent(faults, [], NOW + 5000) == []
    assert sent(faults, [], NOW + 5001) == [0]


def test_rules_are_for_their_streams() -> None:
    faults = StreamFaults(1)
    faults.add("lose", "kline")
    faults.add("lose", "ethusdt@aggTrade")
    assert sent(faults, frames(2)) == [0, 1]
    assert sent(faults, frames(2, "btcusdt@kline_1h")) == []
    assert sent(faults, frames(2, "ethusdt@aggTrade")) == []


def test_only_finals() -> None:
    faults = StreamFaults(1)
    faults.add("lose", "kline", finals=True)
    final = Frame("a@kline_1m", NOW, '{"a":1,"k":{"x":true}}')
    running = Frame("a@kline_1m", NOW, '{"a":2,"k":{"x":false}}')
    assert sent(faults, [final, running]) == [2]
    faults.remove("lose", finals=True)
    assert sent(faults, [final]) == [1]


def test_a_probability_is_kept_roughly_and_repeatably() -> None:
    outcomes = []
    for _ in range(2):
        faults = StreamFaults(5)
        faults.add("lose", "*", probability=0.3)
        outcomes.append(sent(faults, frames(1000)))
    assert outcomes[0] == outcomes[1]
    assert 600 < len(outcomes[0]) < 800


def test_clearing_releases_what_was_kept_back() -> None:
    faults = StreamFaults(1)
    faults.add("delay", "*", delay=60, next_n=2)
    faults.add("reorder", "*", next_n=1)
    assert sent(faults, frames(3)) == []
    faults.clear()
    assert sorted(sent(faults, [])) == [0, 1, 2]
    assert not faults.busy


def test_bad_rules_are_refused() -> None:
    faults = StreamFaults(1)
    for bad in ({"probability": 0.0}, {"probability": 1.5}, {"next_n": 0}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            faults.add("lose", "kline", **bad)
    with pytest.raises(ValueError, match="nonsense"):
        faults.add("lose", "nonsense")
    with pytest.raises(ValueError, match="delay"):
        faults.add("delay", "kline")
    with pytest.raises(ValueError, match="malformed"):
        faults.add("malformed", "kline", malformed="odd")


# -- on real sockets


def ids(client: Stream, count: int) -> list[int]:
    return [client.data(TRADE)["a"] for _ in range(count)]


def test_a_lost_trade_is_a_hole(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        first = client.data(TRADE)["a"]
        ex.lose("aggTrade", next_n=2)
        until(lambda: not ex.stats().faults_active)
        found = [first]
        while found[-1] - first < len(found) + 1:
            found += ids(client, 1)
    assert found == sorted(set(found))
    truth = {trade["a"] for trade in ex.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=first, limit=1000)}
    assert set(found) < truth


def test_doubles_and_swaps_arrive(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        ids(client, 1)
        ex.double(TRADE, next_n=1)
        found = ids(client, 1)
        while len(found) == len(set(found)):
            found += ids(client, 1)
        ex.reorder(TRADE, next_n=1)
        found = ids(client, 1)
        while found == sorted(found):
            found += ids(client, 1)
        assert sorted(found) == list(range(min(found), min(found) + len(found)))


@pytest.fixture(scope="module")
def turning() -> Iterator[tuple[SimulatedExchange, list[dict[str, object]]]]:
    """An exchange at a close of candles, where the final events are lost and the last event of a minute comes late."""
    with SimulatedExchange(["BTCUSDT", "ETHUSDT"], seed=5, in_thread=True, start=before_turn("1m", 1.0)) as ex:
        name, other = "btcusdt@kline_1m", "ethusdt@kline_1m"
        turn = ex.now() - ex.now() % 60_000 + 60_000
        with stream(ex, f"/market/stream?streams={name}/{other}/btcusdt@kline_5m") as client:
            ex.lose_finals()
            client.data(name)
            ex.delay(other, 1.5, next_n=2)
            seen: list[dict[str, object]] = []
            while ex.now() < turn + 2300:
                seen.append(client.receive())
        yield ex, seen


def test_final_events_can_be_lost(turning: tuple[SimulatedExchange, list[dict[str, object]]]) -> None:
    ex, seen = turning
    klines = [json.loads(json.dumps(item["data"]))["k"] for item in seen if item["stream"] == "btcusdt@kline_1m"]
    assert len({kline["t"] for kline in klines}) == 2
    assert not any(kline["x"] for kline in klines)
    assert ex.fault_counts()["lose"] >= 2


def test_an_old_candles_event_can_come_after_the_new_one_began(
    turning: tuple[SimulatedExchange, list[dict[str, object]]],
) -> None:
    _, seen = turning
    opens = [json.loads(json.dumps(item["data"]))["k"]["t"] for item in seen if item["stream"] == "ethusdt@kline_1m"]
    assert len(set(opens)) == 2
    assert opens != sorted(opens)


def test_one_stream_alone_falls_silent(ex: SimulatedExchange) -> None:
    other = "btcusdt@kline_1m"
    with stream(ex, "/market/stream", TRADE, other) as client, stream(ex, "/market/stream", TRADE) as second:
        ids(client, 1)
        assert ex.drop_stream(TRADE) == 2
        client.ask("LIST_SUBSCRIPTIONS")
        messages = [client.receive() for _ in range(4)]
        assert {message["stream"] for message in messages} == {other}
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == [TRADE, other]
        # Subscribing again changes nothing; unsubscribing first does.
        client.subscribe(TRADE)
        assert {client.receive()["stream"] for _ in range(2)} == {other}
        client.ask("UNSUBSCRIBE", [TRADE])
        client.subscribe(TRADE)
        ids(client, 2)
        until(lambda: second.is_silent(0.3))
        assert ex.restore_stream(TRADE) == 1
        ids(second, 1)


def test_a_drop_that_lasts_ends_on_another_connection(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        ids(client, 1)
        ex.drop_stream(TRADE, sticky=True)
        client.ask("UNSUBSCRIBE", [TRADE])
        client.subscribe(TRADE)
        assert client.is_silent(0.4)
        with stream(ex, "/market/stream", TRADE) as second:
            ids(second, 2)
        until(lambda: client.is_silent(0.3))
        ex.restore_stream()
        ids(client, 1)


def test_a_stream_can_be_dead_everywhere(ex: SimulatedExchange) -> None:
    ex.drop_stream(TRADE, everywhere=True)
    with stream(ex, "/market/stream", TRADE) as client:
        assert client.is_silent(0.4)
        assert ex.stats().faults_active == [f"dropped everywhere {TRADE}"]
        ex.clear_faults()
        ids(client, 1)


def test_spot_streams_fall_silent_apart_from_futures(ex: SimulatedExchange) -> None:
    with (
        stream(ex, "/stream", TRADE, spot=True) as spot,
        stream(ex, "/market/stream", TRADE) as futures,
    ):
        assert ex.drop_stream(TRADE, spot=True) == 1
        ids(futures, 1)
        until(lambda: spot.is_silent(0.4))


MESSAGES = ["not_json", "truncated", "wrong_types", "missing_field", "empty_field", "nan", "null", "unknown_event"]


@pytest.mark.parametrize("kind", [*MESSAGES, "big_int", "deep", "huge", "binary", "empty_message", "bad_element"])
def test_malformed_messages_arrive_and_the_rest_goes_on(ex: SimulatedExchange, kind: str) -> None:
    name = "btcusdt@depth20@100ms" if kind == "bad_element" else TRADE
    path = "/public/stream" if kind == "bad_element" else "/market/stream"
    with stream(ex, path, name) as client:
        client.data(name)
        ex.malformed(kind, name)  # type: ignore[arg-type]
        bad: bytes | None = None
        deadline = time.monotonic() + 10
        while bad is None:
            assert time.monotonic() < deadline
            opcode, payload = client.socket.recv_data()
            if opcode == websocket.ABNF.OPCODE_BINARY or not is_good(payload, name):
                bad = payload
        client.data(name)
        assert ex.fault_counts()["malformed"] > 0
        if kind == "huge":
            assert len(bad) > 10_000_000


def is_good(payload: bytes, name: str) -> bool:
    try:
        data = json.loads(payload)["data"]
    except (ValueError, RecursionError):
        return False
    if not isinstance(data, dict) or data.get("e") not in ("aggTrade", "depthUpdate"):
        return False
    if name != TRADE:
        return all(len(level) == 2 and None not in level for level in data["b"])
    price = data.get("p")
    return isinstance(price, str) and price not in ("", "NaN") and isinstance(data["a"], int)


def test_invalid_utf8_is_what_the_library_refuses(ex: SimulatedExchange) -> None:
    client = Stream(ex, f"/market/stream?streams={TRADE}", check_text=True)
    client.data(TRADE)
    ex.malformed("invalid_utf8", TRADE)
    with pytest.raises(websocket.WebSocketPayloadException):
        ids(client, 100)
    client.abandon()


def test_fragments_are_a_good_message(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        first = ids(client, 1)[0]
        ex.malformed("fragmented", TRADE, next_n=5)
        pings = 0
        found = [first]
        while pings < 5 or len(found) < 10:
            opcode, payload = client.socket.recv_data(control_frame=True)
            if opcode == websocket.ABNF.OPCODE_PING:
                assert payload == b"between"
                pings += 1
            else:
                found.append(json.loads(payload)["data"]["a"])
    assert found == list(range(first, first + len(found)))


def test_replaced_messages_are_lost(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        last = ids(client, 1)[0]
        ex.malformed("null", TRADE, replace=True)
        while (data := client.data(TRADE)) is not None:
            last = data["a"]
        assert client.data(TRADE)["a"] == last + 2
