"""Other ways to keep the latest value of every stream, from the naive to the quickest.

Each is a :class:`~tests.benchmarks.machine.Client`. ``streams`` are names by route. A client whose package is not
installed raises ImportError.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import socket
import ssl
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

BATCH = 100
PAUSE = 0.15
PATIENCE = 30.0

Streams = Mapping[str, Sequence[str]]
Loads = Callable[[bytes], Any]


def messages(names: Sequence[str]) -> list[str]:
    """Return the SUBSCRIBE messages for these streams."""
    return [
        json.dumps({"method": "SUBSCRIBE", "params": names[first : first + BATCH], "id": first + 1})
        for first in range(0, len(names), BATCH)
    ]


def quickest_loads() -> Loads:
    """Return the decoder of orjson if it is installed, otherwise that of json."""
    try:
        loads: Loads = importlib.import_module("orjson").loads
    except ImportError:
        return json.loads
    return loads


class Rival(ABC):
    """A client with one thread per route; ``count`` is by route, so that no two threads add to the same number."""

    def __init__(self, base: str, streams: Streams, ca_file: str | None, rest: str) -> None:
        self.base = base
        self.rest = rest
        self.streams = streams
        self.ca_file = ca_file
        self.latest: dict[str, Any] = {}
        self.count = dict.fromkeys(streams, 0)
        self.replies = 0
        self._closing = False
        self._errors: list[BaseException] = []

    def start(self) -> None:
        for route in self.streams:
            threading.Thread(target=self._guarded, args=(route,), daemon=True).start()
        expected = sum(len(messages(list(names))) for names in self.streams.values())
        deadline = time.monotonic() + PATIENCE
        pause = threading.Event()
        while self.replies < expected:
            if self._errors:
                raise self._errors[0]
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.replies} of {expected} subscriptions were answered")
            pause.wait(0.05)

    def _guarded(self, route: str) -> None:
        try:
            self.run(route, f"{self.base}/{route}/stream", messages(list(self.streams[route])))
        except BaseException as error:  # noqa: BLE001 -- raised by start()
            if not self._closing:
                self._errors.append(error)

    @abstractmethod
    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        """Connect, subscribe, and keep what arrives until the end."""

    def take(self, route: str, message: Any) -> None:
        """Keep a decoded message."""
        name = message.get("stream")
        if name is None:
            self.replies += 1
            return
        self.latest[name] = message["data"]
        self.count[route] += 1

    def frames(self) -> int:
        return sum(self.count.values())

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        raise NotImplementedError(name)

    def close(self) -> None:
        self._closing = True


class Naive(Rival):
    """WebSocketApp with a callback that decodes with json."""

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        import websocket

        def subscribe_all(app: Any) -> None:
            for message in subscribe:
                app.send(message)
                time.sleep(PAUSE)

        app = websocket.WebSocketApp(
            url, on_open=subscribe_all, on_message=lambda _, message: self.take(route, json.loads(message))
        )
        app.run_forever(sslopt={"ca_certs": self.ca_file} if self.ca_file else None)


class RecvDataFrame(Rival):
    """websocket-client's recv_data_frame in a loop, decoded with orjson."""

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        import websocket

        loads = quickest_loads()
        connection = websocket.create_connection(url, sslopt={"ca_certs": self.ca_file} if self.ca_file else None)
        for message in subscribe:
            connection.send(message)
            time.sleep(PAUSE)
        while True:
            opcode, frame = connection.recv_data_frame(True)
            if opcode == websocket.ABNF.OPCODE_TEXT:
                self.take(route, loads(frame.data))


class WebsocketRs(Rival):
    """The synchronous client of websocket-rs in a loop, decoded with orjson: a protocol in Rust behind a blocking
    ``recv``."""

    def start(self) -> None:
        self._connect = importlib.import_module("websocket_rs.sync.client").connect
        if self.ca_file:
            # This process belongs to the benchmark, and the client takes no CA file as an argument.
            os.environ["SSL_CERT_FILE"] = self.ca_file
        super().start()

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        loads = quickest_loads()
        connection = self._connect(url, receive_timeout=2 * PATIENCE)
        for message in subscribe:
            connection.send(message)
            time.sleep(PAUSE)
        while True:
            self.take(route, loads(connection.recv()))


