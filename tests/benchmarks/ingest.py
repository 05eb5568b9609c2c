"""CPU time per frame, from the socket to the value that a read would find."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from ats_sync.simulator import SimulatedExchange

from .flood import EXTENSION, flood
from .libraries import LIBRARIES
from .machine import PRODUCER, Child, child, pin
from .ours import INTERVALS, Ours
from .report import OURS, Report
from .rivals import RIVALS

RATE = 5_000.0
FLAT_OUT = "flat out"
AT_RATE = "at 5,000 frames/s"
SILENCE = 2.0
PATIENCE = 60.0
MIXES: dict[str, dict[str, float]] = {
    "depth20": {"kline": 0.47, "depth20@100ms": 0.30, "aggTrade": 0.22, "markPrice": 0.01},
    "diffs": {"kline": 0.47, "depth@100ms": 0.30, "aggTrade": 0.22, "markPrice": 0.01},
}
NAIVE, PICOWS, FLOOR = "WebSocketApp + json.loads", "picows + orjson", "floor: receive, split, keep the bytes"
RUST = "websocket-rs + orjson"
EVERYWHERE = (NAIVE, RUST, PICOWS, FLOOR)
"""The clients that are also measured over TLS and with diffs."""
MOST: dict[tuple[bool, str, str], float] = {
    (True, AT_RATE, FLOOR): 1.35,
    (True, AT_RATE, PICOWS): 1.0,
    (True, FLAT_OUT, PICOWS): 2.0,
}
"""The most that a frame of ours may cost, as a multiple of another client's CPU, by ``(over TLS, case, client)``, with
the default settings and whole books."""


def exchange(symbols: int, *, tls: bool = False, **options: Any) -> SimulatedExchange:
    """Run an exchange in its own process, on the core of the producer, with a send buffer that is not an obstacle."""
    made = SimulatedExchange(symbols, seed=7, tls=tls, **{"send_buffer": 64 << 20, "extensions": EXTENSION, **options})
    pin(made.pid, PRODUCER)
    return made


def settings(ex: SimulatedExchange, **overrides: Any) -> dict[str, Any]:
    """Return the settings of a manager on this exchange, to pass to a child."""
    return {
        "fapi_base": ex.fapi_url,
        "spot_base": ex.spot_url,
        "fstream_base": ex.fstream_url,
        "spot_stream_base": ex.spot_stream_url,
        "ca_file": ex.ca_file,
        "proxies": {},
        **overrides,
    }


UNLIMITED: dict[str, Any] = {"weight_limit": 10**6, "spot_weight_limit": 10**6, "oi_limit": 10**6}
GENEROUS: dict[str, Any] = {"futures_weight_limit": 10**6, "spot_weight_limit": 10**6}


def streams(symbols: Sequence[str], mix: str) -> dict[str, list[str]]:
    """Return what a client of this mix subscribes to, by route."""
    names = [symbol.lower() for symbol in symbols]
    market = [f"{name}@kline_{interval}" for name in names for interval in INTERVALS]
    market += [f"{name}@aggTrade" for name in names]
    book = "depth20@100ms" if mix == "depth20" else "depth@100ms"
    return {"market": [*market, "!markPrice@arr@1s"], "public": [f"{name}@{book}" for name in names]}


TIMES = 3


def cost(ex: SimulatedExchange, client: Child, mix: str, rate: float | None, seconds: float) -> tuple[float, float]:
    """Return ``(µs of CPU per frame, frames per second)`` of a client under a flood, the median of three."""
    measured = sorted(_cost(ex, client, mix, rate, seconds / TIMES) for _ in range(TIMES))
    return measured[TIMES // 2]


def _cost(ex: SimulatedExchange, client: Child, mix: str, rate: float | None, seconds: float) -> tuple[float, float]:
    frames = client.cpu()[1]
    settle(client, frames + flood(ex, None, RATE, 0.3, mix=MIXES[mix]).frames)
    cpu, frames = client.cpu()
    begun = time.perf_counter()
    sent = flood(ex, None, rate, seconds, mix=MIXES[mix])
    settle(client, frames + sent.frames)
    took = time.perf_counter() - begun
    cpu_after, frames_after = client.cpu()
    taken = frames_after - frames
    if taken < 0.98 * sent.frames:
        raise RuntimeError(f"only {taken} of {sent.frames} frames were taken")
    return (cpu_after - cpu) / taken * 1e6, taken / took


def settle(client: Child, expected: int) -> None:
    """Wait until everything sent has arrived, or nothing more arrives (after a reconnect, some of it never does)."""
    before, progress = -1, time.monotonic()
    ends = progress + PATIENCE
    while (now := client.cpu()[1]) < expected and time.monotonic() < min(progress + SILENCE, ends):
        if now != before:
            before, progress = now, time.monotonic()
        threading.Event().wait(0.02)


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure ours and the others, with both mixes, plain and over TLS, flat out and at a rate."""
    seconds = 1.5 if quick else 6.0
    for tls in (False, True):
        for mix in ("depth20", "diffs"):
            if quick and mix == "diffs" and tls:
                continue
            with exchange(symbols, tls=tls, **UNLIMITED) as ex:
                where = f"{'TLS' if tls else 'plain'}, {mix}"
                _rivals(report, ex, where, mix, seconds, quick=quick)
                _ours(report, ex, where, mix, seconds, quick=quick)
            section = f"Ingest, {where}: µs of CPU a frame"
            report.show(section)


