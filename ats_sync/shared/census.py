"""Who uses a shared store: who leads, who stands by, how many processes read, and what it all takes."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from .client import Redis, SharedStore, redis_module, role_in
from .lease import Lease, LeaseView, lease_view
from .scripts import GENERATION_KEY
from .shards import SHARDS_KEY, Shard, shards

KEPT = 2.0
"""Seconds for which one look serves everybody who asks: the server goes through all of its clients for it."""
CLIENTS = 6
"""The place of the list of clients among the answers."""


class Census(NamedTuple):
    """The processes of one store, as the server knows them."""

    time: float
    """The server's (epoch seconds)."""
    leases: tuple[tuple[Shard, LeaseView], ...]
    """Of each shard."""
    processes: Counter[str] | None
    """How many there are of each role, whatever the number of their connections; None where the server does not say,
    since this user may not list its clients."""
    clients: int
    """Connections, also those of other programs."""
    memory: int
    """Bytes in use."""
    limit: int
    """Bytes that it may use, 0 where there is no limit."""

    @property
    def standbys(self) -> tuple[str, ...]:
        """Return the labels of all who stand by."""
        return tuple(label for _, view in self.leases for label in view.standbys)


def census(store: SharedStore, count: int = 1) -> Census:
    """Return who uses a store, in one round trip where it has ``count`` shards, else in two.

    Raises :class:`~ats_sync.errors.SharedStoreUnavailable` and :class:`~ats_sync.errors.ConfigError`.
    """
    while not isinstance(found := _look(store, count), Census):
        count = found
    return found


def _look(store: SharedStore, count: int) -> Census | int:
    """Return the census, or how many shards there are where that is another number."""
    refused = redis_module("redis.exceptions").ResponseError
    leases = [(shard, Lease(store, "", name=shard.lease)) for shard in shards(count)]

    def look(redis: Redis) -> list[Any]:
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.get(SHARDS_KEY).time().info("server").info("memory").info("clients")
            pipeline.hgetall(store.key(GENERATION_KEY)).client_list()
            for _, lease in leases:
                lease.look_along(pipeline)
            answers = list(pipeline.execute(raise_on_error=False))
        for place, answer in enumerate(answers):
            if isinstance(answer, Exception) and not (place == CLIENTS and isinstance(answer, refused)):
                raise answer
        return answers

    number, time, server, memory, connected, generation, clients, *found = store.run(look)
    if int(number or 1) != count:
        return int(number or 1)
    views = [lease_view(server, found[2 * at], generation, found[2 * at + 1], time) for at in range(count)]
    return Census(
        int(time[0]) + int(time[1]) / 1e6,
        tuple(zip((shard for shard, _ in leases), views, strict=True)),
        None if isinstance(clients, Exception) else _processes(clients),
        int(connected.get("connected_clients", 0)),
        int(memory.get("used_memory", 0)),
        int(memory.get("maxmemory", 0)),
    )


def _processes(clients: list[dict[str, str]]) -> Counter[str]:
    """Return how many processes there are of each role: those of one name are the connections of one."""
    roles = (role_in(name) for name in {each.get("name", "") for each in clients})
    return Counter(role for role in roles if role is not None)


class Observer:
    """Takes a census for those who ask for it, at most every ``KEPT`` seconds. Any thread may ask."""

    def __init__(self, store: SharedStore, now: Callable[[], float]) -> None:
        """``now()`` is the steady clock (seconds)."""
        self._store = store
        self._now = now
        self._lock = threading.Lock()  # guards the newest census, not the taking of one
        self._newest: tuple[float, Census] | None = None

    def shards(self) -> tuple[Shard, ...]:
        """Return the shards that the newest census has found, whether the store answers now or not."""
        with self._lock:
            newest = self._newest
        return tuple(shard for shard, _ in newest[1].leases) if newest is not None else ()

    def look(self) -> Census:
        """Return a census that is ``KEPT`` seconds old at most, and of before no failure. Errors as of
        :func:`census`."""
        now = self._now()
        with self._lock:
            newest = self._newest
        if newest is not None and now - newest[0] <= KEPT and not self._store.away:
            return newest[1]
        found = census(self._store, len(newest[1].leases) if newest is not None else 1)
        with self._lock:
            self._newest = now, found
        return found
