"""Servers for the tests of what is shared: each test has its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync.shared.client import SharedStore
from ats_sync.simulator import SimulatedExchange

from .servers import KINDS, NoServer, StoreServer


def started(kind: str, port: int = 0) -> StoreServer:
    try:
        return StoreServer(kind, port=port)
    except NoServer as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A running server of each kind; the test may kill it."""
    with started(request.param) as server:
        yield server


@pytest.fixture
def valkey() -> Iterator[StoreServer]:
    """A running Valkey, for tests where the kind of the server changes nothing."""
    with started("valkey") as server:
        yield server


@pytest.fixture
def store(server: StoreServer) -> Iterator[SharedStore]:
    """A client of ``server``."""
    store = SharedStore(server.url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    """An exchange with two symbols, for tests that do not depend on its time."""
    with SimulatedExchange(2, seed=5) as exchange:
        yield exchange
