"""Warm-up at 200 ms per request, and what grows with the number of symbols (ratios between 50, 200 and 800 of them)."""

from __future__ import annotations

import math
import statistics
import threading
import time
from functools import partial
from typing import Any

from ats_sync.simulator import SimulatedExchange

from .ingest import GENEROUS, RATE, UNLIMITED, cost, exchange, settings
from .machine import child
from .ours import INTERVALS, Ours
from .reading import under_flood
from .report import OURS, Report

LATENCY = 0.2
SHARE, LIMIT, WINDOW = 0.7, 2400, 60.0
"""The part of the limit that warm-up may use in a minute: this process's share less the reserve for repairs."""
KLINES_WEIGHT = 2


def prepared(symbols: int, **options: Any) -> SimulatedExchange:
    """Run an exchange that has already generated the history to be requested, so generating it is not measured."""
    ex = exchange(symbols, **options)
    for symbol in ex.symbols:
        for interval in INTERVALS:
            ex.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=499)
    return ex


def dictated(symbols: int) -> float:
    """Return the seconds that the candles of this many symbols take because of the weight alone."""
    weight = symbols * len(INTERVALS) * KLINES_WEIGHT
    return math.floor((weight - 1) / (SHARE * LIMIT)) * WINDOW


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure as many symbols as a minute's weight allows, and more."""
    section = "Warm-up at 200 ms a request: until every read but that of trades is answered from memory"
    for count in (symbols,) if quick else (symbols, 5 * symbols // 2):
        with prepared(count, latency=LATENCY) as ex:
            _into_a_new_minute(ex)
            with child(Ours, config=settings(ex), symbols=ex.symbols) as ours:
                found = ours.call("started")
                used = ex.stats().fapi
            least = dictated(count)
            target = 8.0 if not least else 1.1 * least
            note = f"{found['requests']:.0f} requests; the weight alone dictates {least:.0f} s"
            case = f"{count} symbols × {len(INTERVALS)} intervals"
            report.add(section, case, f"{OURS}: seconds", found["seconds"], "s", target, note)
            report.add(section, case, f"{OURS}: CPU a request", found["cpu"] / found["requests"] * 1e3, "ms")
            report.add(section, case, f"{OURS}: most weight in a minute", float(used.max_weight), "", 0.8 * LIMIT)
            report.add(section, case, f"{OURS}: refused by the exchange", float(used.refused_429), "", 0.0)
    if not quick:
        _one_after_another(report, section, symbols)
    report.show(section)


def _into_a_new_minute(ex: SimulatedExchange) -> None:
    """Wait for a new minute, since requests made while preparing must not count."""
    if ex.stats().fapi.used_weight:
        threading.Event().wait((60_000 - ex.now() % 60_000) / 1e3)


def _one_after_another(report: Report, section: str, symbols: int) -> None:
    """Measure a few requests of the naive method, and extrapolate to the rest."""
    import requests

    few = 20
    with exchange(10, latency=LATENCY) as ex:
        begun = time.perf_counter()
        for number in range(few):
            symbol, interval = ex.symbols[number % 10], INTERVALS[number % 4]
            url = f"{ex.fapi_url}/fapi/v1/klines"
            requests.get(url, params={"symbol": symbol, "interval": interval, "limit": "499"}, timeout=10).json()
        took = (time.perf_counter() - begun) / few
    case = f"{symbols} symbols × {len(INTERVALS)} intervals"
    report.add(
        section, case, "requests.get one after another", took * symbols * len(INTERVALS), "s", note="extrapolated"
    )


FLAT, MOST_SCANS = 1.15, 4.5
GENTLE: dict[str, Any] = {"max_rest_threads": 16}
"""The exchange answers the thousands of requests of a start on one core, which its market needs as well."""
STAYS_LIVE = 120.0


def measure_growth(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure a quarter of the symbols, all, and four times as many, with limits that are not an obstacle."""
    section = "Growth with the number of symbols"
    seconds = 2.0 if quick else 6.0
    sizes = (symbols // 4, symbols, 4 * symbols)
    for count in sizes:
        _grown_to(report, section, count, symbols, seconds, stays=20.0 if quick else STAYS_LIVE)
    who = [_size(count) for count in sizes]
    for case in (COST, *(p50_of(name) for name in READS)):
        report.spread(section, case, who, FLAT)
    for case in (SCAN_TIME, SCAN_CPU):
        report.ratio(section, case, who[2], who[1], MOST_SCANS)
    report.spread(section, A_SYMBOL, who[1:], FLAT)
    report.show(section)


COST = "CPU a frame at 5,000 frames/s, default settings: µs"
SCAN_TIME, SCAN_CPU = "a scan of everything, quiet: ms", "the same, ms of CPU"
A_SYMBOL = "resident, for each symbol more than with the size before: kB"
READS = ("get_klines 300", "get_orderbook 20")


def p50_of(read: str) -> str:
    """Return the case of a read's figures."""
    return f"{read} at 5,000 frames/s, p50: µs"


def _size(count: int) -> str:
    return f"{OURS}: {count} symbols"


def _grown_to(report: Report, section: str, count: int, usual: int, seconds: float, stays: float) -> None:
    """Measure one size; ``stays`` is how long the largest is watched without a flood."""
    who = _size(count)
    # With more symbols, each one trades less, and less than in proportion, since fewer trades then share a frame: if
    # the exchange got busier with more symbols, its own lag would be measured.
    with (
        prepared(count, activity=1.0 if count <= usual else 0.4 * usual / count, **UNLIMITED) as ex,
        child(
            Ours,
            config=settings(ex, **GENTLE, **GENEROUS),
            symbols=ex.symbols,
            wait_for_trades=True,
            lift_limits=True,
        ) as ours,
    ):
        started = ours.call("started")
        if count > usual:
            _stays_live(report, section, who, ours.call("stays_live", seconds=stays), stays)
        resident = ours.call("resident")
        scan = ours.call("scan", times=4)
        taken = under_flood(ex, seconds + 1.0, partial(ours.call, "read_times", seconds=seconds, names=READS))
        value, _ = cost(ex, ours, "depth20", RATE, seconds)
    report.add(section, COST, who, value, "µs")
    for name, times in taken.items():
        report.add(section, p50_of(name), who, statistics.median(times), "µs")
    report.add(section, SCAN_TIME, who, scan["all, median"], "ms")
    report.add(section, SCAN_CPU, who, scan["CPU"], "ms")
    report.add(section, RESIDENT, who, resident, "MB")
    sizes = [(figure.value, _count(figure.subject)) for figure in report.figures if figure.case == RESIDENT]
    if len(sizes) > 1:
        (before, fewer), (after, more) = sizes[-2:]
        report.add(section, A_SYMBOL, who, (after - before) * 1e3 / (more - fewer), "kB")
    report.add(section, "start() without latency: CPU seconds", who, started["cpu"], "s")
    report.add(section, "start() without latency: seconds", who, started["seconds"], "s")


RESIDENT = "resident, warm: MB"


def _count(subject: str) -> int:
    return int(subject.split()[1])


def _stays_live(report: Report, section: str, who: str, found: dict[str, Any], seconds: float) -> None:
    case = f"the market's own frames for {seconds:.0f} s"
    report.add(section, case, f"{who}: connections", found["connections"], "")
    report.add(section, case, f"{who}: series", found["series"], "")
    report.add(section, case, f"{who}: of these not live at its end", found["not live"], "", 0.0, found["why"])
    report.add(section, case, f"{who}: reconnects", found["reconnects"], "", 0.0)
    report.add(section, case, f"{who}: requests caused by a scan", found["requests"], "", 0.0)
