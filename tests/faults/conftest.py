"""An exchange and a manager on it, shared by a module; every test leaves them in good order."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync import DataManager
from ats_sync.simulator import SimulatedExchange

from .helpers import all_well

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT")
INTERVALS = ("1m", "1h")


@pytest.fixture(scope="module")
def ex() -> Iterator[SimulatedExchange]:
    # Requests that are under way when a ban begins are not the library's fault. Its streams keep to the documented
    # limit.
    with SimulatedExchange(SYMBOLS, seed=7, ban_patience=64, messages_per_second=10) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def shared_dm(ex: SimulatedExchange) -> Iterator[DataManager]:
    config = ex.config(reconnect_min=0.2, reconnect_max=1.0, connect_timeout=1.0, read_timeout=2.0, request_timeout=2.0)
    with DataManager(SYMBOLS, INTERVALS, config=config) as manager:
        yield manager


@pytest.fixture
def dm(ex: SimulatedExchange, shared_dm: DataManager) -> Iterator[DataManager]:
    """The manager, healthy before the test; afterwards the faults are over and it is healthy again, as promised."""
    all_well(shared_dm, ex)
    yield shared_dm
    ex.clear_faults()
    ex.pardon()
    all_well(shared_dm, ex)
