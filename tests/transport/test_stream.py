"""WebSocketStream against loopback servers that send exact bytes."""

from __future__ import annotations

import base64
import contextlib
import re
import selectors
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

from ats_sync.errors import (
    AccessDenied,
    CertificateRejected,
    ConfigError,
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
from ats_sync.transport import sockets, tls
from ats_sync.transport.stream import READS_PER_CALL, StreamClosed, WebSocketStream
from ats_sync.transport.tls import RECEIVE_SIZE

CLOSE = b"\x88\x02\x03\xe9"


def text(payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return b"\x81" + bytes([size]) + payload
    return (b"\x81\x7e" + struct.pack(">H", size) if size < 65536 else b"\x81\x7f" + struct.pack(">Q", size)) + payload


class Streams:
    """Connects, and closes what it connected."""

    def __init__(self, kit: Any) -> None:
        self.kit = kit
        self.made: list[WebSocketStream] = []

    def connect(
        self, server: Any, *, path: str = "/market/stream", secure: bool = False, scope: Any = None, **config: Any
    ) -> WebSocketStream:
        url = f"{'wss' if secure else 'ws'}://localhost:{server.port}{path}"
        settings = self.kit.config(**config)
        stream = WebSocketStream.connect(
            url, settings, self.kit.clock, scope or self.kit.scope(), timeout=self.kit.patience
        )
        self.made.append(stream)
        return stream

    def collect(self, stream: WebSocketStream, count: int) -> list[bytes]:
        """Return the next ``count`` messages."""
        messages: list[bytes] = []
        while len(messages) < count:
            assert stream.wait(self.kit.patience), f"{len(messages)} of {count} messages"
            messages += stream.receive()
        return messages

    def to_end(self, stream: WebSocketStream) -> tuple[list[bytes], StreamClosed]:
        messages: list[bytes] = []
        while True:
            assert stream.wait(self.kit.patience), "no end"
            try:
                messages += stream.receive()
            except StreamClosed as closed:
                return messages, closed

    def close(self) -> None:
        for stream in self.made:
            stream.close()


@pytest.fixture
def streams(kit: Any) -> Iterator[Streams]:
    streams = Streams(kit)
    yield streams
    streams.close()


@pytest.fixture(params=[False, True], ids=["ws", "wss"])
def secure(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def context_of(kit: Any, secure: bool) -> Any:
    return kit.server_context() if secure else None


class TestHandshake:
    def test_what_is_sent(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            server.received.append(kit.upgrade(sock))
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script)
        stream = streams.connect(server, path="/market/stream?streams=币安人生usdt@kline_1h")
        assert server.reached.wait(kit.patience)
        head = server.received[0]
        assert head.startswith(
            b"GET /market/stream?streams=%E5%B8%81%E5%AE%89%E4%BA%BA%E7%94%9Fusdt@kline_1h HTTP/1.1\r\n"
        )
        assert b"Host: localhost:%d" % server.port in head
        for absent in (b"Sec-WebSocket-Extensions", b"Origin"):
            assert absent not in head
        assert stream.fileno() >= 0

    @pytest.mark.parametrize(
        ("status", "kind"),
        [
            (403, AccessDenied),
            (451, AccessDenied),
            (418, RateLimited),
            (429, RateLimited),
            (400, RequestRejected),
            (404, RequestRejected),
            (500, ExchangeFailure),
            (503, ExchangeFailure),
            (301, RequestRejected),
            (200, MalformedAnswer),
        ],
    )
    @pytest.mark.parametrize("body", [b"", b'{"msg":"the reason"}'])
    def test_another_status(
        self, kit: Any, streams: Streams, status: int, kind: type[RequestError], body: bytes
    ) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            sock.sendall(
                b"HTTP/1.1 %d Reason\r\nRetry-After: 33\r\nLocation: ws://127.0.0.1:9/\r\nContent-Length: %d\r\n\r\n"
                % (status, len(body))
                + body
            )

        before = kit.clock.wall()
        with pytest.raises(RequestError, match=f"HTTP {status}") as caught:
            streams.connect(kit.serve(script))
        assert type(caught.value) is kind
        assert "/market/stream" in str(caught.value)
        if isinstance(caught.value, RateLimited):
            assert before + 33 <= caught.value.retry_at <= kit.clock.wall() + 33
        if status >= 400 and body:
            assert "the reason" in str(caught.value)

    @pytest.mark.parametrize(
        "sent",
        [
            b"garbage\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: d3Jvbmc=\r\n\r\n",
            b"HTTP/1.1 101 \xff\xfe\r\n\r\n",
            b"HTTP/1.1 503 X\r\nContent-Length: many\r\n\r\n",
        ],
        ids=["no HTTP", "no headers", "wrong key", "not UTF-8", "no length"],
    )
    def test_a_malformed_answer(self, kit: Any, streams: Streams, sent: bytes) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), sock.sendall(sent)))
        with pytest.raises(MalformedAnswer):
            streams.connect(server)

    def test_closed_in_the_handshake(self, kit: Any, streams: Streams, secure: bool) -> None:
        server = kit.serve(lambda sock, server: kit.read_head(sock), context_of(kit, secure))
        with pytest.raises(ConnectionFailed) as caught:
            streams.connect(server, secure=secure)
        assert type(caught.value) is ConnectionFailed

    def test_reset_in_the_handshake(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(lambda sock, server: (kit.read_head(sock), kit.reset(sock)))
        with pytest.raises(ConnectionFailed) as caught:
            streams.connect(server)
        assert type(caught.value) is ConnectionFailed

    def test_an_address_where_nobody_listens_is_an_error(self, kit: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        with pytest.raises(ConnectionFailed, match="refused"):
            WebSocketStream.connect(
                f"ws://127.0.0.1:{port}/ws", kit.config(), kit.clock, kit.scope(), timeout=kit.patience
            )

    def test_a_name_that_does_not_resolve(self, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def fail(*args: Any) -> Any:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        monkeypatch.setattr(socket, "getaddrinfo", fail)
        with pytest.raises(HostNotFound, match=r"no-such-host\.example"):
            WebSocketStream.connect(
                "wss://no-such-host.example/ws", kit.config(), kit.clock, kit.scope(), timeout=kit.patience
            )

    @pytest.mark.parametrize("where", ["nothing", "head", "body", "TLS"])
    def test_a_handshake_that_trickles_or_hangs_is_ended_by_its_timeout(self, kit: Any, where: str) -> None:
        start, drop = {
            "nothing": (b"", b""),
            "head": (b"HTTP/1.1 101 Switching Protocols\r\n", b"X-A: b\r\n"),
            "body": (b"HTTP/1.1 503 X\r\nContent-Length: 1000000\r\n\r\n", b"x"),
            "TLS": (b"", b""),
        }[where]

        def script(sock: Any, server: Any) -> None:
            if where != "TLS":
                kit.read_head(sock)
            sock.sendall(start)
            while not server.finish.wait(0.02):
                sock.sendall(drop)

        server = kit.serve(script)
        scope = kit.scope()
        scheme = "wss" if where == "TLS" else "ws"
        # websocket-client 1.8 does not read a refusal's body to its end.
        with pytest.raises((RequestTimeout, ExchangeFailure) if where == "body" else RequestTimeout):
            WebSocketStream.connect(
                f"{scheme}://localhost:{server.port}/ws", kit.config(), kit.clock, scope, timeout=0.3
            )
        assert scope.deadline is None

    def test_an_endless_answer_is_refused(self, kit: Any, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tls, "MAX_HANDSHAKE", 10_000)

        def script(sock: Any, server: Any) -> None:
            kit.read_head(sock)
            sock.sendall(b"HTTP/1.1 101 Switching Protocols\r\n")
            with contextlib.suppress(OSError):
                while True:
                    sock.sendall(b"X-A: b\r\n" * 100)

        with pytest.raises(ConnectionFailed, match="more than 10000 bytes"):
            streams.connect(kit.serve(script))

    def test_a_connection_that_nobody_answers_is_ended_by_the_connect_timeout(self, kit: Any, streams: Streams) -> None:
        with pytest.raises(RequestTimeout):
            streams.connect(kit.unanswering(), connect_timeout=0.2)

    def test_shutdown_in_mid_connect(self, kit: Any, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
        connecting = threading.Event()
        wait = sockets.wait_for_write

        def tell(sock: socket.socket, timeout: float | None) -> bool:
            connecting.set()
            return wait(sock, timeout)

        monkeypatch.setattr(sockets, "wait_for_write", tell)
        scope = kit.scope()
        address = kit.unanswering()
        call = kit.Background(lambda: streams.connect(address, scope=scope, connect_timeout=600.0))
        assert connecting.wait(kit.patience)
        scope.shutdown()
        with pytest.raises(ConnectionFailed, match="shut down"):
            call.result()

    @pytest.mark.parametrize("where", ["TLS", "upgrade"])
    def test_shutdown_in_mid_handshake(self, kit: Any, streams: Streams, where: str) -> None:
        def script(sock: Any, server: Any) -> None:
            sock.recv(1)
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script)
        scope = kit.scope()
        call = kit.Background(lambda: streams.connect(server, scope=scope, secure=where == "TLS"))
        assert server.reached.wait(kit.patience)
        scope.shutdown()
        with pytest.raises(ConnectionFailed, match="shut down"):
            call.result()
        with pytest.raises(ConnectionFailed, match="shut down"):
            streams.connect(server, scope=scope)
        assert server.connections == 1


class TestTls:
    def test_untrusted_authority(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(lambda sock, server: None, kit.server_context(authority=trustme.CA()))
        with pytest.raises(CertificateRejected, match="certificate"):
            streams.connect(server, secure=True)

    def test_certificate_for_another_name(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(lambda sock, server: None, kit.server_context("other.example"))
        with pytest.raises(ConnectionFailed, match=r"(?i)certificate"):
            streams.connect(server, secure=True)

    def test_a_server_that_does_not_speak_tls(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(lambda sock, server: (sock.recv(1), sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")))
        with pytest.raises(ConnectionFailed):
            streams.connect(server, secure=True)

    def test_many_records_come_with_one_receive(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            for number in range(200):
                sock.sendall(text(b"%d" % number))
            server.reached.set()
            server.finish.wait(kit.patience)

        server = kit.serve(script, kit.server_context())
        stream = streams.connect(server, secure=True)
        assert server.reached.wait(kit.patience)
        batches = []
        while sum(map(len, batches)) < 200:
            assert stream.wait(kit.patience)
            batches.append(stream.receive())
        assert [int(message) for batch in batches for message in batch] == list(range(200))
        assert len(batches) < 20

    def test_a_damaged_record_ends_the_stream_after_the_messages_before_it(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(text(b"good"))
            raw = socket.socket(fileno=sock.fileno())
            raw.sendall(b"\x17\x03\x03\x00\x20" + b"\x00" * 32)
            raw.detach()
            server.finish.wait(kit.patience)

        messages, closed = streams.to_end(streams.connect(kit.serve(script, kit.server_context()), secure=True))
        assert messages == [b"good"]
        assert closed.code is None

    def test_cut_without_goodbye(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock, text(b"last"))
            socket.close(sock.detach())

        server = kit.serve(script, kit.server_context())
        messages, closed = streams.to_end(streams.connect(server, secure=True))
        assert (messages, closed.code) == ([b"last"], None)


class TestReceive:
    def test_frames_in_the_packet_of_the_handshake_are_received(self, kit: Any, streams: Streams, secure: bool) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock, text(b"one") + text("二".encode()) + text(b"x" * 70_000))
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)
        assert streams.collect(stream, 3) == [b"one", "二".encode(), b"x" * 70_000]
        assert stream.frames_received == 3
        assert stream.bytes_received == 5 + 5 + 70_010
        assert stream.receive() == []
        assert not stream.wait(0)

    def test_a_frame_byte_by_byte(self, kit: Any, streams: Streams, secure: bool) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            for byte in text(b"slow " * 30) + text(b"fast"):
                sock.sendall(bytes([byte]))
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)
        assert streams.collect(stream, 2) == [b"slow " * 30, b"fast"]

    def test_a_call_takes_a_bounded_amount_and_loses_nothing(self, kit: Any, streams: Streams, secure: bool) -> None:
        frame = text(b"0123456789" * 30)
        many = 4 * READS_PER_CALL * RECEIVE_SIZE // len(frame)

        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(frame * many + text(b"end"))
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)
        count, largest = 0, 0
        while count < many + 1:
            assert stream.wait(kit.patience)
            got = stream.receive()
            count += len(got)
            largest = max(largest, sum(map(len, got)))
        assert got[-1] == b"end"
        assert largest <= READS_PER_CALL * (RECEIVE_SIZE + tls.MAX_RECORD)

    @pytest.mark.parametrize("size", [RECEIVE_SIZE - 10, RECEIVE_SIZE, RECEIVE_SIZE + 1, 3_000_000])
    def test_frames_around_and_above_the_buffer(self, kit: Any, streams: Streams, secure: bool, size: int) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(text(b"x" * size) + text(b"next"))
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)
        assert streams.collect(stream, 2) == [b"x" * size, b"next"]

    def test_binary_messages_are_counted_and_dropped(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(b"\x82\x02\x00\xff" + text(b"text"))
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script))
        assert streams.collect(stream, 1) == [b"text"]
        assert (stream.ignored, stream.frames_received) == (1, 1)

    @pytest.mark.parametrize(
        ("end", "code", "reason"),
        [
            (CLOSE, 1001, ""),
            (b"\x88\x05\x03\xe8bye", 1000, "bye"),
            (b"\x88\x00", 1005, ""),
            (b"", None, "without a close frame"),
            (b"\x81\x05ab", None, "in the middle"),
            (b"\x89\x02a", None, "in the middle"),
            (b"\x01\x02ab", None, "in the middle"),
            (b"\x81\x02\xff\xff", None, "UTF-8"),
            (b"\xc1\x02ab", None, "protocol error"),
            (b"\x80\x02ab", None, "protocol error"),
        ],
    )
    def test_ends(self, kit: Any, streams: Streams, secure: bool, end: bytes, code: int | None, reason: str) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(text(b"last") + end)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)
        messages, closed = streams.to_end(stream)
        assert messages == [b"last"]
        assert closed.code == code
        assert reason in closed.reason
        assert stream.wait(kit.patience)
        with pytest.raises(StreamClosed):
            stream.receive()

    def test_a_reset(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            server.reached.wait(kit.patience)
            kit.reset(sock)

        server = kit.serve(script)
        stream = streams.connect(server)
        assert not stream.wait(0)
        server.reached.set()
        messages, closed = streams.to_end(stream)
        assert (messages, closed.code) == ([], None)
        assert "reset" in closed.reason.lower()

    def test_a_close_by_the_peer_is_answered(self, kit: Any, streams: Streams) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(CLOSE)
            server.received.append(kit.read_frame(sock))
            server.reached.set()

        server = kit.serve(script)
        _, closed = streams.to_end(streams.connect(server))
        assert closed.code == 1001
        assert server.reached.wait(kit.patience)
        assert server.received == [(0x88, b"\x03\xe8")]


class TestSend:
    def test_a_ping_is_answered_and_the_pong_to_ours_is_noticed(self, kit: Any, streams: Streams, secure: bool) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            sock.sendall(b"\x89\x04ping")
            server.received.append(kit.read_frame(sock))
            server.received.append(kit.read_frame(sock))
            sock.sendall(b"\x8a\x00" + text(b"done"))
            server.finish.wait(kit.patience)

        server = kit.serve(script, context_of(kit, secure))
        stream = streams.connect(server, secure=secure)
        assert stream.wait(kit.patience)
        assert stream.receive() == []
        assert stream.last_pong is None
        before = kit.clock.now()
        stream.ping()
        streams.collect(stream, 1)
        assert sorted(server.received) == [(0x89, b""), (0x8A, b"ping")]
        assert stream.last_pong is not None
        assert stream.last_pong >= before

    def test_text(self, kit: Any, streams: Streams, secure: bool) -> None:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            server.received.append(kit.read_frame(sock))
            sock.sendall(text(b"ok"))
            server.finish.wait(kit.patience)

        server = kit.serve(script, context_of(kit, secure))
        stream = streams.connect(server, secure=secure)
        stream.send_text('{"method":"SUBSCRIBE","params":["币安人生usdt@depth"]}')
        streams.collect(stream, 1)
        assert server.received == [(0x81, '{"method":"SUBSCRIBE","params":["币安人生usdt@depth"]}'.encode())]

    def test_bytes_that_the_peer_does_not_take_are_sent_later_and_in_order(
        self, kit: Any, streams: Streams, secure: bool
    ) -> None:
        count, size = 90, 100

        def script(sock: Any, server: Any) -> None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            kit.upgrade(sock)
            server.reached.wait(kit.patience)
            for _ in range(count):
                server.received.append(kit.read_frame(sock))
            sock.sendall(text(b"done"))
            server.finish.wait(kit.patience)

        server = kit.serve(script, context_of(kit, secure))
        stream = streams.connect(server, secure=secure)
        stream._transport.raw.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        for number in range(count):
            stream.send_text(f"{number:0{size}}")
        stuck = bool(stream._transport.unsent)
        server.reached.set()
        messages: list[bytes] = []
        while not messages:
            stream.wait(kit.patience)
            messages = stream.receive()
        assert stuck, "the buffers took it all: this test shows nothing"
        assert [int(payload) for _, payload in server.received] == list(range(count))

    def test_a_peer_that_never_reads_ends_the_stream(
        self, kit: Any, streams: Streams, monkeypatch: pytest.MonkeyPatch, secure: bool
    ) -> None:
        monkeypatch.setattr(tls, "MAX_UNSENT", 50_000)

        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            server.finish.wait(kit.patience)

        stream = streams.connect(kit.serve(script, context_of(kit, secure)), secure=secure)

        while stream._transport.failure is None:
            stream.send_text("x" * 10_000)
        stream.send_text("more")
        assert not stream._transport.unsent, "after a gap nothing may follow"
        messages, closed = streams.to_end(stream)
        assert (messages, closed.code) == ([], None)
        assert "unread" in closed.reason

    def test_sending_on_a_broken_connection_is_reported_by_receive(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(lambda sock, server: (kit.upgrade(sock, text(b"last")), kit.reset(sock)))
        stream = streams.connect(server)
        for _ in range(3):
            stream.send_text("hello")
        _, closed = streams.to_end(stream)
        assert closed.code is None


class TestWaitAndEnd:
    def hanging(self, kit: Any, secure: bool = False) -> Any:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock)
            server.reached.set()
            with contextlib.suppress(OSError):
                while True:
                    server.received.append(kit.read_frame(sock))

        return kit.serve(script, context_of(kit, secure))

    def test_a_wait_ends_with_its_timeout(self, kit: Any, streams: Streams) -> None:
        stream = streams.connect(self.hanging(kit))
        before = kit.clock.now()
        assert not stream.wait(0.05)
        assert kit.clock.now() - before >= 0.04

    def test_wake_ends_a_wait(self, kit: Any, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
        stream = streams.connect(self.hanging(kit))
        waiting = threading.Event()
        select = stream._selector.select

        def tell(timeout: float | None = None) -> Any:
            waiting.set()
            return select(timeout)

        monkeypatch.setattr(stream._selector, "select", tell)
        call = kit.Background(lambda: stream.wait(None))
        assert waiting.wait(kit.patience)
        stream.wake()
        assert call.result() is False

    def test_a_wake_before_the_wait_counts_and_many_count_as_one(self, kit: Any, streams: Streams) -> None:
        stream = streams.connect(self.hanging(kit))
        for _ in range(100_000):
            stream.wake()
        assert not stream.wait(3600)
        waits = 1
        while stream._selector.select(0):
            stream.wait(3600)
            waits += 1
        assert waits < 1000

    def test_shutdown_from_another_thread_ends_wait_and_receive(self, kit: Any, streams: Streams, secure: bool) -> None:
        scope = kit.scope()
        stream = streams.connect(self.hanging(kit, secure), secure=secure, scope=scope)
        call = kit.Background(lambda: streams.to_end(stream))
        stream.shutdown()
        messages, closed = call.result()
        assert (messages, closed.code) == ([], None)
        assert not scope.stopped

    def test_cancelling_its_scope_ends_it_too(self, kit: Any, streams: Streams, secure: bool) -> None:
        scope = kit.scope()
        stream = streams.connect(self.hanging(kit, secure), secure=secure, scope=scope)
        scope.shutdown()
        _, closed = streams.to_end(stream)
        assert "shut down" in closed.reason

    def test_close_sends_a_close_frame_and_can_be_called_again(self, kit: Any, streams: Streams, secure: bool) -> None:
        server = self.hanging(kit, secure)
        stream = streams.connect(server, secure=secure)
        stream.close()
        stream.close()
        stream.wake()
        stream.shutdown()
        assert stream.fileno() == -1
        assert stream.wait(None)
        with pytest.raises(StreamClosed, match="closed by this program"):
            stream.receive()
        for send in (stream.ping, lambda: stream.send_text("x")):
            with pytest.raises(NotRunning):
                send()
        server.close()
        kit._open.remove(server)
        assert server.received == [(0x88, b"\x03\xe8")]

    def test_readiness_can_be_watched_from_outside(self, kit: Any, streams: Streams) -> None:
        server = kit.serve(
            lambda sock, server: (kit.upgrade(sock), sock.sendall(text(b"x")), server.finish.wait(kit.patience))
        )
        stream = streams.connect(server)
        with selectors.DefaultSelector() as selector:
            selector.register(stream.fileno(), selectors.EVENT_READ)
            assert selector.select(kit.patience)


class TestProxy:
    @contextlib.contextmanager
    def proxy(self, kit: Any, *, secure: bool = False, refuse: bytes = b"") -> Iterator[Any]:
        def script(sock: Any, server: Any) -> None:
            head = kit.read_head(sock)
            server.received.append(head)
            if refuse:
                sock.sendall(refuse)
                return
            host, port = re.match(rb"CONNECT ([^:]+):(\d+) ", head).groups()  # type: ignore[union-attr]
            with socket.create_connection((host.decode(), int(port)), kit.patience) as upstream:
                sock.sendall(b"HTTP/1.1 200 Connection established\r\nX-Proxy: yes\r\n\r\n")
                self.relay(sock, upstream, server)

        yield kit.serve(script, kit.server_context() if secure else None)

    @staticmethod
    def relay(one: Any, other: Any, server: Any) -> None:
        one.settimeout(0.05)
        other.settimeout(0.05)
        while not server.finish.is_set():
            for source, sink in ((one, other), (other, one)):
                try:
                    data = source.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    return
                sink.sendall(data)

    def echo(self, kit: Any, secure: bool) -> Any:
        def script(sock: Any, server: Any) -> None:
            kit.upgrade(sock, text(b"hello"))
            _, payload = kit.read_frame(sock)
            sock.sendall(text(payload) + text(b"x" * 300_000))
            server.finish.wait(kit.patience)

        return kit.serve(script, context_of(kit, secure))

    @pytest.mark.parametrize("secure_proxy", [False, True], ids=["http proxy", "https proxy"])
    def test_a_tunnel(self, kit: Any, streams: Streams, secure: bool, secure_proxy: bool) -> None:
        with self.proxy(kit, secure=secure_proxy) as proxy:
            url = f"{'https' if secure_proxy else 'http'}://user:p%40ss@localhost:{proxy.port}"
            server = self.echo(kit, secure)
            stream = streams.connect(server, secure=secure, proxies={"http": url, "https": url})
            stream.send_text("through the tunnel")
            assert streams.collect(stream, 3) == [b"hello", b"through the tunnel", b"x" * 300_000]
        head = proxy.received[0]
        assert head.startswith(b"CONNECT localhost:%d HTTP/1." % server.port)
        assert b"Basic " + base64.b64encode(b"user:p@ss") in head

    def test_from_the_environment(self, kit: Any, streams: Streams, monkeypatch: pytest.MonkeyPatch) -> None:
        with self.proxy(kit) as proxy:
            for name in ("no_proxy", "NO_PROXY", "ALL_PROXY", "all_proxy", "https_proxy", "http_proxy"):
                monkeypatch.delenv(name, raising=False)
            monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
            stream = streams.connect(self.echo(kit, False), proxies=None)
            assert streams.collect(stream, 1) == [b"hello"]
            assert proxy.connections == 1
            monkeypatch.setenv("NO_PROXY", "localhost")
            stream = streams.connect(self.echo(kit, False), proxies=None)
            assert streams.collect(stream, 1) == [b"hello"]
            assert proxy.connections == 1

    @pytest.mark.parametrize(
        "answer", [b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", b"HTTP/1.1 502 No\r\n\r\n"]
    )
    def test_a_proxy_that_refuses(self, kit: Any, streams: Streams, answer: bytes) -> None:
        with (
            self.proxy(kit, refuse=answer) as proxy,
            pytest.raises(ConnectionFailed, match=answer.split()[1].decode()),
        ):
            streams.connect(self.echo(kit, False), proxies={"http": f"http://127.0.0.1:{proxy.port}"})

    def test_a_silent_proxy(self, kit: Any) -> None:
        proxy = kit.serve(lambda sock, server: server.finish.wait(kit.patience))
        config = kit.config(proxies={"http": f"http://127.0.0.1:{proxy.port}"})
        with pytest.raises(RequestTimeout):
            WebSocketStream.connect("ws://example.invalid/ws", config, kit.clock, kit.scope(), timeout=0.3)

    def test_the_error_names_a_socks_proxy(self, kit: Any, streams: Streams) -> None:
        server = self.echo(kit, False)
        with pytest.raises(ConfigError, match="socks5"):
            streams.connect(server, proxies={"http": "socks5://127.0.0.1:1080"})
        assert server.connections == 0
