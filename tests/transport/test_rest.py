"""REST: recorded answers show what they mean, real sockets what can go wrong on the way."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import responses
import trustme

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.errors import (
    AccessDenied,
    ConnectionFailed,
    ExchangeFailure,
    HostNotFound,
    MalformedAnswer,
    NotRunning,
    RateLimited,
    RequestError,
    RequestRejected,
    RequestTimeout,
)
from ats_sync.transport import rest
from ats_sync.transport.rest import RestClient, retrying

RECORDINGS = Path(__file__).parents[1] / "recordings" / "rest"
NOW = 1_700_000_000.0


def recorded(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((RECORDINGS / f"{name}.json").read_text(encoding="utf-8"))
    assert loaded["source"]
    return loaded


def ask(kit: Any, port: int, *, timeout: float = 20.0, **config: Any) -> rest.Answer:
    client = RestClient(kit.config(**config), kit.clock)
    try:
        return client.get(f"http://127.0.0.1:{port}/fapi/v1/time", timeout=timeout)
    finally:
        client.close()


def answer(body: bytes, head: bytes = b"HTTP/1.1 200 OK\r\n") -> bytes:
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


class TestRecorded:
    """Through ``responses``, which replaces the sending of requests' own adapter."""

    @responses.activate
    def get(self, name: str) -> rest.Answer:
        record = recorded(name)
        responses.add(
            record["method"], record["url"], body=record["body"], status=record["status"], headers=record["headers"]
        )
        client = RestClient(Config(proxies={}), Clock(FixedTime()))
        try:
            return client.get(record["url"], {"symbol": "BTCUSDT"}, timeout=5)
        finally:
            client.close()

    def test_a_good_answer(self) -> None:
        got = self.get("klines_200")
        assert got.body == recorded("klines_200")["body"].encode()
        assert (got.status, got.headers["x-mbx-used-weight-1m"]) == (200, "7")
        assert got.sent_at == got.received_at == FixedTime.steady()

    @pytest.mark.parametrize(
        ("name", "kind", "code", "retryable"),
        [
            ("invalid_symbol_400", RequestRejected, -1121, False),
            ("bad_value_in_good_answer_200", RequestRejected, -1130, False),
            ("too_many_requests_429", RateLimited, -1003, True),
            ("banned_418", RateLimited, -1003, True),
            ("banned_without_time_418", RateLimited, None, True),
            ("weight_with_status_400", RateLimited, -1003, True),
            ("firewall_403", AccessDenied, None, False),
            ("restricted_451", AccessDenied, 0, False),
            ("backend_timeout_408", ExchangeFailure, -1007, True),
            ("disconnected_400", ExchangeFailure, -1001, True),
            ("overloaded_503", ExchangeFailure, None, True),
            ("captive_portal_200", MalformedAnswer, None, True),
            ("empty_200", MalformedAnswer, None, True),
            ("cut_200", MalformedAnswer, None, True),
            ("moved_302", RequestRejected, None, False),
        ],
    )
    def test_an_error(self, name: str, kind: type[RequestError], code: int | None, retryable: bool) -> None:
        with pytest.raises(RequestError) as caught:
            self.get(name)
        error = caught.value
        assert (type(error), error.code, error.retryable) == (kind, code, retryable)
        assert error.status == recorded(name)["status"]
        assert f"HTTP {error.status}" in str(error)
        assert "/fapi/v1/klines" in str(error)
        assert code is None or str(code) in str(error)

    @pytest.mark.parametrize(
        ("name", "pause"),
        [
            ("too_many_requests_429", 17),
            ("banned_418", 300),
            ("banned_without_time_418", 120),
            ("weight_with_status_400", 60),
        ],
    )
    def test_when_to_send_the_next_request(self, name: str, pause: float) -> None:
        with pytest.raises(RateLimited) as caught:
            self.get(name)
        assert caught.value.retry_at == NOW + pause

    def test_texts_are_plain(self) -> None:
        for name, words in (
            ("firewall_403", "firewall"),
            ("restricted_451", "country"),
            ("moved_302", "elsewhere.example"),
        ):
            with pytest.raises(RequestError, match=words):
                self.get(name)


