"""The child process that serves, as seen from its parent."""

from __future__ import annotations

import json
import os
import secrets
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from .errors import SimulatorError
from .settings import Settings

_START_TIMEOUT = 60.0
_STOP_TIMEOUT = 5.0
_TAIL = 4000


def _readable(stream: IO[bytes], timeout: float) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        return bool(selector.select(timeout))


class ChildHost:
    """The server in a child process."""

    def __init__(self, settings: Settings) -> None:
        self.token = secrets.token_hex(16)
        self._owner = os.getpid()
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 -- lives as long as the child
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("__main__.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            # It connects nowhere, so aiohttp need not load the system's authorities, a fifth of its start-up time.
            env={**os.environ, "SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull},
            # Its own session: Ctrl-C in the terminal is meant for the parent, which then closes this process.
            start_new_session=True,
        )
        try:
            self.addresses = self._start(settings)
        except BaseException:
            self.stop(lambda: None)
            raise

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    def _start(self, settings: Settings) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        first = json.dumps({"settings": settings.to_json(), "token": self.token}).encode() + b"\n"
        try:
            self._process.stdin.write(first)
        except BrokenPipeError:
            pass
        line = b""
        deadline = time.monotonic() + _START_TIMEOUT
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if not _readable(self._process.stdout, max(0.0, left)):
                raise SimulatorError(f"the simulated exchange did not start in {_START_TIMEOUT:.0f} s")
            data = self._process.stdout.read(65536)
            if not data:
                self._process.wait(_STOP_TIMEOUT)
                raise SimulatorError(f"the simulated exchange did not start:\n{self._tail()}")
            line += data
        addresses: dict[str, Any] = json.loads(line)
        return addresses

    def _tail(self) -> str:
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL))
        return self._errors.read().decode("utf-8", "replace").strip()

    def failure(self, patience: float = 0.0) -> str | None:
        """Return the child's last output if it has ended, None if it still runs after ``patience`` seconds."""
        try:
            self._process.wait(patience)
        except subprocess.TimeoutExpired:
            return None
        return self._tail() or f"exit status {self._process.returncode}"

    def wait(self) -> None:
        """Wait until the child ends."""
        self._process.wait()

    def stop(self, ask: Callable[[], None]) -> None:
        """End the child and reap it; a fork of the process that started it does not touch it."""
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        if os.getpid() == self._owner:
            # Closing the pipe may not be enough: a fork of this process may have a copy of it.
            if process.poll() is None:
                ask()
            process.stdin.close()
            try:
                process.wait(_STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        else:
            process.stdin.close()
            process.returncode = 0
        process.stdout.close()
        self._errors.close()
