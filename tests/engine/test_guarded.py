"""An object that is not thread-safe notices when it is used without its lock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ats_sync import Config
from ats_sync.clock import Clock
from ats_sync.engine.budget import Budget
from ats_sync.engine.engine import Engine
from ats_sync.engine.guarded import Guarded
from ats_sync.engine.jobs import Fetch, JobQueue
from ats_sync.engine.moment import Moment
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.look import connection_statuses, feed_statuses, feeds_summary
from ats_sync.store.market import MarketStore
from ats_sync.venue import endpoints

CONFIG = Config()
AT = Moment(0.0, 1_700_000_000_000)
BOOK = Fetch(Key(Kind.BOOK, "BTCUSDT"), endpoints.depth("BTCUSDT", 20), Cause.READ)


def uses(guarded: Guarded) -> list[Callable[[], object]]:
    if isinstance(guarded, Engine):
        clock = Clock()
        return [
            lambda: guarded.follow([Key(Kind.MARK)], AT),
            lambda: guarded.tick(AT),
            guarded.take,
            lambda: guarded.missing(AT),
            lambda: guarded.next_due(AT),
            lambda: connection_statuses(guarded, clock),
            lambda: feed_statuses(guarded, guarded.store, clock),
            lambda: feeds_summary(guarded, guarded.store, clock),
        ]
    assert isinstance(guarded, Budget)
    queue = JobQueue(guarded)
    return [
        lambda: guarded.free_at(BOOK.request, Cause.READ, AT),
        lambda: guarded.block(BOOK.request.host, 1.0),
        lambda: guarded.usage(BOOK.request.bucket, AT),
        lambda: queue.add(BOOK),
        lambda: queue.pop(AT),
        queue.clear,
    ]


@pytest.mark.parametrize("make", [lambda: Engine(CONFIG, MarketStore(CONFIG, Clock().now)), lambda: Budget(CONFIG)])
def test_every_use_needs_the_lock_where_there_is_one(make: Callable[[], Guarded]) -> None:
    guarded = make()
    for use in uses(guarded):
        use()
    lock = guarded.shared()
    assert guarded.shared() is lock
    for use in uses(guarded):
        with pytest.raises(AssertionError):
            use()
    with lock:
        for use in uses(guarded):
            use()
