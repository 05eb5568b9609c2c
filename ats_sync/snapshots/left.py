"""The rows that a collector left in the shared store, for the start of another collector.

They are read as readers read them, and then treated as rows from disk: checked again, used only for the same contract,
and compared with REST before they count as exact.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import Any

from ..clock import Clock
from ..config import Config
from ..errors import SharedStoreUnavailable
from ..feeds import LISTINGS, Key
from ..shared.client import Redis, SharedStore
from ..shared.layout import (
    EXCHANGE,
    MalformedFeed,
    exchange_text,
    feed_in,
    field_of,
    head_in,
    numbers_in,
    part_of,
)
from ..shared.publish import Names
from ..shared.shards import Shard
from ..store.market import MarketStore
from ..store.series import Copied, Series
from ..venue.payload import DecodeError
from .records import Record


class LeftFeed:
    """The newest life of a feed. Its collector may still be writing it, and another one may remove it: rows that are no
    longer in the store are not found."""

    name = "the shared store"
    waits_for_streams = False  # its readers are there already

    def __init__(
        self, shared: SharedStore, config: Config, clock: Clock, names: Names, fields: Collection[bytes], known: int
    ) -> None:
        """``known`` is the exchange time (ms) up to which its connections had proved that they deliver."""
        self._shared = shared
        self._config = config
        self._clock = clock
        self._names = names
        self._fields = fields
        self._known = known
        self._scratch = MarketStore(config, clock.now, clock.exchange_ms)  # takes what is read from the store
        self._onboarded: dict[str, int] | None = None

    @classmethod
    def look(cls, shared: SharedStore, config: Config, clock: Clock, shard: Shard) -> LeftFeed | None:
        """Return what a collector of the same exchange left, None if there is nothing that can be used.

        Raises :class:`~ats_sync.errors.SharedStoreUnavailable`.
        """
        life: bytes | None = shared.run(lambda redis: redis.hget(shard.feed_key, "life"))
        if life is None:
            return None
        names = Names(life.decode(), shard)

        def look(redis: Redis) -> list[Any]:
            with redis.pipeline(transaction=False) as pipeline:
                pipeline.hmget(names.meta, "feed", EXCHANGE)
                pipeline.hkeys(names.heads)
                return list(pipeline.execute())

        (text, exchange), fields = shared.run(look)
        if text is None or exchange != exchange_text(config.exchange):
            return None
        try:
            feed = feed_in(text)
        except MalformedFeed:
            return None  # another version's
        return cls(shared, config, clock, names, frozenset(fields), int(feed.proved_until * 1000))

    def has(self, key: Key) -> bool:
        return field_of(key) in self._fields

    def records(self, keys: Collection[Key]) -> Iterator[tuple[Key, Record | str]]:
        onboarded = self._listed()
        # Until a collector has written its listings, it is not known of which contract its rows are.
        known = [key for key in keys if not key.symbol or key.symbol in onboarded]
        for key, copied in self._copies(known):
            if isinstance(copied, str):
                yield key, copied
                continue
            try:
                record = self._record(key, copied, onboarded)
                if record.parts:
                    yield key, record
            except (ValueError, TypeError, LookupError, DecodeError) as error:
                yield key, f"what the shared store has of {key} cannot be used: {error!r}"

    def begun(self, series: Series) -> None:
        """Do nothing: the series is still to be written to disk."""

    def demanded(self) -> Iterator[Record]:
        # The wishes of readers are in the store.
        return iter(())

    def _listed(self) -> dict[str, int]:
        """Return when each contract was listed (exchange ms), as far as the collector knew."""
        if self._onboarded is None:
            board = self._scratch.listings
            for _, copied in self._copies([LISTINGS]):
                if not isinstance(copied, str):
                    board.take_copy(copied)
            known = board.get()
            self._onboarded = dict(known.value.onboarded) if known is not None else {}
        return self._onboarded

    def _record(self, key: Key, copied: Copied, onboarded: dict[str, int]) -> Record:
        scratch = self._scratch
        followed = scratch.follow([key])
        series = scratch.series[key]
        try:
            series.take_copy(copied)
            known = max(self._known, scratch.event_in(key, copied))
            return Record(self._config.exchange, onboarded.get(key.symbol, 0), known, tuple(series.dump()))
        finally:
            scratch.unfollow(followed)

    def _copies(self, keys: Sequence[Key]) -> Iterator[tuple[Key, Copied | str]]:
        """Yield what the store has of these series, in two round trips for all of them."""
        names = self._names
        if not keys:
            return
        try:
            texts = self._shared.run(lambda redis: redis.hmget(names.heads, [field_of(key) for key in keys]))
            heads = {key: head_in(text) for key, text in zip(keys, texts, strict=True) if text is not None}
            parts = {key: [part_of(field_of(key), each) for each in numbers_in(heads[key].parts)] for key in heads}
            needed = [part for own in parts.values() for part in own]
            bodies = iter(self._shared.run(lambda redis: redis.hmget(names.parts, needed)) if needed else ())
        except (SharedStoreUnavailable, MalformedFeed) as error:
            yield from ((key, str(error)) for key in keys)
            return
        for key, head in heads.items():
            body = list(islice(bodies, len(parts[key])))
            if all(part is not None for part in body):  # its collector may have replaced some since
                yield key, Copied(None, "", head.facts, head.texts, body)
