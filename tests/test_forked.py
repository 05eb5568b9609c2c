"""An exchange that is forked for a test is like one that a program starts."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from ats_sync.simulator import SimulatedExchange, SimulatorError

from . import forked
from .cli.command import runs
from .leftovers import children
from .support import until

pytestmark = pytest.mark.skipif(not forked.can_fork(), reason="this system starts each of them")
MINUTE = 60_000


def test_a_forked_exchange_is_a_process_that_ends_with_the_block() -> None:
    with SimulatedExchange(["BTCUSDT"], seed=9, start=20_000 * MINUTE) as first:
        assert first.pid in children(forked.PARENT.pid or 0)
        assert first.pid not in children()
        assert os.getsid(first.pid) == first.pid
        rows = first.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5)
        with SimulatedExchange(["BTCUSDT"], seed=9, start=20_000 * MINUTE) as second:
            assert second.pid != first.pid
            assert second.rest("/fapi/v1/klines", symbol="BTCUSDT", interval="1h", limit=5)[:-1] == rows[:-1]
        assert not runs(second.pid)
        assert runs(first.pid)
    assert not runs(first.pid)


def test_a_forked_exchange_that_was_killed_says_so() -> None:
    with SimulatedExchange(["BTCUSDT"]) as exchange:
        os.kill(exchange.pid, signal.SIGKILL)
        with pytest.raises(SimulatorError, match="has ended"):
            until(lambda: exchange.now() < 0)


def test_it_says_why_it_cannot_start() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SimulatorError, match="in use"):
            SimulatedExchange(["BTCUSDT"], ports=(port, 0, 0, 0))


def test_an_exchange_that_is_stuck_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ats_sync.simulator.child._STOP_TIMEOUT", 0.2)
    with SimulatedExchange(["BTCUSDT"]) as exchange:
        os.kill(exchange.pid, signal.SIGSTOP)
    until(lambda: not runs(exchange.pid))


def test_its_temporary_files_end_with_it() -> None:
    with SimulatedExchange(["BTCUSDT"], tls=True) as exchange:
        assert exchange.ca_file is not None
        authority = Path(exchange.ca_file)
        assert authority.exists()
    assert not authority.exists()


@pytest.fixture
def alone() -> Iterator[forked.Parent]:
    parent = forked.Parent()
    yield parent
    parent.close()


def test_it_outlives_the_process_that_forked_it(alone: forked.Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with the process that has the other ends of its pipes."""
    monkeypatch.setattr(forked, "PARENT", alone)
    with SimulatedExchange(["BTCUSDT"]) as exchange:
        alone.close()
        assert exchange.now() > 0
    until(lambda: not runs(exchange.pid))
