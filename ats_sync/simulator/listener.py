"""One loopback port: accepts, or refuses as it is told."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from .gate import Gate, reset_socket

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
    """Accepts connections on 127.0.0.1 and puts a gate on each."""

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
        # Bound but never listening: keeps the port ours while the listening socket is closed.
        self._holder = _bound(port)
        self.port: int = self._holder.getsockname()[1]
        self._sock: socket.socket | None = None
        self._connecting: set[asyncio.Task[None]] = set()
        self.gates: set[Gate] = set()
        self.lingering: set[Gate] = set()
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
        """Stop listening: new connections are refused by the system; open ones stay."""
        sock, self._sock = self._sock, None
        if sock is not None:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()

    async def close(self) -> None:
        """Stop listening, reset every connection, give the port back."""
        self.refuse()
        self._holder.close()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for gate in [*self.gates, *self.lingering]:
            gate.abort()

    def set_frozen(self, on: bool) -> None:
        """Hold or continue every connection, also those accepted from now on."""
        self.frozen = on
        for gate in list(self.gates):
            (gate.freeze if on else gate.thaw)()

    def set_rate(self, rate: float | None) -> None:
        """Bytes a second each connection sends at most; None: no bound."""
        self.rate = rate
        for gate in list(self.gates):
            gate.rate = rate
            gate.release(0.0)

    def release(self, elapsed: float) -> None:
        """Let trickling connections send what ``elapsed`` seconds allow."""
        if self.rate is not None:
            for gate in list(self.gates):
                gate.release(elapsed)

    def sweep_half_open(self) -> None:
        """End the half-open connections."""
        for gate in [*self.gates, *self.lingering]:
            if gate.half_open:
                gate.abort()

    def _gone(self, gate: Gate) -> None:
        self.gates.discard(gate)
        if gate.half_open and gate.info("socket") is not None:
            self.lingering.add(gate)
        else:
            self.lingering.discard(gate)

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
        gate = Gate(self._inner, self._context, self._gone)
        gate.frozen, gate.rate = self.frozen, self.rate
        self.gates.add(gate)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: gate, sock)
        except OSError:
            # The peer was gone before we looked at it.
            sock.close()
            self.gates.discard(gate)
