"""The promises under schedules in which single events are lost, doubled, late or unusable, and streams fall silent.

A failure prints its schedule; ``run()`` repeats it exactly.
"""

from __future__ import annotations

import pytest

from ..virtual.schedules import EVENT_KINDS, fixed
from ..virtual.world import run


@pytest.mark.parametrize("number", range(4))
def test_the_promises_hold(number: int) -> None:
    run(fixed("events", number, EVENT_KINDS))
