"""One loopback port that accepts or refuses connections."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from .faulty_transport import FaultyTransport, reset_socket

_BACKLOG = 512


def _bound(port: int) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class Listener:
    """Accepts connections on 127.0.0.1 and gives each one a faulty transport."""

    def __init__(
        self,
        name: str,
        port: int,
        inner: Callable[[], asyncio.BaseProtocol],
        context: ssl.SSLContext | None,
        admit: Callable[[], bool],
    ) -> None:
        self.name = name
        self._inner = inner
        self._context = context
        self._admit = admit
        # Bound but never listening: this socket reserves the port while the listening one is closed.
        self._holder = _bound(port)
        self.port: int = self._holder.getsockname()[1]
        self._sock: socket.socket | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.transports: set[FaultyTransport] = set()
        self.lingering: set[FaultyTransport] = set()
        """Half-open connections whose client has gone."""
        self.attempts = 0
        self.resetting = False
        self.frozen = False
        self.rate: float | None = None

    @property
    def listening(self) -> bool:
        """Whether the port is open."""
        return self._sock is not None

    def open(self) -> None:
        """Listen (again)."""
        if self._sock is not None:
            return
        self._sock = _bound(self.port)
        self._sock.listen(_BACKLOG)
        asyncio.get_running_loop().add_reader(self._sock, self._accept)

    def refuse(self) -> None:
        """Stop listening: the system refuses new connections, and open ones stay."""
        sock, self._sock = self._sock, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    def accept_again(self) -> None:
        """Stop refusing or resetting new connections."""
        self.resetting = False
        self.open()

    async def close(self) -> None:
        """Stop listening, reset every connection and release the port."""
        self.refuse()
        self._holder.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for transport in [*self.transports, *self.lingering]:
            transport.abort()

    def set_frozen(self, on: bool) -> None:
        """Freeze or thaw every connection, including those accepted later."""
        self.frozen = on
        for transport in list(self.transports):
            (transport.freeze if on else transport.thaw)()

    def set_rate(self, rate: float | None) -> None:
        """Limit each connection to ``rate`` bytes per second (None: no limit)."""
        self.rate = rate
        for transport in list(self.transports):
            transport.rate = rate
            transport.release(0.0)

    def release(self, elapsed: float) -> None:
        """Let trickling connections send as much as ``elapsed`` seconds allow."""
        if self.rate is not None:
            for transport in list(self.transports):
                transport.release(elapsed)

    def sweep_half_open(self) -> None:
        """End the half-open connections."""
        for transport in [*self.transports, *self.lingering]:
            if transport.half_open:
                transport.abort()

    def _gone(self, transport: FaultyTransport) -> None:
        self.transports.discard(transport)
        if transport.half_open and transport.get_extra_info("socket") is not None:
            self.lingering.add(transport)
        else:
            self.lingering.discard(transport)

    def _accept(self) -> None:
        if self._sock is None:
            return
        for _ in range(_BACKLOG):
            try:
                sock, _ = self._sock.accept()
            except (BlockingIOError, ConnectionAbortedError):
                return
            self.attempts += 1
            if self.resetting or not self._admit():
                reset_socket(sock)
                sock.close()
                continue
            task = asyncio.get_running_loop().create_task(self._connect(sock))
            self._connecting.add(task)
            task.add_done_callback(self._connecting.discard)

    async def _connect(self, sock: socket.socket) -> None:
        transport = FaultyTransport(self._inner, self._context, self._gone)
        transport.frozen, transport.rate = self.frozen, self.rate
        self.transports.add(transport)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: transport, sock)
        except OSError:
            # The client left before the server accepted it.
            sock.close()
            self.transports.discard(transport)
