"""The old functions, on the shared manager."""

from __future__ import annotations

import re

from ats_sync.simulator import SimulatedExchange, before_turn

from ..support import until
from .running import output


def test_it_runs_against_the_exchange_of_the_environment_from_memory() -> None:
    # No candle closes during the run, after which some would be requested again.
    with SimulatedExchange(symbols=12, seed=7, start=before_turn("15m", 300)) as ex:

        def from_memory() -> bool:
            seen = len(ex.request_log())
            out = output("analyze_symbol.py", "ETHUSDT", env=ex.environment())
            figures = dict(re.findall(r"^ *(\S.*?)  ([+-]\S+)$", out, re.MULTILINE))
            assert len(figures) == 10
            found = re.search(r"requests that the analysis caused: (\d+)", out)
            assert found is not None
            # These are the requests of the warm-up and no others: one for each series (a read may come before the
            # trades are warm).
            paths = [each.path for each in ex.request_log()[seen:] if each.params.get("symbol") == "ETHUSDT"]
            klines, depth = paths.count("/fapi/v1/klines"), paths.count("/fapi/v1/depth")
            interest = paths.count("/futures/data/openInterestHist")
            return int(found[1]) <= 1 and (klines, interest) == (3, 1) and depth <= 1

        # It runs again on a busy machine, where late streams are repaired by more requests.
        until(from_memory)


def test_it_simulates() -> None:
    assert "trend 15m" in output("analyze_symbol.py", "--simulate")
