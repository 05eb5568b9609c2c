"""Conditions whose waits are the interpreter's own, whatever replaces locks later.

For each wait :class:`threading.Condition` makes a lock by a name that gevent and eventlet replace. A thread that was
there before them would come to wait by theirs, and of several such threads some never wake.
"""

from __future__ import annotations

import contextlib
import threading
from _thread import allocate_lock
from typing import Any


class Condition(threading.Condition):
    """A condition that goes on working in a program that is patched while somebody waits."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait for a notification, at most ``timeout`` seconds; return whether it came. Raises
        RuntimeError where the caller does not own the lock."""
        inner: Any = self
        if not inner._is_owned():
            raise RuntimeError("only who holds the lock may wait")
        notified, ticket = False, allocate_lock()
        ticket.acquire()
        inner._waiters.append(ticket)  # whoever notifies releases it
        saved = inner._release_save()
        try:
            notified = ticket.acquire(timeout=-1.0 if timeout is None else max(0.0, timeout))
        finally:
            inner._acquire_restore(saved)
            if not notified:
                with contextlib.suppress(ValueError):
                    inner._waiters.remove(ticket)
        return notified
