"""Which process runs which test file: many files that wait run at once, few that compute."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

COMPUTING = frozenset({"engine", "explore", "market", "properties", "reads", "store", "venue"})
"""Folders of tests that keep a core busy, since they use no sockets and clocks."""
LONGEST = (
    *("tests/properties/test_regressions.py", "tests/shared/test_feed_events.py", "tests/properties/test_promises.py"),
    *("tests/cli/test_collect.py", "tests/properties/test_derived.py", "tests/shared/test_feed.py"),
    *("tests/shared/test_feed_processes.py", "tests/compat/test_scan.py", "tests/compat/test_migration.py"),
    *("tests/examples/test_replay_recording.py", "tests/test_stress.py", "tests/cli/test_embedded_store.py"),
    *("tests/examples/test_migration.py", "tests/test_manager.py", "tests/test_depth.py", "tests/cli/test_demo.py"),
    *("tests/test_lifecycle.py", "tests/test_manager_events.py", "tests/test_stress_shared.py"),
    *("tests/endpoint/test_browser.py", "tests/cli/test_probe.py", "tests/shared/test_handover.py"),
)
"""The files that take longest, which start first so that all processes end together."""
NICE = os.getpriority(os.PRIO_PROCESS, 0) if hasattr(os, "getpriority") else 0
COMPUTING_NICE = 10
PROCESSES_A_CORE = 3
MOST_PROCESSES = 12


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def processes() -> int:
    """Return how many processes share the whole suite."""
    return min(PROCESSES_A_CORE * cores(), MOST_PROCESSES)


def is_compiled(files: Sequence[Path]) -> bool:
    """Return whether pytest has compiled all of these files since they were written."""
    for file in files:
        compiled = file.parent.joinpath("__pycache__").glob(f"{file.stem}.{sys.implementation.cache_tag}-pytest-*.pyc")
        if not any(each.stat().st_mtime >= file.stat().st_mtime for each in compiled):
            return False
    return True


def compile_once(folder: Path) -> None:
    """Compile all test files below ``folder`` with as many processes as there are cores. Where that was not done, each
    of the processes that then share the suite would compile all of them, which takes a tenth of its time."""
    files = sorted(folder.rglob("test_*.py"))
    if is_compiled(files):
        return
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-n", "0", "-p", "no:cacheprovider"]
    where: Any = {
        "cwd": folder.parent,
        "env": {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL),
    }
    parts = [[str(file) for file in files[part :: cores()]] for part in range(cores())]
    running = [subprocess.Popen([*command, *part], **where) for part in parts if part]
    for process in running:
        process.wait()  # What cannot be collected is reported by those who collect it next.


def computes(file: str) -> bool:
    """Return whether the tests of a file compute all the time instead of waiting for sockets and clocks."""
    return bool(COMPUTING & set(PurePosixPath(file).parts))


def give_way(file: str) -> None:
    """Leave the processor to the others while a file that computes is run, where that can be undone, which only root
    may: what waits for sockets and clocks is soon late on a busy machine."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        os.setpriority(os.PRIO_PROCESS, 0, NICE + (COMPUTING_NICE if computes(file) else 0))


class Sharing(LoadFileScheduling):  # type: ignore[misc, unused-ignore]
    """Hand out whole files. While files that wait are left, at most half of the cores compute."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        computing = sum(map(self._is_computing, self.assigned_work))
        enough = computing >= max(1, cores() // 2)
        for file in self.workqueue:
            if computes(file) is not enough:
                self.workqueue.move_to_end(file, last=False)
                break
        super()._assign_work_unit(node)

    def _is_computing(self, node: WorkerController) -> bool:
        units = self.assigned_work[node]
        return any(computes(file) and not all(done.values()) for file, done in units.items())


def by_length(item: pytest.Item) -> int:
    """Return where the item's file stands among those that take longest; the sort key of the collected items."""
    file = item.nodeid.partition("::")[0]
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)
