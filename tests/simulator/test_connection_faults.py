"""Cuts, freezes, refusals and trickles as a plain client sees them (faulty_transport.py and listener.py)."""

from __future__ import annotations

import errno
import json
import os
import socket
import threading
from collections.abc import Iterator

import pytest
import requests
import websocket

from ats_sync.simulator import SimulatedExchange

from .plain import Stream, rest, stream, until

TRADE = "btcusdt@aggTrade"


@pytest.fixture(scope="module")
def secure() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(["BTCUSDT"], tls=True) as ex:
        yield ex


@pytest.fixture(params=["plain", "tls"])
def either(request: pytest.FixtureRequest) -> Iterator[SimulatedExchange]:
    """The shared exchange, and one with TLS."""
    ex: SimulatedExchange = request.getfixturevalue("shared" if request.param == "plain" else "secure")
    ex.clear_faults()
    yield ex
    ex.clear_faults()


@pytest.mark.parametrize(("how", "seen"), [("close", "close 1001"), ("drop", "eof"), ("reset", "")])
def test_cuts(either: SimulatedExchange, how: str, seen: str) -> None:
    with stream(either, "/market/stream", TRADE) as client:
        client.data(TRADE)
        assert either.cut(how=how) == 1  # type: ignore[arg-type]
        if how == "reset":
            # This comes from the system: Python's TLS sockets report a reset as an end of file.
            sock = client.socket.sock
            assert sock is not None
            until(lambda: sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNRESET)
        else:
            assert client.is_closed() == seen
    until(lambda: either.stats().connections_now == 0)
    with stream(either, "/market/stream", TRADE) as client:
        client.data(TRADE)


def test_half_open_says_nothing_and_stays(either: SimulatedExchange) -> None:
    with stream(either, "/market/stream", TRADE) as client:
        client.data(TRADE)
        assert either.cut(how="half_open") == 1
        either.cut()  # concerns others only
        until(lambda: client.is_silent(0.3))
        client.socket.ping()
        client.socket.send(json.dumps({"method": "LIST_SUBSCRIPTIONS", "id": 9}))
        assert client.is_silent(0.5)
        with stream(either, "/market/stream", TRADE) as other:
            other.data(TRADE)
        # Even the client's close is not answered.
        assert client.socket.sock is not None
        client.socket.sock.shutdown(socket.SHUT_WR)
        until(lambda: either.stats().connections_now == 0)
        assert client.is_silent(0.3)
        either.clear_faults()
        assert client.is_closed() in ("reset", "eof")


def test_cuts_can_choose(ex: SimulatedExchange) -> None:
    with (
        stream(ex, "/market/stream", TRADE) as market,
        stream(ex, "/public/stream", "btcusdt@bookTicker") as public,
        stream(ex, "/stream", "btcusdt@trade", spot=True) as spot,
    ):
        assert ex.cut("private") == 0
        assert ex.cut("spot") == 1
        assert spot.is_closed() == "close 1001"
        [number] = [item.number for item in ex.stats().connections if item.open and item.route == "public"]
        assert ex.cut(connection=number, how="reset") == 1
        assert public.is_closed() == "reset"
        market.data(TRADE)
    with pytest.raises(ValueError, match="route"):
        ex.cut("markets")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="how"):
        ex.cut(how="gently")  # type: ignore[arg-type]


def test_a_freeze_loses_nothing(either: SimulatedExchange) -> None:
    with stream(either, "/market/stream", TRADE) as client:
        before = client.data(TRADE)["a"]
        either.freeze()
        until(lambda: client.is_silent(0.4))
        client.socket.ping()
        assert client.is_silent(0.3)
        # What came between the last message read and the freeze was discarded by is_silent, so REST says what is next.
        newest = either.rest("/fapi/v1/aggTrades", symbol="BTCUSDT", limit=1)[0]["a"]
        either.thaw()
        ids = [client.data(TRADE)["a"] for _ in range(10)]
        while ids[-1] <= newest:
            ids.append(client.data(TRADE)["a"])
        assert ids == list(range(ids[0], ids[0] + len(ids)))
        assert before < ids[0] <= newest


