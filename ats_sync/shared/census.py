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
"""Seconds for which one look serves everybody who asks."""
LIST_SHARE = 0.005
"""For the list of clients the server goes through all of them: it is fetched less often where there are so many that it
would take more than this part of the time."""


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
    def readers(self) -> int | None:
        """Return how many processes read, None where the server does not say."""
        return None if self.processes is None else self.processes["reader"]

    @property
    def standbys(self) -> tuple[str, ...]:
        """Return the labels of all who stand by."""
        return tuple(label for _, view in self.leases for label in view.standbys)


def census(store: SharedStore, count: int = 1, *, lists: bool = True) -> Census:
    """Return who uses a store, in one round trip where it has ``count`` shards, else in two. Unless it ``lists`` the
    clients, their processes are None.

    Raises :class:`~ats_sync.errors.SharedStoreUnavailable` and :class:`~ats_sync.errors.ConfigError`.
    """
    while not isinstance(found := _look(store, count, lists), Census):
        count = found
    return found


def _look(store: SharedStore, count: int, lists: bool) -> Census | int:
    """Return the census, or how many shards there are where that is another number."""
    refused = redis_module("redis.exceptions").ResponseError
    leases = [(shard, Lease(store, "", name=shard.lease)) for shard in shards(count)]

    def look(redis: Redis) -> list[Any]:
        with redis.pipeline(transaction=False) as pipeline:
            pipeline.get(SHARDS_KEY).time().info("server").info("memory").info("clients")
            pipeline.hgetall(store.key(GENERATION_KEY))
            for _, lease in leases:
                lease.look_along(pipeline)
            if lists:
                pipeline.client_list()
            answers = list(pipeline.execute(raise_on_error=False))
        clients = answers.pop() if lists else None
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        if isinstance(clients, Exception) and not isinstance(clients, refused):
            raise clients
        return [clients, *answers]

    clients, number, time, server, memory, connected, generation, *found = store.run(look)
    if int(number or 1) != count:
        return int(number or 1)
    views = [lease_view(server, found[2 * at], generation, found[2 * at + 1], time) for at in range(count)]
    return Census(
        int(time[0]) + int(time[1]) / 1e6,
        tuple(zip((shard for shard, _ in leases), views, strict=True)),
        _processes(clients) if isinstance(clients, list) else None,
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
        self._lock = threading.Lock()  # guards the two below, not the taking of a census
        self._newest: tuple[float, Census] | None = None
        self._list_due = 0.0

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
            newest, lists = self._newest, self._newest is None or now >= self._list_due
        if newest is not None and now - newest[0] <= KEPT and not self._store.away:
            return newest[1]
        found = census(self._store, len(newest[1].leases) if newest is not None else 1, lists=lists)
        if newest is not None and not lists:
            found = found._replace(processes=newest[1].processes)
        with self._lock:
            self._newest = now, found
            if lists:
                self._list_due = now + (self._now() - now) / LIST_SHARE
        return found
