"""The lease passes from one collector to the next while a reader reads, which finds a leader at all times."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from ats_sync import DataManager
from ats_sync.shared import publish
from ats_sync.shared.client import SharedStore
from ats_sync.shared.layout import feed_text
from ats_sync.shared.lease import Lease
from ats_sync.shared.pull import HANDED_OVER_FOR, PULL, Pulled
from ats_sync.shared.shards import WHOLE
from ats_sync.shared.sources import Source
from ats_sync.simulator import SimulatedExchange
from ats_sync.status import FeedState

from ..support import until
from .feed import config_of, managed, served
from .servers import StoreServer
from .written import FEED

SYMBOLS = 3


@pytest.fixture(scope="module")
def exchange() -> Iterator[SimulatedExchange]:
    with SimulatedExchange(SYMBOLS, seed=5, weight_limit=10**6) as exchange:
        yield exchange


class Scene:
    """A store, a collector that leads, others that stand by, and a reader."""

    def __init__(self, exchange: SimulatedExchange, server: StoreServer, stack: ExitStack) -> None:
        self.server = server
        self.store = SharedStore(server.url)
        stack.callback(self.store.close)
        self._stack = stack
        self._config = config_of(exchange, server.url, close_timeout=60.0, futures_weight_limit=10**6)
        self._symbols = list(exchange.symbols)
        self._lease = Lease(self.store, "")
        self.leader = self.collector()
        self.reader = stack.enter_context(managed(self._config, self._symbols))
        for symbol in self._symbols:
            served(self.reader, lambda dm, symbol=symbol: dm.get_orderbook(symbol))  # type: ignore[misc]

    def collector(self, **changes: Any) -> DataManager:
        """Start one more; return once a leader that leaves would notice it."""
        manager = self._stack.enter_context(managed(self._config, self._symbols, role="collector", **changes))
        until(lambda: manager.status().ready("trades") == (SYMBOLS, SYMBOLS))
        until(lambda: self.leads(manager) or manager._life._feed._able)  # type: ignore[attr-defined]
        if not self.leads(manager):
            until(lambda: self.store.run(lambda redis: redis.hget(self._lease.key, "able_until")))
        return manager

    def epoch(self) -> int:
        view = self._lease.view()
        return view.epoch if view.left else 0

    @staticmethod
    def leads(manager: DataManager) -> bool:
        return manager._life.shared_status().role == "leader"  # type: ignore[attr-defined, no-any-return]

    def unread(self) -> set[bytes]:
        """Return the lives in the store that no reader knows."""
        keys: list[bytes] = self.store.run(lambda redis: redis.keys(f"{WHOLE.feed_key}:unread-*"))
        return {key.rpartition(b":")[0] for key in keys}

    @contextmanager
    def watched(self) -> Iterator[list[str]]:
        """Read continuously until the end of the block; yield the reasons why reads have found no feed."""
        stop, why, replica = threading.Event(), [], self.reader._life.store
        reads = [0]

        def read_on() -> None:
            while not stop.is_set():
                for symbol in self._symbols:
                    self.reader.get_orderbook(symbol)
                    reads[0] += 1
                    if replica.sources.why:  # type: ignore[attr-defined]
                        why.append(replica.sources.why)  # type: ignore[attr-defined]

        thread = threading.Thread(target=read_on)
        thread.start()
        try:
            until(lambda: reads[0])
            yield why
            seen = reads[0]
            until(lambda: reads[0] > seen + 20)
        finally:
            stop.set()
            thread.join()


@pytest.fixture
def scene(exchange: SimulatedExchange, valkey: StoreServer) -> Iterator[Scene]:
    with ExitStack() as stack:
        yield Scene(exchange, valkey, stack)


def test_a_leader_that_is_closed_leaves_when_its_successor_has_written_everything(scene: Scene) -> None:
    second = scene.collector()
    before = scene.epoch()
    with scene.watched() as why:
        scene.leader.close()
        until(lambda: scene.leads(second))
        until(lambda: scene.reader._life.store.sources.epoch > before)  # type: ignore[attr-defined]
    assert why == []
    assert scene.unread() == set()


def test_a_collector_that_takes_over_has_written_everything_before(scene: Scene) -> None:
    before = scene.epoch()
    with scene.watched() as why:
        second = scene.collector(take_over=True)
        until(lambda: scene.leads(second))
        until(lambda: scene.reader._life.store.sources.epoch > before)  # type: ignore[attr-defined]
        until(lambda: not scene.leads(scene.leader))
    assert why == []
    assert scene.unread() == set()


def test_standbys_follow_what_only_readers_want(scene: Scene) -> None:
    symbol = scene.reader.symbols[0]
    second = scene.collector()
    served(scene.reader, lambda dm: dm.get_klines(symbol, "15m", 20))
    until(
        lambda: any(feed[:4] == ("klines", symbol, "15m", FeedState.LIVE) for feed in second.status().feeds),
        what="that the second one follows it, too",
    )
    assert scene.leads(scene.leader)


def test_a_leader_without_a_successor_closes_at_once(scene: Scene) -> None:
    began = time.monotonic()
    scene.leader.close()
    assert time.monotonic() - began < 30.0  # of the 60 s that it may take
    assert scene.epoch() == 0


def test_one_of_two_standbys_prepares(scene: Scene) -> None:
    both = [scene.collector(), scene.collector()]
    most, stop = [0], threading.Event()

    def look() -> None:
        while not stop.is_set():
            most[0] = max(most[0], len(scene.unread()))

    with scene.watched() as why:
        thread = threading.Thread(target=look)
        thread.start()
        scene.leader.close()
        until(lambda: any(map(scene.leads, both)))
        until(lambda: scene.unread() == set())
        stop.set()
        thread.join()
    assert why == []
    assert most[0] < 2


def test_what_is_prepared_and_not_needed_is_removed(scene: Scene) -> None:
    second = scene.collector()
    keeper = second._life._keeper  # type: ignore[attr-defined]
    keeper.should_prepare = lambda: True  # as while the leader seems to be gone
    until(scene.unread)
    del keeper.should_prepare
    until(lambda: scene.unread() == set())
    assert scene.leads(scene.leader)


def test_what_a_process_had_prepared_before_it_died_expires(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "UNREAD_KEPT", 1)
    second = scene.collector()
    second._life._keeper.should_prepare = lambda: True  # type: ignore[attr-defined]
    until(scene.unread)
    monkeypatch.setattr(second._life._feed, "_discard", lambda: None)  # type: ignore[attr-defined]
    second.close()
    assert scene.leads(scene.leader)
    until(lambda: scene.unread() == set())


@pytest.mark.parametrize("lost", ["heads", "parts", "all"])
def test_what_was_lost_of_a_prepared_life_is_written_again(scene: Scene, lost: str) -> None:
    second = scene.collector()
    second._life._keeper.should_prepare = lambda: True  # type: ignore[attr-defined]
    before = until(scene.unread)
    until(lambda: second._life._feed._whole)  # type: ignore[attr-defined]
    (life,) = (each.decode() for each in before)
    names = ("meta", "heads", "parts") if lost == "all" else (lost,)
    scene.store.run(lambda redis: redis.delete(*(f"{life}:{name}" for name in names)))
    until(lambda: scene.unread() not in (before, set()))
    scene.leader.close()
    until(lambda: scene.leads(second))
    for symbol in scene.reader.symbols:
        served(scene.reader, lambda dm, symbol=symbol: dm.rest_shaped.klines(symbol, "1m", 50))  # type: ignore[misc]


def test_a_store_without_memory_for_two_lives_has_them_one_after_the_other(scene: Scene) -> None:
    second = scene.collector()
    life = scene.store.run(lambda redis: redis.hget(WHOLE.feed_key, "life"))
    sizes = [
        int(scene.store.run(lambda redis, name=name: redis.memory_usage(name, samples=0)) or 0)  # type: ignore[misc]
        for name in publish.Names(life.decode())
    ]
    used = int(scene.store.run(lambda redis: redis.info("memory"))["used_memory"])
    scene.store.run(lambda redis: redis.config_set("maxmemory", used + sum(sizes) // 2))
    scene.leader.close()
    until(lambda: scene.leads(second))
    symbol = scene.reader.symbols[0]
    until(lambda: scene.reader.get_orderbook(symbol) and scene.reader._life.store.sources.epoch == scene.epoch())  # type: ignore[attr-defined]


# --- what readers take -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("handed", "ago", "read"),
    [
        (1, 0.0, True),
        (1, HANDED_OVER_FOR + 0.01, False),
        (1, -1.0, False),  # the server's clock was set back
        (2, 0.0, False),
    ],
)
def test_the_feed_of_a_lease_that_was_handed_over_is_read_for_a_moment(
    store: SharedStore, handed: int, ago: float, read: bool
) -> None:
    source, lease = Source(WHOLE), Lease(store, "")

    def pulled() -> bool:
        seconds, micros = store.run(lambda redis: redis.time())
        now = int(seconds) * 1_000_000 + int(micros)

        def write(redis: Any) -> None:
            redis.hset(WHOLE.feed_key, mapping={"life": "1-1", "epoch": 1})
            redis.hset(publish.Names("1-1").meta, "feed", feed_text(FEED))
            after = {"epoch": 3, "until": now + 2_000_000}  # a successor that has not written yet
            redis.hset(lease.key, mapping={**after, "handed": handed, "handed_at": now - round(ago * 1e6)})

        store.run(write)
        answer = store.evaluate(PULL, source.keys, source.question((), ())[0])
        return Pulled.of(answer).feed is not None

    if read:
        until(pulled)  # as soon as this process gets there in time
    else:
        assert not any(pulled() for _ in range(5))
