"""What a store tells the engine about a frame it has just merged (rarely anything)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ..feeds import Key


class Event(Enum):
    CLOSED = "closed"
    """A candle has become final."""
    GAP = "gap"
    """Something may be missing before what just arrived."""


class Notice(NamedTuple):
    event: Event
    key: Key
