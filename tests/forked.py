"""The simulated exchanges of the tests, forked from a process that has loaded what they need: loading it for each of
them would take most of its start, and these starts a good part of the suite's time.

``tests/simulator`` starts them as programs do (:func:`exchanges` is for everybody else). As a program, this is the
process that forks: each message on its stdin brings the descriptors 0, 1 and 2 of another exchange, and is answered
with the process id.
"""

from __future__ import annotations

import contextlib
import gc
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import IO, Any

PACKAGE = Path(__file__).parents[1] / "ats_sync"
PID_BYTES = 8


@cache
def can_fork() -> bool:
    """Return whether this system lets a process wait for one that is not its child."""
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return hasattr(socket, "send_fds")


class Parent:
    """The process that forks them; it starts with the first one and ends with this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards the communication with it
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._owner = 0

    @property
    def pid(self) -> int | None:
        """Return its process id, None before it was needed."""
        return self._process.pid if self._process is not None else None

    def fork(self, environment: Mapping[str, str], descriptors: list[int]) -> int:
        """Return the process id of another exchange, which has these descriptors as 0, 1 and 2."""
        with self._lock:
            if self._link is None or self._owner != os.getpid():
                self._start(environment)
            assert self._link is not None
            socket.send_fds(self._link, [b"."], descriptors)
            answer = self._link.recv(PID_BYTES, socket.MSG_WAITALL)
        assert len(answer) == PID_BYTES, "the process that forks exchanges has ended"
        return int.from_bytes(answer, "big")

    def _start(self, environment: Mapping[str, str]) -> None:
        self._link, theirs = socket.socketpair()
        self._owner = os.getpid()
        environment = {name: value for name, value in environment.items() if name != "PYTEST_CURRENT_TEST"}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=theirs,
                stdout=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
            )

    def close(self) -> None:
        if self._process is not None and self._link is not None and self._owner == os.getpid():
            self._link.close()
            self._process.wait()
            self._process = self._link = None


PARENT = Parent()


class Forked:
    """What :class:`~ats_sync.simulator.child.ChildHost` needs of a process that it has started."""

    def __init__(self, command: list[str], *, stderr: IO[bytes], env: Mapping[str, str], **_: Any) -> None:
        read, stdin = os.pipe()
        stdout, written = os.pipe()
        self.stdin, self.stdout = os.fdopen(stdin, "wb", 0), os.fdopen(stdout, "rb", 0)
        try:
            self.pid = PARENT.fork(env, [read, written, stderr.fileno()])
        finally:
            os.close(read)
            os.close(written)
        self.returncode: int | None = None
        self._handle: int | None = None
        with contextlib.suppress(ProcessLookupError):  # It may have ended by now.
            self._handle = os.pidfd_open(self.pid)

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0.0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; its exit status is not known. Raises ``TimeoutExpired``."""
        if self._handle is not None:
            if not select.select([self._handle], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("the exchange", timeout or 0.0)
            os.close(self._handle)
            self._handle = None
        self.returncode = 0
        return self.returncode

    def kill(self) -> None:
        if self._handle is not None:
            signal.pidfd_send_signal(self._handle, signal.SIGKILL)


@contextlib.contextmanager
def exchanges() -> Iterator[None]:
    """Let simulated exchanges be forked until the end of the block, where the system can do that."""
    from ats_sync.simulator import child

    if not can_fork():
        yield
        return
    real = child.subprocess
    child.subprocess = SimpleNamespace(  # type: ignore[assignment]
        Popen=Forked, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired
    )
    try:
        yield
    finally:
        child.subprocess = real


def main() -> None:
    gc.disable()  # As in an exchange that is started, nothing that is imported is garbage.
    sys.path[0] = str(PACKAGE.parent)
    package = sys.modules[PACKAGE.name] = ModuleType(PACKAGE.name)
    package.__path__ = [str(PACKAGE)]
    from ats_sync.simulator.serving import child_main

    link = socket.socket(fileno=os.dup(0))
    signal.signal(signal.SIGCHLD, reap)
    while True:
        message, descriptors, _, _ = socket.recv_fds(link, 1, 3)
        if not message:
            return
        pid = os.fork()
        if not pid:
            link.close()
            be_exchange(descriptors, child_main)
        for each in descriptors:
            os.close(each)
        link.sendall(pid.to_bytes(PID_BYTES, "big"))


def reap(*_: object) -> None:
    """Reap the exchanges that have ended."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def be_exchange(descriptors: list[int], child_main: Any) -> None:
    """Run as one exchange, and end."""
    status = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number, each in enumerate(descriptors):
            os.dup2(each, number)
            os.close(each)
        child_main()
        status = 0
    except BaseException:  # noqa: BLE001 -- written where whoever started it looks
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    main()
