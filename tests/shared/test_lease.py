from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ats_sync.clock import Clock
from ats_sync.errors import SharedStoreUnavailable
from ats_sync.shared import lease
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease import Lease
from ats_sync.shared.lease_keeper import LeaseKeeper
from ats_sync.shared.lease_state import TTL, Role

from ..support import until
from .leaders import ENTRIES
from .servers import StoreServer, time_ms

ROOT = Path(__file__).parents[2]


# --- the scripts ---------------------------------------------------------------------------------------


def test_one_process_has_the_lease_and_the_others_learn_which(store: SharedStore) -> None:
    first, second = Lease(store, "1", label="host:1"), Lease(store, "2", label="host:2")
    mine, epoch, generation, *_ = first.acquire(0)
    assert mine
    assert abs(epoch - time_ms(store) * 1000) < 60_000_000
    assert second.acquire(0)[:3] == (False, epoch, generation)
    assert first.renew(epoch) == (True, False, False)
    assert second.renew(epoch + 1) == (False, False, False)
    view = second.view()
    assert (view.epoch, view.holder, view.label, view.generation) == (epoch, "1", "host:1", generation)
    assert 0 < view.left <= TTL
    assert view.standbys == ("host:2",)
    assert first.release(epoch)
    assert not first.release(epoch)
    assert second.view().left == 0
    then = second.acquire(epoch)
    assert then.mine
    assert then.epoch > epoch


def test_a_lease_that_ran_out_is_lost_even_if_nobody_took_it(store: SharedStore) -> None:
    lease = Lease(store, "1")
    epoch = lease.acquire(0, ttl=0.05).epoch
    until(lambda: lease.view().left == 0)
    assert lease.renew(epoch) == (False, False, False)
    assert lease.write(epoch, [("SET", store.key("a"), 1)]) is None
    assert store.run(lambda redis: redis.exists(store.key("a"))) == 0
    assert lease.acquire(epoch).epoch > epoch


def test_only_the_epoch_that_leads_writes(store: SharedStore) -> None:
    lease = Lease(store, "1")
    epoch = lease.acquire(0).epoch
    commands = [("MSET", "a", b"\x00\xff", "b", 2), ("RPUSH", "c", *range(3)), ("GET", "a")]
    assert lease.write(epoch, commands) == [b"OK", 3, b"\x00\xff"]
    assert lease.write(epoch, []) == []
    assert lease.write(epoch - 1, [("SET", "a", 0)]) is None
    assert lease.write(epoch + 1, [("SET", "a", 0)]) is None
    assert store.run(lambda redis: redis.get("a")) == b"\x00\xff"
    with pytest.raises(SharedStoreUnavailable):
        lease.write(epoch, [("SET", "d", 1), ("NONSENSE",)])
    # One step writes thousands of values.
    many = ["MSET", *(f"key {number}" for number in range(3_000))]
    assert lease.write(epoch, [many, many]) == [b"OK", b"OK"]


def test_epochs_never_go_back_even_in_a_store_that_forgot_them(store: SharedStore) -> None:
    lease = Lease(store, "1")
    far = 9_000_000_000_000_000 - 1_000_000
    epoch = lease.acquire(far).epoch
    assert epoch == far + 1
    assert lease.write(epoch, [("PING",)]) == [b"PONG"]
    lease.release(epoch)
    assert lease.acquire(0).epoch == far + 2
    store.run(lambda redis: redis.flushall())
    assert lease.acquire(far + 2).epoch == far + 3


def test_a_clock_set_back_does_not_make_a_lease_last_longer(store: SharedStore) -> None:
    first, second = Lease(store, "1"), Lease(store, "2")
    epoch = first.acquire(0, ttl=3600.0).epoch  # what a lease looks like after the server's clock went back an hour
    then = second.acquire(0)
    assert then.mine
    assert first.write(epoch, [("SET", "a", 1)]) is None


@pytest.mark.parametrize("how", ["restarted empty", "restored", "emptied"])
def test_a_store_that_lost_its_data_is_noticed_at_the_next_write(server: StoreServer, how: str) -> None:
    store = SharedStore(server.url)
    lease = Lease(store, "1")
    epoch = lease.acquire(0, ttl=60.0).epoch
    assert lease.write(epoch, [("SET", "a", 1)]) == [b"OK"]
    if how == "emptied":
        store.run(lambda redis: redis.flushall())
    else:
        if how == "restored":
            store.run(lambda redis: redis.save())
        assert lease.write(epoch, [("SET", "a", 2)]) == [b"OK"]
        server.restart()
        # The client goes on without an error.
        assert store.run(lambda redis: redis.get("a"), insist=True) == (b"1" if how == "restored" else None)
    assert lease.view().left == 0
    assert lease.write(epoch, [("SET", "a", 3)]) is None
    assert lease.renew(epoch) == (False, False, False)
    assert not lease.release(epoch)
    again = lease.acquire(epoch)
    assert again.mine
    assert again.epoch > epoch
    assert lease.write(again.epoch, [("SET", "a", 4)]) == [b"OK"]
    store.close()


