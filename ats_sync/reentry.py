"""Calls that come in the middle of another call of ours, whose locks are not released for them.

Python runs signal handlers between two instructions of the main thread. What that thread was doing waits until the
handler returns, and so does every lock it has taken. Looking at the stack finds it out without a mark that each
read would have to set. The garbage collector likewise calls a finalizer on whichever thread it runs on, ours among
them, with any lock taken.
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
"""Programs beside the library, which call it as any other program does."""
MOST_KNOWN = 4096
_known: dict[str, bool] = {}
"""Whether the code of a file is ours, since every read looks at the whole stack. (Only the main thread uses it.)"""


def interrupts_itself() -> bool:
    """Return whether this call, further out on its own stack, interrupted another call of the library.

    Only the main thread runs signal handlers, so it is False on any other.
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
    """Raise :class:`~ats_sync.errors.ReentrantCall` where this call could wait for itself for ever."""
    if interrupts_itself():
        raise ReentrantCall(
            "called from a signal handler that interrupted another call of ats_sync, which cannot go on before the "
            "handler returns; set a flag in the handler and call from the main program or a thread (close() is safe)"
        )


def hand_over(work: Callable[[], None], *, daemon: bool = False) -> None:
    """Let a thread named ``ats-close`` do it, without waiting; the interpreter waits for it before it ends, unless it
    is a ``daemon``. Raises RuntimeError where no thread can be started."""

    def begin() -> None:
        try:
            threading.Thread(target=work, name="ats-close", daemon=daemon).start()
        except RuntimeError:  # no further thread, or the interpreter shuts down: this one serves too
            work()

    # Not Thread.start() here: the interrupted call may be in it, and its module has one lock for all starts.
    _thread.start_new_thread(begin, ())


_left_over: deque[Callable[[], None]] = deque()
"""What finalizers have handed over and no thread has taken yet."""


def hand_over_from_finalizer(work: Callable[[], None]) -> None:
    """As :func:`hand_over`, from a finalizer: takes no lock, raises nothing, and lets the interpreter end meanwhile.

    Where no thread can be started now, :func:`take_left_over` makes up for it.
    """
    _left_over.append(work)
    take_left_over()


def take_left_over() -> None:
    """Let a thread do what finalizers have left over, if there is anything."""
    if not _left_over:
        return
    try:
        hand_over(_work_off, daemon=True)
    except RuntimeError:
        return  # no further thread: the next launch or finalizer tries again


def _work_off() -> None:
    while True:
        try:
            work = _left_over.popleft()
        except IndexError:
            return
        work()
