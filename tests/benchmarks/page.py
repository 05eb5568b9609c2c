"""What the endpoint's page costs with three viewers, and whether it slows down other answers."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any
from urllib.parse import urlsplit

from ats_sync.endpoint import Endpoint

from .ingest import GENEROUS, UNLIMITED, exchange, settings
from .machine import Child, child
from .ours import Ours
from .reading import percentile
from .report import OURS, Report

VIEWERS = 3
TARGET = "/fapi/v1/klines?symbol=BTCUSDT&interval=1h&limit=300"


class Shown(Ours):
    """A manager with an endpoint."""

    def __init__(self, config: Mapping[str, Any], symbols: Sequence[str]) -> None:
        super().__init__(config, symbols, wait_for_trades=True)
        self.endpoint = Endpoint(self.dm, port=0)

    def start(self) -> None:
        super().start()
        self.endpoint.start()

    def url(self) -> str:
        return self.endpoint.url

    def live(self) -> None:
        """Return when everything is live."""
        self._until(lambda: self.dm.status().state.value == "live")

    def spent(self) -> tuple[float, float, float]:
        """Return ``(clock, CPU seconds of the page's thread, of the loop's)``."""
        found = {
            thread.name: time.clock_gettime(time.pthread_getcpuclockid(thread.ident or 0))
            for thread in threading.enumerate()
            if thread.name in ("ats-endpoint", "ats-endpoint-page")
        }
        return time.monotonic(), found["ats-endpoint-page"], found["ats-endpoint"]

    def close(self) -> None:
        self.endpoint.close()
        super().close()


class Viewer:
    """Reads the page's events and discards them."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        self._connection.request("GET", "/events")
        self._answer = self._connection.getresponse()
        self.received = 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while piece := self._answer.read1(65536):
            self.received += len(piece)

    def join(self) -> None:
        """Wait for the end of the events."""
        self._thread.join(30.0)
        self._connection.close()


@contextmanager
def viewers(url: str, count: int) -> Iterator[list[Viewer]]:
    """Yield this many viewers, which end with the endpoint."""
    made = [Viewer(url) for _ in range(count)]
    threading.Event().wait(3.0)
    yield made


def cost(ours: Child, seconds: float) -> tuple[float, float]:
    """Return how much of a core the page's thread and the loop's thread use, in percent."""
    began, page, loop = ours.call("spent")
    threading.Event().wait(seconds)
    ended, page_later, loop_later = ours.call("spent")
    return 100 * (page_later - page) / (ended - began), 100 * (loop_later - loop) / (ended - began)


def answers(url: str, seconds: float) -> list[float]:
    """Request candles again and again; return how long each answer took (ms)."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    taken: list[float] = []
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        began = time.perf_counter()
        connection.request("GET", TARGET)
        connection.getresponse().read()
        taken.append((time.perf_counter() - began) * 1e3)
    connection.close()
    return taken


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure with the market's own frames while everything is live."""
    section = "The page"
    seconds = 10.0 if quick else 60.0
    with (
        exchange(symbols, **UNLIMITED) as ex,
        child(Shown, config=settings(ex, **GENEROUS), symbols=ex.symbols) as ours,
        ExitStack() as stack,
    ):
        url = ours.call("url")
        for count in (0, VIEWERS):
            case = f"{count} viewers"
            made = stack.enter_context(viewers(url, count))
            ours.call("live")
            before = sum(viewer.received for viewer in made)
            page, loop = cost(ours, seconds)
            report.add(section, case, f"{OURS}: rendering, of a core", page, "%")
            report.add(section, case, f"{OURS}: with sending", page + loop, "%", 0.5 if count else None)
            if count:
                rate = (sum(viewer.received for viewer in made) - before) / count / seconds / 1e3
                report.add(section, case, f"{OURS}: sent to each viewer", rate, "kB/s")
            taken = answers(url, seconds / 4)
            report.add(section, case, f"{OURS}: klines?limit=300 meanwhile, p50", percentile(taken, 0.5), "ms", 2.0)
            report.add(section, case, f"{OURS}: the same, p99", percentile(taken, 0.99), "ms", 15.0)
    report.show(section)
