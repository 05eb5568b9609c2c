"""Many schedules, one after the other."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

from .options import SharedOptions
from .processes import Nursery
from .report import SharedReport
from .schedule import run_schedule


def run_shared_stress(options: SharedOptions, tell: Callable[[str], None] = lambda text: None) -> SharedReport:
    """Run them; ``tell`` gets a line about each. Ctrl-C ends the run early, with a report."""
    report = SharedReport(first_seed=options.seed)
    ends = time.monotonic() + options.seconds
    with Nursery() as nursery:
        try:
            for seed in itertools.count(options.seed):
                outcome = run_schedule(nursery, options, seed)
                report.add(outcome)
                tell(outcome.line())
                enough = (
                    time.monotonic() >= ends if options.schedules is None else report.schedules >= options.schedules
                )
                if enough:
                    break
        except KeyboardInterrupt:
            report.interrupted = True
    return report
