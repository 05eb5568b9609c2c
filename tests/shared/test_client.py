from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
import redis
import trustme

from ats_sync.config import Config
from ats_sync.errors import ConfigError, MissingExtra, SharedStoreUnavailable
from ats_sync.shared.client import LONGEST_PAUSE, PREFIX, Script, SharedStore
from ats_sync.shared.server import FORMATS_KEY

from ..support import until
from .servers import NoServer, StoreServer, free_port, time_ms

PASSWORD = "hunter2-secret"
MANY_CONNECTIONS = 150
"""More than a pool of redis-py has by default since version 8."""


def ping(store: SharedStore, **options: bool) -> Any:
    return store.run(lambda redis: redis.ping(), **options)


# --- a server that is there ----------------------------------------------------------------------------


def test_one_call_is_one_answer(server: StoreServer, store: SharedStore) -> None:
    info = store.connect(writes=True)
    assert info.name == {"valkey": "Valkey", "redis": "Redis"}[server.kind]
    assert info.run_id
    assert not info.evicts
    store.run(lambda redis: redis.set(store.key("one", "two"), b"\xff"))
    assert store.run(lambda redis: redis.get(b"ats:1:one:two")) == b"\xff"
    assert abs(time_ms(store) / 1000 - time.time()) < 60
    assert not store.away


def test_a_script_is_sent_once(store: SharedStore) -> None:
    script = Script("return {KEYS[1], ARGV[1]}")
    for _ in range(2):
        assert store.evaluate(script, [PREFIX + "k"], [5]) == [PREFIX.encode() + b"k", b"5"]
    assert store.run(lambda redis: redis.script_exists(script.sha)) == [True]
    store.run(lambda redis: redis.script_flush())
    assert store.evaluate(script, ["k"], ["x"]) == [b"k", b"x"]


def test_a_script_that_fails_is_an_error_and_not_an_absent_server(store: SharedStore) -> None:
    with pytest.raises(SharedStoreUnavailable, match="answered"):
        store.evaluate(Script("return redis.call('nonsense')"), [], [])
    assert not store.away
    assert ping(store)