class Floor(Rival):
    """The minimum work in pure Python: receive much at once, split the frames, keep the bytes of each stream.

    It checks nothing and answers no control frame: it is a bound, not a client.
    """

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        parts = urlsplit(url)
        sock: socket.socket = socket.create_connection((parts.hostname or "", parts.port or 80))
        if self.ca_file:
            context = ssl.create_default_context(cafile=self.ca_file)
            sock = context.wrap_socket(sock, server_hostname=parts.hostname)
        sock.sendall(
            f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += sock.recv(4096)
        for message in subscribe:
            payload = message.encode()
            sock.sendall(b"\x81\xfe" + len(payload).to_bytes(2, "big") + b"\0\0\0\0" + payload)
            time.sleep(PAUSE)
        self._pump(route, sock, answer.partition(b"\r\n\r\n")[2])

    def _pump(self, route: str, sock: socket.socket, data: bytes) -> None:
        latest, count = self.latest, self.count
        buffer = bytearray(1 << 18)
        while size := sock.recv_into(buffer):
            data += buffer[:size]
            position, end = 0, len(data)
            while position + 10 <= end:
                length = data[position + 1]
                start = position + 2
                if length == 126:
                    length = data[position + 2] << 8 | data[position + 3]
                    start = position + 4
                elif length == 127:
                    length = int.from_bytes(data[position + 2 : position + 10], "big")
                    start = position + 10
                stop = start + length
                if stop > end:
                    break
                frame = data[start:stop]
                position = stop
                name = frame[11 : frame.find(b'"', 11)]
                if frame[:2] == b'{"' and frame[2:8] == b"stream":
                    latest[name] = frame  # type: ignore[index]
                    count[route] += 1
                else:
                    self.replies += 1
            data = data[position:]


class _Looped(Rival):
    """An asyncio client: all routes share one loop on one thread."""

    def start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self.prepare()
        super().start()

    def prepare(self) -> None:
        """Import what is needed, so that a missing package is reported at once."""

    def _guarded(self, route: str) -> None:
        if route != next(iter(self.streams)):
            return
        try:
            self._loop.run_until_complete(self._all())
        except BaseException as error:  # noqa: BLE001 -- raised by start()
            if not self._closing:
                self._errors.append(error)

    async def _all(self) -> None:
        await asyncio.gather(
            *(
                self.follow(route, f"{self.base}/{route}/stream", messages(list(names)))
                for route, names in self.streams.items()
            )
        )

    def run(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        raise NotImplementedError

    @abstractmethod
    async def follow(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        """Connect, subscribe, and keep what arrives until the end."""

    def context(self) -> ssl.SSLContext | None:
        return ssl.create_default_context(cafile=self.ca_file) if self.ca_file else None


class Picows(_Looped):
    """picows and orjson."""

    def prepare(self) -> None:
        self._picows = importlib.import_module("picows")
        importlib.import_module("orjson")

    async def follow(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        picows, rival = self._picows, self
        loads = quickest_loads()

        class Listener(picows.WSListener):  # type: ignore[misc, name-defined]
            def on_ws_frame(self, transport: Any, frame: Any) -> None:
                rival.take(route, loads(frame.get_payload_as_memoryview()))

        transport, _ = await picows.ws_connect(Listener, url, ssl_context=self.context())
        for message in subscribe:
            transport.send(picows.WSMsgType.TEXT, message.encode())
            await asyncio.sleep(PAUSE)
        await transport.wait_disconnected()


class Aiohttp(_Looped):
    """aiohttp's client and orjson."""

    def prepare(self) -> None:
        self._aiohttp = importlib.import_module("aiohttp")

    async def follow(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        loads = quickest_loads()
        options = {"ssl": self.context()} if self.ca_file else {}
        async with (
            self._aiohttp.ClientSession() as session,
            session.ws_connect(url, max_msg_size=0, **options) as connection,
        ):
            for message in subscribe:
                await connection.send_str(message)
                await asyncio.sleep(PAUSE)
            async for message in connection:
                self.take(route, loads(message.data))


class Websockets(_Looped):
    """websockets' asyncio client and orjson."""

    def prepare(self) -> None:
        self._connect = importlib.import_module("websockets.asyncio.client").connect

    async def follow(self, route: str, url: str, subscribe: Sequence[str]) -> None:
        loads = quickest_loads()
        async with self._connect(url, ssl=self.context(), max_size=None, compression=None, proxy=None) as connection:
            for message in subscribe:
                await connection.send(message)
                await asyncio.sleep(PAUSE)
            async for message in connection:
                self.take(route, loads(message))


RIVALS: dict[str, type[Rival]] = {
    "WebSocketApp + json.loads": Naive,
    "recv_data_frame + orjson": RecvDataFrame,
    "websocket-rs + orjson": WebsocketRs,
    "websockets + orjson": Websockets,
    "aiohttp + orjson": Aiohttp,
    "picows + orjson": Picows,
    "floor: receive, split, keep the bytes": Floor,
}
