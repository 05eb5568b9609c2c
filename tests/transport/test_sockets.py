"""Cancel scopes: one deadline for everything, and an end at once from another thread."""

from __future__ import annotations

import gc
import os
import socket
import ssl
import threading
import weakref
from pathlib import Path
from typing import Any

import pytest

from ats_sync.errors import ConfigError
from ats_sync.transport import sockets
from ats_sync.transport.sockets import (
    NO_DELAY,
    CancelScope,
    ScopedSocket,
    ScopedTlsSocket,
    open_socket,
    tls_context,
)


def pair(scope: CancelScope) -> tuple[ScopedSocket, socket.socket]:
    """Return a scoped socket and what it is connected to."""
    mine, other = socket.socketpair()
    scoped = ScopedSocket(mine.family, mine.type, mine.proto, fileno=mine.detach())
    scoped.scope = scope
    scope.add(scoped)
    return scoped, other


class TestCancelScope:
    def test_one_deadline_for_all_operations(self, kit: Any) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        with mine, other:
            scope.deadline = kit.clock.now() + 0.3
            other.sendall(b"ab")
            buffer = bytearray(1)
            assert (mine.recv(1), mine.recv_into(buffer), bytes(buffer)) == (b"a", 1, b"b")
            with pytest.raises(TimeoutError):
                mine.recv(1)
            assert scope.expired
            other.sendall(b"too late")
            for operation in (
                lambda: mine.recv(1),
                lambda: mine.recv_into(buffer),
                lambda: mine.send(b"x"),
                lambda: mine.sendall(b"x"),
            ):
                with pytest.raises(TimeoutError):
                    operation()

    def test_sending_to_a_peer_that_does_not_read_is_ended_by_the_deadline(self, kit: Any) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        with mine, other:
            scope.deadline = kit.clock.now() + 0.2
            with pytest.raises(TimeoutError):
                mine.sendall(bytes(50_000_000))

    def test_without_a_deadline_the_sockets_own_timeout_applies(self, kit: Any) -> None:
        mine, other = pair(kit.scope())
        with mine, other:
            mine.settimeout(0.05)
            with pytest.raises(TimeoutError):
                mine.recv(1)

    def test_sent_at(self, kit: Any) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        with mine, other:
            assert scope.sent_at is None
            before = kit.clock.now()
            mine.sendall(b"x")
            assert before <= scope.sent_at <= kit.clock.now()

    @pytest.mark.parametrize("operation", ["recv", "recv_into", "sendall"])
    def test_shutdown_ends_blocking_operations(self, kit: Any, operation: str) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        entered = threading.Event()

        def run() -> None:
            entered.set()
            if operation == "recv":
                mine.recv(1)
            elif operation == "recv_into":
                mine.recv_into(bytearray(1))
            else:
                mine.sendall(bytes(50_000_000))

        with mine, other:
            call = kit.Background(run)
            assert entered.wait(kit.patience)
            scope.shutdown()
            with pytest.raises(OSError):  # noqa: PT011 - aborted, or broken pipe
                call.result()

    def test_nothing_works_after_a_shutdown(self, kit: Any) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        with mine, other:
            other.sendall(b"unread")
            scope.shutdown()
            assert scope.stopped
            with pytest.raises(ConnectionAbortedError):
                mine.recv(1)
            with pytest.raises(ConnectionAbortedError):
                scope.add(mine)
            with pytest.raises(ConnectionAbortedError):
                open_socket("127.0.0.1", 9, scope, timeout=1)

    def test_shut_ends_one_socket_only(self, kit: Any) -> None:
        scope = kit.scope()
        (mine, other), (second, third) = pair(scope), pair(scope)
        with mine, other, second, third:
            scope.shut(mine)
            assert mine.recv(1) == b""
            third.sendall(b"x")
            assert second.recv(1) == b"x"
            assert not scope.stopped

    def test_closed_and_forgotten_sockets_are_released(self, kit: Any) -> None:
        scope = kit.scope()
        mine, other = pair(scope)
        with other:
            file = mine.makefile("rb")
            mine.close()
            assert mine in scope._sockets, "one of its files is still open"
            file.close()
            assert mine not in scope._sockets
            assert mine.fileno() == -1
            reference = weakref.ref(mine)
            del mine, file
            gc.collect()
            assert reference() is None
        scope.shutdown()


