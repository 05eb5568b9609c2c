"""One exchange shared by tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync.simulator import SimulatedExchange


@pytest.fixture(scope="session")
def shared() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=3, connection_attempts=10_000, weight_limit=100_000) as ex:
        yield ex


@pytest.fixture
def ex(shared: SimulatedExchange) -> Iterator[SimulatedExchange]:
    """The shared exchange, without faults before and after."""
    shared.clear_faults()
    yield shared
    shared.clear_faults()
    shared.pardon()