def test_a_mistake_of_the_caller_is_raised_as_it_is(store: SharedStore) -> None:
    with pytest.raises(ZeroDivisionError):
        store.run(lambda _: 1 // 0)
    assert not store.away


def test_many_threads_share_it(store: SharedStore) -> None:
    wrong: list[object] = []

    def work(number: int) -> None:
        for turn in range(50):
            text = f"{number} {turn}".encode()
            if store.run(lambda redis, text=text: redis.echo(text)) != text:
                wrong.append(text)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def in_child(store: SharedStore, results: Any) -> None:
    results.put([store.run(lambda redis: redis.echo(b"child")) for _ in range(20)])


def test_a_forked_child_has_connections_of_its_own(store: SharedStore) -> None:
    assert ping(store)
    parent = store.run(lambda redis: redis.client_id())
    # Another thread may be in the middle of a call at the fork.
    store._lock.acquire()
    fork = multiprocessing.get_context("fork")
    results = fork.SimpleQueue()
    child = fork.Process(target=in_child, args=(store, results))
    child.start()
    store._lock.release()
    answers = [store.run(lambda redis: redis.echo(b"parent")) for _ in range(20)]
    assert results.get() == [b"child"] * 20
    child.join()
    results.close()
    assert answers == [b"parent"] * 20
    assert store.run(lambda redis: redis.client_id()) == parent


# --- a server that is not ------------------------------------------------------------------------------


def test_a_store_that_is_gone_delays_nobody_and_its_return_is_noticed(
    server: StoreServer, store: SharedStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ats_sync.shared")
    assert ping(store)
    server.kill()
    with pytest.raises(SharedStoreUnavailable, match="does not answer") as caught:
        ping(store)
    assert caught.value.retryable
    assert isinstance(caught.value, OSError)
    assert store.away
    began = time.monotonic()
    for _ in range(100):
        with pytest.raises(SharedStoreUnavailable):
            ping(store)
    assert time.monotonic() - began < LONGEST_PAUSE
    server.start()
    assert until(lambda: answers(store))
    assert not store.away
    assert "answers again" in caplog.text


def test_a_store_that_failed_often_is_reached_again(valkey: StoreServer) -> None:
    with closing(SharedStore(valkey.url)) as store:
        valkey.kill()
        for _ in range(MANY_CONNECTIONS):
            with pytest.raises(SharedStoreUnavailable, match="does not answer"):
                store.evaluate(Script("return 1"), [], [], insist=True)
        valkey.start()
        assert store.evaluate(Script("return 1"), [], [], insist=True) == 1
        assert ping(store, insist=True)


def test_any_number_of_threads_may_wait_for_an_answer_at_once(valkey: StoreServer) -> None:
    def ping_on_all(redis: Any) -> list[bool]:
        with ExitStack() as stack:
            clients = [stack.enter_context(redis.client()) for _ in range(MANY_CONNECTIONS)]
            return [client.ping() for client in clients]

    with closing(SharedStore(valkey.url)) as store:
        assert all(store.run(ping_on_all))


def answers(store: SharedStore, **options: bool) -> bool:
    try:
        return bool(ping(store, **options))
    except SharedStoreUnavailable:
        return False


def test_a_store_that_hangs_costs_one_time_out(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url, answer_timeout=0.2)
    assert ping(store)
    valkey.pause()
    began = time.monotonic()
    with pytest.raises(SharedStoreUnavailable):
        ping(store)
    assert time.monotonic() - began >= 0.2
    assert not answers(store, insist=True)
    valkey.resume()
    # A caller that insists does not wait for the pause to end.
    assert until(lambda: answers(store, insist=True))
    store.close()


def test_a_caller_that_waits_when_it_is_closed_gets_an_error_and_others_go_on(valkey: StoreServer) -> None:
    store, failures = SharedStore(valkey.url), []

    def wait() -> None:
        try:
            store.run(lambda redis: redis.xread({"nothing": "0"}, block=900))
        except BaseException as failure:  # noqa: BLE001 - looked at below
            failures.append(failure)

    for _ in range(20):
        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        with valkey.client() as client:
            until(lambda client=client: client.info("clients")["blocked_clients"] == 3)  # type: ignore[misc]
        store.close()
        for thread in threads:
            thread.join(10.0)
        assert {type(failure) for failure in failures} == {SharedStoreUnavailable}, failures
        assert not store.away
        assert ping(store)
    store.close()


ECHO = Script("return ARGV[1]", repeatable=True)


@pytest.mark.parametrize("again", [False, True], ids=["", "repeatable"])
def test_a_connection_that_the_server_has_closed_is_made_again(valkey: StoreServer, again: bool) -> None:
    script = Script("return ARGV[1]", repeatable=again)
    with closing(SharedStore(valkey.url)) as store, closing(valkey.client()) as admin:
        for number in range(3):
            assert store.evaluate(script, [], [number]) == b"%d" % number
            assert admin.client_kill_filter(_type="normal", skipme=True) == 1
        assert store.calls() == (3, 0)


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next_one(valkey: StoreServer) -> None:
    with closing(SharedStore(valkey.url, answer_timeout=0.2)) as store:
        assert store.evaluate(ECHO, [], ["one"]) == b"one"
        valkey.pause()
        with pytest.raises(SharedStoreUnavailable):
            store.evaluate(ECHO, [], ["two"])
        valkey.resume()
        until(lambda: answers(store, insist=True))
        assert store.evaluate(ECHO, [], ["three"], insist=True) == b"three"


@pytest.mark.parametrize("again", [False, True], ids=["", "repeatable"])
def test_what_was_sent_on_a_lost_connection_is_sent_again_where_that_is_safe(
    valkey: StoreServer, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    script = Script("return redis.call('INCR', KEYS[1])", repeatable=again)
    with closing(SharedStore(valkey.url)) as store, closing(valkey.client()) as admin:
        assert store.evaluate(script, ["runs"], []) == 1
        [connection] = store._connections._idle

        def lost() -> None:
            until(lambda: int(admin.get("runs")) == 2)  # the server has run it
            raise redis.ConnectionError("lost")

        monkeypatch.setattr(connection, "read_response", lost)
        if again:
            assert store.evaluate(script, ["runs"], []) == 3
        else:
            with pytest.raises(SharedStoreUnavailable, match="lost"):
                store.evaluate(script, ["runs"], [])
        assert int(admin.get("runs")) == 2 + again


def test_closing_also_ends_the_wait_for_a_script(valkey: StoreServer) -> None:
    with closing(SharedStore(valkey.url, answer_timeout=60.0)) as store:
        assert store.evaluate(ECHO, [], ["one"]) == b"one"
        failures: list[BaseException] = []

        def wait() -> None:
            try:
                store.evaluate(ECHO, [], ["two"])
            except SharedStoreUnavailable as failure:
                failures.append(failure)

        valkey.pause()
        thread = threading.Thread(target=wait)
        thread.start()
        until(lambda: is_reading(thread))
        store.close()
        thread.join(10.0)
        assert not thread.is_alive()
        assert "left" in str(failures)
        assert not store.away
        valkey.resume()
        assert store.evaluate(ECHO, [], ["three"]) == b"three"


def test_nothing_is_sent_again_once_it_is_closed(valkey: StoreServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(SharedStore(valkey.url)) as store:
        assert store.evaluate(ECHO, [], ["one"]) == b"one"
        [connection] = store._connections._idle

        def lost() -> None:
            store.close()
            raise redis.ConnectionError("lost")

        monkeypatch.setattr(connection, "read_response", lost)
        with pytest.raises(SharedStoreUnavailable, match="left"):
            store.evaluate(ECHO, [], ["two"])
        assert not store.away


def is_reading(thread: threading.Thread) -> bool:
    """Return whether a thread waits for an answer."""
    frame = sys._current_frames().get(thread.ident or 0)
    while frame is not None and frame.f_code.co_name != "read_response":
        frame = frame.f_back
    return frame is not None


def test_an_address_where_nobody_listens_is_an_error(tmp_path: Path) -> None:
    for url in (f"redis://127.0.0.1:{free_port()}", f"unix://{tmp_path}/none", "redis+sentinel://127.0.0.1:1/feed"):
        store = SharedStore(url)
        with pytest.raises(SharedStoreUnavailable):
            store.connect(writes=False)


def test_settings_name_it(valkey: StoreServer) -> None:
    store = SharedStore.of(Config(shared=valkey.url))
    assert ping(store)
    store.close()
    with pytest.raises(ConfigError, match="ATS_SYNC_SHARED"):
        SharedStore.of(Config())


# --- passwords, users, databases -----------------------------------------------------------------------


@pytest.fixture(params=["valkey", "redis"])
def guarded(request: pytest.FixtureRequest) -> Iterator[StoreServer]:
    """A server with a password, on a port."""
    try:
        server = StoreServer(request.param, {"requirepass": PASSWORD}, port=free_port())
    except NoServer as reason:
        pytest.skip(str(reason))
    with server:
        yield server


def test_password_user_and_database(guarded: StoreServer, caplog: pytest.LogCaptureFixture) -> None:
    place = guarded.tcp_url.removeprefix("redis://")
    admin = guarded.client()
    admin.acl_setuser("reader", enabled=True, passwords=["+pw/1"], keys=["ats:1:*"], commands=["+get", "+select"])
    admin.close()
    store = SharedStore(f"redis://:{PASSWORD}@{place}/3")
    store.connect(writes=True)
    store.run(lambda redis: redis.set(store.key("a"), 1))
    other = SharedStore(f"valkey://:{PASSWORD}@{place}")
    assert other.run(lambda redis: redis.get(store.key("a"))) is None
    user = SharedStore(f"redis://reader:pw%2F1@{place}/3")
    assert user.run(lambda redis: redis.get(store.key("a"))) == b"1"
    with pytest.raises(ConfigError, match="refuses this program"):
        user.run(lambda redis: redis.set(store.key("a"), 2))
    socket = SharedStore(f"unix://:{PASSWORD}@{guarded.socket}?db=3")
    assert socket.run(lambda redis: redis.get(store.key("a"))) == b"1"
    wrong = SharedStore(f"redis://:{PASSWORD}x@{place}")
    none = SharedStore(f"redis://{place}")
    for refused in (wrong, none):
        with pytest.raises(ConfigError) as caught:
            refused.connect(writes=False)
        assert PASSWORD not in str(caught.value)
    for each in (store, other, user, socket, wrong, none):
        assert PASSWORD not in repr(each) + str(each)
        each.close()
    assert PASSWORD not in caplog.text


# --- TLS and Sentinel ----------------------------------------------------------------------------------


@pytest.fixture
def tls_files(tmp_path: Path) -> dict[str, str]:
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    key, cert, ca = (tmp_path / name for name in ("key.pem", "cert.pem", "ca.pem"))
    certificate.private_key_pem.write_to_path(key)
    certificate.cert_chain_pems[0].write_to_path(cert)
    authority.cert_pem.write_to_path(ca)
    return {"tls-key-file": str(key), "tls-cert-file": str(cert), "tls-ca-cert-file": str(ca)}


def test_tls_is_verified(tls_files: dict[str, str]) -> None:
    port = free_port()
    try:
        server = StoreServer("redis", {**tls_files, "tls-port": str(port), "tls-auth-clients": "no"})
    except NoServer as reason:
        pytest.skip(str(reason))
    with server:
        trusting = SharedStore(f"rediss://127.0.0.1:{port}", ca_file=tls_files["tls-ca-cert-file"])
        assert ping(trusting)
        trusting.close()
        named = SharedStore(f"valkeys://127.0.0.1:{port}?ssl_ca_certs={tls_files['tls-ca-cert-file']}")
        assert ping(named)
        named.close()
        stranger = SharedStore(f"rediss://127.0.0.1:{port}")
        with pytest.raises(ConfigError, match="does not verify"):
            ping(stranger)
        other_name = SharedStore(f"rediss://localhost:{port}", ca_file=tls_files["tls-ca-cert-file"])
        with pytest.raises(ConfigError, match="does not verify"):
            ping(other_name)


def test_sentinels_name_the_server() -> None:
    ports = {name: free_port() for name in ("first", "second", "sentinel")}
    try:
        with (
            StoreServer("redis", port=ports["first"]) as first,
            StoreServer("redis", {"replicaof": f"127.0.0.1 {ports['first']}"}, port=ports["second"]),
            StoreServer(
                "redis",
                {
                    "sentinel monitor feed 127.0.0.1": f"{ports['first']} 1",
                    "sentinel down-after-milliseconds feed": "500",
                    "sentinel failover-timeout feed": "2000",
                },
                port=ports["sentinel"],
                sentinel=True,
            ) as sentinel,
        ):
            place = sentinel.tcp_url.removeprefix("redis://")
            with pytest.raises(ConfigError, match=r"is a Sentinel.*redis\+sentinel"):
                SharedStore(sentinel.tcp_url).connect(writes=False)
            unknown = SharedStore(f"redis+sentinel://{place}/nobody")
            with pytest.raises(SharedStoreUnavailable):
                ping(unknown)
            store = SharedStore(f"redis+sentinel://127.0.0.1:1,{place}/feed")
            before = store.connect(writes=True).run_id
            until(lambda: known_replicas(sentinel) == 1)
            first.kill()
            assert until(lambda: answers(store, insist=True) and store.connect(writes=True).run_id != before)
            store.close()
            unknown.close()
    except NoServer as reason:
        pytest.skip(str(reason))


def known_replicas(sentinel: StoreServer) -> int:
    client = sentinel.client()
    try:
        return len(client.execute_command("SENTINEL REPLICAS", "feed"))
    finally:
        client.close()


# --- what the server says of itself --------------------------------------------------------------------


def test_a_server_that_evicts_is_named_once(valkey: StoreServer, caplog: pytest.LogCaptureFixture) -> None:
    admin = valkey.client()
    admin.config_set("maxmemory-policy", "allkeys-lru")
    admin.close()
    store = SharedStore(valkey.url)
    for _ in range(2):
        assert store.connect(writes=False).evicts
    assert caplog.text.count("noeviction") == 1
    assert "allkeys-lru" in caplog.text
    store.close()


def test_one_format_at_a_time(valkey: StoreServer) -> None:
    store = SharedStore(valkey.url)
    now = time_ms(store)
    store.run(lambda redis: redis.hset(FORMATS_KEY, mapping={"2": now, "3": now - 3_600_000}))
    for writes in (True, False):
        with pytest.raises(ConfigError, match="write format 2, and this one knows format 1"):
            store.connect(writes=writes)
    # A reader is served as long as somebody writes its format; writers of two formats exclude each other.
    store.run(lambda redis: redis.hset(FORMATS_KEY, "1", now))
    store.connect(writes=False)
    with pytest.raises(ConfigError):
        store.connect(writes=True)
    store.run(lambda redis: redis.delete(FORMATS_KEY))
    store.connect(writes=False)
    assert store.run(lambda redis: redis.exists(FORMATS_KEY)) == 0
    store.connect(writes=True)
    assert store.run(lambda redis: redis.hkeys(FORMATS_KEY)) == [b"1"]
    store.close()


# --- redis-py is an extra ------------------------------------------------------------------------------


def test_without_redis_py_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(MissingExtra, match=r"pip install 'ats-sync\[shared\]'"):
        SharedStore("redis://127.0.0.1")


def test_without_a_store_redis_is_never_imported() -> None:
    program = (
        "import sys, ats_sync; dm = ats_sync.DataManager(); dm.status(); dm.close(); sys.exit('redis' in sys.modules)"
    )
    environment = {name: value for name, value in os.environ.items() if name != "ATS_SYNC_SHARED"}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)


def test_the_error_can_be_pickled() -> None:
    error = pickle.loads(pickle.dumps(SharedStoreUnavailable("gone")))
    assert str(error) == "gone"
