"""Logging that does not repeat itself: one line a kind of event in a while, with how often it was left out."""

from __future__ import annotations

import logging
import threading
import time

from . import forks

EVERY = 30.0
MOST_KINDS = 256


class Sparing:
    """Wraps a logger. The first event of a kind is logged at once, repetitions at most every ``EVERY`` seconds."""

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()  # guards _seen
        self._seen: dict[str, tuple[float, int]] = {}
        forks.tell(self)

    def after_fork(self) -> None:
        # Another thread may have held the lock when the process was copied.
        self._lock = threading.Lock()

    def info(self, kind: str, text: str, *values: object) -> None:
        self._log(logging.INFO, kind, text, values)

    def warning(self, kind: str, text: str, *values: object) -> None:
        self._log(logging.WARNING, kind, text, values)

    def exception(self, kind: str, text: str, *values: object) -> None:
        """An error with the trace of the exception being handled."""
        self._log(logging.ERROR, kind, text, values, trace=True)

    def failure(self, kind: str, text: str, error: BaseException) -> None:
        """An error with the trace of ``error``, which was handled before."""
        self._log(logging.ERROR, kind, text, (), trace=error)

    def _log(
        self, level: int, kind: str, text: str, values: tuple[object, ...], *, trace: bool | BaseException = False
    ) -> None:
        now = time.monotonic()
        with self._lock:
            last, left_out = self._seen.get(kind, (now - EVERY, 0))
            if now - last < EVERY:
                self._seen[kind] = (last, left_out + 1)
                return
            if len(self._seen) >= MOST_KINDS:
                self._seen.clear()
            self._seen[kind] = (now, 0)
        if left_out:
            self._logger.log(level, text + " (and %d more like it)", *values, left_out, exc_info=trace)
        else:
            self._logger.log(level, text, *values, exc_info=trace)
