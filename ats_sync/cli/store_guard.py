"""The guard of an embedded server, a separate small program: it starts the server, and ends it with its last user.

    python -I -S store_guard.py FOLDER LOCK SERVER…

Each user has a shared lock (flock) on one file, which the system releases however the user ends. The guard waits for
the exclusive lock. When it gets it, no user is left, and no new one can come before server, socket and guard are gone:
a process that requests a shared lock in the meantime gets it only then, finds no server, and starts one. So no users
are counted, and nothing polls.

LOCK is the descriptor of the lock under which servers are started, one at a time; it is kept until the server listens.
The socket gets its final name only then: it is created under another name, so a server that ends late removes nothing
that belongs to its successor.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading

if sys.platform != "win32":
    import fcntl

SOCKET, USERS = "shared.sock", "shared.users"
READY = b"ready\n"
# The server must not outlive a guard that is killed: if it is, the pipe on the standard input of this shell is closed.
# The shell keeps the server's output open no longer than it must, so that the output ends when the server does.
TIED = '"$0" "$@" </dev/null & server=$!; exec >/dev/null 2>&1; read -r nothing; kill -9 $server'


def main(folder: str, lock: int, command: list[str]) -> None:
    """Run the server until it ends or its last user does. Write :data:`READY` to standard output, or why the server did
    not start, and close it."""
    os.chdir("/")
    os.umask(0o077)
    made, path = os.path.join(folder, f"shared-{os.getpid()}.sock"), os.path.join(folder, SOCKET)
    for name in os.listdir(folder):
        if name.startswith("shared-") and name.endswith(".sock"):  # left by a start that was killed
            os.unlink(os.path.join(folder, name))
    server = subprocess.Popen(
        ["/bin/sh", "-c", TIED, *command, "--unixsocket", made],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    users = os.open(os.path.join(folder, USERS), os.O_RDONLY)

    def end() -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended already
            os.killpg(server.pid, signal.SIGKILL)  # (there is nothing to save)

    def end_with_the_last_user() -> None:
        fcntl.flock(users, fcntl.LOCK_EX)
        remove(path)
        end()

    def end_with_the_shell() -> None:
        server.wait()
        end()

    shell = threading.Thread(target=end_with_the_shell, daemon=True)
    shell.start()
    threading.Thread(target=end_with_the_last_user, daemon=True).start()
    assert server.stdout is not None
    listens, last = False, b""
    for line in server.stdout:
        last = line
        if not listens and is_listening(made):
            listens = True
            os.rename(made, path)
            say(READY)
            os.close(lock)
    end()
    shell.join()
    remove(made)
    with contextlib.suppress(BlockingIOError):  # there are users: one of them may have started another server there
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove(path)
    if not listens:
        say(last)


def remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def is_listening(path: str) -> bool:
    """Return whether a server listens on a socket."""
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(path)
        return True
    return False


def say(text: bytes) -> None:
    """Write the result to the process that started this one, and close the output."""
    with contextlib.suppress(BrokenPipeError):
        os.write(1, text)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)


if __name__ == "__main__":
    if os.fork() == 0:  # so that it is not a child of a collector that may end before it
        main(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    os._exit(0)  # its other thread may still wait for the lock
