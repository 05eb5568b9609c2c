"""A lock rule that is executed: methods of an object that is not thread-safe assert that its lock is taken."""

from __future__ import annotations

import threading


class Guarded:
    """Used by one thread alone, or under the lock ``guard``; methods that rely on it assert :meth:`guarded`."""

    guard: threading.Lock | None = None
    """None while only one thread uses the object."""

    def shared(self) -> threading.Lock:
        """Return the lock under which the object is used from now on, always the same."""
        if self.guard is None:
            self.guard = threading.Lock()
        return self.guard

    def guarded(self) -> bool:
        """Return whether the object may be used now: its lock is taken, or it has none."""
        return self.guard is None or self.guard.locked()
