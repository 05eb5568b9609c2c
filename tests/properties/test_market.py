"""The promises under schedules in which the exchange itself does what is rare: counters begin again, an open candle
is recomputed, a name comes back for another contract, a halt leaves a hole, a symbol has never traded.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.schedules import MARKET_KINDS, fixed
from ..virtual.world import run


@pytest.mark.parametrize("number", range(4))
def test_the_promises_hold(number: int) -> None:
    run(fixed("market", number, MARKET_KINDS))
