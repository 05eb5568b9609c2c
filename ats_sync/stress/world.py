"""What all parts of a run share: the exchange, the manager on it, and the current faults."""

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
"""Seconds for which the consequences of a fault may last."""


@dataclass
class Effects:
    """How a fault affects the comparisons, while it lasts and for a short time after."""

    silent: bool = False
    """Single streams are silent or lose events."""
    lagging: bool = False
    """REST itself may be behind."""
    holding: bool = False
    """Bytes are delayed: neither side can see what the other has closed or sent, or when."""


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
    """Symbols that are followed and listed: replaced as a whole, never changed in place."""
    stop: threading.Event = field(default_factory=threading.Event)
    warm: frozenset[str] = frozenset()
    """Symbols whose trades have been live once."""
    delisted: dict[str, float] = field(default_factory=dict)
    """Symbols that have been delisted, and when (monotonic)."""
    foreign: Counter[int] = field(default_factory=Counter)
    """Weight spent by other programs, by the minute (exchange ms)."""
    made: Counter[str] = field(default_factory=Counter)
    """Number of faults made, by name."""
    unsuspected: dict[str, float] = field(default_factory=dict)
    """Longest time that a silent stream was served from, by kind of data."""
    _lock: threading.Lock = field(default_factory=threading.Lock)
    """Guards _effects."""
    _effects: list[tuple[float, Effects]] = field(default_factory=list)

    def affected(self, effects: Effects, seconds: float) -> None:
        """Add effects that last this long from now on, plus the aftermath."""
        now = time.monotonic()
        with self._lock:
            self._effects = [(until, each) for until, each in self._effects if until > now]
            self._effects.append((now + seconds + AFTERMATH, effects))

    def effects(self) -> Effects:
        """Return the effects that must be expected now."""
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
