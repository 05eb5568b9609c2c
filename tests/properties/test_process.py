"""The promises under schedules in which the process stops, the machine sleeps, clocks are set.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.schedules import PROCESS_KINDS, fixed
from ..virtual.world import run


@pytest.mark.parametrize("number", range(4))
def test_the_promises_hold(number: int) -> None:
    run(fixed("process", number, PROCESS_KINDS))
