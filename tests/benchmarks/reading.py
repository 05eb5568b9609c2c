"""Reads at 5,000 frames per second, lag, and memory."""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from ats_sync.simulator import SimulatedExchange

from .flood import flood
from .ingest import FLOOR, GENEROUS, MIXES, RATE, UNLIMITED, cost, drained, exchange, settings, streams
from .machine import child, collected_without
from .ours import Ours
from .report import OURS, Report
from .rivals import RIVALS

T = TypeVar("T")

FRAME_READ, MOST_FRAME_READ = "get_klines_frame 300", 400.0
"""µs, p50, for the newest rows of a random series as a DataFrame."""
MOST_SCAN = {"quiet": 250.0, "flooded": 400.0}
"""ms for everything of 200 symbols, where the floor costs ``FLOOR_THERE`` µs a frame at 5,000 frames/s."""
FLOOR_THERE = 13.0
MOST_FIRST, MOST_BATCH = 1.3, 0.5
MOST_SLOWED = 8.0
MOST_COLLECTION = 15.0
SCANS = 10
FLOODED_LAG = {"p50": 5.0, "p99": 25.0}


def _config(ex: SimulatedExchange, drain: float, **overrides: Any) -> dict[str, Any]:
    return settings(ex, drain_interval=drain, **GENEROUS, **overrides)


def under_flood(ex: SimulatedExchange, seconds: float, work: Callable[[], T], mix: str = "depth20") -> T:
    """Return the result of ``work``, called while the exchange floods."""
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
    """Measure each read by itself, and everything that a scan reads."""
    seconds = 3.0 if quick else 10.0
    with exchange(symbols, **UNLIMITED) as ex:
        floor = _floor(ex, seconds)
        with child(Ours, config=_config(ex, 0.02), symbols=ex.symbols, wait_for_trades=True) as ours:
            # The scans come first, since they measure the first read of everything.
            scans = ours.call("scans", times=SCANS)
            quiet = ours.call("scan", times=3 if quick else 8)
            frame = ours.call("read_times", seconds=seconds / 2, names=[FRAME_READ])
            tables = ours.call("table_times", times=3 if quick else 9)
            taken = under_flood(ex, seconds + 1.0, lambda: ours.call("read_times", seconds=seconds))
            hot = under_flood(ex, 3.0, lambda: ours.call("hot_read_times", times=2_000))
            flooded = under_flood(ex, 4.0, lambda: ours.call("scan", times=3 if quick else 8))
    section = "Reads while 5,000 frames/s come in: µs"
    for name, times in taken.items():
        report.add(section, "p50", f"{OURS}: {name}", statistics.median(times), "µs")
        report.add(section, "p99", f"{OURS}: {name}", percentile(times, 0.99), "µs")
    for name, value in hot.items():
        report.add(section, "p50", f"{OURS}: {name}", value, "µs")
    [times] = frame.values()
    report.add(section, "quiet, p50", f"{OURS}: {FRAME_READ}", statistics.median(times), "µs", MOST_FRAME_READ)
    report.show(section)
    _tables(report, tables, symbols)
    _scans(report, scans, {"quiet": quiet, "flooded": flooded}, floor, symbols)


def _floor(ex: SimulatedExchange, seconds: float) -> float:
    """Return the µs of CPU per frame of the floor at 5,000 frames/s, which shows how fast this machine is at the
    moment."""
    wanted = streams(ex.symbols, "depth20")
    with child(RIVALS[FLOOR], base=ex.fstream_url, streams=wanted, ca_file=ex.ca_file, rest=ex.fapi_url) as client:
        return cost(ex, client, "depth20", RATE, seconds)[0]


def _tables(report: Report, tables: Mapping[str, float], symbols: int) -> None:
    section = f"300 candles of {symbols} symbols: ms of CPU"
    for name, value in tables.items():
        report.add(section, "later reads", f"{OURS}: {name}", value, "ms")
    for batch, singles in (
        ("read_klines", "get_klines of each"),
        ("read_klines", "get_klines_array of each"),
        ("read_klines(…).frame()", "get_klines_frame of each"),
    ):
        report.ratio(section, "later reads", f"{OURS}: {batch}", f"{OURS}: {singles}", MOST_BATCH)
    report.show(section)


