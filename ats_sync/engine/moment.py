"""A point in time as an input of the engine."""

from __future__ import annotations

import math
from typing import NamedTuple

from ..clock import Clock


class Moment(NamedTuple):
    """``steady``: seconds that never run backwards; ``exchange``: the latest that the exchange's time may be, epoch ms;
    ``proven``: whether nothing contradicts that time; ``uncertain``: how much earlier (ms) it may be."""

    steady: float
    exchange: int
    proven: bool = True
    uncertain: int = 0


def moment(clock: Clock) -> Moment:
    """Return the current moment."""
    return Moment(clock.now(), clock.exchange_ms(), clock.proven(), math.ceil(clock.uncertainty() * 1000))
