"""Calls that interrupt another call of the library, whose locks stay taken meanwhile.

Python runs signal handlers between two instructions of the main thread. The interrupted call waits until the handler
returns and keeps every lock it has taken. The stack shows this without a mark that each read would have to set. The
garbage collector likewise calls a finalizer on the thread on which it runs, ours among them, with any lock taken.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType

from .errors import ReentrantCall

ROOT = os.path.dirname(os.path.abspath(__file__)) + os.sep
APART = tuple(ROOT + part for part in ("cli", "simulator", "stress", "__main__"))
"""Programs that come with the library and call it like any other program."""
MOST_KNOWN = 4096
_known: dict[str, bool] = {}
"""Whether a file belongs to the library, remembered since every read looks at the whole stack. Only the main thread
uses it."""


def interrupts_itself() -> bool:
    """Return whether this call runs in a signal handler that interrupted another call of the library.

    Only the main thread runs signal handlers, so this is False on any other.
    """
    if threading.get_ident() != threading.main_thread().ident:
        return False
    known = _known
    within = True
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        ours = known.get(file)
        if ours is None:
            ours = _learn(file)
        if within:
            within = ours
        elif ours:
            return True
        frame = frame.f_back
    return False


def _learn(file: str) -> bool:
    ours = file.startswith(ROOT) and not file.startswith(APART)
    if len(_known) >= MOST_KNOWN:
        _known.clear()
    _known[file] = ours
    return ours


def refuse_reentry() -> None:
    """Raise :class:`~ats_sync.errors.ReentrantCall` if this call could wait for itself for ever."""
    if interrupts_itself():
        raise ReentrantCall(
            "called from a signal handler that interrupted another call of ats_sync, which cannot go on before the "
            "handler returns; set a flag in the handler and call from the main program or a thread (close() is safe)"
        )


def hand_over(work: Callable[[], None], *, daemon: bool = False) -> None:
    """Run ``work`` on a thread named ``ats-close``, without waiting. The interpreter waits for that thread before it
    ends, unless it is a ``daemon``. Raises RuntimeError if no thread can be started."""

    def begin() -> None:
        try:
            threading.Thread(target=work, name="ats-close", daemon=daemon).start()
        except RuntimeError:  # No further thread can be started, or the interpreter is ending: this thread serves too.
            work()

    # Not Thread.start(): the interrupted call may be inside it, and threading has one lock for all starts.
    _thread.start_new_thread(begin, ())


_left_over: deque[Callable[[], None]] = deque()
"""Work of finalizers that no thread has taken yet."""


def hand_over_from_finalizer(work: Callable[[], None]) -> None:
    """Like :func:`hand_over`, for finalizers: takes no lock, raises nothing, and does not keep the interpreter alive.

    If no thread can be started now, :func:`take_left_over` tries again.
    """
    _left_over.append(work)
    take_left_over()


def take_left_over() -> None:
    """Start a thread for the work that finalizers have left, if there is any."""
    if not _left_over:
        return
    try:
        hand_over(_work_off, daemon=True)
    except RuntimeError:
        return  # No further thread can be started: the next launch or finalizer tries again.


def _work_off() -> None:
    while True:
        try:
            work = _left_over.popleft()
        except IndexError:
            return
        work()
