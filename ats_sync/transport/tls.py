"""The byte stream under a WebSocket: plain, or TLS over memory BIOs.

A transport has the methods of a socket that websocket-client calls. It starts blocking, bounded by the scope of
its socket, as a handshake requires, and ``settimeout(0)`` makes it non-blocking for good. From then on it never
waits: bytes that cannot be sent at once are kept (``unsent``) until ``flush()``.

``SSLSocket.recv`` returns one record per call, and the exchange sends one record per frame. An ``SSLObject`` decrypts
all the ciphertext that one system call returned.
"""

from __future__ import annotations

import contextlib
import ssl

from .sockets import ScopedContext, ScopedSocket, ScopedTlsSocket

RECEIVE_SIZE = 256 * 1024
MAX_RECORD = 16 * 1024
MAX_UNSENT = 1024 * 1024
"""Maximum number of bytes kept for a peer that does not read; with more, the connection has failed."""
MAX_HANDSHAKE = 256 * 1024
"""Maximum number of bytes accepted as the answer to an HTTP upgrade."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class SocketTransport:
    """Plain bytes over a socket. Belongs to one thread."""

    def __init__(self, sock: ScopedSocket) -> None:
        self.raw = sock
        self.unsent = bytearray()
        self.buffered = False
        """Whether ``recv_into`` may return bytes although a selector reports nothing."""
        self.failure: OSError | None = None
        """Why nothing more can be sent."""
        self._blocking = True
        self._handshake_bytes = 0

    def fileno(self) -> int:
        return self.raw.fileno()

    def gettimeout(self) -> float | None:
        return None if self._blocking else 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Make the transport non-blocking permanently if ``timeout`` is zero; other values are ignored, since the scope
        bounds a blocking transport."""
        if timeout == 0 and self._blocking:
            self._blocking = False
            self.raw.settimeout(0.0)
            # Bytes that arrived in the same packet as the end of the handshake.
            self.buffered = self._holds_bytes()

    def recv(self, size: int) -> bytes:
        """Return at most ``size`` bytes, b"" at the end of the stream. For the handshake."""
        data = self._read(size)
        self._handshake_bytes += len(data)
        if self._handshake_bytes > MAX_HANDSHAKE:
            raise OSError(f"more than {MAX_HANDSHAKE} bytes in answer to a handshake")
        return data

    def recv_into(self, buffer: memoryview) -> int:
        """Return how many received bytes were put into ``buffer``, 0 at the end of the stream.

        ``buffer`` must have room for RECEIVE_SIZE + MAX_RECORD bytes. Only for non-blocking transports. Raises
        BlockingIOError if nothing has arrived.
        """
        self.buffered = False
        try:
            return self.raw.recv_into_now(buffer)
        except _WOULD_BLOCK:
            raise self.failure or BlockingIOError from None

    def send(self, data: bytes) -> int:
        """Send all of ``data``; a non-blocking transport sends what it can at once and keeps the rest.

        A non-blocking transport reports a failure to send through ``recv_into``, after the bytes that were received.
        """
        if self._blocking:
            self.raw.sendall(data)
        elif self.failure is None:
            self.unsent += data
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send as many of the kept bytes as can be sent at once."""
        try:
            while self.unsent:
                del self.unsent[: self.raw.send_now(self.unsent)]
        except _WOULD_BLOCK:
            if len(self.unsent) > MAX_UNSENT:
                self._fail(ConnectionError(f"the peer left {len(self.unsent)} bytes unread"))
        except OSError as error:
            self._fail(error)

    def shutdown(self, how: int) -> None:
        self.raw.shutdown(how)

    def close(self) -> None:
        """Close the socket; kept bytes are lost."""
        self.unsent.clear()
        self.raw.close()

    def _read(self, size: int) -> bytes:
        return self.raw.recv(size)

    def _holds_bytes(self) -> bool:
        return isinstance(self.raw, ScopedTlsSocket) and self.raw.pending() > 0

    def _fail(self, error: OSError) -> None:
        self.unsent.clear()
        self.failure = error


class TlsTransport(SocketTransport):
    """TLS over any scoped socket; the certificate is verified for ``host``. Call ``handshake()`` first."""

    def __init__(self, sock: ScopedSocket, context: ScopedContext, host: str) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._cipher = memoryview(bytearray(RECEIVE_SIZE))

    def handshake(self) -> None:
        """Shake hands, bounded by the scope. Raises ssl.SSLError and other OSErrors."""
        while not self._handshake_step():
            self._pull()

    def recv_into(self, buffer: memoryview) -> int:
        if self.buffered:
            self.buffered = False
            count = self._decrypt(buffer)
            if count >= 0:
                return count
        try:
            received = self.raw.recv_into_now(self._cipher)
        except _WOULD_BLOCK:
            raise self.failure or BlockingIOError from None
        if received:
            self._incoming.write(self._cipher[:received])
        else:
            self._incoming.write_eof()
        count = self._decrypt(buffer)
        if count < 0:
            raise BlockingIOError
        return count

    def send(self, data: bytes) -> int:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            if self._blocking:
                raise
            self._fail(error)
            return len(data)
        super().send(self._outgoing.read())
        return len(data)

    def close(self) -> None:
        if not self._blocking and self.failure is None:
            # Writes our close_notify, then fails because the peer's has not arrived; nobody waits for it.
            with contextlib.suppress(OSError):
                self._tls.unwrap()
            super().send(self._outgoing.read())
        super().close()

    def _decrypt(self, buffer: memoryview) -> int:
        """Decrypt what was received; return the number of bytes, 0 at the end of the stream, -1 if there are none."""
        incoming, read = self._incoming, self._tls.read
        count, room = 0, len(buffer) - MAX_RECORD
        try:
            while count <= room:
                got = int(read(MAX_RECORD, buffer[count:]))
                if not got:
                    # The peer's close_notify; the bytes before it are delivered first.
                    self.buffered = count > 0
                    break
                count += got
                if not incoming.pending:
                    break
            else:
                self.buffered = True
        except ssl.SSLWantReadError:
            count = count or -1
        except ssl.SSLError as error:
            if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
                self.buffered = count > 0
            elif count:
                self.buffered = True
                self._fail(error)
            else:
                raise
        if self._outgoing.pending:
            super().send(self._outgoing.read())
        return count

    def _read(self, size: int) -> bytes:
        while (data := self._read_step(size)) is None:
            self._pull()
        return data

    def _holds_bytes(self) -> bool:
        return self._incoming.pending > 0 or self._tls.pending() > 0 or super()._holds_bytes()

    def _handshake_step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            return False
        except ssl.SSLError:
            # The alert tells the server the reason; it may already have closed.
            with contextlib.suppress(OSError):
                self._push()
            raise
        self._push()
        return True

    def _read_step(self, size: int) -> bytes | None:
        try:
            return self._tls.read(size)
        except ssl.SSLWantReadError:
            self._push()
            return None
        except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
            return b""

    def _pull(self) -> None:
        received = self.raw.recv_into(self._cipher)
        if received:
            self._incoming.write(self._cipher[:received])
        else:
            self._incoming.write_eof()

    def _push(self) -> None:
        if self._outgoing.pending:
            self.raw.sendall(self._outgoing.read())
