"""Sockets that end: by one deadline for everything, or at once when another thread says so.

A :class:`Guard` belongs to the thread that does the I/O. Every socket opened through it is known to it
from before it connects until it is closed, also while it turns into a TLS socket.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import functools
import math
import os
import socket
import ssl
import threading
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING

from requests.utils import DEFAULT_CA_BUNDLE_PATH
from urllib3.util.wait import wait_for_write

from ..clock import Clock
from ..errors import ConfigError
from .genuine import UnpatchedContext, trusts_the_system

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

SocketOption = tuple[int, int, "int | bytes"]
NO_DELAY: list[SocketOption] = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


class Guard:
    """What the sockets of one thread obey.

    ``deadline`` (seconds of ``clock.now()``, or None) bounds all blocking operations together: each one
    may take what is left. ``sent_at`` is when bytes were last handed to a socket. Name resolution is
    the one thing that can be neither bounded nor interrupted; what comes after it fails.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline: float | None = None
        self.sent_at: float | None = None
        self._stopped = False
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Guards _stopped and _sockets, and that no descriptor is closed (and its number used again)
        # while it is being shut down. Reentrant: a collection inside it may close a forgotten socket.
        self._lock = threading.RLock()

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def expired(self) -> bool:
        return self.deadline is not None and self.clock.now() >= self.deadline

    def shutdown(self) -> None:
        """End every blocking operation now and for good, from any thread: sockets in use are shut
        down, new ones refused."""
        with self._lock:
            self._stopped = True
            for sock in list(self._sockets):
                self._shut(sock)

    def shut(self, sock: socket.socket) -> None:
        """Shut down this one socket, from any thread."""
        with self._lock:
            self._shut(sock)

    def check(self) -> None:
        """Raise ConnectionAbortedError after :meth:`shutdown`."""
        if self._stopped:
            raise ConnectionAbortedError(errno.ECONNABORTED, "shut down by this program")

    def remaining(self) -> float | None:
        """Seconds left, None without a deadline. Raises TimeoutError when none are."""
        self.check()
        if self.deadline is None:
            return None
        left = self.deadline - self.clock.now()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the time for this operation is up")
        return left

    def add(self, sock: socket.socket) -> None:
        with self._lock:
            self.check()
            self._sockets.add(sock)

    def close(self, sock: GuardedSocket) -> None:
        with self._lock:
            sock.close_unguarded()
            if sock.fileno() < 0:
                self._sockets.discard(sock)

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        # SSLSocket.shutdown() forgets the TLS layer: the thread that reads would take cipher text for
        # an answer, and socket.socket may be another class by now. Not connected (yet, any more) is fine:
        # the operation in progress ends either way.
        with contextlib.suppress(OSError):
            _socket.socket.shutdown(sock, socket.SHUT_RDWR)


class GuardedSocket(socket.socket):
    """A socket whose blocking operations obey ``guard``."""

    guard: Guard | None = None

    def _begin(self) -> Guard | None:
        guard = self.guard
        if guard is not None:
            left = guard.remaining()
            if left is not None:
                self.settimeout(left)
        return guard

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        guard = self._begin()
        data = super().recv(bufsize, flags)
        if guard is not None:
            guard.check()
        return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        guard = self._begin()
        # "All of the buffer" is written 0 for a plain socket and None for a TLS one.
        count = super().recv_into(buffer) if not nbytes else super().recv_into(buffer, nbytes, flags)
        if guard is not None:
            guard.check()
        return count

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        guard = self._begin()
        if guard is not None:
            guard.sent_at = guard.clock.now()
        return super().send(data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        guard = self._begin()
        if guard is not None:
            guard.sent_at = guard.clock.now()
        super().sendall(data, flags)

    def recv_into_now(self, buffer: WriteableBuffer) -> int:
        """``recv_into`` for a socket that does not block and so needs no guarding."""
        return super().recv_into(buffer)

    def send_now(self, data: ReadableBuffer) -> int:
        """``send`` for a socket that does not block."""
        return super().send(data)

    def close(self) -> None:
        if self.guard is None:
            super().close()
        else:
            self.guard.close(self)

    def close_unguarded(self) -> None:
        super().close()


class GuardedTlsSocket(GuardedSocket, ssl.SSLSocket):
    """A TLS socket whose handshake, too, obeys ``guard``."""

    def do_handshake(self, block: bool = False) -> None:
        self._begin()
        super().do_handshake(block)


class GuardedContext(UnpatchedContext):
    """Verifies, and hands the guard of a socket on to the TLS socket it becomes."""

    def wrap_socket(
        self,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLSocket:
        wrapped = super().wrap_socket(sock, server_side, False, suppress_ragged_eofs, server_hostname, session=session)
        try:
            if isinstance(wrapped, GuardedTlsSocket) and isinstance(sock, GuardedSocket) and sock.guard:
                wrapped.guard = sock.guard
                sock.guard.add(wrapped)
            if do_handshake_on_connect:
                wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Nothing: urllib3 would set the same list at every connection, which is not safe while
        another thread is making a connection from the same context."""


def tls_context(ca_file: str | None) -> GuardedContext:
    """The verifying context for these authorities: ``ca_file``, or else what requests would use
    (``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, certifi, and with truststore those that OpenSSL finds in the system).
    Shared, since reading them takes long.

    Raises ConfigError when they cannot be read."""
    path = ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    system = path is None and trusts_the_system()
    path = path or str(DEFAULT_CA_BUNDLE_PATH)
    try:
        return _context(path, os.stat(path).st_mtime_ns, system)
    except OSError as error:
        raise ConfigError(f"no certificate authorities can be read from {path!r}: {error}") from error


@functools.lru_cache(maxsize=8)
def _context(path: str, _modified: int, system: bool) -> GuardedContext:
    context = GuardedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = GuardedTlsSocket
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)
    if system:
        context.load_default_certs()
    return context


def _connect(sock: GuardedSocket, address: object, guard: Guard, timeout: float | None) -> None:
    sock.setblocking(False)
    status = sock.connect_ex(address)  # type: ignore[arg-type]
    # A shutdown before this moment found nothing to shut down, but is seen here; a later one ends the wait.
    guard.check()
    if status in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        if not wait_for_write(sock, timeout):
            raise TimeoutError(errno.ETIMEDOUT, "no answer to the attempt to connect")
        # What was shut down in the middle looks like a success.
        guard.check()
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))
    sock.setblocking(True)


def open_socket(
    host: str, port: int, guard: Guard, *, timeout: float | None, options: Iterable[SocketOption] = ()
) -> GuardedSocket:
    """A connected socket. Each address of ``host`` gets its share of ``timeout`` (and of the guard's
    deadline), so that one that never answers leaves time for the next.

    Raises socket.gaierror, TimeoutError or another OSError.
    """
    guard.check()
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    until = None if timeout is None else guard.clock.now() + timeout
    failure = OSError(f"{host} has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        left = guard.remaining()
        if until is not None:
            left = min(until - guard.clock.now(), math.inf if left is None else left)
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, f"no connection within {timeout:g} s")
        sock = GuardedSocket(family, kind, protocol)
        try:
            sock.guard = guard
            guard.add(sock)
            for option in options:
                sock.setsockopt(*option)
            _connect(sock, address, guard, None if left is None else left / (len(addresses) - index))
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
        guard.check()
    raise failure