def test_a_released_lease_waits_for_the_process_that_requested_it(store: SharedStore) -> None:
    first, second, third = (Lease(store, name) for name in "123")
    epoch = first.acquire(0).epoch
    assert not second.acquire(0, take_over=True).mine
    assert not third.acquire(0, take_over=True).mine  # second came first
    assert first.renew(epoch) == (True, True, False)
    assert first.release(epoch)
    assert not third.acquire(0).mine
    assert second.acquire(0, take_over=True).mine
    assert not third.acquire(0).mine


def test_a_leader_that_leaves_and_a_standby_that_is_able_learn_of_each_other(store: SharedStore) -> None:
    first, second = Lease(store, "1"), Lease(store, "2")
    epoch = first.acquire(0).epoch
    assert not first.renew(epoch, leaving=True).able
    assert second.acquire(0).leaving
    assert not first.renew(epoch).able
    assert second.acquire(0, able=True).leaving
    assert first.renew(epoch) == (True, False, True)
    until(lambda: not first.renew(epoch).able)  # it has not been seen for a while
    first.release(epoch)
    then = second.acquire(epoch)
    assert then.mine
    # The process that leads now does not leave, though another one did.
    assert first.acquire(then.epoch) == (False, then.epoch, then.generation, False, pytest.approx(TTL, abs=1.0))


def test_one_process_at_a_time_prepares_to_lead(store: SharedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "PREPARES_FOR", 0.5)
    first, second = Lease(store, "1"), Lease(store, "2")
    key = store.key("a")
    assert first.prepare([("SET", key, 1), ("GET", key)]) == [b"OK", b"1"]
    assert second.prepare([("SET", key, 2)]) is None
    assert first.prepare([("GET", key)]) == [b"1"]
    until(lambda: second.prepare([("SET", key, 3)]))
    assert first.prepare([("SET", key, 4)]) is None
    assert store.run(lambda redis: redis.get(key)) == b"3"


