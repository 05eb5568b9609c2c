"""Wishes: what a reader wants a collector to follow, when it has to say so again, and what a collector makes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

from ..engine.demand import LEAST_KEPT
from ..errors import AtsSyncError, InvalidArgument
from ..feeds import FEEDS, Key
from ..logs import RateLimitedLogger
from ..venue.intervals import check_interval, check_period
from ..venue.symbols import check_symbol
from .client import SharedStore
from .layout import MalformedFeed, board_of, wish_in
from .protocol import Command
from .shards import Shard

WISHES_KEY = SharedStore.key("feed", "wishes")
WISHED_EVERY = 60.0
"""A reader says so often (seconds) at most that it wants a series, which is kept much longer than that."""
assert WISHED_EVERY < LEAST_KEPT
LOOK_EVERY = 0.5
"""Seconds between two looks of a collector."""
KEPT = 120.0
"""Seconds for which a wish stands in the store; readers renew it while they read."""
assert WISHED_EVERY < KEPT
MOST = 10_000
"""Of more wishes than these the oldest are removed."""
MOST_ROWS = 100_000


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


class WishList:
    """The wishes of all readers, in a collector. One thread owns it; ``now`` is steady time (s)."""

    def __init__(self, shared: SharedStore, shard: Shard, demand: Callable[[Key, int], None]) -> None:
        """``demand(key, rows)`` follows a series, if it can."""
        self._log = RateLimitedLogger(logging.getLogger(__name__))
        self._shared = shared
        self._shard = shard
        self._demand = demand
        self._look_due = self._trim_due = 0.0
        # The server's time (s) of the last look, and of the newest wish then.
        self._looked_at = self._wished_until = 0.0

    def follow_due(self, now: float) -> None:
        """Follow what readers of this shard have wished for since the last look, if one is due. Raises
        :class:`~ats_sync.errors.SharedStoreUnavailable`."""
        if now < self._look_due:
            return
        self._look_due = now + LOOK_EVERY

        def look(redis: Any) -> list[Any]:
            with redis.pipeline(transaction=False) as pipeline:
                pipeline.time()
                since = self._wished_until
                pipeline.zrangebyscore(WISHES_KEY, since, "+inf", start=0, num=MOST, withscores=True)
                return list(pipeline.execute())

        (seconds, _), wishes = self._shared.run(look)
        for member, score in wishes:
            self._wished_until = max(self._wished_until, score)
            try:
                key, rows = _checked(*wish_in(member))
                if self._shard.has(key):
                    self._demand(key, rows)
            except (MalformedFeed, InvalidArgument) as error:
                self._log.warning("wish", "a wish of a reader is left out: %s", error)
            except AtsSyncError as error:
                self._log.warning("wish", "what a reader wants cannot be followed: %s", error)
        self._looked_at = float(seconds)
        self._wished_until = min(self._wished_until, self._looked_at + 1.0)

    def trim_due(self, now: float, write: Callable[[Sequence[Command]], object]) -> None:
        """Remove wishes that nobody has renewed, and those that are too many, if that is due; ``write`` sends
        commands."""
        if now < self._trim_due:
            return
        self._trim_due = now + LOOK_EVERY
        write(
            [
                ("ZREMRANGEBYSCORE", WISHES_KEY, "-inf", f"({self._looked_at - KEPT}"),
                ("ZREMRANGEBYRANK", WISHES_KEY, 0, -MOST - 1),
            ]
        )


def _checked(key: Key, rows: int) -> tuple[Key, int]:
    """Return a wish that can be granted. Raises :class:`~ats_sync.errors.InvalidArgument`: anybody may write one."""
    feed = FEEDS.get(key.kind)
    if feed is None or feed.shared or board_of(key) is not None:
        raise InvalidArgument(f"{key} is not followed by symbol")
    check_symbol(key.symbol)
    if feed.closes:
        check_interval(key.interval)
    elif feed.poll is not None and feed.poll.shares_limit:
        check_period(key.interval)
    elif key.interval:
        raise InvalidArgument(f"{key} has no interval")
    return key, min(rows, MOST_ROWS)
