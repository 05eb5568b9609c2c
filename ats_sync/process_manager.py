"""The manager that a whole process shares."""

from __future__ import annotations

import threading

from . import forks
from .manager import DataManager
from .reentry import hand_over, interrupts_itself, refuse_reentry


class _Shared:
    """At most one manager, made at the first call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards _manager
        self._manager: DataManager | None = None

    def get(self) -> DataManager:
        refuse_reentry()
        with self._lock:
            if self._manager is None:
                self._manager = DataManager()
            return self._manager

    def reset(self) -> None:
        if interrupts_itself():
            hand_over(self._reset)
        else:
            self._reset()

    def _reset(self) -> None:
        with self._lock:
            manager, self._manager = self._manager, None
        if manager is not None:
            manager.close()

    def after_fork(self) -> None:
        # Another thread may have had the lock when the process was copied.
        self._lock = threading.Lock()


_shared = _Shared()
forks.register(_shared)


def get_data_manager() -> DataManager:
    """Return the manager that the whole process shares, made at the first call; ``initialize()`` starts it."""
    return _shared.get()


def reset_data_manager() -> None:
    """Close the shared manager and forget it, so that the next call reads the environment again."""
    _shared.reset()
