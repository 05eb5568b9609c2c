"""Who uses a store: processes by role, not connections; who leads and who stands by."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from ats_sync.errors import SharedStoreUnavailable
from ats_sync.shared import client
from ats_sync.shared.census import KEPT, Census, Observer, census
from ats_sync.shared.client import SharedStore, client_name, role_in
from ats_sync.shared.lease import Lease
from ats_sync.shared.lease_state import TTL
from ats_sync.shared.shards import SHARDS_KEY, Shard, shards

from ..support import until
from .conftest import started
from .servers import StoreServer, time_ms


def test_a_name_says_the_role_and_the_server_accepts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert role_in(client_name("reader")) == "reader"
    assert role_in("") is role_in("ats_sync") is role_in("ats_sync:reader") is role_in("other:reader:host:1") is None
    monkeypatch.setattr(client, "process_label", lambda: "a host\u00fc\n:7")
    assert client_name("alone") == "ats_sync:alone:a-host--:7"


def test_processes_are_counted_by_role_and_not_their_connections(
    server: StoreServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as stack:
        for process in (1, 2, 2):
            monkeypatch.setattr(client, "process_label", lambda process=process: f"host:{process}")
            store = stack.enter_context(closing(SharedStore(server.url, role="reader")))
            time_ms(store)
        monkeypatch.undo()
        alone = stack.enter_context(closing(SharedStore(server.url, role="alone")))
        time_ms(alone)
        looks = stack.enter_context(closing(SharedStore(server.url)))
        found = census(looks)
        assert found.processes == {"reader": 2, "alone": 1}
        assert found.readers == 2
        assert found.clients == 5
        assert found.memory > 100_000
        assert abs(found.time - time_ms(looks) / 1000.0) < 60


def test_a_forked_child_is_a_process_of_its_own_in_another_role(server: StoreServer) -> None:
    with closing(SharedStore(server.url, role="collector")) as store:
        time_ms(store)
        ready, go = os.pipe(), os.pipe()
        child = os.fork()
        if not child:
            store.serve_as("reader")
            time_ms(store)
            os.write(ready[1], b".")
            os.read(go[0], 1)
            os._exit(0)
        os.read(ready[0], 1)
        assert census(store).processes == {"collector": 1, "reader": 1}
        os.write(go[1], b".")
        os.waitpid(child, 0)
        for end in (*ready, *go):
            os.close(end)
        until(lambda: census(store).processes == {"collector": 1})


@pytest.fixture
def guarded() -> Iterator[StoreServer]:
    """A server whose user ``app`` may do everything but look at the clients."""
    with started("valkey") as server, closing(server.client()) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">pw", "~*", "&*", "+@all", "-client|list")
        yield server


def test_a_user_who_may_not_list_clients_still_learns_the_rest(guarded: StoreServer) -> None:
    with closing(SharedStore(f"unix://app:pw@{guarded.socket}", role="reader")) as store:
        assert Lease(store, "1", label="host:1").acquire(0).mine
        found = census(store)
        assert found.processes is found.readers is None
        assert found.leases[0][1].label == "host:1"
        assert found.memory > 0


def test_who_leads_and_stands_by_in_each_shard(store: SharedStore) -> None:
    assert [view.left for _, view in census(store, 3).leases] == [0], "nobody has shared anything out"
    store.run(lambda redis: redis.set(SHARDS_KEY, 2))
    first, second = shards(2)
    lease = Lease(store, "1", name=first.lease, label="host:1")
    epoch = lease.acquire(0).epoch
    waits = Lease(store, "2", name=first.lease, label="host:2 (cold)")
    assert waits.stand_by() == "host:1"
    found = census(store)
    assert [shard for shard, _ in found.leases] == [first, second] == [Shard(1, 2), Shard(2, 2)]
    assert [view.label for _, view in found.leases] == ["host:1", ""]
    assert [view.left > 0 for _, view in found.leases] == [True, False]
    assert found.standbys == ("host:2 (cold)",)
    assert lease.release(epoch)
    assert waits.stand_by() is None
    assert census(store).standbys == ()


def test_a_lease_that_waits_for_its_successor_is_not_free_for_a_standby(store: SharedStore) -> None:
    lease, heir, cold = (Lease(store, name, label=f"host:{name}") for name in ("1", "2", "3"))
    epoch = lease.acquire(0).epoch
    assert not heir.acquire(0, take_over=True).mine
    assert lease.release(epoch)
    assert cold.stand_by() is not None
    assert heir.acquire(0).mine
    assert cold.stand_by() == "host:2"


def test_the_last_sign_of_a_leader_ages_until_another_leads(store: SharedStore) -> None:
    assert census(store).leases[0][1].silent_for is None
    lease = Lease(store, "1")
    epoch = lease.acquire(0).epoch
    silent = census(store).leases[0][1].silent_for
    assert silent is not None
    assert 0 <= silent < TTL
    until(lambda: (census(store).leases[0][1].silent_for or 0) > TTL)
    assert census(store).leases[0][1].left == 0
    then = lease.acquire(epoch).epoch
    assert (census(store).leases[0][1].silent_for or 0) < TTL
    assert lease.release(then)
    assert census(store).leases[0][1].silent_for is None


def test_the_clients_of_a_store_that_has_many_are_listed_less_often(valkey: StoreServer) -> None:
    times = iter((100.0, 100.1, 103.0, 106.0, 117.0, 120.1, 120.1))  # the first list takes 0.1 s
    with ExitStack() as stack:
        store = stack.enter_context(closing(SharedStore(valkey.url)))
        observer = Observer(store, lambda: next(times))
        assert observer.look().processes == {}
        reader = stack.enter_context(closing(SharedStore(valkey.url, role="reader")))
        time_ms(reader)
        lease = Lease(store, "1", label="host:1")
        assert lease.acquire(0, ttl=600).mine
        found = observer.look()
        assert (found.processes, found.leases[0][1].label) == ({}, "host:1")
        assert lease.release(found.leases[0][1].epoch)
        assert observer.look().leases[0][1].left == 0
        assert observer.look().processes == {}
        assert observer.look().processes == {"reader": 1}


def test_one_look_serves_all_for_a_while_and_none_counts_while_the_store_is_away(valkey: StoreServer) -> None:
    now = 100.0
    with closing(SharedStore(valkey.url)) as store:
        observer = Observer(store, lambda: now)
        before = store.calls()[0]
        found: Census = observer.look()
        assert observer.look() is found
        assert store.calls()[0] == before + 1
        now += KEPT + 0.1
        assert observer.look() is not found
        valkey.kill()
        with pytest.raises(SharedStoreUnavailable):
            time_ms(store)
        with pytest.raises(SharedStoreUnavailable):
            observer.look()
        assert store.calls()[1] == 1
