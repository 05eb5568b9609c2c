"""Fresh random schedules of faults on virtual time, without end.

    python -m tests.explore --minutes 10 [--seed S] [--workers 2] [--schedules N]

Each schedule that breaks a promise is shrunk and printed, ready to become a regression. The last line says how many
schedules ran, how many hours of the exchange's time they took, and how many broke; then the exit status is 1.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time

from .runs import batches

SHOW_EVERY = 60.0


def _end(*_: object) -> None:
    raise KeyboardInterrupt


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.explore", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (default 10)")
    parser.add_argument("--schedules", type=int, help="end after about so many schedules")
    parser.add_argument("--seed", type=int, help="repeat the schedules of a run (default: a fresh one)")
    parser.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    options = parser.parse_args(arguments)
    if not options.minutes > 0 or options.workers < 1:
        parser.error("--minutes must be above 0 and --workers at least 1")
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    began = shown = time.time()
    print(f"seed {seed}", flush=True)
    schedules, hours, broken = 0, 0.0, 0
    try:
        for result in batches(seed, options.workers, began + options.minutes * 60, options.schedules):
            schedules += result.schedules
            hours += result.hours
            broken += len(result.found)
            for schedule, why in result.found:
                print(f"BROKEN {why}\n    {schedule!r}", flush=True)
            if time.time() - shown >= SHOW_EVERY:
                shown = time.time()
                print(f"{shown - began:.0f} s: {schedules} schedules, {broken} broken", flush=True)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    print(f"{schedules} schedules, {hours:.1f} simulated hours, {broken} broken", flush=True)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
