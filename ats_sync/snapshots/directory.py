"""The files: one process at a time, each file replaced whole."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

LOCK = "lock"
PARTIAL = ".part"
PIECE = 1 << 20
_BINARY = getattr(os, "O_BINARY", 0)
FORGOTTEN_AFTER = 30 * 86_400.0
"""Files that have not been written for so long (seconds) are removed."""

_taken: dict[tuple[str, int], Directory] = {}
"""By path and process: a lock of the system does not keep one process from itself. A forked child has taken none."""


class InUse(OSError):
    """Another process, or another manager of this one, keeps its rows there."""


class Directory:
    """A directory that is taken until :meth:`release`, or until the process ends, however it ends."""

    def __init__(self, path: str) -> None:
        """Make it where it does not exist, and take it. Raises :class:`InUse` and OSError."""
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.path = Path(os.path.realpath(path))
        self._taken_as = str(self.path), os.getpid()
        if _taken.setdefault(self._taken_as, self) is not self:
            raise InUse("another manager of this process keeps its rows there")
        try:
            self._lock = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
            try:
                _take(self._lock)
            except BaseException:
                os.close(self._lock)
                raise
        except BaseException:
            del _taken[self._taken_as]
            raise

    def names(self) -> set[str]:
        """Return the names of the files that are there. Those that a killed process has left half written, and those
        that nobody has written for a month, are removed."""
        found = set()
        oldest = time.time() - FORGOTTEN_AFTER
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name == LOCK or not entry.is_file(follow_symlinks=False):
                    continue
                if entry.name.endswith(PARTIAL) or entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
                else:
                    found.add(entry.name)
        return found

    def read(self, name: str) -> bytes:
        """Return the bytes of a file. Raises OSError."""
        # By few calls of the system: while other threads compute, each of them waits for the interpreter afterwards.
        file = os.open(self.path / name, os.O_RDONLY | _BINARY)
        try:
            pieces = [os.read(file, PIECE)]
            while len(pieces[-1]) == PIECE:
                pieces.append(os.read(file, PIECE))
        finally:
            os.close(file)
        return b"".join(pieces)

    def write(self, name: str, text: bytes) -> None:
        """Replace a file. Whoever reads it, whenever this ends, finds the old one or the new one. Raises OSError.

        Nothing waits for the disk: where the machine loses power, the checksums tell.
        """
        partial = self.path / (name + PARTIAL)
        try:
            partial.write_bytes(text)
            os.replace(partial, self.path / name)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def release(self) -> None:
        """Let others take it. May be called again."""
        if _taken.get(self._taken_as) is self and self._taken_as[1] == os.getpid():
            os.close(self._lock)
            del _taken[self._taken_as]


if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise InUse("another process keeps its rows there") from error

else:
    import fcntl

    def _take(file: int) -> None:
        """Lock a file for this process alone: unlike with flock(), a child that is forked later does not keep it."""
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise InUse("another process keeps its rows there") from error
