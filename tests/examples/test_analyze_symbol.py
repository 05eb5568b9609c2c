"""The old functions, on the shared manager."""

from __future__ import annotations

import re

from ats_sync.simulator import SimulatedExchange, before_turn

from .running import output


def test_it_runs_against_the_exchange_of_the_environment_from_memory() -> None:
    # No candle turns meanwhile, after which some are asked for again.
    with SimulatedExchange(symbols=12, seed=7, start=before_turn("15m", 300)) as ex:
        out = output("analyze_symbol.py", "ETHUSDT", env=ex.environment())
        asked = [each for each in ex.request_log() if each.params.get("symbol") == "ETHUSDT"]
    figures = dict(re.findall(r"^ *(\S.*?)  ([+-]\S+)$", out, re.MULTILINE))
    assert len(figures) == 10
    # Those of the warm-up, and no others: each series once (a read may have come before the trades).
    paths = [each.path for each in asked]
    assert paths.count("/fapi/v1/klines") == 3
    assert paths.count("/fapi/v1/depth") <= 1
    assert paths.count("/futures/data/openInterestHist") == 1
    found = re.search(r"requests that the analysis caused: (\d+)", out)
    assert found is not None
    assert int(found[1]) <= 1


def test_it_simulates() -> None:
    assert "trend 15m" in output("analyze_symbol.py", "--simulate")
