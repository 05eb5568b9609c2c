"""Throughput, latency and CPU time of the endpoint, and a scan of all symbols through it."""

from __future__ import annotations

import selectors
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

from .ingest import GENEROUS, UNLIMITED, exchange, settings
from .machine import PRODUCER, Child, child
from .ours import INTERVALS
from .page import Shown
from .reading import percentile, under_flood
from .report import OURS, Report

CONNECTIONS = 4
SCAN_CONNECTIONS = 8
_PATIENCE = 30.0


class _Connection:
    """A kept-alive connection: sends a request, reads the response, and notes how long that took."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=_PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._length = -1
        self._begun = 0.0

    def send(self, request: bytes) -> None:
        self._begun = time.perf_counter()
        self.socket.sendall(request)

    def took(self) -> float | None:
        """Read what has arrived; return how long the response took (ms) once it is complete."""
        piece = self.socket.recv(262144)
        if not piece:
            raise RuntimeError("the endpoint closed a connection")
        received = self._received
        received += piece
        if self._length < 0 and (end := received.find(b"\r\n\r\n")) >= 0:
            head = bytes(received[:end]).lower()
            if not head.startswith(b"http/1.1 200"):
                raise RuntimeError(f"the endpoint answered {head[:200]!r}")
            at = head.index(b"content-length:") + 15
            self._length = end + 4 + int(head[at:].split(b"\r", 1)[0])
        if self._length < 0 or len(received) < self._length:
            return None
        received.clear()
        self._length = -1
        return (time.perf_counter() - self._begun) * 1e3


class Load:
    """Sends requests to an endpoint, in a process of its own."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = parts.hostname or "", parts.port or 0

    def start(self) -> None:
        """Do nothing: there is nothing to prepare."""

    def frames(self) -> int:
        return 0

    def close(self) -> None:
        """Do nothing: nothing is left open."""

    def call(self, name: str, arguments: dict[str, Any]) -> Any:
        return getattr(self, name)(**arguments)

    def ask(
        self, paths: Sequence[str], connections: int, times: int | None = None, seconds: float = 0.0, rate: float = 0.0
    ) -> dict[str, Any]:
        """Request the paths in turn, ``times`` requests in all or for ``seconds``. Each connection sends again as soon
        as it has its answer, or all of them together send ``rate`` requests per second. Return the latencies (ms) and
        how long everything took (s)."""
        requests = [f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() for path in paths]
        idle = [_Connection(self._address) for _ in range(connections)]
        taken: list[float] = []
        sent = 0
        clock = time.perf_counter
        with selectors.DefaultSelector() as selector:
            for connection in idle:
                selector.register(connection.socket, selectors.EVENT_READ, connection)
            begun = clock()
            while True:
                now = clock()
                over = sent >= times if times is not None else now - begun > seconds
                while idle and not over and (not rate or sent < (now - begun) * rate):
                    idle.pop().send(requests[sent % len(requests)])
                    sent += 1
                    over = times is not None and sent >= times
                if over and len(idle) == connections:
                    break
                pause = max(0.0, begun + sent / rate - now) if rate and idle and not over else _PATIENCE
                events = selector.select(pause)
                if not events and pause == _PATIENCE:
                    raise RuntimeError("the endpoint does not answer")
                for key, _ in events:
                    if (took := key.data.took()) is not None:
                        taken.append(took)
                        idle.append(key.data)
            seconds = clock() - begun
        for connection in idle:
            connection.socket.close()
        return {"taken": taken, "seconds": seconds}


class Served(Shown):
    """A manager with an endpoint whose state is queried."""

    def used(self) -> tuple[float, int]:
        """Return the CPU seconds of this process, and how many requests it has sent to the exchange for readers."""
        return time.process_time(), self._requests("read")

    def scrape(self) -> dict[str, float]:
        """Return the CPU time (ms, the median) of a scrape at the pace of Prometheus, of its check of every series, and
        of ``status()``."""
        views = self.endpoint._views
        views.metrics()
        metrics = views._metrics
        assert metrics is not None

        def cost(work: Callable[[], object]) -> float:
            taken = []
            for _ in range(15):
                # As if the last scrape were long ago.
                metrics._judged_at = views._looked_at = float("-inf")
                begun = time.thread_time()
                work()
                taken.append((time.thread_time() - begun) * 1e3)
            return statistics.median(taken)

        return {
            "a scrape of /metrics": cost(views.metrics),
            "the look in it": cost(self.dm.overview.summary),
            "status()": cost(self.dm.status),
        }


