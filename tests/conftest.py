"""What every test gets: a check that it leaves no thread of ours behind."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# The same examples at each run; with ATS_EXPLORE in the environment others.
hypothesis.settings.register_profile("usual", derandomize="ATS_EXPLORE" not in os.environ)
hypothesis.settings.load_profile("usual")

RECORDING = Path(__file__).parents[2] / "shared" / "recordings" / "binance-usdm-2021-07-22"
GRACE = 5.0
HERE = Path(__file__).parent
REAL_TIME = {
    *("cli", "compat", "examples", "faults", "runtime", "simulator", "transport"),
    *("test_depth.py", "test_manager.py", "test_stress.py"),
}
"""Folders and files of tests that run on real sockets and the machine's own clock."""
LONGEST = {"test_stress.py", "test_mixed.py", "test_events.py", "test_rest.py"}


def our_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("ats-")}


@pytest.fixture(autouse=True)
def no_thread_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which an ``ats-`` thread runs that did not run before it."""
    before = our_threads()
    yield
    left = our_threads() - before
    # The request threads of a manager that a wider fixture owns come and go.
    if request.node.get_closest_marker("shared_threads") is not None:
        return
    for thread in left:
        thread.join(GRACE)
    alive = sorted(thread.name for thread in left if thread.is_alive())
    assert not alive, f"threads left behind: {alive}"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest goes first, so that two processes end together. What runs on real sockets and a real clock
    gets a second try: while a machine has no time for it, streams are late, and then reads rightly ask REST."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(scope="session")
def recording() -> Path:
    """The directory of the real recording, which lies beside the checkout and never in it."""
    if not RECORDING.is_dir():
        pytest.skip(f"the recording of the real exchange is not beside this checkout ({RECORDING.name})")
    return RECORDING
