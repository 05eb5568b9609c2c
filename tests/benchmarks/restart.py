"""A start with rows on disk compared with one without: seconds and request weight, and what the files cost."""

from __future__ import annotations

import tempfile
import threading
import time
from datetime import datetime
from pathlib import Path

from ats_sync.simulator import SimulatedExchange

from .ingest import GENEROUS, UNLIMITED, settings
from .machine import child
from .ours import Ours
from .report import OURS, Report
from .warmup import LATENCY, prepared

ABSENCE = 300.0
SECTION = f"Restart after {ABSENCE / 60:.0f} minutes, {LATENCY * 1e3:.0f} ms a request"
WATCHED = 30.0
"""Seconds after the start in which requests are still counted as its own."""


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure two cases: no candle has closed meanwhile, and one each of 15m, 1h and 4h has."""
    count = symbols // 4 if quick else symbols
    cases = {"no candle has closed": "2026-11-25T10:01:00", "15m, 1h, 4h have closed": "2026-11-25T11:56:00"}
    for what, begun in cases.items():
        _measure(report, f"{what}: {count} symbols × 4 intervals", count, datetime.fromisoformat(begun), quick=quick)
    report.show(SECTION)


def _measure(report: Report, case: str, count: int, begun: datetime, *, quick: bool) -> None:
    """Measure a cold start, a close, five minutes of the exchange's time, and a start with what was kept."""
    section = SECTION
    with tempfile.TemporaryDirectory() as kept, prepared(count, latency=LATENCY, start=begun, **UNLIMITED) as ex:
        config = settings(ex, state_dir=kept, **GENEROUS)
        weighed = _weight(ex)
        with child(Ours, config=config, symbols=ex.symbols, wait_for_trades=True) as ours:
            cold = ours.call("started")
            cold_weight = _weight(ex) - weighed
        files = list(Path(kept).rglob("*.rows"))
        size = sum(path.stat().st_size for path in files) / 1e6
        _go_on(ex, ABSENCE)
        weighed = _weight(ex)
        with child(Ours, config=config, symbols=ex.symbols) as ours:
            warm = ours.call("started")
            weight = _weight(ex) - weighed
            threading.Event().wait(5.0 if quick else WATCHED)
            later = _weight(ex) - weighed
            left = ours.call("trades_left")
    report.add(section, case, f"{OURS}: seconds, with rows on disk", warm["seconds"], "s", 3.0 + LATENCY)
    report.add(section, case, f"{OURS}: seconds, without", cold["seconds"], "s")
    report.add(section, case, f"{OURS}: CPU seconds, with", warm["cpu"], "s")
    report.add(section, case, f"{OURS}: CPU seconds, without", cold["cpu"], "s")
    report.add(section, case, f"{OURS}: weight until ready, with", weight, "", 0.3 * cold_weight)
    report.add(section, case, f"{OURS}: weight {WATCHED:.0f} s later, with", later, "", 0.3 * cold_weight)
    report.add(
        section, case, f"{OURS}: weight until trades are there, without", cold_weight, "", note="trades weigh 20 each"
    )
    report.add(
        section, case, f"{OURS}: symbols whose stream is still filling up trades then", left, "",
        note="requested between 5 and 10 minutes after the start, where neither stream nor a read has",
    )  # fmt: skip
    report.add(section, case, f"{OURS}: files, MB", size, "MB", note=f"{len(files)} files")


def _weight(ex: SimulatedExchange) -> float:
    """Return the weight used on the futures host so far."""
    return float(sum(ex.stats().fapi.weight_by_minute.values()))


def _go_on(ex: SimulatedExchange, seconds: float) -> None:
    """Let the exchange's time pass, and its market with it."""
    ex.jump_clock(round(seconds * 1000))
    deadline = time.monotonic() + 120.0
    pause = threading.Event()
    pause.wait(0.5)
    while ex.stats().behind_ms > 100 and time.monotonic() < deadline:
        pause.wait(0.25)
