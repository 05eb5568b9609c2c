"""Reads while 5,000 frames a second come in; lag; memory."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from ats_sync.simulator import SimulatedExchange

from .flood import flood
from .ingest import GENEROUS, MIXES, RATE, UNLIMITED, drained, exchange, settings
from .machine import child
from .ours import Ours
from .report import OURS, Report

T = TypeVar("T")

TARGETS = {
    "get_klines 300": (60.0, 1000.0),
    "rest_shaped.klines 300": (60.0, 1000.0),
    "get_orderbook 20": (15.0, None),
    "get_mark_price": (3.0, None),
    "get_funding_rate": (3.0, None),
    "get_spot_price": (3.0, None),
}
SCAN = 150.0
QUIET_SCANS = 4


def _config(ex: SimulatedExchange, drain: float, **overrides: Any) -> dict[str, Any]:
    return settings(ex, drain_interval=drain, **GENEROUS, **overrides)


def under_flood(ex: SimulatedExchange, seconds: float, work: Callable[[], T], mix: str = "depth20") -> T:
    """What ``work`` returns, done while the exchange floods."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            flood(ex, None, RATE, seconds, mix=MIXES[mix])
        except BaseException as error:  # noqa: BLE001 -- raised below
            failures.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        return work()
    finally:
        thread.join(seconds + 60.0)
        if failures:
            raise failures[0]


def percentile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure_reads(report: Report, *, quick: bool, symbols: int) -> None:
    """Each read by itself, and everything that a scan reads."""
    seconds = 3.0 if quick else 10.0
    section = "Reads while 5,000 frames/s come in: µs"
    with (
        exchange(symbols, **UNLIMITED) as ex,
        child(Ours, config=_config(ex, 0.02), symbols=ex.symbols, wait_for_trades=True) as ours,
    ):
        first, second, *later = ours.call("scans", times=7)
        taken = under_flood(ex, seconds + 1.0, lambda: ours.call("read_times", seconds=seconds))
        for name, times in taken.items():
            p50, p99 = TARGETS.get(name, (None, None))
            report.add(section, "p50", f"{OURS}: {name}", statistics.median(times), "µs", p50)
            report.add(section, "p99", f"{OURS}: {name}", percentile(times, 0.99), "µs", p99)
        hot = under_flood(ex, 3.0, lambda: ours.call("hot_read_times", times=2_000))
        for name, value in hot.items():
            report.add(section, "p50", f"{OURS}: {name}", value, "µs", 60.0)
        report.show(section)
        section = f"300 candles of {symbols} symbols: ms of CPU"
        tables = ours.call("table_times", times=3 if quick else 9)
        for name, value in tables.items():
            half = {"read_klines": "get_klines of each", "read_klines(…).frame()": "get_klines_frame of each"}.get(name)
            report.add(section, "later reads", f"{OURS}: {name}", value, "ms", tables[half] / 2 if half else None)
        report.show(section)
        section = f"A scan of {symbols} symbols: ms"
        usual = {name: statistics.median(each[name] for each in later) for name in first}
        for case, took in (("the first since the start, CPU", first), ("the second", second), ("later ones", usual)):
            for name, value in took.items():
                report.add(section, case, f"{OURS}: {name}", value, "ms", 1.3 * usual[name] if took is first else None)
        times = 3 if quick else 8
        flooded = under_flood(ex, 4.0, lambda: ours.call("scan", times=times))
        # A flood leaves the streams of a symbol in disagreement and then silent, for which they are suspected soon.
        quiet = ours.call("scan", times=QUIET_SCANS)
        for case, took in (("while 5,000 frames/s come in", flooded), ("quiet, right after that", quiet)):
            for name, value in took.items():
                if name == "requests caused":
                    report.add(section, case, f"{OURS}: {name}", value, "", 0.0)
                else:
                    report.add(section, case, f"{OURS}: {name}", value, "ms", SCAN if name == "all" else None)
        report.show(section)


def measure_lag(report: Report, *, quick: bool, symbols: int) -> None:
    """From the event time to visible, with and without a thread that computes."""
    seconds = 2.0 if quick else 6.0
    section = "Lag from the exchange's event to visible, at 5,000 frames/s: ms"
    for drain in (0.02, 0.0) if quick else (0.02, 0.0, 0.005):
        with (
            exchange(symbols, **UNLIMITED) as ex,
            child(
                Ours,
                core=None,
                config=_config(ex, drain, max_trades=100, warmup_klines=99),
                symbols=ex.symbols,
                wait_for_trades=True,
            ) as ours,
        ):
            case = drained(drain)
            alone = ours.call("compute", seconds=seconds)
            for busy in (False, True):
                found = under_flood(ex, seconds + 0.5, partial(ours.call, "lag", seconds=seconds, busy=busy))
                who = f"{OURS}, a scan computing" if busy else OURS
                lags = found["lags"]
                for name, value, most in (("p50", statistics.median(lags), 5.0), ("p99", percentile(lags, 0.99), 25.0)):
                    report.add(section, case, f"{who}: {name}", value, "ms", drain * 1e3 + most if busy else None)
                if busy:
                    slower = 100.0 * (1.0 - found["loops"] / alone)
                    report.add(section, case, f"{OURS}: how much the scan is slowed", slower, "%", 10.0)
    report.show(section)


def measure_memory(report: Report, *, quick: bool, symbols: int) -> None:
    """200 × 4 × 500 candles, books, 1000 trades and 300 rows of open interest a symbol."""
    section = f"Memory with {symbols} symbols"
    with (
        exchange(symbols, **UNLIMITED) as ex,
        child(
            Ours,
            core=None,
            config=_config(ex, 0.02, warmup_klines=500),
            symbols=ex.symbols,
            wait_for_trades=True,
        ) as ours,
    ):
        found = ours.call("memory")
        resident = "resident, MB"
        report.add(section, resident, "before the manager was made", found["before"], "MB")
        report.add(section, resident, f"{OURS}: warm", found["warm"], "MB", 200.0)
        report.add(section, resident, f"{OURS}: after a scan", found["after a scan"], "MB", 200.0)
        report.add(section, resident, f"{OURS}: after reads of exact strings", found["after exact reads"], "MB", 200.0)
        report.add(section, "candles and what is remembered of them, MB", OURS, found["candles"], "MB", 100.0)
        report.add(section, "a full garbage collection, ms", OURS, found["collection"], "ms", 20.0)
        report.add(section, "objects the collector knows", OURS, found["objects"], "")
        flooded = 2.0 if quick else 10.0
        flood(ex, None, RATE, flooded, mix=MIXES["depth20"])
        before = ours.call("resident")
        sent = flood(ex, None, RATE, flooded, mix=MIXES["depth20"])
        grown = ours.call("resident") - before
        report.add(section, "growth over the last frames, MB", OURS, grown, "MB", 2.0, f"{sent.frames:,} frames")
    report.show(section)