def _rivals(report: Report, ex: SimulatedExchange, where: str, mix: str, seconds: float, *, quick: bool) -> None:
    section = f"Ingest, {where}: µs of CPU a frame"
    wanted = streams(ex.symbols, mix)
    libraries = {} if quick else LIBRARIES
    for name, rival in (RIVALS | libraries).items():
        if (mix == "diffs" or ex.ca_file) and name not in (*EVERYWHERE, *LIBRARIES):
            continue
        try:
            with child(rival, base=ex.fstream_url, streams=wanted, ca_file=ex.ca_file, rest=ex.fapi_url) as client:
                for case, rate in ((FLAT_OUT, None), (AT_RATE, RATE)):
                    value, pace = cost(ex, client, mix, rate, seconds)
                    report.add(section, case, name, value, "µs", note=f"{pace:,.0f} frames/s")
        except ImportError as error:
            report.note(f"{name} left out: {error}")
        except RuntimeError as error:
            report.note(f"{name} failed ({where}): {error}")


def _ours(report: Report, ex: SimulatedExchange, where: str, mix: str, seconds: float, *, quick: bool) -> None:
    section = f"Ingest, {where}: µs of CPU a frame"
    for drain in (None, 0.0) if quick else (None, 0.0, 0.005):
        other = {} if drain is None else {"drain_interval": drain}
        config = settings(ex, warmup_klines=2, max_trades=100, **other, **GENEROUS)
        # The requests of the warm-up are not part of what a frame costs.
        with child(Ours, config=config, symbols=ex.symbols, deep_books=mix == "diffs", wait_for_trades=True) as client:
            subject = OURS if drain is None else f"{OURS}, {drained(drain)}"
            if drain is None:
                value, pace = cost(ex, client, mix, None, seconds)
                report.add(section, FLAT_OUT, subject, value, "µs", note=f"{pace:,.0f} frames/s")
            value, pace = cost(ex, client, mix, RATE, seconds)
            report.add(section, AT_RATE, subject, value, "µs", note=f"{pace:,.0f} frames/s")
    add_ratios(report, section, tls=ex.ca_file is not None, mix=mix)


def add_ratios(report: Report, section: str, *, tls: bool, mix: str) -> None:
    """Add the cost of ours as a multiple of each of the quickest methods, at a rate and flat out."""
    for case in (FLAT_OUT, AT_RATE):
        for other in (FLOOR, PICOWS, RUST):
            report.ratio(section, case, OURS, other, MOST.get((tls, case, other)) if mix == "depth20" else None)


def drained(interval: float) -> str:
    """Return how a manager with this ``drain_interval`` receives."""
    return f"drained every {interval * 1e3:.0f} ms" if interval else "received at once"
