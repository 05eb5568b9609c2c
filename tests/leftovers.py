"""What a test leaves behind: threads of ours, and processes."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from .forked import PARENT
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
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # It has just ended, as may one of its threads.
        for task in os.listdir(threads := f"{PROC}/{pid}/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"{threads}/{task}/children") as listed,
            ):
                found.update(map(int, listed.read().split()))
    return found


def started() -> set[int]:
    """Return the children of this process, including the exchanges that are forked for it but not the process that
    forks them."""
    found = children()
    return found - {PARENT.pid} | children(PARENT.pid) if PARENT.pid in found else found


def orphans(started_by: str) -> set[int]:
    """Return the processes whose own parent has ended and that were started by a test whose name begins like this, or
    by anything that such a test has started."""
    mark = f"PYTEST_CURRENT_TEST={started_by}".encode()
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


def check_children(before: set[int]) -> None:
    """Fail when a process is left that was started since, and end it."""
    _check(lambda: started() - before)


def check_orphans(started_by: str) -> None:
    """Fail when one of :func:`orphans` is left, and end it. Looking for them costs as much as an ordinary test."""
    _check(lambda: orphans(started_by))


def _check(left: Callable[[], set[int]]) -> None:
    try:
        until(lambda: not left(), GRACE)
    except AssertionError:
        found = {pid: _command(pid) for pid in left()}
        for pid in found:
            _kill(pid)
        raise AssertionError(f"processes left behind: {found}") from None


def _command(pid: int) -> str:
    try:
        command = (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        environment = (PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return "(ended)"
    test = next((each for each in environment if each.startswith(b"PYTEST_CURRENT_TEST=")), b"").decode()
    return f"{command} [{test}]"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
