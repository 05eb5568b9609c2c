"""The exchange's measured peak over TLS for several minutes, with a scan of everything every ten seconds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .distribution import grown
from .flood import flood
from .ingest import GENEROUS, MIXES, RATE, UNLIMITED, exchange, settings, settle
from .machine import child
from .ours import Ours
from .report import OURS, Report

PEAK = 8_260.0
"""Frames per second: the most observed for 200 symbols × 4 intervals with books, trades and mark prices."""
PACE = 10.0
MOST_LAG = 60.0
MOST_GROWTH = 2.0
"""MB by which memory in the last third of a run may exceed that in the middle third."""


def measure(report: Report, *, quick: bool, symbols: int, minutes: float | None = None) -> None:
    """Measure lag, reconnects, lost frames and memory at the peak rate for ``minutes`` (by default 2; half a minute if
    ``quick``)."""
    seconds = 60.0 * (minutes if minutes is not None else 0.5 if quick else 2.0)
    section = f"Peak: {PEAK:,.0f} frames/s over TLS for {seconds / 60:.1f} min, a scan each {PACE:.0f} s"
    with (
        exchange(symbols, tls=True, **UNLIMITED) as ex,
        child(Ours, config=settings(ex, **GENEROUS), symbols=ex.symbols, wait_for_trades=True, audits=False) as ours,
    ):
        ours.call("scan", times=2)
        # From now on the market itself sends nothing, so received frames can be compared with those sent.
        frames = ours.cpu()[1]
        first = flood(ex, None, RATE, 0.5, mix=MIXES["depth20"])
        settle(ours, frames + first.frames)
        frames = ours.cpu()[1]
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(flood, ex, None, PEAK, seconds, mix=MIXES["depth20"])
            found = ours.call("endure", seconds=seconds, pace=PACE)
            sent = sending.result()
        settle(ours, frames + sent.frames + sent.extra)
        taken = ours.cpu()[1] - frames
        rest = ours.call("lost")
    case = "from the exchange's event to visible"
    report.add(section, case, f"{OURS}: lag p50", found["lag p50"], "ms", note=f"{found['lags']:,.0f} batches' ends")
    report.add(section, case, f"{OURS}: lag p99", found["lag p99"], "ms", MOST_LAG)
    report.add(section, case, f"{OURS}: lag p99.9", found["lag p99.9"], "ms")
    case = "what went wrong"
    pace = f"{taken / seconds:,.0f} frames/s; {sent.held_back} were not sent, since the client's side was full"
    report.add(section, case, f"{OURS}: reconnects", found["reconnects"], "", 0.0)
    report.add(section, case, f"{OURS}: frames lost", abs(sent.frames + sent.extra - taken), "", 0.0, pace)
    if sent.seconds < seconds - 1.0:
        report.note(f"the flood ended after {sent.seconds:.0f} s with a connection; then the market's own frames came")
    report.add(section, case, f"{OURS}: frames dropped, cause by cause", sum(rest["dropped"].values()), "", 0.0)
    report.add(section, case, f"{OURS}: held back by the exchange", sent.held_back, "", 0.0)
    case = "scans"
    scans = sorted(found["scans"])
    report.add(section, case, f"{OURS}: median", scans[len(scans) // 2], "ms", note=f"of {len(scans)}")
    report.add(section, case, f"{OURS}: slowest", scans[-1], "ms")
    report.add(section, case, f"{OURS}: requests caused", found["requests"], "")
    report.add(section, "of a core", OURS, found["cpu"] * 100, "%")
    case = "resident, MB"
    memory = found["memory"]
    for minute, value in _each_minute(memory):
        report.add(section, case, f"{OURS}: after {minute:.1f} min", value, "MB")
    if (growth := grown(memory)) is not None:
        report.add(section, case, f"{OURS}: last third beyond the middle one", growth, "MB", MOST_GROWTH)
    report.show(section)


def _each_minute(samples: list[float]) -> list[tuple[float, float]]:
    """Return ``(minutes, MB)`` of the sample at each full minute, and of the last one."""
    each = round(60.0 / PACE)
    found = [((at + 1) / each, value) for at, value in enumerate(samples) if (at + 1) % each == 0]
    last = (len(samples) / each, samples[-1])
    return found if found and found[-1] == last else [*found, last]
