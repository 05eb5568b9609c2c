"""Exit statuses, and the errors that are the command's own."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import DataError, RequestError

OK, FAILED, USAGE, INTERRUPTED, TERMINATED = 0, 1, 2, 130, 143


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
