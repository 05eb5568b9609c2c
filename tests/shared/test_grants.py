from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from ats_sync import DataManager, ExchangeFailure, RateLimited
from ats_sync.cli.main import main
from ats_sync.errors import ConfigError
from ats_sync.shared.account import Account, Use, egresses
from ats_sync.shared.client import SharedStore
from ats_sync.shared.server import FORMATS_KEY
from ats_sync.simulator import SimulatedExchange, before_turn
from ats_sync.venue.endpoints import Bucket, Host

from ..support import until
from .servers import StoreServer, time_ms

ROOT = Path(__file__).parents[2]
KLINES = "/fapi/v1/klines"


@pytest.fixture
def ex(exchange: SimulatedExchange) -> Iterator[SimulatedExchange]:
    # Five seconds into a minute in which nothing has been requested yet.
    exchange.jump_clock(65_000 - exchange.now() % 60_000)
    yield exchange
    exchange.clear_faults()
    exchange.pardon()


class Desk:
    """Managers that share one account, none of which follows anything: each read is one request."""

    def __init__(self, ex: SimulatedExchange, server: StoreServer) -> None:
        self.ex = ex
        self.server = server
        self.managers: list[DataManager] = []
        self.store = SharedStore(server.url)
        self.account = Account(self.store, "observer")

    def manager(self, **settings: Any) -> DataManager:
        config = self.ex.config(**{"shared": self.server.url, "role": "alone", "shim_timeout": 1.0, **settings})
        self.managers.append(DataManager(self.ex.symbols, ["1h"], config=config))
        return self.managers[-1]

    def requests(self) -> int:
        return self.ex.stats().fapi.requests

    def look(self) -> Use:
        return self.account.look(Bucket.FUTURES, Host.FUTURES)

    def close(self) -> None:
        for manager in self.managers:
            manager.close()
        self.store.close()


@pytest.fixture
def desk(ex: SimulatedExchange, valkey: StoreServer) -> Iterator[Desk]:
    desk = Desk(ex, valkey)
    yield desk
    desk.close()


def read(manager: DataManager, limit: int = 100) -> int:
    """Read candles; a limit of 100 weighs 1, one of 500 weighs 2."""
    return len(manager.rest_shaped.klines(manager.symbols[0], "1h", limit))


def test_every_request_is_counted_once_for_all(desk: Desk) -> None:
    first, second = desk.manager(), desk.manager()
    before = desk.requests()
    assert read(first) == 100
    assert read(second, 500) == 500
    assert desk.requests() == before + 2
    assert desk.look()[:2] == (3, 0)
    desk.ex.fail_rest("500", KLINES, count=5)
    with pytest.raises(ExchangeFailure):
        read(first)
    assert desk.look()[:2] == (4, 0)