def test_a_freeze_ends_by_itself_and_stops_new_connections_too(ex: SimulatedExchange) -> None:
    ex.freeze(0.8, "all")
    with pytest.raises((websocket.WebSocketTimeoutException, TimeoutError)):
        Stream(ex, "/market/stream", timeout=0.2)
    with rest(ex) as client, pytest.raises(requests.exceptions.ReadTimeout):
        client.get("/fapi/v1/ping", timeout=0.2)
    with rest(ex) as client, stream(ex, "/market/stream", TRADE) as late:
        assert client.get("/fapi/v1/ping").status_code == 200
        late.data(TRADE)
    assert ex.stats().faults_active == []


def test_rest_alone_can_freeze(ex: SimulatedExchange) -> None:
    ex.freeze(what="rest")
    with stream(ex, "/market/stream", TRADE) as client, rest(ex) as http:
        client.data(TRADE)
        with pytest.raises(requests.exceptions.ReadTimeout):
            http.get("/api/v3/ping", timeout=0.2)


def test_refused_connections(ex: SimulatedExchange) -> None:
    with stream(ex, "/market/stream", TRADE) as before:
        ex.refuse()
        with pytest.raises(ConnectionRefusedError):
            Stream(ex, "/market/stream")
        with pytest.raises(ConnectionRefusedError):
            Stream(ex, "/stream", spot=True)
        with rest(ex) as http:
            assert http.get("/fapi/v1/ping").status_code == 200
        before.data(TRADE)
        ex.accept()
        with stream(ex, "/market/stream", TRADE) as after:
            after.data(TRADE)


def test_a_refusal_ends_by_itself(ex: SimulatedExchange) -> None:
    ex.refuse(0.4, "fapi")
    with rest(ex) as http:
        with pytest.raises(requests.exceptions.ConnectionError, match="refused"):
            http.get("/fapi/v1/ping")
        assert http.get("/api/v3/ping").status_code == 200
    until(lambda: not ex.stats().faults_active)
    with rest(ex) as http:
        assert http.get("/fapi/v1/ping").status_code == 200


def first_byte(address: tuple[str, int]) -> bytes:
    # The reset may come as soon as during connect().
    with socket.create_connection(address, timeout=5) as raw:
        return raw.recv(1)


def test_accepted_and_reset(either: SimulatedExchange) -> None:
    either.refuse(what="all", how="reset")
    for url in (either.fstream_url, either.spot_stream_url, either.fapi_url, either.spot_url):
        address = ("127.0.0.1", int(url.rsplit(":", 1)[1]))
        with pytest.raises(ConnectionResetError):
            first_byte(address)
    either.clear_faults()
    with rest(either) as http:
        assert http.get("/fapi/v1/ping").status_code == 200


def test_a_trickle_is_slow_and_whole(either: SimulatedExchange) -> None:
    with stream(either, "/market/stream") as client:
        either.trickle(800)
        begun = either.now()
        # Answers of about 60 bytes and more: at 800 bytes a second nine of them take over half a second.
        listed = [client.ask("LIST_SUBSCRIPTIONS")["result"] for _ in range(9)]
        client.subscribe(TRADE)
        either.trickle(None)
        client.data(TRADE)
        took = either.now() - begun
    assert listed == [[]] * 9
    assert took > 250


def test_a_trickle_stops_inside_a_record(secure: SimulatedExchange) -> None:
    with stream(secure, "/market/stream", TRADE) as client:
        secure.trickle(30)
        until(lambda: client.is_silent(1.0))
        # Bytes do arrive, but no whole TLS record in a second, at 30 bytes a second.
        secure.trickle(None)
        client.data(TRADE)


def test_a_backlog_behind_a_trickle_is_cut() -> None:
    with (
        SimulatedExchange(["BTCUSDT"], in_thread=True, send_buffer=5_000) as ex,
        stream(ex, "/market/stream", TRADE) as client,
    ):
        ex.trickle(10)
        until(lambda: ex.stats().connections_now == 0, timeout=20)
        assert client.is_closed() == "reset"
        [info] = ex.stats().connections
        assert info.closed_why == "slow reader"


