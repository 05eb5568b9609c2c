"""What all parts of a run share: the exchange, the manager on it, and what is being done to them."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from ..simulator import SimulatedExchange
from .manager import DisturbedTime, MeasuredManager
from .options import BOUNDS, Options
from .tally import Tally

AFTERMATH = 12.0
"""Seconds for which the consequences of a fault may still be under way."""


@dataclass
class Effects:
    """What a fault makes of the comparisons while it lasts and a little after."""

    silent: bool = False
    """Single streams are silent or lose events."""
    lagging: bool = False
    """REST itself may be old."""
    holding: bool = False
    """Bytes are delayed: the other side cannot see who has closed or sent what when."""


@dataclass
class World:
    """One run."""

    options: Options
    exchange: SimulatedExchange
    manager: MeasuredManager
    time: DisturbedTime
    rng: random.Random
    tally: Tally
    symbols: list[str]
    """Followed and listed: replaced whole, never changed in place."""
    stop: threading.Event = field(default_factory=threading.Event)
    warm: frozenset[str] = frozenset()
    """Symbols whose trades have been live once."""
    delisted: dict[str, float] = field(default_factory=dict)
    """Symbols that have left the exchange, and when (monotonic)."""
    foreign: Counter[int] = field(default_factory=Counter)
    """Weight spent by others, by the minute (exchange ms)."""
    made: Counter[str] = field(default_factory=Counter)
    """Faults by name."""
    unsuspected: dict[str, float] = field(default_factory=dict)
    """Longest time a silent stream was served from, by kind of data."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards _effects."""
    _effects: list[tuple[float, Effects]] = field(default_factory=list)

    def affected(self, effects: Effects, seconds: float) -> None:
        """These effects last so long from now on, and the aftermath."""
        now = time.monotonic()
        with self._lock:
            self._effects = [(until, each) for until, each in self._effects if until > now]
            self._effects.append((now + seconds + AFTERMATH, effects))

    def effects(self) -> Effects:
        """Return what must be reckoned with now."""
        now = time.monotonic()
        with self._lock:
            lasting = [each for until, each in self._effects if until > now]
        return Effects(
            any(each.silent for each in lasting),
            any(each.lagging for each in lasting),
            any(each.holding for each in lasting),
        )

    def bound(self, kind: str, effects: Effects) -> float:
        """Return how far an answer from memory may be behind now, seconds."""
        bounds = BOUNDS[kind]
        return bounds.silent if effects.silent else bounds.usual
