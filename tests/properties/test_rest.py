"""The promises under schedules in which REST fails, lags, limits and bans.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.schedules import REQUEST_KINDS, fixed
from ..virtual.world import run


@pytest.mark.parametrize("number", range(4))
def test_the_promises_hold(number: int) -> None:
    run(fixed("rest", number, REQUEST_KINDS))
