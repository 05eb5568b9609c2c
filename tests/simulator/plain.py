"""Plain clients and waits, for tests of the simulated exchange."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
import websocket

from ats_sync.simulator import SimulatedExchange

T = TypeVar("T")
_never = threading.Event()


def until(condition: Callable[[], T], timeout: float = 60.0) -> T:
    """Return the first true value of ``condition``; fail the test when none comes in time."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the awaited condition did not come true"
        _never.wait(0.01)


class Rest:
    """REST by requests, without the environment's proxies and certificates."""

    def __init__(self, ex: SimulatedExchange) -> None:
        self._ex = ex
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.verify = ex.ca_file or True

    def get(self, path: str, timeout: float = 10.0, **params: Any) -> requests.Response:
        base = self._ex.spot_url if path.startswith("/api/") else self._ex.fapi_url
        return self.session.get(base + path, params=params, timeout=timeout)

    def code(self, path: str, **params: Any) -> tuple[int, int]:
        """Return the HTTP status and the error body's code."""
        response = self.get(path, **params)
        return response.status_code, response.json()["code"]


@contextlib.contextmanager
def rest(ex: SimulatedExchange) -> Iterator[Rest]:
    client = Rest(ex)
    with client.session:
        yield client


class Stream:
    """One WebSocket by websocket-client."""

    def __init__(
        self, ex: SimulatedExchange, path: str, *, spot: bool = False, timeout: float = 10.0, check_text: bool = False
    ) -> None:
        base = ex.spot_stream_url if spot else ex.fstream_url
        address = urlsplit(base)
        # A socket of our own, since the library does not close its own after every kind of failure.
        sock = socket.create_connection((address.hostname or "", address.port or 0), timeout)
        try:
            if ex.ca_file:
                sock = ssl.create_default_context(cafile=ex.ca_file).wrap_socket(sock, server_hostname="127.0.0.1")
            self.socket = websocket.create_connection(
                base + path, timeout=timeout, socket=sock, skip_utf8_validation=not check_text
            )
        except BaseException:
            sock.close()
            raise
        self._ids = 0

    def receive(self, timeout: float = 10.0) -> Any:
        """Return the next message, decoded; websocket-client's exceptions pass through."""
        self.socket.settimeout(timeout)
        return json.loads(self.socket.recv())

    def ask(self, method: str, params: list[str] | None = None, timeout: float = 10.0) -> Any:
        """Send one request and return its answer; data that comes before it is discarded."""
        self._ids += 1
        question: dict[str, Any] = {"method": method, "id": self._ids}
        if params is not None:
            question["params"] = params
        self.socket.send(json.dumps(question))
        return self.wait_for(lambda message: message.get("id") == self._ids, timeout)

    def subscribe(self, *names: str) -> None:
        assert self.ask("SUBSCRIBE", list(names)) == {"result": None, "id": self._ids}

    def wait_for(self, wanted: Callable[[Any], bool], timeout: float = 10.0) -> Any:
        """Return the first message that is ``wanted``."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            assert left > 0, "the awaited message did not come"
            message = self.receive(left)
            if wanted(message):
                return message

    def data(self, stream: str, timeout: float = 10.0) -> Any:
        """Return the data of the next message of ``stream``."""
        return self.wait_for(lambda message: message.get("stream") == stream, timeout)["data"]

    def collect(self, done: Callable[[list[Any]], bool], timeout: float = 10.0) -> list[Any]:
        """Return the messages until ``done`` is true of those so far."""
        found: list[Any] = []
        deadline = time.monotonic() + timeout
        while not done(found):
            left = deadline - time.monotonic()
            assert left > 0, f"not done after {len(found)} messages"
            found.append(self.receive(left))
        return found

    def is_closed(self, timeout: float = 10.0) -> str:
        """Read until the connection ends; return how it ended: "close <code>", "eof" or "reset"."""
        deadline = time.monotonic() + timeout
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                opcode, payload = self.socket.recv_data(control_frame=True)
            except websocket.WebSocketConnectionClosedException:
                return "eof"
            except (ConnectionResetError, BrokenPipeError):
                return "reset"
            if opcode == websocket.ABNF.OPCODE_CLOSE:
                return f"close {int.from_bytes(payload[:2], 'big')}"

    def is_silent(self, seconds: float) -> bool:
        """Return whether nothing at all arrives for ``seconds`` while the connection stays open."""
        self.socket.settimeout(seconds)
        try:
            self.socket.recv_data(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return True
        return False

    def abandon(self) -> None:
        """Close without a closing handshake."""
        self.socket.shutdown()  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def stream(
    ex: SimulatedExchange, path: str = "/market/stream", *names: str, spot: bool = False, timeout: float = 10.0
) -> Iterator[Stream]:
    client = Stream(ex, path, spot=spot, timeout=timeout)
    try:
        if names:
            client.subscribe(*names)
        yield client
    finally:
        client.abandon()
