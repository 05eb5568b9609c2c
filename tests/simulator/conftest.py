"""One exchange for the tests of a file that leave it as they found it.

It ends with the file: a market goes on even if nobody listens, and one that lived as long as the suite, in each of the
processes that share it, would take as much time as all the tests that use it.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ats_sync.simulator import SimulatedExchange


@pytest.fixture(scope="module")
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
