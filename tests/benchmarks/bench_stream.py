"""CPU per frame from socket to payloads: the usual methods of websocket-client against WebSocketStream.

    python tests/benchmarks/bench_stream.py [--frames N] [--size BYTES] [--repeat N]

A child process sends prepared frames over loopback as fast as they are received. The figure is the CPU time of this
process (user and system) per frame: the median of ``--repeat`` runs of each method.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import socket
import ssl
import statistics
import struct
import sys
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from hashlib import sha1
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import trustme
import websocket

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.transport.sockets import CancelScope
from ats_sync.transport.stream import StreamClosed, WebSocketStream

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_DISTINCT = 500


def frames(size: int) -> list[bytes]:
    """Return text frames with kline-like JSON of about ``size`` bytes."""
    made = []
    for number in range(_DISTINCT):
        event = {"e": "kline", "E": 1_700_000_000_000 + number, "s": "BTCUSDT", "k": {"i": "1h", "n": number}}
        text = json.dumps({"stream": "btcusdt@kline_1h", "data": event, "filler": ""}, separators=(",", ":"))
        payload = text.replace('"filler":""', '"filler":"' + "1" * max(0, size - len(text)) + '"').encode()
        length = len(payload)
        head = struct.pack(">BB", 0x81, length) if length < 126 else struct.pack(">BBH", 0x81, 126, length)
        made.append(head + payload)
    return made


def flood(control: Connection, size: int, identity: bytes | None) -> None:
    """Run the child: for each connection, answer the handshake and send as many frames as its path says. Over TLS, each
    frame is a record of its own, as an exchange sends them."""
    made = frames(size)
    context = None
    if identity is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:
            file.write(identity)
            file.flush()
            context.load_cert_chain(file.name)
    with socket.create_server(("127.0.0.1", 0)) as server:
        control.send(server.getsockname()[1])
        while True:
            client, _ = server.accept()
            with contextlib.suppress(OSError), client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                sock = client if context is None else context.wrap_socket(client, server_side=True)
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    request += sock.recv(4096)
                key = request.lower().split(b"sec-websocket-key:")[1].split(b"\r\n")[0]
                start = request.lower().index(b"sec-websocket-key:") + len(b"sec-websocket-key:")
                key = request[start : start + len(key)].strip()
                accept = b64encode(sha1(key + _MAGIC).digest())
                sock.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
                )
                left = int(request.split(b" ")[1].rsplit(b"/", 1)[1])
                block = b"".join(made)
                while left > 0:
                    some = made[: min(left, _DISTINCT)]
                    if context is None:
                        sock.sendall(block if len(some) == _DISTINCT else b"".join(some))
                    else:
                        for frame in some:
                            sock.sendall(frame)
                    left -= len(some)
                sock.sendall(b"\x88\x02\x03\xe8")
                sock.recv(4096)


@contextlib.contextmanager
def flooder(size: int, identity: bytes | None) -> Iterator[int]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    child = context.Process(target=flood, args=(theirs, size, identity), daemon=True)
    child.start()
    try:
        yield ours.recv()
    finally:
        child.kill()
        child.join()


def by_app(url: str) -> int:
    """Receive with WebSocketApp and a callback that decodes."""
    count = 0

    def take(_: object, message: str) -> None:
        nonlocal count
        json.loads(message)
        count += 1

    websocket.WebSocketApp(url, on_message=take).run_forever()
    return count


def by_frames(url: str, **options: Any) -> int:
    """Receive with recv_data_frame in a loop."""
    count = 0
    connection = websocket.create_connection(url, **options)
    try:
        while connection.recv_data_frame(True)[0] == websocket.ABNF.OPCODE_TEXT:
            count += 1
    finally:
        connection.shutdown()  # type: ignore[no-untyped-call]
    return count


def by_stream(url: str, config: Config) -> int:
    """Receive with WebSocketStream."""
    clock = Clock()
    stream = WebSocketStream.connect(url, config, clock, CancelScope(clock), timeout=10)
    count = 0
    try:
        while True:
            stream.wait(10)
            count += len(stream.receive())
    except StreamClosed:
        return count
    finally:
        stream.close()


def measure(way: Callable[[], int], expected: int, repeat: int) -> float:
    """Return the median µs of CPU per frame."""
    costs = []
    for _ in range(repeat):
        before = time.process_time()
        count = way()
        costs.append((time.process_time() - before) / expected * 1e6)
        if count != expected:
            raise SystemExit(f"{count} of {expected} frames arrived")
    return statistics.median(costs)


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    many, few = options.frames, max(1, options.frames // 10)
    authority = trustme.CA()
    identity = authority.issue_cert("localhost").private_key_and_cert_chain_pem.bytes()
    with tempfile.TemporaryDirectory() as directory:
        ca_file = str(Path(directory) / "ca.pem")
        authority.cert_pem.write_to_path(ca_file)
        config = Config(ca_file=ca_file, proxies={})
        with flooder(options.size, None) as plain, flooder(options.size, identity) as secure:
            ws, wss = f"ws://127.0.0.1:{plain}", f"wss://localhost:{secure}"
            ways: dict[str, tuple[Callable[[], int], int]] = {
                "WebSocketApp + json.loads": (lambda: by_app(f"{ws}/{few}"), few),
                "recv_data_frame": (lambda: by_frames(f"{ws}/{few}"), few),
                "recv_data_frame, TLS": (lambda: by_frames(f"{wss}/{few}", sslopt={"ca_certs": ca_file}), few),
                "WebSocketStream": (lambda: by_stream(f"{ws}/{many}", config), many),
                "WebSocketStream, TLS": (lambda: by_stream(f"{wss}/{many}", config), many),
            }
            costs = {name: measure(way, count, options.repeat) for name, (way, count) in ways.items()}
    naive = costs["WebSocketApp + json.loads"]
    print(f"{'way':28} {'µs CPU/frame':>12} {'ratio':>8}")
    for name, cost in costs.items():
        print(f"{name:28} {cost:12.2f} {naive / cost:7.1f}×")


if __name__ == "__main__":
    main(sys.argv[1:])
