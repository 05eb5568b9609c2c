"""The program's side of the controls over HTTP.

Tests call controls thousands of times, often in a loop that waits for a condition. This client speaks only the HTTP
that the control server answers (one request, one answer with its length), at a fraction of the cost of a general one.
"""

from __future__ import annotations

import json
import os
import socket
from collections import deque
from typing import Any
from urllib.parse import urlsplit

from .errors import ApiError, SimulatorError

_CONNECT_TIMEOUT = 5.0
_CHUNK = 1 << 20


class ControlClient:
    """Carries out controls from any thread; each call has a connection to itself, and idle ones are kept."""

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "", parts.port or 80)
        self._path = parts.path
        self._headers = f"Host: {parts.netloc}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\n"
        self._idle: deque[socket.socket] = deque()
        self._closed = False
        self._owner = os.getpid()

    def call(self, name: str, arguments: dict[str, Any], timeout: float = 60.0) -> Any:
        """Return the result of one control, as decoded from JSON.

        ValueError and TypeError for bad arguments, :class:`ApiError` for the exchange's own errors,
        :class:`SimulatorError` for everything else.
        """
        if self._closed:
            raise SimulatorError("the simulated exchange is closed")
        body = json.dumps(arguments)  # ASCII
        request = f"POST {self._path}/{name} HTTP/1.1\r\n{self._headers}Content-Length: {len(body)}\r\n\r\n{body}"
        try:
            answer = json.loads(self._exchange(request.encode(), timeout))
        except OSError as error:
            raise SimulatorError(f"the simulated exchange does not answer ({name}): {error}") from error
        if "error" in answer:
            raise _error_of(name, answer["error"])
        return answer["result"]

    def _exchange(self, request: bytes, timeout: float) -> bytes:
        if os.getpid() != self._owner:
            # A fork: the idle connections are the parent's, whose answers this process must not take.
            self._owner = os.getpid()
            while self._idle:
                self._idle.pop().close()
        try:
            sock = self._idle.pop()
        except IndexError:
            sock = socket.create_connection(self._address, timeout=_CONNECT_TIMEOUT)
        reusable = False
        try:
            sock.settimeout(timeout)
            sock.sendall(request)
            body = _body(sock)
            reusable = True
            return body
        finally:
            if reusable and not self._closed:
                self._idle.append(sock)
            else:
                sock.close()

    def close(self) -> None:
        """Close all connections; later calls raise."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()


def _body(sock: socket.socket) -> bytes:
    """Read one answer; return its body."""
    received = _more(sock)
    while (end := received.find(b"\r\n\r\n")) < 0:
        received += _more(sock)
    _, found, rest = received[:end].lower().partition(b"\r\ncontent-length:")
    if not found:
        raise ConnectionError("an answer without a length")
    left = int(rest.split(b"\r\n", 1)[0]) - (len(received) - end - 4)
    parts = [received[end + 4 :]]
    while left > 0:
        parts.append(_more(sock))
        left -= len(parts[-1])
    return b"".join(parts)


def _more(sock: socket.socket) -> bytes:
    data = sock.recv(_CHUNK)
    if not data:
        raise ConnectionError("connection closed")
    return data


def _error_of(name: str, given: dict[str, Any]) -> Exception:
    match given["type"]:
        case "ValueError":
            return ValueError(given["message"])
        case "TypeError":
            return TypeError(given["message"])
        case "ApiError":
            return ApiError(given["code"], given["msg"], given["status"])
        case kind:
            return SimulatorError(f"{name}: {kind}: {given['message']}")
