from __future__ import annotations

import pytest

from ats_sync import get_data_manager, process_manager, reset_data_manager
from ats_sync.simulator import SimulatedExchange

from .support import from_memory


def test_the_shared_manager(monkeypatch: pytest.MonkeyPatch) -> None:
    with SimulatedExchange(symbols=2, seed=7) as exchange:
        for name, url in exchange.environment().items():
            monkeypatch.setenv(name, url)
        first, second = exchange.symbols
        try:
            dm = get_data_manager()
            assert get_data_manager() is dm
            dm.initialize([first], ["1h"])
            dm.initialize([second], ["1h"])
            assert dm.symbols == (first, second)
            assert len(from_memory(dm, lambda: dm.get_klines(second, "1h", 10))) == 10
        finally:
            reset_data_manager()


def test_a_forked_child_can_get_the_shared_manager() -> None:
    """Another thread may be in the middle of a call at the fork."""
    one = process_manager._Shared()
    one._lock.acquire()
    one.after_fork()
    one.reset()
