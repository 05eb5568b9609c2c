"""The processes of a schedule: forked from one that has imported everything, since starting is most of their cost."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

from ...config import Config
from ...interruptible import let_signals_end_waits
from ...manager import DataManager


class Nursery:
    """Starts processes. All of them end with the ``with`` block, or with the process that started it."""

    def __init__(self) -> None:
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
        self._process = subprocess.Popen(
            [sys.executable, "-m", "ats_sync.stress.shared"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": path},
            start_new_session=True,
        )

    def start(self, role: str, spec: dict[str, Any]) -> int:
        """Start a process with a role; return its process id."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps([role, spec]).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate()


def send(process: int, number: int) -> bool:
    """Send a signal; return whether the process exists (0: only check)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)
        return True
    return False


def serve() -> None:
    """Fork a process for each line of standard input, and kill them all at its end."""
    from .reader import read_and_compare  # what children need is imported before they are forked

    roles = {"collector": collect, "reader": read_and_compare}
    children: set[int] = set()

    def reap(*_: object) -> None:
        # Reap at once: the parent checks whether they exist. No process id is signalled after it may have been reused.
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitpid(-1, os.WNOHANG)[0]:
                children.discard(ended)

    signal.signal(signal.SIGCHLD, reap)
    while line := sys.stdin.buffer.readline():
        role, spec = json.loads(line)
        child = os.fork()
        if not child:
            _become(spec["log"])
            try:
                roles[role](spec)
            except BaseException:
                logging.exception("%s ends", role)
                os._exit(1)
            os._exit(0)
        children.add(child)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    for child in list(children):
        send(child, signal.SIGKILL)


def _become(log: str) -> None:
    """Redirect this process's output to its own log instead of the parent's files."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    with open(log, "ab", 0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(
        level=logging.INFO, format="%(created).3f %(name)s %(levelname)s %(message)s", stream=sys.stderr
    )


def until_terminated() -> threading.Event:
    """Return an event that is set by SIGTERM."""
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    let_signals_end_waits()
    return ends


def collect(spec: dict[str, Any]) -> None:
    """Run a collector until SIGTERM, which hands over."""
    ends = until_terminated()
    config = Config(**spec["config"], role="collector", take_over=spec.get("take_over", False))
    manager = DataManager(spec["symbols"], spec["intervals"], config=config)
    starts = threading.Thread(target=manager.start, daemon=True)  # it may wait for a long time, and SIGTERM ends it
    starts.start()
    ends.wait()
    manager.close()