class TestOpenSocket:
    def test_options_and_blocking(self, kit: Any) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with open_socket("localhost", port, kit.scope(), timeout=kit.patience, options=NO_DELAY) as sock:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                assert sock.getblocking()

    def test_an_address_that_never_answers_leaves_time_for_the_next(
        self, kit: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        dead = kit.unanswering()
        with socket.create_server(("127.0.0.1", 0)) as server:
            ports = (dead.port, server.getsockname()[1])
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)
            with open_socket("two-addresses.example", 1, kit.scope(), timeout=1.0) as sock:
                assert sock.getpeername()[1] == ports[1]

    @pytest.mark.parametrize("by", ["timeout", "deadline"])
    def test_all_addresses_together_take_no_longer(self, kit: Any, monkeypatch: pytest.MonkeyPatch, by: str) -> None:
        dead = kit.unanswering()
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", dead.port))] * 3
        monkeypatch.setattr(socket, "getaddrinfo", lambda *args: found)
        scope = kit.scope()
        if by == "deadline":
            scope.deadline = kit.clock.now() + 0.3
        before = kit.clock.now()
        with pytest.raises(TimeoutError):
            open_socket("x.example", 1, scope, timeout=0.3 if by == "timeout" else 600.0)
        assert 0.25 <= kit.clock.now() - before < kit.patience

    def test_a_shutdown_between_opening_and_connecting_is_not_lost(
        self, kit: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scope = kit.scope()
        connect = ScopedSocket.connect_ex

        def late(sock: ScopedSocket, address: Any) -> int:
            scope.shutdown()
            return connect(sock, address)

        monkeypatch.setattr(ScopedSocket, "connect_ex", late)
        with pytest.raises(ConnectionAbortedError):
            open_socket("127.0.0.1", kit.unanswering().port, scope, timeout=600.0)

    def test_a_shutdown_during_name_resolution_refuses_the_connection(
        self, kit: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        scope = kit.scope()
        resolve = socket.getaddrinfo

        def slow(*args: Any) -> Any:
            scope.shutdown()
            return resolve(*args)

        monkeypatch.setattr(socket, "getaddrinfo", slow)
        server = kit.serve(lambda sock, server: None)
        with pytest.raises(ConnectionAbortedError):
            open_socket("127.0.0.1", server.port, scope, timeout=600.0)
        assert server.connections == 0

    def test_an_impossible_host_name(self, kit: Any) -> None:
        with pytest.raises(socket.gaierror):
            open_socket("a" * 64 + ".example", 1, kit.scope(), timeout=1.0)


class TestContext:
    def test_verifies(self, kit: Any) -> None:
        context = tls_context(kit.ca_file)
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.check_hostname
        assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
        assert len(context.get_ca_certs()) == 1

    def test_is_shared_until_the_file_changes(self, kit: Any) -> None:
        first = tls_context(kit.ca_file)
        assert tls_context(kit.ca_file) is first
        os.utime(kit.ca_file, (1, 1))
        assert tls_context(kit.ca_file) is not first

    def test_the_usual_authorities(self, kit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
            monkeypatch.delenv(name, raising=False)
        assert len(tls_context(None).get_ca_certs()) > 50
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", kit.ca_file)
        assert tls_context(None) is tls_context(kit.ca_file)

    @pytest.mark.parametrize("content", [None, "", "no PEM"])
    def test_authorities_that_cannot_be_read(self, tmp_path: Path, content: str | None) -> None:
        path = tmp_path / "bad.pem"
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=r"bad\.pem"):
            tls_context(str(path))

    def test_the_scope_moves_to_the_tls_socket(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: sock.sendall(b"hello"), kit.server_context())
        scope = kit.scope()
        scope.deadline = kit.clock.now() + kit.patience
        plain = open_socket("localhost", server.port, scope, timeout=5)
        with tls_context(kit.ca_file).wrap_socket(plain, server_hostname="localhost") as sock:
            assert isinstance(sock, ScopedTlsSocket)
            assert sock.scope is scope
            assert sock in scope._sockets
            assert sock.recv(5) == b"hello"
            scope.shutdown()
            with pytest.raises(ConnectionAbortedError):
                sock.recv(1)

    def test_a_failed_handshake_leaves_no_socket(self, kit: Any) -> None:
        server = kit.serve(lambda sock, server: (sock.recv(1), sock.sendall(b"not TLS at all")))
        scope = kit.scope()
        scope.deadline = kit.clock.now() + kit.patience
        plain = open_socket("localhost", server.port, scope, timeout=5)
        with pytest.raises(ssl.SSLError):
            tls_context(kit.ca_file).wrap_socket(plain, server_hostname="localhost")
        plain.close()
        assert len(scope._sockets) == 0

    def test_wait_for_write_reports_a_socket_that_is_shut_down(self, kit: Any) -> None:
        """A shutdown in mid-connect relies on this."""
        address = kit.unanswering()
        with socket.socket() as sock:
            sock.setblocking(False)
            sock.connect_ex(("127.0.0.1", address.port))
            assert not sockets.wait_for_write(sock, 0)
            sock.shutdown(socket.SHUT_RDWR)
            assert sockets.wait_for_write(sock, kit.patience)
