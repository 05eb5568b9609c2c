"""How a command ends: exit statuses, the errors that are its own, and SIGTERM.

SIGTERM ends a command as Ctrl-C does: everything it started is closed, and no stack trace is shown.
"""

from __future__ import annotations

import importlib.util
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from ..errors import DataError, RequestError

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143

_terminated = False


class CommandFailed(Exception):
    """Ends the command with its text on stderr and ``status``."""

    def __init__(self, message: str, status: int = FAILED) -> None:
        super().__init__(message)
        self.status = status


def need(command: str, *packages: str) -> None:
    """Raise :class:`CommandFailed` where an optional package is not installed."""
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise CommandFailed(
            f"{command} needs {' and '.join(missing)}; install with: python -m pip install {' '.join(missing)}", USAGE
        )


@contextmanager
def asking(host: str) -> Iterator[None]:
    """Name the host that could not be reached."""
    try:
        yield
    except (DataError, RequestError) as error:
        raise CommandFailed(f"{host}: {error}") from error


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived. Whatever handles Ctrl-C handles this too."""


def end_on_sigterm() -> None:
    """From now on the first SIGTERM raises :class:`Terminated` on the main thread; later ones change nothing.

    Only for a process of our own, on its main thread: a library leaves signals to the program.
    """
    signal.signal(signal.SIGTERM, _terminate)


def interrupted_status() -> int:
    """Return the exit status of a command that was interrupted: 143 after SIGTERM, 130 after Ctrl-C."""
    return TERMINATED if _terminated else INTERRUPTED


def _terminate(number: int, frame: FrameType | None) -> None:
    global _terminated
    # A supervisor may signal the process and then its whole group: the second one must not interrupt the cleaning up.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _terminated = True
    raise Terminated
