"""Files and the lock, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ats_sync.snapshots.directory import FORGOTTEN_AFTER, PIECE, Directory, InUse

TAKE = """
import os, sys
from ats_sync.snapshots.directory import Directory
taken = Directory(sys.argv[1])
child = 0
if len(sys.argv) > 2:
    child = os.fork()
    if child == 0:
        sys.stdin.read()  # it outlives its parent
        os._exit(0)
print(child, flush=True)
sys.stdin.read()
"""


@contextmanager
def another_process(path: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that has taken the directory, and its child, if any."""
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE, str(path), *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield process, int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def test_what_is_written_is_read_and_replaced_whole(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path / "a" / "b"))
    directory.write("x.rows", b"1" * (2 * PIECE))
    assert directory.read("x.rows") == b"1" * (2 * PIECE)
    directory.write("x.rows", b"2")
    assert directory.read("x.rows") == b"2"
    assert directory.names() == {"x.rows"}
    directory.release()
    directory.release()


def test_what_a_killed_process_has_left_and_what_is_no_longer_written_is_removed(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path))
    directory.write("new.rows", b"")
    directory.write("old.rows", b"")
    (tmp_path / "new.rows.part").write_bytes(b"half")
    (tmp_path / "folder").mkdir()
    past = (tmp_path / "old.rows").stat().st_mtime - FORGOTTEN_AFTER - 60
    os.utime(tmp_path / "old.rows", (past, past))
    assert directory.names() == {"new.rows"}
    assert {path.name for path in tmp_path.iterdir()} == {"new.rows", "folder", "lock"}
    directory.release()


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path))
    (tmp_path / "x.rows").mkdir()
    (tmp_path / "x.rows" / "in the way").touch()
    with pytest.raises(OSError, match=r"x\.rows"):
        directory.write("x.rows", b"new")
    assert {path.name for path in tmp_path.iterdir()} == {"x.rows", "lock"}
    directory.release()


def test_only_one_manager_of_a_process_has_the_directory(tmp_path: Path) -> None:
    first = Directory(str(tmp_path))
    for same in (tmp_path, tmp_path / "." / ".." / tmp_path.name):
        with pytest.raises(InUse, match="of this process"):
            Directory(str(same))
    first.release()
    Directory(str(tmp_path)).release()


@pytest.mark.parametrize("options", [(), ("fork",)])
def test_another_process_has_the_directory_until_it_is_killed(tmp_path: Path, options: tuple[str, ...]) -> None:
    with another_process(tmp_path, *options) as (process, child):
        with pytest.raises(InUse, match="another process"):
            Directory(str(tmp_path))
        process.send_signal(signal.SIGKILL)
        process.wait()
        if child:
            os.kill(child, 0)  # its child is still running, and has not taken it
        Directory(str(tmp_path)).release()


def test_a_child_process_has_not_taken_its_parents_directory(tmp_path: Path) -> None:
    directory = Directory(str(tmp_path))
    child = os.fork()
    if child == 0:
        try:
            directory.release()  # it is not the child's to release
            Directory(str(tmp_path))
        except InUse:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    with another_process_cannot_take(tmp_path):
        pass
    directory.release()


@contextmanager
def another_process_cannot_take(path: Path) -> Iterator[None]:
    """The lock is still there after the child has tried."""
    found = subprocess.run(
        [sys.executable, "-c", TAKE, str(path)], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert "InUse: another process" in found.stderr
    yield