def test_nobody_else_prepares_while_the_one_that_has_prepared_begins_to_lead(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Lease(store, "1"), Lease(store, "2")
    assert first.prepare([]) == []
    monkeypatch.setattr(lease, "PREPARES_FOR", 0.5)
    assert first.acquire(0, ttl=60.0).mine
    assert second.prepare([]) is None
    until(lambda: second.prepare([]) == [])


def test_after_a_clock_was_set_back_nobody_waits_for_the_one_that_had_prepared(store: SharedStore) -> None:
    first, second = Lease(store, "1"), Lease(store, "2")
    epoch = first.acquire(0, ttl=60.0).epoch
    later = str(epoch + 3_600_000_000)
    changed = {"until": later, "preparer": "3", "preparer_until": later}
    store.run(lambda redis: redis.hset(first.key, mapping=changed))
    assert second.acquire(0).mine


def test_a_lease_that_ran_out_waits_for_the_one_that_has_prepared(
    store: SharedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = (Lease(store, name) for name in "123")
    for reserved in (60.0, 0.0):
        monkeypatch.setattr(lease, "RESERVED", reserved)
        epoch = first.acquire(0, ttl=0.05).epoch
        assert third.prepare([]) == []
        until(lambda: first.view().left == 0)
        if reserved:
            assert not second.acquire(0).mine
            assert third.acquire(0, ttl=0.05).mine
            until(lambda: first.view().left == 0)
        else:
            assert second.acquire(0).epoch > epoch


# --- the thread ----------------------------------------------------------------------------------------


class Seen:
    """What a keeper reported."""

    def __init__(self, store: SharedStore, name: str, *, prepares: bool = False) -> None:
        self.roles: list[Role] = []
        self.epochs: list[int] = []
        self.last_words = 0
        self.keeper = LeaseKeeper(
            store, Clock(), label=name, changed=self._changed, before_release=self._last, prepares=prepares
        )

    def _changed(self, role: Role, epoch: int) -> None:
        self.roles.append(role)
        if role is Role.LEADER:
            self.epochs.append(epoch)

    def _last(self) -> None:
        assert self.keeper.write([("SET", "last", "word")]) == [b"OK"]
        self.last_words += 1


@pytest.fixture
def pair(store: SharedStore) -> Iterator[tuple[Seen, Seen]]:
    both = Seen(store, "first"), Seen(store, "second")
    both[0].keeper.start()
    until(lambda: both[0].keeper.epoch())
    both[1].keeper.start()
    until(lambda: both[1].keeper.lease.view().standbys)
    yield both
    for each in both:
        each.keeper.close()


def test_closing_hands_over(pair: tuple[Seen, Seen]) -> None:
    first, second = pair
    assert first.keeper.write([("PING",)]) == [b"PONG"]
    assert second.keeper.write([("PING",)]) is None
    first.keeper.close()
    assert first.keeper.epoch() is None
    until(lambda: second.keeper.epoch())
    assert (first.roles, first.last_words, second.roles) == ([Role.LEADER, Role.STANDBY], 1, [Role.LEADER])
    assert second.epochs > first.epochs


def test_the_second_one_may_request_the_lease(pair: tuple[Seen, Seen]) -> None:
    first, second = pair
    second.keeper.take_over()
    until(lambda: second.keeper.epoch())
    assert first.keeper.epoch() is None
    assert first.last_words == 1
    assert first.roles == [Role.LEADER, Role.STANDBY]
    # It does not request it again.
    until(lambda: second.keeper.lease.view().standbys == ("first",))
    assert second.epochs == [second.keeper.epoch()]


def test_a_leader_that_leaves_leads_until_another_one_is_prepared(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url)
    first, second = Seen(store, "first", prepares=True), Seen(store, "second", prepares=True)
    first.keeper.start()
    until(first.keeper.epoch)
    second.keeper.start()
    until(lambda: second.keeper.lease.view().standbys)
    first.keeper.leave(600.0)  # returns, since nobody is able to prepare
    assert first.keeper.epoch() is not None

    second.keeper.note_prepared(able=True, prepared=False)
    until(lambda: store.run(lambda redis: redis.hget(first.keeper.lease.key, "able_until")))
    leaves = threading.Thread(target=first.keeper.leave, args=(600.0,))
    leaves.start()
    until(second.keeper.should_prepare)
    assert first.keeper.epoch() is not None
    assert second.keeper.prepare([("SET", "prepared", 1)]) == [b"OK"]
    second.keeper.note_prepared(able=True, prepared=True)
    until(second.keeper.epoch)
    leaves.join(60)
    assert not leaves.is_alive()
    assert first.last_words == 1
    for each in (first, second):
        each.keeper.close()
    store.close()


def test_a_standby_prepares_where_the_leader_seems_to_be_gone(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url)
    other, seen = Lease(store, "other"), Seen(store, "first", prepares=True)
    epoch = other.acquire(0, ttl=TTL).epoch
    seen.keeper.start()
    until(seen.keeper.should_prepare)
    assert other.renew(epoch).mine  # it was not
    until(lambda: not seen.keeper.should_prepare())
    seen.keeper.close()
    store.close()


def test_an_empty_store_makes_a_new_epoch(server: StoreServer, pair: tuple[Seen, Seen]) -> None:
    server.restart()
    seen = [each.keeper for each in pair]
    before = pair[0].epochs[0]
    until(lambda: any((each.epoch() or 0) > before for each in seen))
    until(lambda: Role.LOST in pair[0].roles)
    epochs = [*pair[0].epochs, *pair[1].epochs]
    assert len(epochs) == len(set(epochs)) == 2


def test_a_leader_without_a_store_knows_that_it_lost(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url)
    first = Seen(store, "first")
    first.keeper.start()
    until(first.keeper.epoch)
    valkey.kill()
    until(lambda: first.keeper.epoch() is None)
    until(lambda: first.roles == [Role.LEADER, Role.LOST])
    assert first.keeper.write([("PING",)]) is None
    valkey.start()
    until(first.keeper.epoch)
    assert first.epochs == sorted(set(first.epochs))
    assert len(first.epochs) == 2
    first.keeper.close()
    store.close()


def test_a_forked_child_leads_nothing(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url)
    seen = Seen(store, "parent")
    seen.keeper.start()
    until(lambda: seen.keeper.epoch())
    child = os.fork()
    if not child:
        os._exit(0 if seen.keeper.epoch() is None and seen.keeper.write([("PING",)]) is None else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert seen.keeper.epoch() is not None
    seen.keeper.close()
    store.close()


def test_a_callback_that_fails_does_not_end_the_lease(valkey: StoreServer, caplog: pytest.LogCaptureFixture) -> None:
    store = SharedStore(valkey.url)
    called = threading.Event()

    def fails(*_: object) -> None:
        called.set()
        raise RuntimeError("on purpose")

    keeper = LeaseKeeper(store, Clock(), changed=fails)
    keeper.start()
    assert called.wait(30)
    epoch = keeper.epoch()
    until(lambda: sum(keeper.lease.view()[3:5]) > TTL + 0.1)  # it was renewed
    assert keeper.epoch() == epoch
    keeper.close()
    store.close()
    assert "on purpose" in caplog.text


# --- processes -----------------------------------------------------------------------------------------


class Entry(NamedTuple):
    at: int
    """The server's time, ms."""
    epoch: int
    by: str


class Collectors:
    """Processes of ``tests.shared.leaders`` on one server."""

    def __init__(self, server: StoreServer) -> None:
        self.server = server
        self.store = SharedStore(server.url)
        self.lease = Lease(self.store, "observer")
        self.running: dict[str, int] = {}
        self.parent = subprocess.Popen(
            [sys.executable, "-m", "tests.shared.leaders", server.url],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def start(self, *names: str, options: tuple[str, ...] = ()) -> None:
        assert self.parent.stdin is not None
        assert self.parent.stdout is not None
        for name in names:
            self.parent.stdin.write(" ".join((name, *options)).encode() + b"\n")
            self.parent.stdin.flush()
            self.running[name] = int(self.parent.stdout.readline())

    def signal(self, name: str, number: int) -> None:
        os.kill(self.running[name], number)

    def leader(self) -> str:
        view = self.lease.view()
        return view.label if view.left else ""

    def entries(self) -> list[Entry]:
        rows: list[Any] = self.store.run(lambda redis: redis.xrange(ENTRIES))
        return [Entry(int(at.split(b"-")[0]), int(row[b"epoch"]), row[b"by"].decode()) for at, row in rows]

    def entries_by(self, name: str) -> list[Entry]:
        return [entry for entry in self.entries() if entry.by == name]

    def check(self) -> list[str]:
        """Assert that no entry is older than one before it; return who led, in order."""
        entries = self.entries()
        assert [entry.epoch for entry in entries] == sorted(entry.epoch for entry in entries)
        led = {entry.epoch: entry.by for entry in entries}
        assert {(entry.epoch, entry.by) for entry in entries} == set(led.items())
        return list(led.values())

    def close(self) -> None:
        self.parent.communicate()
        self.store.close()


@pytest.fixture
def collectors(valkey: StoreServer) -> Iterator[Collectors]:
    collectors = Collectors(valkey)
    yield collectors
    collectors.close()


def test_leaders_are_killed_stopped_and_replaced(collectors: Collectors, capsys: pytest.CaptureFixture[str]) -> None:
    collectors.start("a", "b", "c")
    first = until(collectors.leader)
    until(lambda: len(collectors.lease.view().standbys) == 2)
    until(lambda: collectors.entries_by(first))

    collectors.signal(first, signal.SIGKILL)
    second = until(lambda: collectors.leader().replace(first, ""))
    until(lambda: collectors.entries_by(second))
    (third,) = {"a", "b", "c"} - {first, second}

    collectors.signal(second, signal.SIGSTOP)
    until(lambda: collectors.leader() == third)
    until(lambda: collectors.entries_by(third))
    collectors.signal(second, signal.SIGCONT)
    until(lambda: second in collectors.lease.view().standbys)

    collectors.signal(third, signal.SIGTERM)
    until(lambda: collectors.leader() == second)
    count = len(collectors.entries_by(second))
    until(lambda: len(collectors.entries_by(second)) > count)

    collectors.start("d", options=("--take-over",))
    until(lambda: collectors.entries_by("d"))
    assert collectors.check() == [first, second, third, second, "d"]
    entries = collectors.entries()
    pairs = itertools.pairwise(entries)
    gaps = [now.at - before.at for before, now in pairs if now.epoch != before.epoch]
    with capsys.disabled():
        sys.stdout.write(
            f"\nmilliseconds without an entry: leader killed {gaps[0]}, stopped {gaps[1]}, handed over {gaps[2]}, "
            f"taken over {gaps[3]}\n"
        )