def scan_paths(symbols: Sequence[str]) -> list[str]:
    """Return the twelve requests that an old scanner sends for every symbol."""
    found = []
    for symbol in symbols:
        of = f"symbol={quote(symbol)}"
        found += [f"/fapi/v1/klines?{of}&interval={interval}&limit=300" for interval in INTERVALS]
        found += [
            f"/fapi/v1/depth?{of}&limit=20",
            f"/fapi/v1/aggTrades?{of}&limit=500",
            f"/futures/data/openInterestHist?{of}&period=1h&limit=200",
            f"/fapi/v1/premiumIndex?{of}",
            f"/fapi/v1/fundingRate?{of}&limit=100",
            f"/fapi/v1/ticker/24hr?{of}",
            f"/fapi/v1/ticker/bookTicker?{of}",
            f"/fapi/v1/klines?{of}&interval=1h&limit=50",
        ]
    return found


def _throughput(
    report: Report, ours: Child, load: Child, section: str, case: str, paths: list[str], **options: Any
) -> None:
    (cpu, _), (_, _, loop) = ours.call("used"), ours.call("spent")
    found = load.call("ask", paths=paths, connections=CONNECTIONS, **options)
    cpu, loop = ours.call("used")[0] - cpu, ours.call("spent")[2] - loop
    count = len(found["taken"])
    report.add(section, case, f"{OURS}: a second", count / found["seconds"], "")
    report.add(section, case, f"{OURS}: a CPU second of the process", count / cpu, "")
    report.add(section, case, f"{OURS}: a CPU second of the loop", count / loop, "")
    report.add(section, case, f"{OURS}: p50", percentile(found["taken"], 0.5), "ms", 2.0)
    report.add(section, case, f"{OURS}: p99", percentile(found["taken"], 0.99), "ms", 15.0)


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure with the endpoint's process on one core, and the requesting process and the exchange on the other."""
    section, scan = "The endpoint: klines?limit=300", f"A scan of {symbols} symbols through the endpoint"
    seconds = 3.0 if quick else 10.0
    with (
        exchange(symbols, **UNLIMITED) as ex,
        child(Served, config=settings(ex, drain_interval=0.02, **GENEROUS), symbols=ex.symbols) as ours,
        child(Load, core=PRODUCER, url=ours.call("url")) as load,
    ):
        ours.call("live")
        paths = scan_paths(ex.symbols)
        klines = [path for path in paths if "klines" in path]
        trades = [path for path in paths if "aggTrades" in path]
        for number in ("first", "second", "third"):
            _, before = ours.call("used")
            found = load.call("ask", paths=paths, connections=SCAN_CONNECTIONS, times=len(paths))
            asked = ours.call("used")[1] - before
            most = None if number == "first" else 0.0
            report.add(scan, number, f"{OURS}: {len(paths):,} requests", found["seconds"], "s", 5.0)
            report.add(scan, number, f"{OURS}: of them to the exchange", float(asked), "", most)
        report.show(scan)
        work = partial(_throughput, report, ours, load, section)
        work("the market's own frames", klines, seconds=seconds)
        work("the same, 500 trades", trades, seconds=seconds / 2)
        under_flood(ex, seconds + 1.0, lambda: work("at 5,000 frames/s", klines, seconds=seconds))
        under_flood(ex, seconds + 1.0, lambda: work("the same, 500 a second", klines, seconds=seconds, rate=500.0))
        report.show(section)
        section = "Looking at it"
        for name, value in ours.call("scrape").items():
            report.add(section, "ms of CPU", f"{OURS}: {name}", value, "ms", 5.0 if "scrape" in name else None)
    report.show(section)
