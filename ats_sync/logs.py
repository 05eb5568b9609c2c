"""Rate-limited logging: at most one line a kind of event in ``EVERY`` seconds, with the count of the lines left out."""

from __future__ import annotations

import logging
import threading
import time

from . import forks

EVERY = 30.0
"""Seconds."""
MOST_KINDS = 256
"""Kinds remembered; beyond that all are forgotten."""


class RateLimitedLogger:
    """A logger that logs the first event of a kind at once and repetitions at most every ``EVERY`` seconds.

    Not a ``logging.Filter``: the kind is finer than the message (one connection, one host), and the count of the lines
    left out belongs into the next one.
    """

    def __init__(self, logger: logging.Logger) -> None:
        self._logger = logger
        self._lock = threading.Lock()  # guards _seen
        self._seen: dict[str, tuple[float, int]] = {}
        forks.register(self)

    def after_fork(self) -> None:
        # Another thread of the parent may have had the lock.
        self._lock = threading.Lock()

    def info(self, kind: str, text: str, *values: object) -> None:
        self._log(logging.INFO, kind, text, values)

    def warning(self, kind: str, text: str, *values: object) -> None:
        self._log(logging.WARNING, kind, text, values)

    def exception(self, kind: str, text: str, *values: object) -> None:
        """Log an error with the traceback of the exception being handled."""
        self._log(logging.ERROR, kind, text, values, trace=True)

    def failure(self, kind: str, error: BaseException, text: str, *values: object) -> None:
        """Log an error with the traceback of ``error``, which was handled before."""
        self._log(logging.ERROR, kind, text, values, trace=error)

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
