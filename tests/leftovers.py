"""What a test leaves behind: threads of ours, and processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from pathlib import Path

from .support import until

GRACE = 10.0
"""Seconds that threads and processes have to end."""
PROC = Path("/proc")


def our_threads() -> set[threading.Thread]:
    """Return the running threads of the library."""
    return {thread for thread in threading.enumerate() if thread.name.startswith("ats-")}


def children(pid: int | str = "self") -> set[int]:
    """Return the processes that a process (by default this one) has started and that have not been reaped; none where
    the system cannot tell."""
    found: set[int] = set()
    for listed in PROC.glob(f"{pid}/task/*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread that has just ended
            found.update(map(int, listed.read_text().split()))
    return found


def orphans_of(test: str) -> set[int]:
    """Return the processes started by anything that this test has started whose own parent has ended."""
    mark = f"PYTEST_CURRENT_TEST={test} (".encode()
    found = set()
    for directory in PROC.glob("[0-9]*"):
        try:
            parent = int((directory / "stat").read_text().rpartition(")")[2].split()[1])
            if parent == 1 and mark in (directory / "environ").read_bytes():
                found.add(int(directory.name))
        except (OSError, ValueError):
            continue  # it has ended since, or we may not look at it
    return found


def check_threads(before: set[threading.Thread]) -> None:
    """Fail when a thread of ours runs that did not run before, and goes on doing so.

    A manager that ran before and still does belongs to a fixture of wider scope: its request threads come and go.
    """
    left = our_threads() - before
    if any(thread.name == "ats-engine" and thread.is_alive() for thread in before):
        left = {thread for thread in left if not thread.name.startswith("ats-rest-")}
    for thread in left:
        thread.join(GRACE)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"threads left behind: {alive}"


def check_processes(before: set[int], test: str) -> None:
    """Fail when a process is left that was not there before, and end it."""

    def left() -> set[int]:
        return (children() - before) | orphans_of(test)

    try:
        until(lambda: not left(), GRACE)
    except AssertionError:
        found = {pid: _command(pid) for pid in left()}
        for pid in found:
            _kill(pid)
        raise AssertionError(f"processes left behind: {found}") from None


def _command(pid: int) -> str:
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return "(ended)"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
