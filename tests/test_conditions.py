"""Waits that use only the interpreter's own locks."""

from __future__ import annotations

import threading
import time

import pytest

from ats_sync.conditions import Condition

from .support import until


def test_a_thread_that_is_notified_goes_on() -> None:
    condition, told = Condition(threading.Lock()), []

    def wait() -> None:
        with condition:
            told.append(condition.wait(60.0))

    threads = [threading.Thread(target=wait) for _ in range(3)]
    for thread in threads:
        thread.start()
    until(lambda: len(condition._waiters) == 3)  # type: ignore[attr-defined]
    with condition:
        condition.notify()
    until(lambda: told == [True])
    with condition:
        condition.notify_all()
    for thread in threads:
        thread.join()
    assert told == [True, True, True]


@pytest.mark.parametrize("timeout", [-1.0, 0.0, 0.05])
def test_a_wait_ends_by_itself(timeout: float) -> None:
    condition, began = Condition(threading.Lock()), time.monotonic()
    with condition:
        assert condition.wait(timeout) is False
        assert time.monotonic() - began >= timeout
        condition.notify()  # nobody waits any longer
        assert condition.wait(0.0) is False


def test_only_the_thread_with_the_lock_may_wait() -> None:
    with pytest.raises(RuntimeError, match="holds the lock"):
        Condition(threading.Lock()).wait(0.0)


def test_a_wait_does_not_look_up_its_lock_by_a_name_that_can_be_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = Condition(threading.Lock())
    monkeypatch.setattr(threading, "_allocate_lock", None)
    with condition:
        assert condition.wait(0.01) is False
