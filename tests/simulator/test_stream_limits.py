"""What closes a stream connection, on an exchange with small limits."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator

import pytest
import websocket

from ats_sync.simulator import SimulatedExchange

from .plain import Stream, rest, stream, until


@pytest.fixture
def small() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(
        ["BTCUSDT"],
        in_thread=True,
        connection_attempts=5,
        attempts_patience=2,
        ban_seconds=1.5,
        oversized="close",
    ) as ex:
        yield ex


def subscribe_unread(client: Stream, names: list[str]) -> None:
    client.socket.send(json.dumps({"method": "SUBSCRIBE", "params": names, "id": 1}))


def test_1024_streams_and_not_one_more(ex: SimulatedExchange) -> None:
    with stream(ex, "/public/stream") as client:
        for part in range(8):
            client.subscribe(*[f"s{part}x{number}@depth" for number in range(128)])
        subscribe_unread(client, ["onemore@depth"])
        assert client.receive() == {"error": {"code": 4, "msg": "Too many subscriptions"}}
        assert client.is_closed() == "close 1008"


@pytest.mark.parametrize(("spot", "path", "most"), [(False, "/market/stream", 15), (True, "/stream", 5)])
def test_messages_a_second(ex: SimulatedExchange, spot: bool, path: str, most: int) -> None:
    with stream(ex, path, spot=spot) as client:
        for number in range(most):
            client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        assert [client.receive()["id"] for _ in range(most)] == list(range(most))
    with stream(ex, path, spot=spot) as client:
        # Pings and pongs count as much as requests.
        for number in range(most - 1):
            (client.socket.ping if number % 2 else client.socket.pong)("x")
        subscribe_unread(client, ["btcusdt@aggTrade"])
        client.socket.ping()
        assert client.is_closed() == "close 1008"


def test_a_steady_client_may_go_on(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream") as client:
        for _ in range(9):
            client.socket.ping()
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []
        answered = time.monotonic()
        until(lambda: time.monotonic() > answered + 1.05)
        for _ in range(9):
            client.socket.ping()
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_a_long_message_may_close(small: SimulatedExchange) -> None:
    with stream(small, "/market/stream") as client:
        subscribe_unread(client, [f"s{number}@aggTrade" for number in range(401)])
        assert client.is_closed() == "close 1009"


def test_too_many_attempts_are_reset_then_banned(small: SimulatedExchange) -> None:
    clients = [Stream(small, "/market/stream") for _ in range(5)]
    for _ in range(3):
        with pytest.raises((ConnectionResetError, websocket.WebSocketConnectionClosedException)):
            Stream(small, "/market/stream")
    assert small.stats().attempts_refused == 3
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Stream(small, "/public/stream")
    assert caught.value.status_code == 403
    # Open connections stay, and REST is not affected.
    assert clients[0].ask("LIST_SUBSCRIPTIONS")["result"] == []
    with rest(small) as http:
        assert http.get("/fapi/v1/ping").status_code == 200
    small.pardon()
    with stream(small, "/market/stream"):
        pass
    for client in clients:
        client.abandon()


def test_a_connection_without_pongs_is_closed(ex: SimulatedExchange) -> None:
    ex.ping_every(0.15, 0.3)
    with stream(ex, "/market/stream") as deaf:
        # websocket-client answers pings while it reads; this one does not read until it is too late.
        [number] = [item.number for item in ex.stats().connections if item.open]
        until(lambda: not ex.stats().connections_now)
        [info] = [item for item in ex.stats().connections if item.number == number]
        assert info.closed_why == "no pong"
        assert deaf.is_closed() in ("close 1008", "reset", "eof")


def test_a_pong_without_a_ping_keeps_nothing_open(ex: SimulatedExchange) -> None:
    ex.ping_every(0.1, 0.3)
    with stream(ex, "/market/stream") as client:
        [number] = [item.number for item in ex.stats().connections if item.open]
        last = 0.0

        def gone() -> bool:
            nonlocal last
            if time.monotonic() > last + 0.15:
                last = time.monotonic()
                client.socket.pong("unasked")
            return ex.stats().connections_now == 0

        until(gone)
        [info] = [item for item in ex.stats().connections if item.number == number]
        assert info.closed_why == "no pong"


def test_pongs_keep_a_connection_open(ex: SimulatedExchange) -> None:
    ex.ping_every(0.15, 0.3)
    with stream(ex, "/market/stream") as client:
        pings = 0
        while pings < 6:
            opcode, _ = client.socket.recv_data(control_frame=True)
            pings += opcode == websocket.ABNF.OPCODE_PING
        assert client.ask("LIST_SUBSCRIPTIONS")["result"] == []


def test_every_connection_reaches_its_age_limit(ex: SimulatedExchange) -> None:
    ex.age_limit(0.3)
    for spot, path in ((False, "/market/stream"), (True, "/stream")):
        with stream(ex, path, "btcusdt@aggTrade", spot=spot) as client:
            client.data("btcusdt@aggTrade")
            assert client.is_closed() == "close 1001"


def test_a_slow_reader_is_cut() -> None:
    with SimulatedExchange(["BTCUSDT"], in_thread=True, send_buffer=20_000) as ex:
        client = socket.socket()
        with client:
            # The window is small, so that the kernel's buffers do not read on the client's behalf.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", int(ex.fstream_url.rsplit(":", 1)[1])))
            names = "/".join(f"btcusdt@{kind}" for kind in ("depth20@100ms", "bookTicker", "depth@100ms"))
            key = "dGhlIHNhbXBsZSBub25jZQ=="
            client.sendall(
                f"GET /public/stream?streams={names} HTTP/1.1\r\nHost: x\r\n"
                "Upgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            until(lambda: ex.stats().connections_now == 1)
            ex.malformed("huge", "depth", next_n=2)
            until(lambda: ex.stats().connections_now == 0)
            [info] = ex.stats().connections
            assert info.closed_why == "slow reader"


def test_the_busiest_second_of_a_connection_is_counted(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream") as client:
        for number in range(12):
            client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        assert [client.receive()["id"] for _ in range(12)] == list(range(12))
        [busiest] = [each.busiest_second for each in ex.stats().connections if each.open]
        assert busiest == 12


def test_the_limit_of_messages_is_a_setting() -> None:
    with (
        SimulatedExchange(["BTCUSDT"], messages_per_second=3, in_thread=True) as ex,
        stream(ex, "/market/stream") as client,
    ):
        for number in range(4):
            client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": number}))
        assert client.is_closed() == "close 1008"
