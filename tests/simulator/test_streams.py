"""Subscriptions, routes, messages and the answers to them (broadcaster.py and connection.py)."""

from __future__ import annotations

import json

import pytest
import websocket

from ats_sync.simulator import SimulatedExchange
from ats_sync.simulator.broadcaster import Target

from .plain import Stream, rest, stream, until

KLINE, TRADE, BOOK = "btcusdt@kline_1m", "btcusdt@aggTrade", "btcusdt@depth20@100ms"


@pytest.mark.parametrize(
    ("spot", "path", "query", "expected"),
    [
        (False, "/market/stream", None, ("market", True, [])),
        (False, "/market/stream", "a@b/c@d", ("market", True, ["a@b", "c@d"])),
        (False, "/public/ws/a@b", None, ("public", False, ["a@b"])),
        (False, "/public/ws", None, ("public", False, [])),
        (False, "/private/stream", None, ("private", True, [])),
        (False, "/stream", "a@b", ("unrouted", True, ["a@b"])),
        (False, "/ws/a@b/c@d", None, ("unrouted", False, ["a@b", "c@d"])),
        (False, "/ws/%E5%B8%81@b", None, ("unrouted", False, ["币@b"])),
        (True, "/stream", None, ("spot", True, [])),
        (True, "/ws/a@b", None, ("spot", False, ["a@b"])),
    ],
)
def test_paths(spot: bool, path: str, query: str | None, expected: tuple[str, bool, list[str]]) -> None:
    target = Target.parse(spot, path, query)
    assert target is not None
    assert (target.route, target.combined, target.names) == expected


@pytest.mark.parametrize(("spot", "path"), [(False, "/"), (False, "/other/stream"), (True, "/market/stream")])
def test_other_paths_do_not_exist(ex: SimulatedExchange, spot: bool, path: str) -> None:
    assert Target.parse(spot, path, None) is None
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Stream(ex, path, spot=spot)
    assert caught.value.status_code == 404


