"""What a reader wants a collector to follow, and when it has to say so again."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ..engine.demand import LEAST_KEPT
from ..feeds import FEEDS, Key

WISHED_EVERY = 60.0
"""A reader says so often (seconds) at most that it wants a series, which is kept much longer than that."""
assert WISHED_EVERY < LEAST_KEPT


class Wishes:
    """Those of one process. ``now`` is steady time (s)."""

    def __init__(self) -> None:
        self._wished: dict[Key, float] = {}
        self._followed: dict[Key, None] = {}
        self._failed: set[Key] = set()

    def follow(self, keys: Collection[Key], now: float) -> list[Key]:
        """Want these whether they are read or not; return those of which that is to be said."""
        self._followed.update(dict.fromkeys(keys))
        return [key for key in keys if self.due(key, now)]

    def followed(self) -> list[Key]:
        """Return what this process wants whether it reads it or not."""
        return list(self._followed)

    def forget(self, symbols: Collection[str]) -> None:
        """Want nothing of these symbols any more."""
        for key in [key for key in self._followed if key.symbol in symbols]:
            del self._followed[key]
        self._failed = {key for key in self._failed if key.symbol not in symbols}

    def due(self, key: Key, now: float) -> bool:
        """Return whether to say that this process wants a series; it then counts as said."""
        feed = FEEDS[key.kind]
        if feed.shared or now - self._wished.get(key, -WISHED_EVERY) < WISHED_EVERY:
            return False
        self._wished[key] = now
        return True

    def failed(self, keys: Iterable[Key]) -> None:
        """Note that the store did not take these."""
        for key in keys:
            del self._wished[key]
            self._failed.add(key)

    def take_failed(self) -> list[Key]:
        """Return those that the store did not take and that have not been said since, once."""
        later = [key for key in self._failed if key not in self._wished]
        if later:
            self._failed.clear()
        return later
