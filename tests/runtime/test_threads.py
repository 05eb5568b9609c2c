"""A thread that cannot be started is an error at that moment; afterwards everything works."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ats_sync import DataError, DataManager, ThreadUnavailable
from ats_sync.runtime.runtime import Runtime
from ats_sync.simulator import SimulatedExchange

from ..support import until


class Refusal:
    """Refuses to start a number of threads of a name."""

    def __init__(self) -> None:
        self.left = 0
        self.name = "ats-"


@pytest.fixture
def refusal(monkeypatch: pytest.MonkeyPatch) -> Refusal:
    refusal = Refusal()
    start = threading.Thread.start

    def refusing(thread: threading.Thread) -> None:
        if refusal.left and thread.name.startswith(refusal.name):
            refusal.left -= 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refusing)
    return refusal


@pytest.mark.parametrize("name", ["ats-rest", "ats-stream"])
def test_a_thread_refused_at_the_start_is_started_later(refusal: Refusal, name: str) -> None:
    refusal.name, refusal.left = name, 2
    with (
        SimulatedExchange(symbols=3, seed=7) as exchange,
        DataManager(list(exchange.symbols[:2]), ["1h"], config=exchange.config()).start(timeout=20) as manager,
    ):
        assert refusal.left == 0
        assert len(manager.get_klines(exchange.symbols[0], "1h", 10)) == 10


def test_an_engine_thread_refused_is_an_error_and_the_next_start_works(refusal: Refusal) -> None:
    refusal.name, refusal.left = "ats-engine", 1
    with SimulatedExchange(symbols=3, seed=7) as exchange:
        manager = DataManager(list(exchange.symbols[:2]), ["1h"], config=exchange.config())
        with pytest.raises(ThreadUnavailable, match="engine"):
            manager.start(timeout=20)
        assert not manager.running
        with manager.start(timeout=20):
            assert manager.running


def test_a_read_that_gets_no_thread_raises_and_the_next_one_works(
    refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ats_sync.runtime.requests.IDLE", 0.5)
    with (
        SimulatedExchange(symbols=3, seed=7) as exchange,
        DataManager(list(exchange.symbols[:2]), ["1h"], config=exchange.config()).start(timeout=20) as manager,
    ):
        runtime = manager._life.living()
        until(lambda: runtime.requests.workers() == 0, 30)
        refusal.name, refusal.left = "ats-rest", 1
        with pytest.raises(DataError, match="no thread could be started"):
            manager.get_klines(exchange.symbols[0], "1h", 10, max_age=0)
        assert len(manager.get_klines(exchange.symbols[0], "1h", 10, max_age=0)) == 10


def test_an_action_that_fails_costs_none_of_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    failures = iter(range(3))

    def failing(execute: Callable[[Runtime, Any], None]) -> Callable[[Runtime, Any], None]:
        def fails(runtime: Runtime, what: Any) -> None:
            if next(failures, None) is not None:
                raise ValueError("planted")
            execute(runtime, what)

        return fails

    for name in ("submit", "connect", "send"):
        monkeypatch.setattr(Runtime, name, failing(getattr(Runtime, name)))
    with (
        SimulatedExchange(symbols=3, seed=7) as exchange,
        DataManager(list(exchange.symbols[:2]), ["1h"], config=exchange.config()).start(timeout=25) as manager,
    ):
        assert next(failures, None) is None
        assert len(manager.get_klines(exchange.symbols[0], "1h", 10)) == 10


def test_what_one_manager_has_logged_is_logged_for_the_next_one_too(caplog: pytest.LogCaptureFixture) -> None:
    for _ in range(2):
        caplog.clear()
        with SimulatedExchange(symbols=["BTCUSDT"], seed=7) as exchange:
            exchange.handshake(503, count=1)
            with DataManager(["BTCUSDT"], ["1h"], config=exchange.config()).start(timeout=20):
                until(lambda: "stream connection 1 lost" in caplog.text or "stream connection 2 lost" in caplog.text)
