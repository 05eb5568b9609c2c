"""The byte stream under a WebSocket: plain, or TLS over memory BIOs.

A wire looks enough like a socket for websocket-client. It starts blocking, under the guard of its socket,
which is what a handshake needs, and turns non-blocking once by ``settimeout(0)``. From then on it never
waits: what cannot be sent at once is kept (``unsent``) until ``flush()``.

``SSLSocket.recv`` hands out one record a call, and an exchange sends one record a frame: with an
``SSLObject`` all the cipher text that is there comes by one system call.
"""

from __future__ import annotations

import contextlib
import ssl

from .sockets import GuardedContext, GuardedSocket, GuardedTlsSocket

RECEIVE_SIZE = 256 * 1024
MAX_RECORD = 16 * 1024
MAX_UNSENT = 1024 * 1024
"""Bytes kept for a peer that does not read; more is a failed connection."""
MAX_HANDSHAKE = 256 * 1024
"""Bytes that an HTTP upgrade may answer."""

_WOULD_BLOCK = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Wire:
    """Plain bytes. Everything is for the owning thread alone."""

    def __init__(self, sock: GuardedSocket) -> None:
        self.raw = sock
        self.unsent = bytearray()
        self.buffered = False
        """Whether ``recv_into`` may have bytes of which the socket's readiness says nothing."""
        self.failure: OSError | None = None
        """Why nothing can be sent any more."""
        self._blocking = True
        self._handshake_bytes = 0

    def fileno(self) -> int:
        return self.raw.fileno()

    def gettimeout(self) -> float | None:
        return None if self._blocking else 0.0

    def settimeout(self, timeout: float | None) -> None:
        """Zero turns the wire non-blocking, for good. How long it blocks before is the guard's to say."""
        if timeout == 0 and self._blocking:
            self._blocking = False
            self.raw.settimeout(0.0)
            # What came in one packet with the end of the handshake.
            self.buffered = self._holds_bytes()

    def recv(self, size: int) -> bytes:
        """At most ``size`` bytes, b"" at the end. For the handshake."""
        data = self._read(size)
        self._handshake_bytes += len(data)
        if self._handshake_bytes > MAX_HANDSHAKE:
            raise OSError(f"more than {MAX_HANDSHAKE} bytes in answer to a handshake")
        return data

    def recv_into(self, buffer: memoryview) -> int:
        """What is there now: 0 at the end of the stream, BlockingIOError when there is nothing yet.

        ``buffer`` must hold RECEIVE_SIZE + MAX_RECORD bytes at least. Non-blocking wires only.
        """
        self.buffered = False
        try:
            return self.raw.recv_into_now(buffer)
        except _WOULD_BLOCK:
            raise self.failure or BlockingIOError from None

    def send(self, data: bytes) -> int:
        """Send all of ``data``, or when non-blocking what goes at once, keeping the rest.

        A non-blocking wire reports a failure to send by ``recv_into``, after what was still received.
        """
        if self._blocking:
            self.raw.sendall(data)
        elif self.failure is None:
            self.unsent += data
            self.flush()
        return len(data)

    def flush(self) -> None:
        """Send what was kept, as far as it goes at once."""
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
        """Close the socket; what was kept is lost."""
        self.unsent.clear()
        self.raw.close()

    def _read(self, size: int) -> bytes:
        return self.raw.recv(size)

    def _holds_bytes(self) -> bool:
        return isinstance(self.raw, GuardedTlsSocket) and self.raw.pending() > 0

    def _fail(self, error: OSError) -> None:
        self.unsent.clear()
        self.failure = error


class TlsWire(Wire):
    """TLS on any guarded socket; the certificate is verified for ``host``. ``handshake()`` comes first."""

    def __init__(self, sock: GuardedSocket, context: GuardedContext, host: str) -> None:
        super().__init__(sock)
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._cipher = memoryview(bytearray(RECEIVE_SIZE))

    def handshake(self) -> None:
        """Blocks under the guard. Raises ssl.SSLError and other OSErrors."""
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
            # Writes our goodbye, then finds that the peer's is not there: nobody waits for that.
            with contextlib.suppress(OSError):
                self._tls.unwrap()
            super().send(self._outgoing.read())
        super().close()

    def _decrypt(self, buffer: memoryview) -> int:
        """Decrypt all that came. The count of bytes, 0 at the end of the stream, -1 if there are none yet."""
        incoming, read = self._incoming, self._tls.read
        count, room = 0, len(buffer) - MAX_RECORD
        try:
            while count <= room:
                got = int(read(MAX_RECORD, buffer[count:]))
                if not got:
                    # The peer's goodbye; what came before it goes first.
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
            # The alert tells the server why; it may be gone already.
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
