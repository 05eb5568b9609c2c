"""A network between programs and a server that can be cut: bytes vanish, and neither side is notified."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType

from ..support import accepted


class Proxy:
    """Passes on what comes to a port of 127.0.0.1, both ways, from the constructor on."""

    def __init__(self, port: int) -> None:
        """``port`` is that of the server."""
        self._server_port = port
        self._lock = threading.Lock()  # guards _cut, _open and _lossy
        self._cut = False
        self._open: set[socket.socket] = set()
        self._lossy: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._run(self._accept)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def cut(self) -> None:
        """Swallow every byte from now on; connections stay open, and new ones are accepted."""
        with self._lock:
            self._cut = True

    def mend(self) -> None:
        """Pass bytes on again, and reset the connections that have lost some, as a peer that noticed would."""
        with self._lock:
            self._cut = False
            lossy, self._lossy = self._lossy, set()
        for each in lossy:
            _end(each)

    def _run(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        for client in accepted(self._listener):
            server = socket.create_connection(("127.0.0.1", self._server_port))
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open |= {client, server}
            self._run(self._pass_on, client, server)
            self._run(self._pass_on, server, client)

    def _pass_on(self, here: socket.socket, there: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while found := here.recv(1 << 16):
                with self._lock:
                    if swallowed := self._cut or here in self._lossy or there in self._lossy:
                        self._lossy |= {here, there}
                if not swallowed:
                    there.sendall(found)
        with self._lock:
            self._open -= {here, there}
            self._lossy -= {here, there}
        _end(here)
        _end(there)

    def close(self) -> None:
        _end(self._listener)
        with self._lock:
            left = list(self._open)
        for each in left:
            _end(each)
        for thread in self._threads:
            thread.join(5.0)

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _end(sock: socket.socket) -> None:
    """Close a socket and wake whoever waits on it."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
