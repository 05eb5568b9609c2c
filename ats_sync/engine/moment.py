"""A moment, as the engine is told it."""

from __future__ import annotations

from typing import NamedTuple


class Moment(NamedTuple):
    """``steady``: seconds that never run backwards; ``exchange``: the exchange's time, epoch ms, the latest it may be;
    ``proven``: whether nothing contradicts that time; ``uncertain``: how much earlier (ms) it may be."""

    steady: float
    exchange: int
    proven: bool = True
    uncertain: int = 0
