"""Sockets that can be cancelled: by one deadline for all their operations, or at once by another thread.

A :class:`CancelScope` belongs to the thread that does the I/O. It knows every socket opened through it, from before
the connect until the close, even while the socket is turned into a TLS socket.
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


class CancelScope:
    """The deadline and the cancellation of all sockets of one thread.

    ``deadline`` (seconds of ``clock.now()``, or None) bounds all blocking operations together: each one may take
    the time that is left. ``sent_at`` is when bytes were last passed to a socket. Only name resolution can be
    neither bounded nor interrupted; the operation after it fails.
    """

    # Slots, since eventlet replaces the reentrant locks that it finds in the dictionaries of objects, even those in
    # use; two threads that then wait for such a lock wait forever.
    __slots__ = ("__weakref__", "_lock", "_sockets", "_stopped", "clock", "deadline", "sent_at")

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.deadline: float | None = None
        self.sent_at: float | None = None
        self._stopped = False
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # Guards _stopped and _sockets, and prevents a descriptor from being closed (and its number reused) while it
        # is being shut down. Reentrant: the garbage collector may close a forgotten socket while it is taken.
        self._lock = threading.RLock()

    @property
    def stopped(self) -> bool:
        return self._stopped

    @property
    def expired(self) -> bool:
        return self.deadline is not None and self.clock.now() >= self.deadline

    def shutdown(self) -> None:
        """Cancel every blocking operation at once and permanently, from any thread: sockets in use are shut down, new
        ones refused."""
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
        """Return the seconds left, or None without a deadline. Raises TimeoutError if none are left."""
        self.check()
        if self.deadline is None:
            return None
        left = self.deadline - self.clock.now()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the deadline of this operation has passed")
        return left

    def add(self, sock: socket.socket) -> None:
        with self._lock:
            self.check()
            self._sockets.add(sock)

    def close(self, sock: ScopedSocket) -> None:
        with self._lock:
            sock.close_descriptor()
            if sock.fileno() < 0:
                self._sockets.discard(sock)

    @staticmethod
    def _shut(sock: socket.socket) -> None:
        # SSLSocket.shutdown() drops the TLS layer, so that the reading thread would take ciphertext for an answer;
        # and socket.socket may have been replaced. It does not matter if the socket is not connected: the operation in
        # progress ends either way.
        with contextlib.suppress(OSError):
            _socket.socket.shutdown(sock, socket.SHUT_RDWR)


class ScopedSocket(socket.socket):
    """A socket whose blocking operations obey ``scope``."""

    scope: CancelScope | None = None

    def _begin(self) -> CancelScope | None:
        scope = self.scope
        if scope is not None:
            left = scope.remaining()
            if left is not None:
                self.settimeout(left)
        return scope

    def recv(self, bufsize: int = 1024, flags: int = 0) -> bytes:
        scope = self._begin()
        data = super().recv(bufsize, flags)
        if scope is not None:
            scope.check()
        return data

    def recv_into(self, buffer: WriteableBuffer, nbytes: int | None = None, flags: int = 0) -> int:
        scope = self._begin()
        # A plain socket takes 0 as "the whole buffer", a TLS socket None.
        count = super().recv_into(buffer) if not nbytes else super().recv_into(buffer, nbytes, flags)
        if scope is not None:
            scope.check()
        return count

    def send(self, data: ReadableBuffer, flags: int = 0) -> int:
        scope = self._begin()
        if scope is not None:
            scope.sent_at = scope.clock.now()
        return super().send(data, flags)

    def sendall(self, data: ReadableBuffer, flags: int = 0) -> None:
        scope = self._begin()
        if scope is not None:
            scope.sent_at = scope.clock.now()
        super().sendall(data, flags)

    def recv_into_now(self, buffer: WriteableBuffer) -> int:
        """Act as ``recv_into`` for a non-blocking socket, which needs no scope."""
        return super().recv_into(buffer)

    def send_now(self, data: ReadableBuffer) -> int:
        """Act as ``send`` for a non-blocking socket."""
        return super().send(data)

    def close(self) -> None:
        if self.scope is None:
            super().close()
        else:
            self.scope.close(self)

    def close_descriptor(self) -> None:
        super().close()


class ScopedTlsSocket(ScopedSocket, ssl.SSLSocket):
    """A TLS socket whose handshake also obeys ``scope``."""

    def do_handshake(self, block: bool = False) -> None:
        self._begin()
        super().do_handshake(block)


class ScopedContext(UnpatchedContext):
    """A verifying TLS context that passes the scope of a socket on to the TLS socket it becomes."""

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
            if isinstance(wrapped, ScopedTlsSocket) and isinstance(sock, ScopedSocket) and sock.scope:
                wrapped.scope = sock.scope
                sock.scope.add(wrapped)
            if do_handshake_on_connect:
                wrapped.do_handshake()
        except BaseException:
            wrapped.close()
            raise
        return wrapped

    def set_alpn_protocols(self, alpn_protocols: Iterable[str]) -> None:
        """Do nothing: urllib3 would set the same list at every connection, which is not safe while another thread
        opens a connection from the same context."""


def tls_context(ca_file: str | None) -> ScopedContext:
    """Return the verifying context for these authorities: ``ca_file``, otherwise what requests would use
    (``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``, certifi, and with truststore those that OpenSSL finds in the system).
    It is shared, since reading them takes long.

    Raises ConfigError if they cannot be read."""
    path = ca_file or os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    system = path is None and trusts_the_system()
    path = path or str(DEFAULT_CA_BUNDLE_PATH)
    try:
        return _context(path, os.stat(path).st_mtime_ns, system)
    except OSError as error:
        raise ConfigError(f"the certificate authorities in {path!r} cannot be read: {error}") from error


@functools.lru_cache(maxsize=8)
def _context(path: str, _modified: int, system: bool) -> ScopedContext:
    context = ScopedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = ScopedTlsSocket
    if os.path.isdir(path):
        context.load_verify_locations(capath=path)
    else:
        context.load_verify_locations(cafile=path)
    if system:
        context.load_default_certs()
    return context


def _connect(sock: ScopedSocket, address: object, scope: CancelScope, timeout: float | None) -> None:
    sock.setblocking(False)
    status = sock.connect_ex(address)  # type: ignore[arg-type]
    # A shutdown before connect_ex() found no connection to end, so this checks for it; a later one ends the wait.
    scope.check()
    if status in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        if not wait_for_write(sock, timeout):
            raise TimeoutError(errno.ETIMEDOUT, "no answer to the attempt to connect")
        # A socket that was shut down while connecting appears to be connected.
        scope.check()
        status = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if status:
        raise OSError(status, os.strerror(status))
    sock.setblocking(True)


def open_socket(
    host: str, port: int, scope: CancelScope, *, timeout: float | None, options: Iterable[SocketOption] = ()
) -> ScopedSocket:
    """Return a connected socket. Each address of ``host`` gets its share of ``timeout`` (and of the scope's deadline),
    so that an address that never answers leaves time for the next.

    Raises socket.gaierror, TimeoutError or another OSError.
    """
    scope.check()
    try:
        addresses = socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM)
    except UnicodeError as error:
        raise socket.gaierror(socket.EAI_NONAME, f"not a host name: {error}") from error
    until = None if timeout is None else scope.clock.now() + timeout
    failure = OSError(f"{host} has no address")
    for index, (family, kind, protocol, _, address) in enumerate(addresses):
        left = scope.remaining()
        if until is not None:
            left = min(until - scope.clock.now(), math.inf if left is None else left)
            if left <= 0:
                raise TimeoutError(errno.ETIMEDOUT, f"no connection within {timeout:g} s")
        sock = ScopedSocket(family, kind, protocol)
        try:
            sock.scope = scope
            scope.add(sock)
            for option in options:
                sock.setsockopt(*option)
            _connect(sock, address, scope, None if left is None else left / (len(addresses) - index))
        except OSError as error:
            sock.close()
            failure = error
        except BaseException:
            sock.close()
            raise
        else:
            return sock
        scope.check()
    raise failure
