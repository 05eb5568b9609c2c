"""How a command ends: exit statuses, its own errors, and SIGTERM.

SIGTERM ends a command the same way as Ctrl-C: everything it started is closed, and no stack trace is shown.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import DataError, RequestError
from ..interruptible import let_signals_end_waits

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_terminated = False


class CommandFailed(Exception):
    """Ends the command with its text on stderr and ``status``."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def need(command: str, *packages: str) -> None:
    """Raise :class:`CommandFailed` if an optional package is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise CommandFailed(
            f"{command} needs {' and '.join(missing)}; install with: python -m pip install {' '.join(missing)}", USAGE
        )


@contextmanager
def asking(host: str) -> Iterator[None]:
    """Name the host in the error if it cannot be reached."""
    try:
        yield
    except (DataError, RequestError) as error:
        raise CommandFailed(f"{host}: {error}") from error


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Code that handles Ctrl-C handles this too."""


def end_on_sigterm() -> None:
    """Make the first SIGTERM raise :class:`Terminated` on the main thread, and later ones do nothing.

    Only for our own process, on its main thread: a library leaves signals to the program.
    """
    signal.signal(signal.SIGTERM, _terminate)
    let_signals_end_waits()


def interrupted_status() -> int:
    """Return the exit status of a command that was interrupted: 143 after SIGTERM, 130 after Ctrl-C."""
    return TERMINATED if _terminated else INTERRUPTED


def _terminate(number: int, frame: FrameType | None) -> None:
    global _terminated
    # A supervisor may signal the process and then its whole group: the second signal must not interrupt the clean-up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _terminated = True
    raise Terminated