def test_combined_messages_name_their_stream(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", KLINE, TRADE) as client:
        assert client.data(TRADE)["e"] == "aggTrade"
        kline = client.data(KLINE)
        assert (kline["e"], kline["k"]["i"]) == ("kline", "1m")


def test_streams_in_the_url(ex: SimulatedExchange) -> None:
    with stream(ex, f"/market/stream?streams={TRADE}/{KLINE}") as client:
        client.data(TRADE)
        client.data(KLINE)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == [TRADE, KLINE]


def test_bare_payloads(ex: SimulatedExchange) -> None:
    with stream(ex, f"/market/ws/{TRADE}") as client:
        assert client.receive()["e"] == "aggTrade"
    with stream(ex, "/public/ws", BOOK) as client:
        assert client.wait_for(lambda message: "stream" not in message and message["e"] == "depthUpdate")


def test_one_frame_for_combined_and_bare_at_once(ex: SimulatedExchange) -> None:
    with stream(ex, f"/market/stream?streams={TRADE}") as combined, stream(ex, f"/market/ws/{TRADE}") as bare:
        wanted = combined.data(TRADE)["a"]
        seen = bare.wait_for(lambda message: message["a"] >= wanted)
        while wanted < seen["a"]:
            wanted = combined.data(TRADE)["a"]
        assert wanted == seen["a"]


def test_the_wrong_route_accepts_and_stays_silent(ex: SimulatedExchange) -> None:
    with (
        stream(ex, "/public/stream", TRADE, KLINE) as public,
        stream(ex, "/market/stream", BOOK) as market,
        stream(ex, "/private/stream", TRADE, BOOK) as private,
        stream(ex, "/market/stream", TRADE) as right,
    ):
        assert public.ask("LIST_SUBSCRIPTIONS")["result"] == [TRADE, KLINE]
        for _ in range(5):
            right.data(TRADE)
        for client in (public, market, private):
            assert client.is_silent(0.2)


def test_the_old_paths_deliver_books_only(ex: SimulatedExchange) -> None:
    for path in ("/stream", "/ws"):
        with stream(ex, path, TRADE, KLINE, BOOK) as client:
            messages = [client.receive() for _ in range(4)]
        assert {(message.get("data") or message)["e"] for message in messages} == {"depthUpdate"}


def test_mistyped_names_are_accepted_and_silent(ex: SimulatedExchange) -> None:
    names = ["btcusd@aggTrade", "BTCUSDT@aggTrade", "btcusdt@kline_7h", "btcusdt", "!x@arr"]
    with stream(ex, "/market/stream", *names) as client:
        assert client.is_silent(0.5)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == names


def test_chinese_names(ex: SimulatedExchange) -> None:
    name = "币安人生usdt@aggTrade"
    with stream(ex, "/market/stream", name) as client:
        ex.trade("币安人生USDT")
        assert client.data(name)["s"] == "币安人生USDT"


def test_all_market_streams(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", "!markPrice@arr@1s", "!ticker@arr") as client:
        marks = client.data("!markPrice@arr@1s")
        assert {mark["s"] for mark in marks if mark["st"] == 1} == set(ex.trading())
        assert {mark["s"] for mark in marks if mark["st"] == 2} == {"BTCUSD_PERP", "ETHUSD_PERP", "BTCUSD_261225"}
        assert all(ticker["e"] == "24hrTicker" for ticker in client.data("!ticker@arr"))


def test_spot_has_a_host_of_its_own(ex: SimulatedExchange) -> None:
    with stream(ex, "/stream", "btcusdt@trade", spot=True) as client, rest(ex) as http:
        assert client.data("btcusdt@trade")["e"] == "trade"
        # The path of the futures' routes has no meaning there.
        with pytest.raises(websocket.WebSocketBadStatusException):
            Stream(ex, "/market/stream", spot=True)
        assert http.get("/api/v3/klines", symbol="BTCUSDT", interval="1m", limit=2).status_code == 200


def test_stream_and_rest_agree_to_the_last_digit(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client, rest(ex) as http:
        seen = [client.data(TRADE) for _ in range(20)]
        found = http.get("/fapi/v1/aggTrades", symbol="BTCUSDT", fromId=seen[0]["a"], limit=1000).json()
    by_id = {trade["a"]: trade for trade in found}
    assert [trade["a"] for trade in seen] == list(range(seen[0]["a"], seen[0]["a"] + 20))
    for trade in seen:
        assert {key: by_id[trade["a"]][key] for key in "pqflTm"} == {key: trade[key] for key in "pqflTm"}


def test_unsubscribing_ends_it(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        client.data(TRADE)
        assert client.ask("UNSUBSCRIBE", [TRADE])["result"] is None
        assert client.is_silent(0.4)
        assert client.ask("UNSUBSCRIBE", ["never@subscribed"])["result"] is None
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_properties(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as client:
        client.socket.send(json.dumps({"method": "GET_PROPERTY", "params": ["combined"], "id": "a"}))
        assert client.wait_for(lambda message: message.get("id") == "a")["result"] is True
        client.socket.send(json.dumps({"method": "SET_PROPERTY", "params": ["combined", False], "id": "b"}))
        client.wait_for(lambda message: message.get("id") == "b")
        assert client.receive()["e"] == "aggTrade"


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "7",
        '{"method":"HELLO","id":1}',
        '{"id":1}',
        '{"method":"SUBSCRIBE","params":"btcusdt@aggTrade","id":1}',
        '{"method":"SUBSCRIBE","params":[5],"id":1}',
        '{"method":"SUBSCRIBE","params":[],"id":{}}',
    ],
)
def test_bad_requests_are_answered_as_by_the_exchange(ex: SimulatedExchange, text: str) -> None:
    with stream(ex, "/market/stream") as client:
        client.socket.send(text)
        answer = client.receive()
        assert answer["code"] == 2
        assert answer["msg"].startswith("Invalid request: ")
        client.subscribe(TRADE)


def test_long_messages_are_dropped_silently(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream") as client:
        for names in (
            [f"s{number}usdt@aggTrade" for number in range(401)],
            ["btcusdt@aggTrade" + "x" * 100 for _ in range(100)],
        ):
            client.socket.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 77}))
            assert client.is_silent(0.3)
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_what_was_missed_is_not_sent_again(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as first:
        last = first.data(TRADE)["a"]
    with stream(ex, "/market/stream", BOOK.replace("depth20@100ms", "kline_1m")) as between:
        for _ in range(3):
            between.data(KLINE)
    with stream(ex, "/market/stream", TRADE) as second:
        assert second.data(TRADE)["a"] > last + 1


def test_statistics_of_connections(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE, KLINE) as client:
        client.data(TRADE)
        client.socket.ping()
        until(lambda: [item.messages for item in ex.stats().connections if item.open] == [2])
        stats = ex.stats()
        [info] = [item for item in stats.connections if item.open]
        assert (info.route, info.subscriptions) == ("market", 2)
        assert info.frames_sent >= 2
        assert stats.connections_now == 1
        assert ex.subscriptions(info.number) == [TRADE, KLINE]
    until(lambda: ex.stats().connections_now == 0)
    assert ex.subscriptions(info.number) is None


def test_a_ping_is_answered_with_its_payload(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream") as client:
        client.socket.ping("hello")
        opcode, payload = client.socket.recv_data(control_frame=True)
    assert (opcode, payload) == (websocket.ABNF.OPCODE_PONG, b"hello")


def test_a_clients_close_is_answered(ex: SimulatedExchange) -> None:
    client = Stream(ex, "/market/stream")
    client.socket.send_close(1000)
    assert client.is_closed() == "close 1000"
    client.abandon()
