"""The promises under schedules in which everything breaks at once.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.schedules import FAULT_KINDS, fixed
from ..virtual.world import run


@pytest.mark.parametrize("number", range(6))
def test_the_promises_hold(number: int) -> None:
    run(fixed("mixed", number, FAULT_KINDS))
