"""The byte level of one accepted connection, where cuts, freezes and trickles actually happen.

A faulty transport stands between the socket and the HTTP server's protocol, below TLS, so that a frozen or trickling
connection stops in the middle of a record, as a real network does.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, cast

from .tls import TlsSession

_LINGER_ZERO = struct.pack("ii", 1, 0)


def reset_socket(sock: socket.socket) -> None:
    """Make closing ``sock`` send a TCP reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)


class FaultyTransport(asyncio.Transport, asyncio.Protocol):
    """One accepted connection: the protocol of the socket, and the transport that the HTTP server writes to.

    ``on_gone`` is called once, when the peer or the server has ended the connection.
    """

    def __init__(
        self,
        inner: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
        on_gone: Callable[[FaultyTransport], None],
    ) -> None:
        super().__init__()
        self._inner_factory = inner
        self._inner: asyncio.Protocol | None = None
        self._context = context
        self._tls = TlsSession(context) if context is not None else None
        self._on_gone = on_gone
        self._raw: asyncio.Transport | None = None
        self._backlog: deque[bytes] = deque()
        """Bytes that a freeze or a trickle keeps back."""
        self._backlog_size = 0
        self._closing = False
        self._credit = 0.0
        self.frozen = False
        self.half_open = False
        self.peer_gone = False
        self.rate: float | None = None
        """Bytes per second, or None for no limit."""
        self.lag = 0.0
        """Everything that is sent arrives this many seconds later, in order."""
        self._lagging: deque[bytes] = deque()
        self._lagging_until = 0.0

    # -- the protocol of the socket

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        if self.frozen:
            self._raw.pause_reading()
        if self._tls is None:
            self._open_inner()

    def _open_inner(self) -> None:
        self._inner = cast(asyncio.Protocol, self._inner_factory())
        self._inner.connection_made(self)

    def data_received(self, data: bytes) -> None:
        if self.half_open:
            return
        if self._tls is None:
            assert self._inner is not None
            self._inner.data_received(data)
            return
        try:
            plain, answer, closed = self._tls.receive(data)
        except ssl.SSLError:
            self.abort()
            return
        if answer:
            self._emit(answer)
        if self._tls.established and self._inner is None:
            self._open_inner()
        if plain and self._inner is not None:
            self._inner.data_received(plain)
        if closed:
            self.close()

    def eof_received(self) -> bool:
        self.peer_gone = True
        if self.half_open:
            # A dead network does not answer a FIN either; the socket stays until it is swept.
            self._on_gone(self)
            return True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._raw = None
        self._lagging.clear()
        self._backlog.clear()
        self._backlog_size = 0
        if self._inner is not None:
            inner, self._inner = self._inner, None
            inner.connection_lost(exc)
        self._on_gone(self)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    # -- the transport of the HTTP server

    @property
    def alive(self) -> bool:
        """Whether the connection is neither closed nor closing."""
        return self._raw is not None and not self._closing

    @property
    def separate(self) -> bool:
        """Whether each frame must be sent in its own TLS records."""
        return self._tls is not None

    def get_write_buffer_size(self) -> int:
        """Return the number of bytes that the kernel has not accepted yet."""
        return self._backlog_size + (self._raw.get_write_buffer_size() if self._raw is not None else 0)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        if name == "sslcontext":
            return self._context
        return self._raw.get_extra_info(name, default) if self._raw is not None else default

    def send(self, parts: list[bytes]) -> None:
        """Write ``parts`` at once; under TLS each part has its own records."""
        if self._raw is None or self._closing:
            return
        if self._tls is None:
            self._emit(b"".join(parts))
        else:
            self._emit(self._tls.send(parts))

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.send([bytes(data)])

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        self.send([b"".join(list_of_data)])

    def can_write_eof(self) -> bool:
        return False

    def is_closing(self) -> bool:
        return not self.alive

    def close(self) -> None:
        """Close the connection once everything kept back has been sent."""
        if self._closing or self._raw is None:
            return
        if self._tls is not None:
            self._emit(self._tls.close())
        self._closing = True
        if not self._backlog and not self._lagging and not self.half_open:
            self._raw.close()

    def abort(self) -> None:
        """Cut the connection with a TCP reset."""
        self._closing = True
        if self._raw is None:
            return
        sock = self._raw.get_extra_info("socket")
        if sock is not None:
            reset_socket(sock)
        self._raw.abort()

    def is_reading(self) -> bool:
        return self._raw is not None and self._raw.is_reading()

    def pause_reading(self) -> None:
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._raw is not None and not self._raw.is_closing() and not self.frozen:
            self._raw.resume_reading()

    # -- bytes in transit

    def _emit(self, data: bytes) -> None:
        if self._raw is None or self.half_open:
            return
        if not self.lag and not self._lagging:
            self._write_now(data)
            return
        loop = asyncio.get_running_loop()
        # Bytes sent after the end of a lag must not overtake bytes in transit.
        self._lagging_until = max(self._lagging_until, loop.time() + self.lag)
        self._lagging.append(data)
        loop.call_at(self._lagging_until, self._arrive)

    def _arrive(self) -> None:
        if self._lagging:
            self._write_now(self._lagging.popleft())
        if self._closing and not self._lagging and not self._backlog and self._raw is not None:
            self._raw.close()

    def _write_now(self, data: bytes) -> None:
        if self._raw is None or self.half_open:
            return
        if self.frozen or self.rate is not None or self._backlog:
            self._backlog.append(data)
            self._backlog_size += len(data)
        else:
            self._raw.write(data)

    # -- faults

    def go_half_open(self) -> None:
        """Read and send nothing from now on, while the TCP connection stays open."""
        self.half_open = True
        self._lagging.clear()
        self._backlog.clear()
        self._backlog_size = 0

    def freeze(self) -> None:
        """Stop the bytes in both directions."""
        self.frozen = True
        self.pause_reading()

    def thaw(self) -> None:
        """Send the backlog and read again."""
        self.frozen = False
        self.resume_reading()
        self.release(0.0)

    def release(self, elapsed: float) -> None:
        """Send as much of the backlog as the rate allows after ``elapsed`` seconds, or all of it without a rate."""
        if self._raw is None or self.frozen or self.half_open:
            return
        if self.rate is None:
            while self._backlog:
                self._raw.write(self._backlog.popleft())
            self._backlog_size = 0
        else:
            # An idle connection saves up credit for at most one second.
            self._credit = min(self._credit + elapsed * self.rate, max(1.0, self.rate))
            while self._backlog and self._credit >= 1.0:
                data = self._backlog.popleft()
                now, later = data[: int(self._credit)], data[int(self._credit) :]
                self._raw.write(now)
                self._credit -= len(now)
                self._backlog_size -= len(now)
                if later:
                    self._backlog.appendleft(later)
        if self._closing and not self._backlog and not self._lagging:
            self._raw.close()
