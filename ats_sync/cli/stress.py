"""``stress``: runs the manager on the simulated exchange under faults, and checks every promise."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import MissingExtra
from ..stress import FAULTS, Options, Report, run_stress
from ..stress.shared import SharedOptions, SharedReport, run_shared_stress
from ..stress.shared.faults import FAULTS as SHARED_FAULTS
from .exits import FAILED, OK, USAGE, CommandFailed, interrupted_status
from .screen import Screen, Table

OF_ONE_MANAGER = ("symbols", "intervals", "readers", "pause")
"""Options of the run with one manager alone; not true where they are not given."""


def run(options: Namespace) -> int:
    """Run it and show the findings; the exit status says whether every promise was kept."""
    screen = Screen(sys.stdout)
    given: dict[str, Any] = {name: each for name in OF_ONE_MANAGER if (each := getattr(options, name))}
    if options.shared:
        if given:
            raise CommandFailed(f"--{next(iter(given))} cannot be used with --shared, whose schedules choose it", USAGE)
        return _run_shared(screen, options)
    if options.schedules is not None:
        raise CommandFailed("--schedules can only be used with --shared", USAGE)
    if "intervals" in given:
        given["intervals"] = tuple(given["intervals"])
    chosen = Options(seconds=options.seconds, seed=options.seed, only=tuple(options.only), **given)
    screen.heading(
        f"{chosen.symbols} symbols × {len(chosen.intervals)} intervals, books and trades; faults for "
        f"{chosen.seconds:g} s, seed {chosen.seed}"
    )
    _check_names(chosen.only, FAULTS.names())
    report = run_stress(chosen, _teller(screen))
    if options.json is not None:
        _write(report, options.json)
    _show(screen, report)
    if report.interrupted:
        return interrupted_status()
    return OK if report.kept else FAILED


def _check_names(only: Iterable[str], faults: Sequence[str]) -> None:
    unknown = sorted(set(only).difference(faults))
    if unknown:
        raise CommandFailed(f"there is no fault {unknown[0]!r}; choose from {', '.join(faults)}", USAGE)


def _run_shared(screen: Screen, options: Namespace) -> int:
    screen.heading(f"schedules of collectors, readers and a shared store, seeds from {options.seed} on")
    _check_names(options.only, SHARED_FAULTS.names())
    chosen = SharedOptions(
        seconds=options.seconds, schedules=options.schedules, seed=options.seed, only=tuple(options.only)
    )
    try:
        report = run_shared_stress(chosen, screen.line)
    except MissingExtra as error:
        raise CommandFailed(str(error), USAGE) from error
    if options.json is not None:
        _write(report, options.json)
    screen.table(Table("Stress test of the shared store", ("what", "figure"), report.rows()))
    for example in report.examples:
        screen.line(example)
    if report.interrupted:
        screen.line("Ended early.")
        return interrupted_status()
    if report.kept:
        screen.line("Every promise was kept.")
        return OK
    screen.line("Promises were broken. To run one schedule again: --shared --schedules 1 --seed N")
    return FAILED


def _teller(screen: Screen) -> Callable[[str], None]:
    """Return a function that shows progress, on a terminal only: elsewhere only the result counts."""
    return screen.line if screen.terminal else lambda text: None


def _show(screen: Screen, report: Report) -> None:
    screen.table(Table("Stress test", ("what", "figure"), report.rows()))
    for example in report.examples:
        screen.line(example)
    if report.interrupted:
        screen.line("Ended early.")
    elif report.kept:
        screen.line("Every promise was kept.")
    else:
        broken = ", ".join(f"{name} ({count})" for name, count in report.broken.items())
        screen.line(f"Promises were broken: {broken}. To run the same again: --seed {report.options.seed}")


def _write(report: Report | SharedReport, path: str) -> None:
    text = json.dumps(report.to_json(), indent=2, ensure_ascii=False)
    try:
        Path(path).write_text(text + "\n", encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"the report cannot be written to {path}: {error}") from error
