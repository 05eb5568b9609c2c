"""A point in time as an input of the engine."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..clock import Clock

IN_DOUBT = 5_000
"""By a time that may be wrong by more (ms) than this nothing is planned far ahead."""
LOOK_AGAIN_AFTER = 10.0
"""How far, then (seconds)."""


class Moment(NamedTuple):
    """``steady``: seconds that never run backwards; ``exchange``: the latest that the exchange's time may be, epoch ms;
    ``proven``: whether nothing contradicts that time; ``uncertain``: how much earlier (ms) it may be."""

    steady: float
    exchange: int
    proven: bool = True
    uncertain: int = 0

    def wait(self, until: int) -> float:
        """Return how long (seconds) it takes until ``until`` (exchange ms) has surely come; 0 where it has. While the
        time is in doubt, no longer than until it is worth another look: soon it may be known."""
        wait = max(0, until - self.exchange + self.uncertain) / 1000.0
        return wait if self.uncertain <= IN_DOUBT else min(wait, LOOK_AGAIN_AFTER)


def moment(clock: Clock) -> Moment:
    """Return the current moment, behind which the clock does not fall any more."""
    clock.keep()
    return Moment(clock.now(), clock.exchange_ms(), clock.proven(), math.ceil(clock.uncertainty() * 1000))
