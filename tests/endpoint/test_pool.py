from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future

import pytest

from ats_sync.endpoint.pool import Pool
from ats_sync.errors import NotRunning, ThreadUnavailable

from ..support import until

PATIENCE = 30.0
NAME = "pool-of-the-test"
MOST = 3


class Gate:
    """Work that waits until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.open = threading.Event()

    def __call__(self) -> str:
        self.entered.release()
        assert self.open.wait(PATIENCE)
        return threading.current_thread().name

    def wait_for(self, count: int) -> None:
        for _ in range(count):
            assert self.entered.acquire(timeout=PATIENCE)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def pool(gate: Gate) -> Iterator[Pool]:
    pool = Pool(NAME, MOST)
    yield pool
    gate.open.set()
    for thread in pool.close():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(NAME)]


def result(future: Future[str]) -> str:
    return future.result(PATIENCE)


def refuse_threads(monkeypatch: pytest.MonkeyPatch, when: Callable[[], bool]) -> None:
    start = threading.Thread.start

    def starting(thread: threading.Thread) -> None:
        if when() and thread.name.startswith(NAME):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starting)


def test_no_thread_is_started_before_there_is_work(pool: Pool) -> None:
    assert running() == []


def test_work_runs_side_by_side_up_to_the_most_and_the_rest_afterwards(pool: Pool, gate: Gate) -> None:
    began = [pool.run(gate) for _ in range(MOST)]
    gate.wait_for(MOST)
    later = [pool.run(lambda: "later") for _ in range(5)]
    assert len(running()) == MOST
    assert not any(future.running() or future.done() for future in later)
    gate.open.set()
    assert [result(future) for future in later] == ["later"] * 5
    assert sorted(map(result, began)) == [f"{NAME}-{number}" for number in (1, 2, 3)]


def test_one_thread_does_its_work_in_order(gate: Gate) -> None:
    pool, order = Pool(NAME, 1), []
    pool.run(gate)
    for number in range(5):
        last = pool.run(lambda number=number: order.append(number))  # type: ignore[misc]
    gate.open.set()
    last.result(PATIENCE)
    assert order == [0, 1, 2, 3, 4]
    for thread in pool.close():
        thread.join(PATIENCE)


def test_a_thread_that_is_free_is_used_again(pool: Pool) -> None:
    for _ in range(5):
        assert pool.run(lambda: 7).result(PATIENCE) == 7
        until(lambda: not pool._unfinished)  # the result is there a moment before the thread is free
    assert [thread.name for thread in running()] == [f"{NAME}-1"]


def test_its_threads_keep_no_program_from_ending() -> None:
    program = (
        "import threading; from ats_sync.endpoint.pool import Pool\n"
        "begun = threading.Event()\n"
        "Pool('x', 2).run(lambda: (begun.set(), threading.Event().wait()))\n"
        "print(begun.wait(30))"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE)
    assert (ended.returncode, ended.stdout) == (0, "True\n")


@pytest.mark.parametrize("error", [ValueError("of the work"), KeyboardInterrupt(), SystemExit(3)])
def test_what_work_raises_is_raised_where_it_is_awaited_and_ends_no_thread(pool: Pool, error: BaseException) -> None:
    def fail() -> None:
        raise error

    assert pool.run(fail).exception(PATIENCE) is error
    assert pool.run(lambda: 7).result(PATIENCE) == 7


def test_work_that_was_cancelled_before_it_began_is_left_out(pool: Pool, gate: Gate) -> None:
    for _ in range(MOST):
        pool.run(gate)
    gate.wait_for(MOST)
    done: list[str] = []
    futures = [pool.run(lambda name=name: done.append(name)) for name in ("cancelled", "not")]  # type: ignore[misc]
    assert futures[0].cancel()
    gate.open.set()
    futures[1].result(PATIENCE)
    assert pool.run(lambda: 7).result(PATIENCE) == 7, "the thread that found it goes on"
    assert done == ["not"]


def test_closed_it_takes_no_work_drops_what_has_not_begun_and_ends_what_has(gate: Gate) -> None:
    pool = Pool(NAME, 1)
    began, waiting = pool.run(gate), [pool.run(lambda: "never") for _ in range(3)]
    gate.wait_for(1)
    (thread,) = pool.close()
    assert thread.is_alive()
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(PATIENCE)
    with pytest.raises(NotRunning):
        pool.run(gate)
    gate.open.set()
    assert result(began) == f"{NAME}-1"
    thread.join(PATIENCE)
    assert running() == []


def test_it_can_be_closed_again_and_without_ever_having_worked() -> None:
    pool = Pool(NAME, MOST)
    assert pool.close() == pool.close() == []
    worked = Pool(NAME, MOST)
    worked.run(lambda: 7).result(PATIENCE)
    assert len(worked.close()) == len(worked.close()) == 1
    for thread in worked.close():
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_without_any_thread_work_is_refused_and_accepted_as_soon_as_one_starts(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        refuse_threads(patch, lambda: True)
        with pytest.raises(ThreadUnavailable, match="can't start new thread"):
            pool.run(lambda: 7)
    assert pool.run(lambda: 7).result(PATIENCE) == 7
    assert len(running()) == 1, "what was refused counts as no work"


def test_where_another_thread_is_refused_those_that_run_do_the_work(
    pool: Pool, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = pool.run(gate)
    gate.wait_for(1)
    with monkeypatch.context() as patch:
        refuse_threads(patch, lambda: True)
        waits = pool.run(lambda: "done")
    assert len(running()) == 1
    gate.open.set()
    assert (result(began), result(waits)) == (f"{NAME}-1", "done")
