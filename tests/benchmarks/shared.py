"""One feed for many processes: what it costs the collector, and what a reader's reads take."""

from __future__ import annotations

import statistics
from typing import Any

from ..shared.servers import StoreServer
from .ingest import AT_RATE, GENEROUS, RATE, UNLIMITED, cost, exchange, settings
from .machine import PRODUCER, child
from .ours import Ours
from .reading import percentile, under_flood
from .report import OURS, Report

MOST_OVERHEAD = 6.0
MOST_LAG = {"p50": 40.0, "p99": 100.0}
MOST_READ = 400.0
MOST_RATIO = {"one by one": 2.0, "prefetched": 1.3}


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """The collector's overhead a frame, and a reader beside it: lag, single reads, scans, memory."""
    seconds = 3.0 if quick else 9.0
    with StoreServer("valkey") as server, exchange(symbols, **UNLIMITED) as ex:
        warm: dict[str, Any] = {"warmup_klines": 2, "max_trades": 100}
        _overhead(report, ex, server, seconds, warm)
        _reader(report, ex, server, seconds, quick=quick)


def _overhead(report: Report, ex: Any, server: StoreServer, seconds: float, warm: dict[str, Any]) -> None:
    section = "Shared feed, collector: µs of CPU a frame"
    found = {}
    for subject, more in (("alone", {}), ("collecting", {"shared": server.url, "role": "collector"})):
        config = settings(ex, **warm, **GENEROUS, **more)
        with child(Ours, config=config, symbols=ex.symbols, wait_for_trades=True) as client:
            found[subject], pace = cost(ex, client, "depth20", RATE, seconds)
        report.add(section, AT_RATE, f"{OURS}: {subject}", found[subject], "µs", note=f"{pace:,.0f} frames/s")
    overhead = found["collecting"] - found["alone"]
    report.add(section, AT_RATE, f"{OURS}: the difference", overhead, "µs", MOST_OVERHEAD)
    report.show(section)


def _reader(report: Report, ex: Any, server: StoreServer, seconds: float, *, quick: bool) -> None:
    section = "Shared feed, a reader beside the collector, at 5,000 frames/s"
    config = settings(ex, shared=server.url, **GENEROUS)
    with (
        child(Ours, config={**config, "role": "collector"}, symbols=ex.symbols, wait_for_trades=True) as collector,
        child(Ours, core=PRODUCER, config=config, symbols=ex.symbols, wait_for_trades=True) as reader,
    ):
        report.add(section, "start", f"{OURS}: ready", reader.call("started")["seconds"] * 1e3, "ms", 500.0)
        lags = under_flood(ex, seconds + 0.5, lambda: reader.call("book_lags", seconds=seconds))
        for name, value in (("p50", statistics.median(lags)), ("p99", percentile(lags, 0.99))):
            report.add(section, "event to visible", f"{OURS}: {name}", value, "ms", MOST_LAG[name])
        times = under_flood(ex, seconds + 0.5, lambda: reader.call("read_times", seconds=seconds))
        for name, taken in times.items():
            report.add(section, "one read, p50", f"{OURS}: {name}", statistics.median(taken), "µs", MOST_READ)
        scans = 2 if quick else 5
        own = collector.call("scan", times=scans)["all"]
        report.add(section, "scan, quiet", f"{OURS}: in the collector", own, "ms")
        for how, prefetch in (("one by one", False), ("prefetched", True)):
            took = reader.call("scan", times=scans, prefetch=prefetch)
            case = "scan, quiet"
            caused = f"{took['requests caused']:.0f} requests"
            report.add(section, case, f"{OURS}: {how}", took["all"], "ms", note=caused)
            report.add(section, case, f"{OURS}: {how}, times the collector's", took["all"] / own, "×", MOST_RATIO[how])
        used = int(server.client().info("memory")["used_memory"]) / 1e6
        report.add(section, "memory", "Valkey", used, "MB", 120.0)
    report.show(section)
