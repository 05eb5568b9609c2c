"""SIGTERM ends a command as Ctrl-C does: everything it started is closed, and no stack trace is shown."""

from __future__ import annotations

import signal
from types import FrameType

from .failures import INTERRUPTED, TERMINATED

_terminated = False


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
