"""The old scanner, unchanged and pointed at the endpoint by its environment."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.endpoint import Endpoint
from ats_sync.simulator import SimulatedExchange

from ..cli.command import ROOT, environment
from ..support import reads, until

pytestmark = pytest.mark.shared_threads


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(4, seed=13, activity=0.05) as exchange:
        yield exchange


@pytest.fixture(scope="module")
def manager(exchange: SimulatedExchange) -> Iterator[DataManager]:
    with DataManager(exchange.symbols, ["1h", "4h", "15m"], config=exchange.config()) as manager:
        yield manager


@pytest.fixture(scope="module")
def endpoint(manager: DataManager) -> Iterator[Endpoint]:
    with Endpoint(manager, port=0) as endpoint:
        yield endpoint


def test_the_old_scanner_needs_only_its_environment(
    exchange: SimulatedExchange, manager: DataManager, endpoint: Endpoint
) -> None:
    bases = {"BINANCE_FAPI_BASE": endpoint.url, "BINANCE_SPOT_BASE": endpoint.url}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.compat.scanner", ",".join(exchange.symbols), "4"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment({**bases, "ATS_SYNC_AUTOSTART": "0", "NO_PROXY": "127.0.0.1"}),
    ) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None

            def scan() -> Any:
                process.stdin.write("scan\n")  # type: ignore[union-attr]
                process.stdin.flush()  # type: ignore[union-attr]
                return json.loads(process.stdout.readline())  # type: ignore[union-attr]

            def silent() -> bool:
                before = reads(manager)
                found = scan()
                assert not [error for error in found["errors"] if "spot" not in error]
                assert found["requests"]["read"] > 30, "it goes to the endpoint each time"
                return reads(manager) == before

            until(silent, what="a scan without a request to the exchange")
            process.stdin.write("end\n")
            process.stdin.close()
            assert process.wait(30) == 0
        finally:
            process.kill()
