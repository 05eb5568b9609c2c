"""Python programs as child processes, which never outlive their test, and what they leave behind."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 240.0
"""Seconds after which a program is killed; generous, since the machine may be busy."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the checkout importable."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **(extra or {})}


@contextmanager
def interrupts(*, ignored: bool = False) -> Iterator[None]:
    """Start processes that react to Ctrl-C (or ignore it), however the tests were started."""
    # A signal with a handler is reset in the new program, one that is ignored stays ignored.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a session leader and all processes in its session."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextmanager
def start(
    *arguments: str, env: Mapping[str, str] | None = None, ignores_interrupts: bool = False
) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program (with arguments as for the interpreter) until the end of the block at the latest."""
    with interrupts(ignored=ignores_interrupts):
        process = subprocess.Popen(
            [sys.executable, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(env),
            start_new_session=True,
        )
    # Reading its output has no time-out of its own.
    too_late = threading.Timer(PATIENCE, kill, (process,))
    too_late.daemon = True
    too_late.start()
    with process:
        try:
            yield process
        finally:
            too_late.cancel()
            kill(process)


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end; return exit status and output."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out, err


def run(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Start a program, wait for its end; return exit status and output."""
    with start(*arguments, env=env) as process:
        return finish(process)


def until_line(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to a line that contains ``text``; return all of it so far."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was never shown: {seen!r} {finish(process)}")


def runs(pid: int) -> bool:
    """Return whether a process still runs, and is not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
