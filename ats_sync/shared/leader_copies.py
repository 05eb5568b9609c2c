"""What the leader has of a series, for a collector that stands by: what it has polled need not be requested again."""

from __future__ import annotations

from collections.abc import Callable

from ..config import Config
from ..errors import ConfigError, SharedStoreUnavailable
from ..feeds import Key
from ..store.series import Copied
from .client import SharedStore
from .layout import exchange_text, head_in
from .pull import PULL, Pulled, Resharded, joined
from .shards import Shard
from .sources import Source


class LeaderCopies:
    """The feed of one shard while another process leads it.

    Implements :class:`~ats_sync.runtime.executor.Elsewhere`. Any thread may call any method.
    """

    def __init__(self, shared: SharedStore, config: Config, shard: Shard, stands_by: Callable[[], bool]) -> None:
        """``stands_by()`` says whether this process does not lead."""
        self._shared = shared
        self._exchange = exchange_text(config.exchange)
        self._source = Source(shard)
        self._stands_by = stands_by

    def copied(self, key: Key) -> Copied | None:
        """Return how the leader has a series, in one round trip; None where this process leads or nobody does, where
        the leader lacks the series, reads another exchange or does not trust its clock, and where the store cannot be
        read. Raises :class:`~ats_sync.shared.layout.MalformedFeed`."""
        if not self._stands_by():
            return None
        question, _ = self._source.question([key], ())
        try:
            pulled = Pulled.of(self._shared.evaluate(PULL, self._source.keys, question))
        except (SharedStoreUnavailable, ConfigError, Resharded):
            return None
        if pulled.feed is None or pulled.exchange != self._exchange or pulled.heads[0] is None:
            return None
        if not self._source.decoded(pulled.feed)[0].proven:
            return None
        head = head_in(pulled.heads[0])
        known, numbers = joined(None, head, pulled.parts[0])
        # This process may have begun to lead meanwhile, and then have read what it has written itself.
        if not self._stands_by():
            return None
        return Copied(None, head.suspected, head.facts, head.texts, [known[number] for number in numbers])
