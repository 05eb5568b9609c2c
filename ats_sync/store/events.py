"""What a series reports about a frame it has just merged (rarely anything)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from ..feeds import Key


class Change(Enum):
    """What has become of a series."""

    CLOSED = "closed"
    """A candle has become final."""
    GAP = "gap"
    """Something may be missing before what just arrived."""
    BEGUN = "begun"
    """The first frame of a new subscription has come."""


class StoreEvent(NamedTuple):
    """One change of one series."""

    change: Change
    key: Key
