"""The check for leftovers after every test finds them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from ats_sync.simulator import SimulatedExchange

from . import leftovers
from .cli.command import ROOT, run
from .support import until

FOREVER = "import threading; threading.Event().wait()"
PARENT = f"""
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", {FOREVER!r}], stdout=subprocess.DEVNULL).pid)
"""

LEAKS = {
    "socket": ("import socket; socket.socket()", "ResourceWarning"),
    "file": ("open(__file__)", "ResourceWarning"),
    "socket_in_a_cycle": (
        "import gc, socket; s = type('S', (socket.socket,), {})(); s.itself = s; del s; gc.collect()",
        "ResourceWarning",
    ),
    "exception_of_a_finalizer": ("type('Bad', (), {'__del__': lambda self: 1 / 0})()", "PytestUnraisableException"),
    "exception_of_a_thread": (
        "import threading; t = threading.Thread(target=lambda: 1 / 0); t.start(); t.join()",
        "PytestUnhandledThreadException",
    ),
}
"""What a test does of which no line of its own raises anything, and what it is told."""


def this_test() -> str:
    return os.environ["PYTEST_CURRENT_TEST"].rpartition(" (")[0]


def test_a_process_is_found_and_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.1)
    before = leftovers.started()
    with subprocess.Popen([sys.executable, "-c", FOREVER]) as process:
        with pytest.raises(AssertionError, match=rf"left behind.*{process.pid}.*a_process_is_found"):
            leftovers.check_children(before)
        assert process.wait(60) < 0
    leftovers.check_children(before)


def test_also_where_its_parent_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.1)
    orphan = int(subprocess.run([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, check=True).stdout)
    this_file = this_test().partition("::")[0] + "::"
    until(lambda: orphan in leftovers.orphans(this_file))
    assert orphan not in leftovers.orphans("tests/test_another.py::")
    with pytest.raises(AssertionError, match=rf"left behind.*{orphan}"):
        leftovers.check_orphans(this_file)
    until(lambda: orphan not in leftovers.orphans(this_file))


def test_a_thread_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.1)
    before, over = leftovers.our_threads(), threading.Event()
    thread = threading.Thread(target=over.wait, name="ats-test")
    thread.start()
    try:
        with pytest.raises(AssertionError, match="ats-test"):
            leftovers.check_threads(before)
    finally:
        over.set()
        thread.join()
    leftovers.check_threads(before)


def test_the_request_threads_of_a_manager_of_wider_scope_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE", 0.1)
    over = threading.Event()
    engine = threading.Thread(target=over.wait, name="ats-engine")
    request = threading.Thread(target=over.wait, name="ats-rest-7")
    engine.start()
    before = leftovers.our_threads()
    request.start()
    try:
        leftovers.check_threads(before)
        with pytest.raises(AssertionError, match="ats-rest-7"):
            leftovers.check_threads(before - {engine})
    finally:
        over.set()
        for thread in (engine, request):
            thread.join()


def test_a_simulated_exchange_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """This holds also where it was forked by another process."""
    before = leftovers.started()
    with SimulatedExchange(["BTCUSDT"]) as exchange:
        assert leftovers.started() - before == {exchange.pid}
    leftovers.check_children(before)


def test_threads_may_end_while_the_processes_are_counted() -> None:
    before = leftovers.started()
    stop = threading.Event()

    def churn() -> None:
        while not stop.is_set():
            threading.Thread(target=int).start()

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(300):
            assert leftovers.started() == before
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_what_only_a_finalizer_or_a_thread_sees_fails_the_test(tmp_path: Path) -> None:
    planted = tmp_path / "test_planted.py"
    planted.write_text("".join(f"def test_{name}():\n    {statements}\n\n" for name, (statements, _) in LEAKS.items()))
    settings = str(ROOT / "pyproject.toml")
    code, out, err = run("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-c", settings, str(planted))
    assert code == 1, out + err
    _, *reports = re.split(r"^_+ test_(\w+) _+$", out.partition("short test summary")[0], flags=re.MULTILINE)
    shown = dict(zip(reports[::2], reports[1::2], strict=True))
    assert shown.keys() == LEAKS.keys(), out + err
    for name, (_, named) in LEAKS.items():
        assert named in shown[name], out + err
