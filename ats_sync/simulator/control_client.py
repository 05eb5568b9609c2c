"""Asks a running server over its control channel."""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from typing import Any

from .errors import SimulatorError

_KNOWN_ERRORS: dict[str, type[Exception]] = {"ValueError": ValueError, "TypeError": TypeError}


class ControlClient:
    """Asks from any thread; each call has a connection to itself, idle ones are kept."""

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        self._token = token
        self._idle: deque[socket.socket] = deque()
        self._closed = False
        self._owner = os.getpid()

    def call(self, name: str, arguments: dict[str, Any], timeout: float = 60.0) -> Any:
        """The result of one command; ValueError, TypeError or :class:`SimulatorError`."""
        if self._closed:
            raise SimulatorError("the simulated exchange is closed")
        try:
            answer = self._exchange(json.dumps({"call": name, "args": arguments}).encode() + b"\n", timeout)
        except OSError as error:
            raise SimulatorError(f"the simulated exchange does not answer ({name}): {error}") from error
        if "error" in answer:
            kind, text = answer["error"]
            known = _KNOWN_ERRORS.get(kind)
            raise known(text) if known is not None else SimulatorError(f"{name}: {kind}: {text}")
        return answer["result"]

    def _exchange(self, question: bytes, timeout: float) -> dict[str, Any]:
        if os.getpid() != self._owner:
            # A fork: the connections kept are the parent's, whose answers this process must not take.
            self._owner = os.getpid()
            while self._idle:
                self._idle.pop().close()
        try:
            sock = self._idle.pop()
        except IndexError:
            sock = socket.create_connection(("127.0.0.1", self._port), timeout=5.0)
            question = self._token.encode() + b"\n" + question
        kept = False
        try:
            sock.settimeout(timeout)
            sock.sendall(question)
            parts: list[bytes] = []
            while not parts or not parts[-1].endswith(b"\n"):
                data = sock.recv(1 << 20)
                if not data:
                    raise ConnectionError("connection closed")
                parts.append(data)
            kept = True
        finally:
            if kept and not self._closed:
                self._idle.append(sock)
            else:
                sock.close()
        answer: dict[str, Any] = json.loads(b"".join(parts))
        return answer

    def close(self) -> None:
        """Hang up; later calls raise."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()
