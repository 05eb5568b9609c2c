"""The files of a snapshot: used by one process at a time, each file replaced as a whole."""

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
"""Files that have not been written for this long (seconds) are removed."""

_taken: dict[tuple[str, int], Directory] = {}
"""Directories in use, by path and process: a system lock does not exclude its own process. A forked child has none."""


class InUse(OSError):
    """Another process, or another manager of this one, uses the directory."""


class Directory:
    """A directory that is locked until :meth:`release`, or until the process ends, however it ends."""

    def __init__(self, path: str) -> None:
        """Create the directory if it does not exist, and lock it. Raises :class:`InUse` and OSError."""
        os.makedirs(path, mode=0o700, exist_ok=True)
        self.path = Path(os.path.realpath(path))
        self._taken_as = str(self.path), os.getpid()
        if _taken.setdefault(self._taken_as, self) is not self:
            raise InUse("another manager of this process is using it")
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
        """Return the names of the files. Half-written files left by a killed process, and files that have not been
        written for a month, are removed."""
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
        # With few system calls: while other threads compute, each call waits for the interpreter afterwards.
        file = os.open(self.path / name, os.O_RDONLY | _BINARY)
        try:
            pieces = [os.read(file, PIECE)]
            while len(pieces[-1]) == PIECE:
                pieces.append(os.read(file, PIECE))
        finally:
            os.close(file)
        return b"".join(pieces)

    def write(self, name: str, text: bytes) -> None:
        """Replace a file. A reader finds either the old file or the new one, whenever the process ends. Raises OSError.

        Nothing waits for the disk: if the machine loses power, the checksums show the damage.
        """
        partial = self.path / (name + PARTIAL)
        try:
            partial.write_bytes(text)
            os.replace(partial, self.path / name)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def release(self) -> None:
        """Unlock the directory. May be called again."""
        if _taken.get(self._taken_as) is self and self._taken_as[1] == os.getpid():
            os.close(self._lock)
            del _taken[self._taken_as]


if sys.platform == "win32":
    import msvcrt

    def _take(file: int) -> None:
        try:
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise InUse("another process is using it") from error

else:
    import fcntl

    def _take(file: int) -> None:
        """Lock a file for this process alone: unlike with flock(), a child that is forked later does not share it."""
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            raise InUse("another process is using it") from error