class FixedTime:
    @staticmethod
    def wall() -> float:
        return NOW

    @staticmethod
    def steady() -> float:
        return 5000.0


class TestOnTheWire:
    def test_request_and_answer(self, kit: Any) -> None:
        def script(sock: Any, server: Any) -> None:
            for _ in range(2):
                server.received.append(kit.read_head(sock))
                sock.sendall(answer(b'{"serverTime":1}', b"HTTP/1.1 200 OK\r\nX-MBX-USED-WEIGHT-1M: 3\r\n"))

        server = kit.serve(script)
        client = RestClient(kit.config(), kit.clock)
        url = f"http://127.0.0.1:{server.port}/fapi/v1/klines"
        before = kit.clock.now()
        for _ in range(2):
            got = client.get(url, {"symbol": "币安人生USDT", "limit": 5}, headers={"X-Extra": "1"}, timeout=20)
        client.close()
        assert (got.body, got.status, got.headers["x-mbx-used-weight-1m"]) == (b'{"serverTime":1}', 200, "3")
        assert before < got.sent_at < got.received_at <= kit.clock.now()
        line = server.received[0].split(b"\r\n")[0]
        assert line == (b"GET /fapi/v1/klines?symbol=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9FUSDT&limit=5 HTTP/1.1")
        assert b"X-Extra: 1" in server.received[0]
        assert b"Accept-Encoding: gzip" in server.received[0]
        assert server.connections == 1, "the connection is kept for the next request"

    def test_sent_at_is_when_the_request_went_out_not_when_connecting_began(
        self, kit: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(answer(b"{}"))))
        client = RestClient(kit.config(), kit.clock)
        connected_at = []
        resolve = socket.getaddrinfo

        def slow_resolve(*args: Any) -> Any:
            found = resolve(*args)
            connected_at.append(kit.clock.now())
            return found

        monkeypatch.setattr(socket, "getaddrinfo", slow_resolve)
        got = client.get(f"http://127.0.0.1:{server.port}/", timeout=20)
        client.close()
        assert got.sent_at > connected_at[0]

    @pytest.mark.parametrize("chunked", [False, True])
    def test_gzip(self, kit: Any, chunked: bool) -> None:
        body = b"[" + b"1," * 100_000 + b"1]"
        packed = gzip.compress(body)

        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n"
            if chunked:
                sock.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
                sock.sendall(b"%x\r\n" % len(packed) + packed + b"\r\n0\r\n\r\n")
            else:
                sock.sendall(answer(packed, head))

        assert ask(kit, kit.serve(script).port).body == body

    @pytest.mark.parametrize(
        "sent",
        [
            b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n[1,2]",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n[1,2]\r\n",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n[1,2]",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[1,2]\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Encoding: gzip\r\n\r\n[1,2]",
            b"HTTP/1.1 200 OK\r\n\r\n[1,2",
            b"garbage that is not HTTP\r\n\r\n",
        ],
        ids=["length", "no last chunk", "short chunk", "chunk size", "not gzip", "no length", "no HTTP"],
    )
    def test_truncated_and_damaged_answers(self, kit: Any, sent: bytes) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(sent)))
        with pytest.raises(MalformedAnswer, match="/fapi/v1/time"):
            ask(kit, server.port)

    def test_a_reset_before_the_answer(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), kit.reset(sock)))
        with pytest.raises(ConnectionFailed) as caught:
            ask(kit, server.port)
        assert type(caught.value) is ConnectionFailed

    def test_a_reset_in_the_body(self, kit: Any) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n[")
            server.reached.wait(kit.patience)
            kit.reset(sock)

        server = kit.serve(script)
        client = RestClient(kit.config(), kit.clock)
        read = rest._read

        def read_then_reset(response: Any, what: str) -> bytes:
            server.reached.set()
            return read(response, what)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(rest, "_read", read_then_reset)
            with pytest.raises(ConnectionFailed) as caught:
                client.get(f"http://127.0.0.1:{server.port}/", timeout=20)
        client.close()
        assert type(caught.value) is ConnectionFailed

    def test_closed_without_an_answer(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: kit.read_head(sock))
        with pytest.raises(ConnectionFailed) as caught:
            ask(kit, server.port)
        assert type(caught.value) is ConnectionFailed

    def test_an_address_where_nobody_listens_is_an_error(self, kit: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(ConnectionFailed, match="refused"):
            ask(kit, port)

    @pytest.mark.parametrize("where", ["no head", "head", "body", "chunks"])
    def test_a_server_that_trickles_for_ever_does_not_outlive_the_timeout(self, kit: Any, where: str) -> None:
        start = {
            "no head": b"",
            "head": b"HTTP/1.1 200 OK\r\n",
            "body": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n[",
            "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        }[where]
        drop = {"no head": b"", "head": b"X-A: b\r\n", "body": b"1", "chunks": b"1\r\n[\r\n"}[where]

        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            sock.sendall(start)
            while not server.finish.wait(0.02):
                sock.sendall(drop)

        server = kit.serve(script)
        began = kit.clock.now()
        with pytest.raises(RequestTimeout, match=r"0\.3 s"):
            ask(kit, server.port, timeout=0.3)
        assert kit.clock.now() - began >= 0.3

    def test_a_connection_that_is_never_answered_is_ended_by_the_connect_timeout(self, kit: Any) -> None:
        with pytest.raises(RequestTimeout):
            ask(kit, kit.unanswering().port, timeout=60, connect_timeout=0.2)

    def test_a_tls_handshake_that_never_ends_does_not_outlive_the_timeout(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: server.finish.wait(kit.patience))
        client = RestClient(kit.config(), kit.clock)
        with pytest.raises(RequestTimeout):
            client.get(f"https://localhost:{server.port}/", timeout=0.3)
        client.close()

    @pytest.mark.parametrize("secure", [False, True])
    @pytest.mark.parametrize("where", ["head", "body"])
    def test_shutdown_from_another_thread(self, kit: Any, secure: bool, where: str) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            if where == "body":
                sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n[1]")
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script, kit.server_context() if secure else None)
        client = RestClient(kit.config(), kit.clock)
        url = f"{'https' if secure else 'http'}://localhost:{server.port}/"
        call = kit.Background(lambda: client.get(url, timeout=600))
        assert server.reached.wait(kit.patience)
        client.scope.shutdown()
        with pytest.raises(ConnectionFailed, match="shut down"):
            call.result()
        with pytest.raises(ConnectionFailed, match="shut down"):
            client.get(url, timeout=600)
        client.close()
        assert server.connections == 1

    def test_shutdown_in_the_tls_handshake(self, kit: Any) -> None:
        def script(sock: Any, server: Any) -> None:
            sock.recv(1)
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script)
        client = RestClient(kit.config(), kit.clock)
        call = kit.Background(lambda: client.get(f"https://localhost:{server.port}/", timeout=600))
        assert server.reached.wait(kit.patience)
        client.scope.shutdown()
        with pytest.raises(ConnectionFailed, match="shut down"):
            call.result()
        client.close()

    def test_tls_with_a_trusted_certificate(self, kit: Any) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            sock.sendall(answer(b"{}"))

        server = kit.serve(script, kit.server_context())
        client = RestClient(kit.config(), kit.clock)
        assert client.get(f"https://localhost:{server.port}/", timeout=20).body == b"{}"
        client.close()

    @pytest.mark.parametrize("fault", ["authority", "name"])
    def test_tls_with_another_certificate(self, kit: Any, fault: str) -> None:
        context = (
            kit.server_context(authority=trustme.CA()) if fault == "authority" else kit.server_context("other.example")
        )
        server = kit.serve(lambda sock, server: None, context)
        client = RestClient(kit.config(), kit.clock)
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            client.get(f"https://localhost:{server.port}/", timeout=20)
        client.close()

    def test_a_name_that_does_not_resolve(self, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        client = RestClient(kit.config(), kit.clock)
        with pytest.raises(HostNotFound, match=r"no-such-host\.example"):
            client.get("http://no-such-host.example/", timeout=20)
        client.close()

    def test_an_impossible_name(self, kit: Any) -> None:
        client = RestClient(kit.config(), kit.clock)
        with pytest.raises((HostNotFound, RequestRejected)):
            client.get(f"http://{'a' * 70}.example/", timeout=20)
        client.close()

    @pytest.mark.parametrize("packed", [False, True])
    def test_a_body_without_end_is_refused(self, kit: Any, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
        monkeypatch.setattr(rest, "MAX_BODY", 200_000)
        body = gzip.compress(b"1" * 5_000_000) if packed else b"1" * 5_000_000
        head = b"HTTP/1.1 200 OK\r\n" + (b"Content-Encoding: gzip\r\n" if packed else b"")
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(answer(body, head))))
        with pytest.raises(MalformedAnswer, match="more than 200000 bytes"):
            ask(kit, server.port)

    def test_a_redirect_is_not_followed(self, kit: Any) -> None:
        other = kit.serve(lambda sock, server: None)
        head = b"HTTP/1.1 307 Go\r\nLocation: http://127.0.0.1:%d/\r\n" % other.port
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(answer(b"", head))))
        with pytest.raises(RequestRejected, match=f"127.0.0.1:{other.port}"):
            ask(kit, server.port)
        assert other.connections == 0

    def test_the_host_process_keeps_its_default_timeout(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(answer(b"{}"))))
        ask(kit, server.port)
        assert socket.getdefaulttimeout() is None


