"""Loopback servers that send exactly the bytes a test wants, well formed or not."""

from __future__ import annotations

import base64
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.transport.sockets import CancelScope

from ..support import accepted

PATIENCE = 60.0


class Server:
    """Runs ``script(sock, server)`` in a thread for each connection. ``finish`` is set when the test is over: a script
    that is meant to hang waits for it. ``reached`` shows how far the script has got."""

    def __init__(self, script: Callable[[Any, Server], None], context: ssl.SSLContext | None) -> None:
        self.connections = 0
        self.finish = threading.Event()
        self.reached = threading.Event()
        self.received: list[bytes] = []
        self.failures: list[BaseException] = []
        self._script = script
        self._context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        self.finish.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        self._listener.close()
        assert not self.failures, self.failures

    def _accept(self) -> None:
        for client in accepted(self._listener):
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        client.settimeout(PATIENCE)
        with client:
            try:
                sock = client
                if self._context is not None:
                    sock = self._context.wrap_socket(client, server_side=True)
                with sock:
                    self._script(sock, self)
            except OSError:
                return  # The client left, as many of these tests want it to.
            except BaseException as error:
                self.failures.append(error)
                raise


def read_head(sock: socket.socket) -> bytes:
    """Return the request up to and including the empty line."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError("the client left in its request")
        head += byte
    return head


def upgrade(sock: socket.socket, extra: bytes = b"") -> bytes:
    """Answer a WebSocket handshake, with ``extra`` in the same packet; return the request."""
    head = read_head(sock)
    key = next(line[18:].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:"))
    accept = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
    sock.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n" + extra
    )
    return head


def read_frame(sock: socket.socket) -> tuple[int, bytes]:
    """Return the first byte and the unmasked payload of a short client frame."""
    first, length = _exactly(sock, 2)
    assert length & 0x80, "a client must mask"
    mask = _exactly(sock, 4) if length & 0x7F < 126 else b""
    payload = _exactly(sock, length & 0x7F)
    return first, bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))


def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = sock.recv(size - len(data))
        if not piece:
            raise ConnectionError("the client left in a frame")
        data += piece
    return data


def reset(sock: socket.socket) -> None:
    """Close with an RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Unanswering:
    """An address where connecting neither succeeds nor fails: its queue of connections is full."""

    def __init__(self) -> None:
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(0)
        self.port: int = self._listener.getsockname()[1]
        self._fillers = [socket.socket() for _ in range(4)]
        for filler in self._fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", self.port))

    def close(self) -> None:
        for sock in (*self._fillers, self._listener):
            sock.close()


class Background:
    """Runs a call in a thread; ``result()`` gives its value or raises its exception."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as error:  # noqa: BLE001 - raised again by result()
            self._error = error

    def result(self) -> Any:
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "still blocked"
        if self._error is not None:
            raise self._error
        return self._value


class Kit:
    """What the tests of this directory share."""

    Background = Background
    patience = PATIENCE
    read_head = staticmethod(read_head)
    read_frame = staticmethod(read_frame)
    upgrade = staticmethod(upgrade)
    reset = staticmethod(reset)

    def __init__(self, directory: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = str(directory / "ca.pem")
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.clock = Clock()
        self._open: list[Server | Unanswering] = []

    def server_context(self, name: str = "localhost", authority: trustme.CA | None = None) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        (authority or self.authority).issue_cert(name).configure_cert(context)
        return context

    def serve(self, script: Callable[[Any, Server], None], context: ssl.SSLContext | None = None) -> Server:
        server = Server(script, context)
        self._open.append(server)
        return server

    def unanswering(self) -> Unanswering:
        address = Unanswering()
        self._open.append(address)
        return address

    def config(self, **changes: Any) -> Config:
        return Config(**{"ca_file": self.ca_file, "proxies": {}, **changes})

    def scope(self) -> CancelScope:
        return CancelScope(self.clock)

    def close(self) -> None:
        for each in self._open:
            each.close()


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    kit = Kit(tmp_path)
    yield kit
    kit.close()
