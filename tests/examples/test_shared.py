"""A cron job beside a collector, as the page describes it."""

from __future__ import annotations

from pathlib import Path

from ats_sync.simulator import SimulatedExchange

from ..cli.command import start, until_line
from ..support import until
from .running import output


def test_a_scan_beside_a_collector_causes_no_request(tmp_path: Path) -> None:
    with SimulatedExchange(3, seed=7) as exchange:
        environment = {**exchange.environment(), "ATS_SYNC_SHARED": "", "ATS_SYNC_STATE_DIR": str(tmp_path)}
        command = ("-m", "ats_sync", "collect", "--symbols", ",".join(exchange.symbols), "--intervals", "1h,15m")
        with start(*command, env=environment) as collector:
            until_line(collector, "following")
            reader = {**exchange.environment(), "ATS_SYNC_SHARED": f"unix://{tmp_path}/shared.sock"}
            until(lambda: "requests: 0" in output("shared/scan.py", *exchange.symbols, env=reader))
            assert output("shared/scan.py", env=reader).count("hours") == 3
