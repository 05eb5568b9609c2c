"""One exchange for the tests that run the command in this process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync.simulator import SimulatedExchange


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(symbols=12, seed=7) as ex:
        yield ex


@pytest.fixture
def at_exchange(exchange: SimulatedExchange, monkeypatch: pytest.MonkeyPatch) -> Iterator[SimulatedExchange]:
    """Point the environment at the exchange, and clear its faults."""
    for name, value in exchange.environment().items():
        monkeypatch.setenv(name, value)
    yield exchange
    exchange.clear_faults()
    exchange.latency(0.0)