@pytest.mark.parametrize("status", [403, 451, 503])
def test_handshakes_answered_with_a_status(ex: SimulatedExchange, status: int) -> None:
    ex.handshake(status, count=1)
    with pytest.raises(websocket.WebSocketBadStatusException) as caught:
        Stream(ex, "/market/stream")
    assert caught.value.status_code == status
    with stream(ex, "/market/stream"):
        pass


def test_handshakes_that_hang(ex: SimulatedExchange) -> None:
    ex.handshake("hang")
    with pytest.raises((websocket.WebSocketTimeoutException, TimeoutError)):
        Stream(ex, "/market/stream", timeout=0.3)
    outcome: list[BaseException] = []

    def connect() -> None:
        try:
            Stream(ex, "/stream", spot=True, timeout=30)
        except (OSError, websocket.WebSocketException) as error:
            outcome.append(error)

    until(lambda: ex.stats().faults_active == ["handshake hang, 0 hanging"])
    waiting = threading.Thread(target=connect)
    waiting.start()
    until(lambda: ex.stats().faults_active == ["handshake hang, 1 hanging"])
    ex.handshake(None)
    waiting.join(10)
    assert len(outcome) == 1
    with stream(ex, "/market/stream"):
        pass


def test_a_handshake_fault_for_a_while(ex: SimulatedExchange) -> None:
    ex.handshake(503, seconds=0.3)
    with pytest.raises(websocket.WebSocketBadStatusException):
        Stream(ex, "/market/stream")
    until(lambda: not ex.stats().faults_active)
    with stream(ex, "/market/stream"):
        pass


def test_tls_is_verified_and_rest_works_over_it(secure: SimulatedExchange) -> None:
    assert secure.fapi_url.startswith("https://127.0.0.1:")
    assert secure.fstream_url.startswith("wss://127.0.0.1:")
    with rest(secure) as http:
        assert len(http.get("/fapi/v1/klines", symbol="BTCUSDT", interval="1m", limit=1500).json()) == 1500
        http.session.verify = True
        with pytest.raises(requests.exceptions.SSLError):
            http.get("/fapi/v1/ping")
    # Garbage instead of a handshake harms no other client.
    with socket.create_connection(("127.0.0.1", int(secure.fapi_url.rsplit(":", 1)[1]))) as raw:
        raw.sendall(b"GET / HTTP/1.1\r\n\r\n")
        raw.settimeout(5)
        with raw.makefile("rb") as answer, pytest.raises(ConnectionResetError):
            answer.read()
    with rest(secure) as http:
        assert http.get("/fapi/v1/ping").status_code == 200


def test_a_hundred_cuts_leave_nothing_behind(ex: SimulatedExchange) -> None:
    def open_files() -> int:
        return len(os.listdir(f"/proc/{ex.pid}/fd"))

    if not os.path.isdir(f"/proc/{ex.pid}/fd"):
        pytest.skip("counts open files through /proc")
    with stream(ex, "/market/stream", TRADE):
        pass
    until(lambda: ex.stats().connections_now == 0)
    before = open_files()
    for number in range(100):
        how = ("close", "drop", "reset", "half_open")[number % 4]
        with stream(ex, "/market/stream?streams=" + TRADE):
            until(lambda: ex.stats().connections_now > 0)
            ex.cut(how=how)  # type: ignore[arg-type]
    ex.clear_faults()
    until(lambda: open_files() <= before)


def test_one_connection_keeps_lagging_and_later_ones_do_not(either: SimulatedExchange) -> None:
    def age(frame: dict[str, object]) -> float:
        return either.now() - int(str(frame["E"]))

    with stream(either, "/market/stream", TRADE) as slow:
        slow.data(TRADE)
        assert either.lag(1.5) == 1
        until(lambda: age(slow.data(TRADE)) >= 1_400)
        assert age(slow.data(TRADE)) >= 1_400, "it never catches up"
        with stream(either, "/market/stream", TRADE) as quick:
            assert age(quick.data(TRADE)) < 1_000
        assert either.lag(None, "market") == 1
        until(lambda: age(slow.data(TRADE)) < 1_000)


@pytest.mark.parametrize("seconds", [0.0, -1.0, 601.0])
def test_an_impossible_lag_is_refused(shared: SimulatedExchange, seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds must be"):
        shared.lag(seconds)
