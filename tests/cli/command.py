"""The command as a child process, and what it leaves behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PATIENCE = 60.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """This process's, with the checkout importable."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return {**os.environ, "PYTHONPATH": path, "PYTHONIOENCODING": "utf-8", **(extra or {})}


def start(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a Python program: its arguments as for the interpreter."""
    return subprocess.Popen(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env=environment(env),
        # A test run in the background of a shell ignores Ctrl-C, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit status and output, once it has ended."""
    try:
        out, err = process.communicate(timeout=PATIENCE)
    except BaseException:
        process.kill()
        process.communicate()
        raise
    return process.returncode, out, err


def run(*arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Start and wait."""
    return finish(start(*arguments, env=env))


def until_line(process: subprocess.Popen[str], text: str) -> str:
    """Read the output up to a line that contains ``text``; all of it so far."""
    assert process.stdout is not None
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return seen
    raise AssertionError(f"{text!r} was never shown: {seen!r} {finish(process)}")


def children(process: subprocess.Popen[str]) -> list[int]:
    """The processes that it has started and that still run."""
    listed = [path.read_text() for path in Path(f"/proc/{process.pid}/task").glob("*/children")]
    return [int(number) for each in listed for number in each.split()]


def runs(pid: int) -> bool:
    """Whether a process is still there, and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
