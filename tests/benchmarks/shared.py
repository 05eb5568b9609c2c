"""One feed for many processes: what it costs the collector, and what a reader's reads take."""

from __future__ import annotations

import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

from ats_sync.shared.shards import shards
from ats_sync.simulator import SimulatedExchange

from ..shared.servers import StoreServer
from .ingest import AT_RATE, GENEROUS, RATE, UNLIMITED, cost, exchange, settings
from .machine import PRODUCER, Child, child
from .ours import Ours
from .reading import percentile, under_flood
from .report import OURS, Report

MOST_OVERHEAD = 6.0
MOST_LAG = {"p50": 40.0, "p99": 100.0}
QUICK_FLUSH, MOST_QUICK_LAG = 0.005, 10.0
MOST_READ = 400.0
MOST_RATIO = {"one by one": 2.0, "prefetched": 1.3}


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure the collector's overhead per frame, and a reader beside it: lag, single reads, scans, memory."""
    seconds = 3.0 if quick else 9.0
    with StoreServer("valkey") as server, exchange(symbols, **UNLIMITED) as ex:
        warm: dict[str, Any] = {"warmup_klines": 2, "max_trades": 100}
        _overhead(report, ex, server, seconds, warm)
        _reader(report, ex, server, seconds, quick=quick)
        _quick_flush(report, ex, server, seconds)


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
        # This comes before any flood, whose frames are ahead of those that follow: the collector then considers its
        # streams dead for a while, and neither it nor a reader serves anything from them.
        _scans(report, section, server, collector, reader, 2 if quick else 5)
        lags = under_flood(ex, seconds + 0.5, lambda: reader.call("book_lags", seconds=seconds))
        for name, value in (("p50", statistics.median(lags)), ("p99", percentile(lags, 0.99))):
            report.add(section, "event to visible", f"{OURS}: {name}", value, "ms", MOST_LAG[name])
        times = under_flood(ex, seconds + 0.5, lambda: reader.call("read_times", seconds=seconds))
        for name, taken in times.items():
            report.add(section, "one read, p50", f"{OURS}: {name}", statistics.median(taken), "µs", MOST_READ)
        used = int(server.client().info("memory")["used_memory"]) / 1e6
        report.add(section, "memory", "Valkey", used, "MB", 120.0)
    report.show(section)


def _quick_flush(report: Report, ex: Any, server: StoreServer, seconds: float) -> None:
    section = f"Shared feed, a reader beside a collector with flush={QUICK_FLUSH}, at 5,000 frames/s"
    config = settings(ex, shared=server.url, **GENEROUS)
    with (
        child(Ours, config={**config, "role": "collector", "flush": QUICK_FLUSH}, symbols=ex.symbols),
        child(Ours, core=PRODUCER, config=config, symbols=ex.symbols) as reader,
    ):
        lags = under_flood(ex, seconds + 0.5, lambda: reader.call("book_lags", seconds=seconds))
        for name, value, most in (
            ("p50", statistics.median(lags), MOST_QUICK_LAG),
            ("p99", percentile(lags, 0.99), None),
        ):
            report.add(section, "event to visible", f"{OURS}: {name}", value, "ms", most)
    report.show(section)


def _scans(report: Report, section: str, server: StoreServer, collector: Child, reader: Child, times: int) -> None:
    case = "scan, quiet"
    own = collector.call("scan", times=times)
    report.add(section, case, f"{OURS}: in the collector", own["all"], "ms", note=f"{own['CPU']:.0f} ms of CPU")
    for how, prefetch in (("one by one", False), ("prefetched", True)):
        before = _server_cpu(server)
        took = reader.call("scan", times=times, prefetch=prefetch)
        served = (_server_cpu(server) - before) / times * 1e3
        caused = f"{took['requests caused']:.0f} requests, {took['CPU']:.0f} ms of CPU; {served:.0f} of the server's"
        report.add(section, case, f"{OURS}: {how}", took["all"], "ms", note=caused)
        ratio = took["all"] / own["all"]
        report.add(section, case, f"{OURS}: {how}, times the collector's", ratio, "×", MOST_RATIO[how])
        cpu = took["CPU"] / own["CPU"]
        report.add(section, case, f"{OURS}: {how}, times the collector's, of CPU", cpu, "×")
        report.add(section, "requests caused by scans", f"{OURS}: {how}", took["requests caused"], "", 0.0)
    report.add(section, "memory", f"{OURS}: the reader after scans", reader.call("resident"), "MB", 60.0)


