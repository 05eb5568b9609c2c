"""The transports over a socket pair, where each system call is under control."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync.transport import tls as transports
from ats_sync.transport.sockets import ScopedSocket, tls_context
from ats_sync.transport.tls import MAX_RECORD, RECEIVE_SIZE, SocketTransport, TlsTransport


class Link:
    """A connected transport and the socket of its peer."""

    def __init__(self, kit: Any, secure: bool, version: ssl.TLSVersion | None = None) -> None:
        mine, other = socket.socketpair()
        other.settimeout(kit.patience)
        scoped = ScopedSocket(mine.family, mine.type, mine.proto, fileno=mine.detach())
        scoped.scope = kit.scope()
        scoped.scope.add(scoped)
        scoped.scope.deadline = kit.clock.now() + kit.patience
        self.peer = other
        self.buffer = memoryview(bytearray(RECEIVE_SIZE + MAX_RECORD))
        if secure:
            context = kit.server_context()
            if version is not None:
                context.maximum_version = version
            tls = TlsTransport(scoped, tls_context(kit.ca_file), "localhost")
            accepted = kit.Background(lambda: context.wrap_socket(other, server_side=True))
            tls.handshake()
            self.peer = accepted.result()
            self.transport: SocketTransport = tls
        else:
            self.transport = SocketTransport(scoped)

    def go_live(self) -> None:
        self.transport.settimeout(0)
        while self.transport.buffered:
            try:
                self.transport.recv_into(self.buffer)
            except BlockingIOError:
                continue

    def receive(self) -> bytes:
        """Return the result of one recv_into, b"-" when there is nothing."""
        try:
            return bytes(self.buffer[: self.transport.recv_into(self.buffer)])
        except BlockingIOError:
            return b"-"

    def close(self) -> None:
        self.transport.close()
        self.peer.close()


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def link(request: pytest.FixtureRequest, kit: Any) -> Iterator[Link]:
    version = {"TLS 1.2": ssl.TLSVersion.TLSv1_2, "TLS 1.3": ssl.TLSVersion.TLSv1_3}.get(request.param)
    link = Link(kit, version is not None, version)
    yield link
    link.close()


def test_blocking_until_the_timeout_is_zero(link: Link) -> None:
    assert link.transport.gettimeout() is None
    link.peer.sendall(b"hello")
    assert link.transport.recv(3) + link.transport.recv(5) == b"hello"
    assert link.transport.send(b"answer") == 6
    assert link.peer.recv(100) == b"answer"
    link.go_live()
    assert link.transport.gettimeout() == 0
    assert not link.transport.raw.getblocking()


def test_bytes_that_came_with_the_handshake_are_announced(kit: Any) -> None:
    link = Link(kit, True)
    link.peer.sendall(b"head+more")
    assert link.transport.recv(5) == b"head+"
    link.transport.settimeout(0)
    assert link.transport.buffered
    assert link.receive() == b"more"
    assert not link.transport.buffered
    assert link.receive() == b"-"
    link.close()


def test_all_records_at_once(link: Link) -> None:
    link.go_live()
    for number in range(20):
        link.peer.sendall(b"%03d" % number)
    assert link.receive() == b"".join(b"%03d" % number for number in range(20))
    assert link.receive() == b"-"


def test_a_record_in_pieces(kit: Any) -> None:
    """Half a record brings nothing yet; its second half completes it."""
    link = Link(kit, True)
    link.go_live()
    link.peer.sendall(b"whole")
    cipher = bytes(link.buffer[: link.transport.raw.recv_into_now(link.buffer)])
    for byte in cipher[:-1]:
        assert feed(link, bytes([byte])) == b"-"
    assert feed(link, cipher[-1:]) == b"whole"
    link.close()


def feed(link: Link, cipher: bytes) -> bytes:
    """Receive as if these were the bytes on the socket."""
    raw = link.transport.raw

    class Raw:
        def recv_into_now(self, buffer: memoryview) -> int:
            buffer[: len(cipher)] = cipher
            return len(cipher)

    link.transport.raw = Raw()  # type: ignore[assignment]
    try:
        return link.receive()
    finally:
        link.transport.raw = raw


def test_the_end_after_the_last_bytes(link: Link) -> None:
    link.go_live()
    link.peer.sendall(b"last")
    if isinstance(link.peer, ssl.SSLSocket):
        link.peer.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            link.peer.unwrap()
    link.peer.close()
    assert link.receive() == b"last"
    assert link.receive() == b""


def test_a_cut_after_the_last_bytes(link: Link) -> None:
    link.go_live()
    link.peer.sendall(b"last")
    link.peer.close()
    assert link.receive() == b"last"
    assert link.receive() == b""


def test_unsent_bytes_wait_for_the_peer(link: Link) -> None:
    link.go_live()
    sent = bytes(range(256)) * 40
    count = 0
    while not link.transport.unsent:
        link.transport.send(sent)
        count += 1
    received = 0
    while received < count * len(sent):
        received += len(link.peer.recv(65536))
        link.transport.flush()
    assert not link.transport.unsent


def test_too_many_unsent_bytes_fail_the_transport(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "MAX_UNSENT", 100_000)
    link.go_live()

    def fill() -> None:
        for _ in range(1000):
            link.transport.send(bytes(10_000))
            link.transport.recv_into(link.buffer)

    def fill_until_failure() -> None:
        while True:
            try:
                fill()
            except BlockingIOError:
                continue

    with pytest.raises(ConnectionError, match="unread"):
        fill_until_failure()


def test_close_sends_close_notify(kit: Any) -> None:
    link = Link(kit, True)
    link.go_live()
    link.transport.close()
    assert link.peer.recv(10) == b""
    link.peer.close()
    link.transport.close()


def test_an_endless_handshake_answer_is_refused(link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transports, "MAX_HANDSHAKE", 10)
    link.peer.sendall(b"x" * 20)
    assert link.transport.recv(10) == b"x" * 10
    with pytest.raises(OSError, match="more than 10 bytes"):
        link.transport.recv(1)
