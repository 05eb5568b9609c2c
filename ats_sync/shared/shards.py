"""Symbols shared out over several leaders: which collector of a store has which series.

Each shard has a lease and a feed of its own. A symbol belongs to the shard that scores it highest (rendezvous hashing),
so that another number of shards moves no more symbols than it must. What is of all symbols (mark prices, quotes,
tickers, spot prices, listings) comes whole by one stream, and is read from the first shard.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from ..errors import ConfigError
from ..feeds import FEEDS, Key
from .client import SharedStore
from .lease import Lease, LeaseView

LEASE = "collector"
SHARDS_KEY = SharedStore.key("feed", "shards")
"""How many shards there are; absent where there is one."""
MOST_REMEMBERED = 10_000


@dataclass(frozen=True)
class Shard:
    """One part of all symbols."""

    number: int = 1
    """From 1 on."""
    count: int = 1

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return what ``2/3`` says; it was checked with the settings."""
        number, _, count = text.partition("/")
        return cls(int(number), int(count))

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def lease(self) -> str:
        """The name of its lease."""
        return LEASE if self.count == 1 else f"{LEASE}-{self.number}of{self.count}"

    @property
    def feed_key(self) -> str:
        """The key of its feed."""
        return SharedStore.key("feed") if self.count == 1 else SharedStore.key("feed", f"{self.number}of{self.count}")

    def has(self, key: Key) -> bool:
        """Return whether a series is in this part."""
        return home(key, self.count) == self.number

    def has_symbol(self, symbol: str) -> bool:
        """Return whether the series of a symbol are in this part."""
        return _highest(symbol, self.count) == self.number


WHOLE = Shard()
"""All symbols."""


def shards(count: int) -> list[Shard]:
    """Return all parts."""
    return [Shard(number, count) for number in range(1, count + 1)]


def home(key: Key, count: int) -> int:
    """Return the number of the shard that has a series."""
    if count == 1 or not key.symbol or FEEDS[key.kind].shared:
        return 1
    return _highest(key.symbol, count)


@lru_cache(MOST_REMEMBERED)
def _highest(symbol: str, count: int) -> int:
    def score(number: int) -> bytes:
        return blake2b(f"{number}:{symbol}".encode(), digest_size=8).digest()

    return max(range(1, count + 1), key=score)


def count_in(store: SharedStore) -> int:
    """Return how many shards the collectors of a store have agreed on."""
    return int(store.run(lambda redis: redis.get(SHARDS_KEY)) or 1)


def leaders(store: SharedStore, count: int) -> list[tuple[Shard, LeaseView]]:
    """Return who leads each shard."""
    return [(shard, Lease(store, "", name=shard.lease).view()) for shard in shards(count)]


def check_count(store: SharedStore, own: Shard) -> None:
    """Raise :class:`~ats_sync.errors.ConfigError` where collectors that lead share the symbols out in another way."""
    count = count_in(store)
    if count == own.count:
        return
    for shard, view in leaders(store, count):
        if view.left > 0:
            raise ConfigError(
                f"{view.label} leads shard {shard} of {store}, and this collector is to have {own}: all collectors of "
                "a store share the symbols out over the same number"
            )
