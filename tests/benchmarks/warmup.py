"""Warm-up at 200 ms a request, and what grows with the number of symbols."""

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
"""What warm-up may use of the limit a minute: the share of this process less the part kept free for repairs."""
KLINES_WEIGHT = 2


def prepared(symbols: int, **options: Any) -> SimulatedExchange:
    """An exchange that has already made up the history it will be asked for, which is not what is measured."""
    ex = exchange(symbols, **options)
    for symbol in ex.symbols:
        for interval in INTERVALS:
            ex.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=499)
    return ex


def dictated(symbols: int) -> float:
    """Seconds that the weight alone makes the candles of so many symbols take."""
    weight = symbols * len(INTERVALS) * KLINES_WEIGHT
    return math.floor((weight - 1) / (SHARE * LIMIT)) * WINDOW


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """As many symbols as a minute's weight allows, and more."""
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
    """What was asked while preparing must not count."""
    if ex.stats().fapi.used_weight:
        threading.Event().wait((60_000 - ex.now() % 60_000) / 1e3)


def _one_after_another(report: Report, section: str, symbols: int) -> None:
    """The naive way, of which a few requests tell the rest."""
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


def measure_growth(report: Report, *, quick: bool, symbols: int) -> None:
    """A quarter of the symbols, all, and two and a half times as many, with a limit that is not an obstacle."""
    section = "Growth with the number of symbols"
    seconds = 2.0 if quick else 4.0
    for count in (symbols // 4, symbols) if quick else (symbols // 4, symbols, 5 * symbols // 2):
        with prepared(count, **UNLIMITED) as ex:
            config = settings(ex, drain_interval=0.02, max_trades=100, **GENEROUS)
            with child(Ours, config=config, symbols=ex.symbols, wait_for_trades=True) as ours:
                started = ours.call("started")
                resident = ours.call("resident")
                ours.call("scan", times=1)
                names = ["get_klines 300", "get_orderbook 20"]
                read = partial(ours.call, "read_times", seconds=seconds, names=names)
                taken = under_flood(ex, seconds + 1.0, read)
                value, _ = cost(ex, ours, "depth20", RATE, seconds)
        who = f"{OURS}: {count} symbols"
        report.add(section, "CPU a frame at 5,000 frames/s, drained every 20 ms: µs", who, value, "µs")
        for name, times in taken.items():
            report.add(section, f"{name}, p50: µs", who, statistics.median(times), "µs")
        report.add(section, "resident, warm: MB", who, resident, "MB")
        report.add(section, "start() without latency: CPU seconds", who, started["cpu"], "s")
    report.show(section)
