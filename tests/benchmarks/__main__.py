"""Measures ats_sync next to the usual methods and the other clients that are installed.

    python -m tests.benchmarks [--quick] [--only ingest,reads,…] [--json FILE]
    python -m tests.benchmarks --only peak --minutes 10
    python -m tests.benchmarks --only house --base DIR [--suites]

The exchange runs in its own process on one core, each client in another process on the other core. CPU time is that of
the client's process. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from . import derived, endpoint, events, failover, house, ingest, minutes, page, peak, reading, restart, shared, warmup
from .machine import description
from .report import Report

SECTIONS: dict[str, Callable[..., None]] = {
    "ingest": ingest.measure,
    "derived": derived.measure,
    "reads": reading.measure_reads,
    "lag": reading.measure_lag,
    "events": events.measure,
    "memory": reading.measure_memory,
    "warmup": warmup.measure,
    "minutes": minutes.measure,
    "restart": restart.measure,
    "endpoint": endpoint.measure,
    "page": page.measure,
    "shared": shared.measure,
    "readers": shared.measure_readers,
    "shards": shared.measure_shards,
    "failover": failover.measure,
    "growth": warmup.measure_growth,
    "peak": peak.measure,
    "house": house.measure,
}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="shorter, coarser, without the longest cases")
    parser.add_argument("--only", default=",".join(SECTIONS), help=f"some of {','.join(SECTIONS)}")
    parser.add_argument("--symbols", type=int, default=200, help="how many (the targets are for 200)")
    parser.add_argument("--minutes", type=float, help="how long the peak lasts (default 2; with --quick a half)")
    parser.add_argument("--base", type=Path, help="house: an older checkout to compare with")
    parser.add_argument("--suites", action="store_true", help="house: run and time the tests of each checkout, too")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    options = parser.parse_args(arguments)
    chosen = [name.strip() for name in options.only.split(",") if name.strip()]
    unknown = sorted(set(chosen) - set(SECTIONS))
    if unknown:
        parser.error(f"no such section: {', '.join(unknown)}; choose some of {', '.join(SECTIONS)}")
    own = {"peak": {"minutes": options.minutes}, "house": {"base": options.base, "suites": options.suites}}
    report = Report()
    print(f"{report.begun:%Y-%m-%d %H:%M} UTC, {description()}", flush=True)
    begun = time.monotonic()
    for name in chosen:
        try:
            SECTIONS[name](report, quick=options.quick, symbols=options.symbols, **own.get(name, {}))
        except RuntimeError as error:
            report.note(f"{name} was broken off: {error}")
    print(f"\n{report.summary()}\n{time.monotonic() - begun:.0f} s")
    if options.json is not None:
        options.json.write_text(report.to_json(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
