"""The streams that the exchange refuses."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FIRST_PAUSE = 10.0
"""Seconds before a stream that was refused alone is subscribed to again; doubled at each further refusal."""
LONGEST_PAUSE = 600.0


@dataclass(slots=True)
class _Refusal:
    reason: str
    pause: float
    due: float


class Refusals:
    """The streams that are refused when they stand alone: the reason, and when each is subscribed to again."""

    def __init__(self) -> None:
        self._refusals: dict[str, _Refusal] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._refusals

    def reason(self, name: str) -> str:
        """Return the exchange's reason against a stream, "" without a refusal."""
        refusal = self._refusals.get(name)
        return refusal.reason if refusal is not None else ""

    def add(self, name: str, reason: str, now: float) -> None:
        """Note that a stream was refused at ``now`` (steady)."""
        before = self._refusals.get(name)
        pause = FIRST_PAUSE if before is None else min(LONGEST_PAUSE, 2 * before.pause)
        self._refusals[name] = _Refusal(reason, pause, now + pause)

    def forget(self, name: str) -> bool:
        """Forget a stream; return whether it was refused."""
        return self._refusals.pop(name, None) is not None

    def release(self) -> list[str]:
        """Forget all streams; return their names."""
        names = list(self._refusals)
        self._refusals.clear()
        return names

    def due(self, streams: Iterable[str]) -> float | None:
        """Return when (steady) the first refused one of ``streams`` is to be tried again, None if there is none."""
        if not self._refusals:
            return None
        return min((self._refusals[name].due for name in streams if name in self._refusals), default=None)

    def first_due(self, streams: Iterable[str], now: float) -> str | None:
        """Return a refused one of ``streams`` that is to be tried again by ``now``."""
        if not self._refusals:
            return None
        return next((name for name in streams if name in self and self._refusals[name].due <= now), None)