def _scans(
    report: Report,
    scans: Sequence[Mapping[str, float]],
    timed: Mapping[str, Mapping[str, float]],
    floor: float,
    symbols: int,
) -> None:
    """``scans``: each since the start, in ms of CPU; ``timed``: best and median of several, in ms of time."""
    section = f"A scan of {symbols} symbols: ms"
    first, second, *later, tenth = scans
    usual = {name: statistics.median(each[name] for each in later) for name in first}
    cases = {"the first since the start, CPU": first, "the second": second, f"later ones, of {len(later)}": usual}
    for case, took in {**cases, "the tenth": tenth}.items():
        for name, value in took.items():
            report.add(section, case, f"{OURS}: {name}", value, "ms")
    case = "first ÷ tenth, of CPU"
    report.add(section, case, f"{OURS}: all", first["all"] / tenth["all"], "×", MOST_FIRST)
    report.add(section, case, f"{OURS}: all, ÷ later ones", first["all"] / usual["all"], "×")
    report.add(section, "the floor in this run, 5,000 frames/s", FLOOR, floor, "µs")
    for when, took in timed.items():
        case = {"quiet": "quiet", "flooded": "while 5,000 frames/s come in"}[when]
        for name, value in took.items():
            if name == "requests caused":
                report.add(section, case, f"{OURS}: {name}", value, "", 0.0)
                continue
            most, note = None, ""
            if name == "all, median":
                most = MOST_SCAN[when] * floor / FLOOR_THERE * symbols / 200
                note = f"{MOST_SCAN[when]:.0f} ms where the floor costs {FLOOR_THERE:.0f} µs and not {floor:.1f}"
            report.add(section, case, f"{OURS}: {name}", value, "ms", most, note)
    report.show(section)


def measure_lag(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure the time from event to visibility, with and without a thread that computes."""
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
                for name, value in (("p50", statistics.median(lags)), ("p99", percentile(lags, 0.99))):
                    most = drain * 1e3 + FLOODED_LAG[name] if busy else None
                    report.add(section, case, f"{who}: {name}", value, "ms", most)
                if busy:
                    slower = 100.0 * (1.0 - found["loops"] / alone)
                    report.add(section, case, f"{OURS}: how much the scan is slowed", slower, "%", MOST_SLOWED)
    report.show(section)


def _collection(report: Report, section: str, every: Mapping[str, float], without: Mapping[str, float]) -> None:
    """``every``: ms and objects in the manager's process; ``without``: in one that has imported all but ours."""
    for name, unit in (("ms", "ms"), ("objects", "")):
        case = {"ms": "a full garbage collection, ms of CPU", "objects": "objects the collector knows"}[name]
        total, others = every[name], without[name]
        most = MOST_COLLECTION if name == "ms" else None
        report.add(section, case, f"{OURS}: ours", total - others, unit, most)
        report.add(section, case, "the interpreter's and other libraries'", others, unit)
        report.add(section, case, "both", total, unit)


def measure_memory(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure 200 × 4 × 500 candles, books, 1000 trades and 300 rows of open interest per symbol."""
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
        report.add(section, resident, f"{OURS}: warm", found["warm"], "MB")
        report.add(section, resident, f"{OURS}: after a scan", found["after a scan"], "MB")
        report.add(section, resident, f"{OURS}: after reads of exact strings", found["after exact reads"], "MB")
        report.add(section, "candles and what is remembered of them, MB", OURS, found["candles"], "MB")
        collection = ours.call("collection")
        _collection(report, section, collection["all"], collected_without(collection["modules"]))
        flooded = 2.0 if quick else 10.0
        flood(ex, None, RATE, flooded, mix=MIXES["depth20"])
        before = ours.call("resident")
        sent = flood(ex, None, RATE, flooded, mix=MIXES["depth20"])
        grown = ours.call("resident") - before
        report.add(section, "growth over the last frames, MB", OURS, grown, "MB", 2.0, f"{sent.frames:,} frames")
    report.show(section)
