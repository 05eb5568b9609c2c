"""A cron job beside a collector, and two hosts, as the page describes them."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from ats_sync.__main__ import main
from ats_sync.simulator import SimulatedExchange

from ..cli.command import ROOT, start, until_line
from ..shared.conftest import started
from ..shared.feed import config_of, managed, served
from ..shared.servers import KINDS
from ..support import until
from .running import output

PAGE = ROOT / "examples" / "shared" / "README.md"


def test_a_scan_beside_a_collector_causes_no_request(tmp_path: Path) -> None:
    with SimulatedExchange(3, seed=7) as exchange:
        environment = {**exchange.environment(), "ATS_SYNC_SHARED": "", "ATS_SYNC_STATE_DIR": str(tmp_path)}
        command = ("-m", "ats_sync", "collect", "--symbols", ",".join(exchange.symbols), "--intervals", "1h,15m")
        with start(*command, env=environment) as collector:
            until_line(collector, "following")
            reader = {**exchange.environment(), "ATS_SYNC_SHARED": f"unix://{tmp_path}/shared.sock"}
            until(lambda: "requests: 0" in output("shared/scan.py", *exchange.symbols, env=reader))
            assert output("shared/scan.py", env=reader).count("hours") == 3


@pytest.mark.parametrize("kind", KINDS)
def test_the_user_on_the_page_may_do_what_a_collector_a_reader_and_shared_status_do(
    kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = [text.split() for text in PAGE.read_text("utf-8").splitlines() if text.startswith("    user feed ")]
    with started(kind) as server, SimulatedExchange(2, seed=7) as exchange:
        with closing(server.client()) as admin:
            admin.execute_command("ACL", "SETUSER", *line[1:])
        url = f"unix://feed:PASSWORD@{server.socket}"
        config, symbols = config_of(exchange, url), list(exchange.symbols)
        with managed(config, symbols, role="collector"), managed(config, symbols) as reader:
            assert len(served(reader, lambda dm: dm.get_klines(symbols[0], "1m", 50))) == 50
            assert main(["shared-status", url]) == 0
    assert "readers   1; " in capsys.readouterr().out
