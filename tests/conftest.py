"""What applies to every test: fresh examples, and a check that it leaves no thread of ours and no process behind."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import hypothesis
import pytest

from . import forked, leftovers, sharing

# Each run has other examples, even where CI is set, so that a run needs only some of them; what fails is printed so
# that it can be repeated. A machine that is too busy for the tests breaks no property.
hypothesis.settings.register_profile(
    "fresh",
    max_examples=60,
    derandomize=False,
    print_blob=True,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("fresh")

RECORDING = Path(__file__).parents[2] / "shared" / "recordings" / "binance-usdm-2021-07-22"
OCTOBER_2026 = RECORDING.with_name("binance-usdm-2026-10-07")
HERE = Path(__file__).parent
PROCESSES = pytest.StashKey[set[int]]()


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """The whole suite is shared by several processes, a few tests by none, unless the command says otherwise."""
    option = config.option
    if not hasattr(option, "numprocesses") or "PYTEST_XDIST_WORKER" in os.environ:
        return
    whole = {Path(argument).resolve() for argument in config.args} <= {HERE, HERE.parent}
    if option.numprocesses is None and whole and not (option.collectonly or option.usepdb):
        option.numprocesses = sharing.processes()
    if option.numprocesses and option.dist == "no":
        option.dist = "loadfile"
    if option.numprocesses:
        # Hundreds of processes import the same files: one compiles them for all.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        if whole:
            sharing.compile_once(HERE)
    option.loadscopereorder = False


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    return sharing.Sharing(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=sharing.by_length)


def pytest_collection(session: pytest.Session) -> None:
    """Thousands of tests with everything that they import are never garbage: scanning them again and again would take a
    tenth of the suite's time."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    gc.enable()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    if "PYTEST_XDIST_WORKER" in os.environ:
        sharing.give_way(item.nodeid.partition("::")[0])


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    item.stash[PROCESSES] = leftovers.started()


@pytest.fixture(autouse=True, scope="session")
def no_process_is_left() -> Iterator[None]:
    """Fail the last test when a process is left that a fixture started."""
    before = leftovers.started()
    yield
    leftovers.check_children(before)
    forked.PARENT.close()


@pytest.fixture(autouse=True, scope="module")
def exchanges_are_forked(request: pytest.FixtureRequest) -> Iterator[None]:
    """Save simulated exchanges most of their start, except in the tests of that start."""
    as_programs_do = "simulator" in PurePosixPath(request.node.nodeid).parts
    with contextlib.nullcontext() if as_programs_do else forked.exchanges():
        yield


@pytest.fixture(autouse=True, scope="module")
def no_orphan_and_no_garbage_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the last test of a file that leaves a process running whose own parent has ended, or garbage that holds a
    socket or a file. (Tests that compute have neither, but memory that takes long to scan.)"""
    yield
    if not sharing.computes(request.node.nodeid):
        gc.collect()  # Warnings of finalizers then count for this test, not for one of another file.
    leftovers.check_orphans(f"{request.node.nodeid}::")


@pytest.fixture(autouse=True)
def nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test that leaves a thread of ours or a process running."""
    threads = leftovers.our_threads()
    yield
    # The request threads of a manager that belongs to a wider fixture come and go.
    if request.node.get_closest_marker("shared_threads") is None:
        leftovers.check_threads(threads)
    # (What ran when its body began may be a fixture of wider scope.)
    if (before := request.node.stash.get(PROCESSES, None)) is not None:
        leftovers.check_children(before)


@pytest.fixture(scope="session")
def recording() -> Path:
    """The directory of the real recording, which is beside the checkout and never in it."""
    if not RECORDING.is_dir():
        pytest.skip(f"the recording of the real exchange is not beside this checkout ({RECORDING.name})")
    return RECORDING


@pytest.fixture(scope="session")
def october_2026() -> Path:
    """The directory of real frames and answers of 2026-10-07, which is beside the checkout and never in it."""
    if not OCTOBER_2026.is_dir():
        pytest.skip(f"the recording of the real exchange is not beside this checkout ({OCTOBER_2026.name})")
    return OCTOBER_2026