def test_shared_status_shows_the_account(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    read(desk.manager())
    read(desk.manager(egress="second:nic"), 500)
    assert egresses(desk.store) == ["default", "second:nic"]
    desk.ex.fail_rest("429", KLINES, count=1, retry_after=30.0)
    with pytest.raises(RateLimited):
        read(desk.manager())
    assert main(["shared-status", desk.server.url]) == 1  # nobody leads
    shown = {line.split()[1]: line for line in capsys.readouterr().out.splitlines() if line.startswith("weight")}
    assert "futures 2 in the last minute, 0 by other programs, blocked for" in shown["default:"]
    assert "futures 2 in the last minute" in shown["second:nic:"]
    assert "blocked" not in shown["second:nic:"]


def test_together_they_stay_inside_the_share(desk: Desk) -> None:
    first, second = (desk.manager(futures_weight_limit=10) for _ in range(2))
    for manager in (first, second) * 4:
        read(manager)
    before = desk.requests()
    for manager in (first, second):
        with pytest.raises(RateLimited) as caught:
            read(manager)
        assert caught.value.retry_at > time.time()
    assert desk.requests() == before


def test_the_exchanges_own_count_corrects_it(desk: Desk) -> None:
    manager = desk.manager()
    desk.ex.spend_weight(700)
    # (An answer that may have been counted in either of two minutes corrects nothing.)
    until(lambda: read(manager) and desk.look().foreign >= 700)


def test_after_a_429_nobody_sends_anything(desk: Desk) -> None:
    first, second = desk.manager(), desk.manager()
    read(first)
    read(second)
    desk.ex.fail_rest("429", KLINES, count=1, retry_after=300.0)
    with pytest.raises(RateLimited):
        read(first)
    before = desk.requests()
    for manager in (second, desk.manager(), first):
        with pytest.raises(RateLimited, match="429 or 418"):
            read(manager)
    assert desk.requests() == before
    assert 200 < desk.look().blocked <= 300


def test_an_account_that_was_lost_learns_of_a_429_from_a_process_that_only_waits(desk: Desk) -> None:
    first, second = desk.manager(), desk.manager()
    read(second)
    desk.ex.fail_rest("429", KLINES, count=1, retry_after=300.0)
    with pytest.raises(RateLimited):
        read(first)
    first._life.grants.show()
    known = desk.look().blocked
    desk.server.client().flushall()
    assert not desk.look().blocked
    assert until(lambda: first._life.grants.show() or desk.look().blocked)
    assert desk.look().blocked <= known, "it ends when it was to end"
    before = desk.requests()
    with pytest.raises(RateLimited, match="429 or 418"):
        read(second)
    assert desk.requests() == before


def test_an_account_that_was_lost_lets_one_request_after_the_other_pass_until_an_answer_says_what_was_used(
    desk: Desk,
) -> None:
    """The process that used up the minute may be gone, and what all the others would send at once would come on top."""
    managers = [desk.manager(shim_timeout=30.0) for _ in range(4)]
    for manager in managers:
        read(manager)
    before = len(desk.ex.request_log())
    desk.ex.latency(0.3)
    desk.server.client().flushall()
    threads = [threading.Thread(target=read, args=(manager,)) for manager in managers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    desk.ex.latency(0.0)
    first, second, *_ = [each.time for each in desk.ex.request_log()[before:]]
    assert second - first >= 300


def test_without_the_store_each_goes_on_with_its_fraction(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ats_sync.shared")
    manager = desk.manager(futures_weight_limit=50, shared_fraction=0.25)
    read(manager)
    desk.server.kill()
    for _ in range(9):
        read(manager)
    before = desk.requests()
    with pytest.raises(RateLimited):
        read(manager)
    assert desk.requests() == before
    assert caplog.text.count("sends requests by itself") == 1
    assert "25 %" in caplog.text
    desk.server.start()

    def counted() -> bool:
        with contextlib.suppress(RateLimited):
            read(manager)
        return "together with other processes again" in caplog.text

    until(counted)
    # The account is a new one, and has learned what was used without it.
    assert desk.store.run(lambda redis: redis.ping(), insist=True)
    assert desk.look().used >= 11


def test_without_the_store_all_processes_seen_lately_stay_inside_the_share_together(desk: Desk) -> None:
    count, share, earlier = 12, 0.8 * 480, len(weighed(desk.ex))
    managers = [desk.manager(futures_weight_limit=480, read_timeout=0.5, shim_timeout=0.5) for _ in range(count)]
    for manager in [*managers, *managers]:  # the first ones learn of the others
        read(manager)
    before = desk.requests()
    desk.server.kill()
    alone = []
    for manager in managers:
        with contextlib.suppress(RateLimited):
            while read(manager, 500):
                alone.append(manager)
    assert len(set(alone)) == count
    assert desk.requests() - before == len(alone)
    assert share * 0.9 < sum(each.weight for each in weighed(desk.ex)[earlier:]) <= share


def test_a_reader_counts_among_the_processes_that_would_go_on_without_the_store(desk: Desk) -> None:
    first, second = desk.manager(), desk.manager()
    read(first)
    second._life.grants.show()
    assert first._life.grants.fraction() == 0.2
    for _ in range(9):
        third = desk.manager()
        third._life.grants.show()
    assert third._life.grants.fraction() == pytest.approx(1 / 11)
    read(first)
    assert first._life.grants.fraction() == pytest.approx(1 / 11)


def test_each_manager_logs_that_it_goes_on_alone_whatever_another_has_logged(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    desk.server.kill()
    for _ in range(2):
        read(desk.manager())
    assert caplog.text.count("sends requests by itself") == 2


def test_what_was_used_alone_is_reported_to_an_account_that_was_only_out_of_reach(desk: Desk) -> None:
    manager = desk.manager()
    read(manager)
    desk.server.pause()
    read(manager)
    read(manager)
    desk.server.resume()
    used = desk.look().used
    until(lambda: read(manager) and desk.look().used >= used + 3)


def test_a_forked_child_is_counted_too(desk: Desk) -> None:
    manager = desk.manager()
    read(manager)
    child = os.fork()
    if not child:
        try:
            read(manager)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    read(manager)
    assert desk.look()[:2] == (3, 0)


def test_a_store_that_cannot_be_used_is_refused_at_the_start(desk: Desk) -> None:
    desk.store.run(lambda redis: redis.hset(FORMATS_KEY, "2", time_ms(desk.store)))
    with pytest.raises(ConfigError, match="format 2"):
        desk.manager().start()
    # Reads without a start go on alone.
    assert read(desk.manager()) == 100


# --- processes with feeds of their own -----------------------------------------------------------------

CLIENT = """
import json, os, sys
from ats_sync import AtsSyncError, Config, DataManager, StartTimeout

*others, (lines, answers, symbols) = json.loads(sys.argv[1])
for other in others:
    if not os.fork():
        lines, answers, symbols = other
        break
lines, answers = open(lines), open(answers, "w")
dm = DataManager(symbols, ["1h", "4h"], config=Config.from_env(role="alone", futures_weight_limit=240))
try:
    dm.start(0.1)
except StartTimeout:
    pass
for line in lines:
    try:
        dm.get_klines(symbols[0], "1h", 100, max_age=0)
        print("read", file=answers, flush=True)
    except AtsSyncError as error:
        print(type(error.__cause__ or error).__name__, file=answers, flush=True)
dm.close()
"""


class Clients:
    """Processes with feeds of their own, forked from one; each reads a candle for each line."""

    def __init__(self, ex: SimulatedExchange, server: StoreServer, symbols: Sequence[Sequence[str]]) -> None:
        environment = {**os.environ, **ex.environment(), "ATS_SYNC_SHARED": server.url, "PYTHONPATH": str(ROOT)}
        lines, answers = [os.pipe() for _ in symbols], [os.pipe() for _ in symbols]
        theirs = [(line, answer) for (line, _), (_, answer) in zip(lines, answers, strict=True)]
        given = [(*ends, each) for ends, each in zip(theirs, symbols, strict=True)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", CLIENT, json.dumps(given)],
            env=environment,
            pass_fds=[end for ends in theirs for end in ends],
        )
        for end in itertools.chain(*theirs):
            os.close(end)
        self._lines = [os.fdopen(end, "w") for _, end in lines]
        self._answers = [os.fdopen(end) for end, _ in answers]

    def read(self) -> list[str]:
        """Have each process read once, one after the other; return how that went."""
        found = []
        for lines, answers in zip(self._lines, self._answers, strict=True):
            lines.write("\n")
            lines.flush()
            found.append(answers.readline().strip())
        return found

    def close(self) -> None:
        for lines in self._lines:
            lines.close()
        for answers in self._answers:
            answers.read()  # until the process has ended
            answers.close()
        self._process.wait(60)


LIMIT, SHARE = 240, 192


def test_processes_with_feeds_of_their_own_share_one_budget_and_one_ban(valkey: StoreServer) -> None:
    """Each of them alone would warm up with about half of the share."""
    symbols, count = 16, 4
    with SimulatedExchange(symbols, seed=5, start=before_turn("1m", 6.0), weight_limit=LIMIT, latency=0.05) as ex:
        ours = [ex.symbols[number::count] for number in range(count)]
        clients = Clients(ex, valkey, ours)
        try:
            # Nothing is left but what is kept for reads, until a new minute begins.
            started = ex.now()
            until(lambda: sum(each.weight for each in weighed(ex)) > SHARE * 0.8)
            until(lambda: ex.now() // 60_000 > started // 60_000)
            assert "read" in clients.read()

            ex.fail_rest("429", KLINES, count=1, retry_after=300.0)
            assert clients.read() == ["RateLimited"] * count
            requests = len(ex.request_log())
            assert clients.read() == ["RateLimited"] * count
            assert len(ex.request_log()) == requests
        finally:
            clients.close()
        log = weighed(ex)
        assert [each.status for each in log if each.status in (429, 418)] == [429]
        assert max(ex.stats().fapi.weight_by_minute.values()) <= SHARE
        # Nor has any other minute more.
        for first, last in itertools.combinations_with_replacement(range(len(log)), 2):
            if log[last].time - log[first].time < 60_000:
                assert sum(each.weight for each in log[first : last + 1]) <= SHARE
        by_client = Counter(
            number for each in log for number in range(count) if each.params.get("symbol") in ours[number]
        )
        assert len(by_client) == count


def weighed(ex: SimulatedExchange) -> list[Any]:
    """Return the requests that count in the futures' minute."""
    return [each for each in ex.request_log() if each.host == "fapi" and each.weight]
