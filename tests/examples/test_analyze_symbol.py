"""The old functions, on the shared manager."""

from __future__ import annotations

import re

from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .running import output


def test_it_runs_against_the_exchange_of_the_environment_from_memory() -> None:
    # No candle turns meanwhile, after which some are asked for again.
    with SimulatedExchange(symbols=12, seed=7, start=before_turn("15m", 300)) as ex:

        def from_memory() -> bool:
            seen = len(ex.request_log())
            out = output("analyze_symbol.py", "ETHUSDT", env=ex.environment())
            figures = dict(re.findall(r"^ *(\S.*?)  ([+-]\S+)$", out, re.MULTILINE))
            assert len(figures) == 10
            found = re.search(r"requests that the analysis caused: (\d+)", out)
            assert found is not None
            # Those of the warm-up, and no others: each series once (a read may have come before the trades).
            asked = [each.path for each in ex.request_log()[seen:] if each.params.get("symbol") == "ETHUSDT"]
            klines, depth = asked.count("/fapi/v1/klines"), asked.count("/fapi/v1/depth")
            interest = asked.count("/futures/data/openInterestHist")
            return int(found[1]) <= 1 and (klines, interest) == (3, 1) and depth <= 1

        # Again, where the machine had no time for the streams: they are repaired by more requests.
        until(from_memory)


def test_it_simulates() -> None:
    assert "trend 15m" in output("analyze_symbol.py", "--simulate")
