"""The lock under which something that is not thread-safe is used, so that its rule is executed and not only written."""

from __future__ import annotations

import threading


class Guarded:
    """Used by one thread alone, or by whoever holds ``guard``; the methods that rely on it assert it."""

    guard: threading.Lock | None = None
    """Set by whoever shares it between threads; None while only one uses it."""

    def shared(self) -> threading.Lock:
        """Return the lock under which it is used from now on, the same for everybody who shares it."""
        if self.guard is None:
            self.guard = threading.Lock()
        return self.guard

    def guarded(self) -> bool:
        """Return whether it may be used now: its lock is taken, or it has none."""
        return self.guard is None or self.guard.locked()