def _server_cpu(server: StoreServer) -> float:
    """Return the seconds of CPU that the server has used so far, including those for the collector's writes."""
    used = server.client().info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


READERS = 20


def measure_readers(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure many readers, each scanning everything once a minute, beside one collector."""
    section = f"{READERS} readers, each scanning {symbols} symbols once a minute"
    with StoreServer("valkey") as server, SimulatedExchange(symbols, seed=7, **UNLIMITED) as ex, ExitStack() as stack:
        config = settings(ex, shared=server.url, **GENEROUS)
        make = {"symbols": ex.symbols, "core": None}
        stack.enter_context(child(Ours, config={**config, "role": "collector"}, wait_for_trades=True, **make))
        readers = [stack.enter_context(child(Ours, config=config, **make)) for _ in range(READERS)]
        with ThreadPoolExecutor(READERS) as pool:
            calls = [pool.submit(each.call, "scan_each_minute", minutes=1.1 if quick else 2.5) for each in readers]
            scans = [scan for call in calls for scan in call.result()]
        for name, unit, most in (("seconds", "s", None), ("oldest", "s", 3.0), ("requests", "", 0.0)):
            values = sorted(scan[name] for scan in scans)
            report.add(section, f"{len(scans)} scans", f"{OURS}: {name}, median", values[len(values) // 2], unit)
            report.add(section, f"{len(scans)} scans", f"{OURS}: {name}, most", values[-1], unit, most)
    report.show(section)


SHARED_OUT = 800


def measure_shards(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure two collectors that share four times as many symbols."""
    count = symbols * SHARED_OUT // 200
    section = f"{count} symbols on two collectors"
    with StoreServer("valkey") as server, SimulatedExchange(count, seed=7, **UNLIMITED) as ex, ExitStack() as stack:
        config = settings(ex, shared=server.url, warmup_klines=99, max_trades=100, **GENEROUS)
        collectors = []
        for part in shards(2):
            own = [each for each in ex.symbols if part.has_symbol(each)]
            made = child(
                Ours,
                core=None,
                config={**config, "role": "collector", "shard": str(part)},
                symbols=own,
                wait_for_trades=True,
            )
            collectors.append(stack.enter_context(made))
            report.add(section, "symbols", f"{OURS}: shard {part}", len(own), "")
        reader = stack.enter_context(child(Ours, core=None, config=config, symbols=ex.symbols))
        report.add(section, "start", f"{OURS}: a reader of all", reader.call("started")["seconds"] * 1e3, "ms")
        before, frames = zip(*(each.cpu() for each in collectors), strict=True)
        seconds = 5.0 if quick else 20.0
        begun = time.perf_counter()
        threading.Event().wait(seconds)
        took = time.perf_counter() - begun
        for part, each, cpu, seen in zip(shards(2), collectors, before, frames, strict=True):
            now, received = each.cpu()
            note = f"{(received - seen) / took:,.0f} frames/s"
            report.add(section, "of a core", f"{OURS}: shard {part}", (now - cpu) / took * 100, "%", note=note)
        scan = reader.call("prefetched_candles", rows=90)
        report.add(section, "candles of all", f"{OURS}: prefetched", scan["ms"], "ms", note=f"{scan['CPU']:.0f} of CPU")
        report.add(section, "requests caused", f"{OURS}: prefetched", scan["requests"], "", 0.0)
        used = int(server.client().info("memory")["used_memory"]) / 1e6
        report.add(section, "memory", "Valkey", used, "MB")
    report.show(section)