class Driven:
    """A clock on which a wait takes the requested time, at once."""

    def __init__(self) -> None:
        self.time = 100.0
        self.waits: list[float] = []

    def now(self) -> float:
        return self.time

    def wait(self, event: threading.Event, timeout: float | None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        self.time += timeout
        return event.is_set()


class TestRetrying:
    def attempt(self, outcomes: list[Any]) -> Any:
        def call() -> Any:
            outcome = outcomes.pop(0)
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return call

    def run(
        self, outcomes: list[Any], *, seconds: float = 60.0, attempts: int = 3, stop: threading.Event | None = None
    ) -> Any:
        self.clock = Driven()
        return retrying(
            self.attempt(outcomes),
            deadline=self.clock.now() + seconds,
            clock=self.clock,  # type: ignore[arg-type]
            stop=stop or threading.Event(),
            attempts=attempts,
        )

    def test_success_at_once(self) -> None:
        assert self.run([1]) == 1
        assert self.clock.waits == []

    def test_retryable_errors_are_tried_again_with_growing_waits(self) -> None:
        faults = [
            ConnectionFailed("a"),
            ExchangeFailure("b"),
            MalformedAnswer("c"),
            RequestTimeout("d"),
            ConnectionFailed("e"),
        ]
        assert self.run([*faults, 7], attempts=6) == 7
        waits = self.clock.waits
        assert len(waits) == 5
        for wait, base in zip(waits, (0.2, 0.4, 0.8, 1.6, 2.0), strict=True):
            assert base <= wait <= base + 0.2

    def test_the_last_error_comes_as_it_is(self) -> None:
        last = ExchangeFailure("third")
        with pytest.raises(ExchangeFailure) as caught:
            self.run([ExchangeFailure("first"), ConnectionFailed("second"), last, 4])
        assert caught.value is last

    @pytest.mark.parametrize(
        "error", [RequestRejected("no"), AccessDenied("no"), RateLimited("later", retry_at=1.0), KeyError("ours")]
    )
    def test_other_errors_are_not_tried_again(self, error: Exception) -> None:
        with pytest.raises(type(error)) as caught:
            self.run([error, 1])
        assert caught.value is error
        assert self.clock.waits == []

    def test_no_wait_that_would_pass_the_deadline(self) -> None:
        fault = ConnectionFailed("second")
        with pytest.raises(ConnectionFailed) as caught:
            self.run([ConnectionFailed("first"), fault, 1], seconds=0.5, attempts=10)
        assert caught.value is fault
        assert len(self.clock.waits) == 1

    def test_stop_ends_the_wait(self) -> None:
        stop = threading.Event()

        def fail() -> None:
            stop.set()
            raise ConnectionFailed("gone")

        with pytest.raises(NotRunning):
            retrying(fail, deadline=Clock().now() + 60, clock=Clock(), stop=stop)

    def test_stopped_before_the_first_attempt(self) -> None:
        stop = threading.Event()
        stop.set()
        outcomes = [1]
        with pytest.raises(NotRunning):
            self.run(outcomes, stop=stop)
        assert outcomes == [1]
