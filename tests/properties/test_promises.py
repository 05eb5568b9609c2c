"""The promises under schedules of faults of one group, and of all groups at once.

A failure prints its schedule; ``run()`` repeats it exactly. They are in one file so that one process plays them all:
most are played on the same four recordings, each of which takes about as long to make as a schedule to play.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ..virtual.schedules import (
    CONNECTION_KINDS,
    EVENT_KINDS,
    FAULT_KINDS,
    MARKET_KINDS,
    PROCESS_KINDS,
    REQUEST_KINDS,
    fixed,
)
from ..virtual.world import run

GROUPS: dict[str, tuple[Sequence[str], Sequence[int]]] = {
    "connections": (CONNECTION_KINDS, range(4)),
    "shutdown": (("shutdown", "cut", "half open"), (2, 4, 7, 10)),
    # Single events are lost, doubled, late or unusable, and streams fall silent.
    "events": (EVENT_KINDS, range(4)),
    # REST fails, lags, limits and bans.
    "rest": (REQUEST_KINDS, range(4)),
    # The process stops, the machine sleeps, and clocks are set.
    "process": (PROCESS_KINDS, range(4)),
    # The exchange itself does what is rare: counters begin again, an open candle is recomputed, a name comes back for
    # another contract, a halt leaves a hole, or a symbol has never traded.
    "market": (MARKET_KINDS, range(4)),
    # Everything breaks at once.
    "mixed": (FAULT_KINDS, range(6)),
}
"""The kinds of faults of each group, and the numbers of its schedules."""


@pytest.mark.parametrize(("group", "number"), [(group, each) for group, (_, some) in GROUPS.items() for each in some])
def test_they_hold(group: str, number: int) -> None:
    run(fixed(group, number, GROUPS[group][0]))
