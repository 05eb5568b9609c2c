"""How long a reader is not served, and what that costs, when collectors, stores and networks fail."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import redis
import requests as web

from ats_sync import Config, DataError, DataManager
from ats_sync.cli.collect import wait_for_the_lease
from ats_sync.shared.client import SharedStore
from ats_sync.shared.lease import Lease
from ats_sync.shared.shards import WHOLE
from ats_sync.simulator import SimulatedExchange

from ..shared.proxy import Proxy
from ..shared.servers import StoreServer, free_port
from .ingest import GENEROUS, UNLIMITED, settings
from .machine import Child, child
from .report import OURS, Report

WITHOUT_INTEREST: Mapping[str, Any] = {**GENEROUS, "open_interest_periods": ()}
"""The request limit for open interest does not allow so many starts in so few minutes."""
INTERVALS = ("1m", "15m", "1h", "4h")
PAUSE = 0.005
BOUND = 3.5
"""Seconds after which fresh data must include what the exchange has: the bound of its stream plus the time that looking
up the truth takes."""
TRUTH_EVERY = 0.1
"""Seconds between two queries of what the exchange itself has of a symbol."""
WHAT = ("trades end", "a book of", "candles end")
QUIET = 3.0
AWAY = 10.0
SETTLED = 2.0
"""Seconds after which a collector that has just become ready counts as one that has stood by for a while."""
MOST = {"planned": 0.2, "hot": 4.0, "cold": 10.0, "healed": 10.0}


# --- the reader ----------------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a reader has seen since it began. Times are seconds of the steady clock, which all processes share."""

    began: float
    reads: int = 0
    requests: int = 0
    raised: int = 0
    stale: list[str] = field(default_factory=list)
    answered: float = 0.0
    """When the last answer came, from any source."""
    served: float = 0.0
    """When the last answer came from the store."""
    unserved: float = 0.0
    """When a read was last not answered from the store."""
    longest: float = 0.0
    """The longest time between two answers."""
    longest_unserved: float = 0.0
    """The longest time between two answers from the store."""


class Reader:
    """Reads books, trades and candles of random symbols continuously."""

    def __init__(self, config: Mapping[str, Any], symbols: Sequence[str]) -> None:
        self._dm = DataManager(symbols, INTERVALS, config=Config(**config))
        self._seen = Seen(time.monotonic())
        self._lock = threading.Lock()  # guards _seen
        self._stop = threading.Event()
        # For each symbol, when it last traded, when its book last changed, and when its candle began.
        self._truth: dict[str, tuple[float, float, float]] = {}
        self._looked_up = self._dm.symbols[0]
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._look_up, self._read_on)]

    def start(self) -> None:
        self._dm.start(timeout=170)
        for thread in self._threads:
            thread.start()

    def frames(self) -> int:
        return 0

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self, name)(**arguments)

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self._dm.close()

    def begin(self) -> None:
        """Start counting now."""
        now = time.monotonic()
        with self._lock:
            self._seen = Seen(now, answered=now, served=now)

    def seen(self) -> Seen:
        with self._lock:
            return self._seen

    def _read_on(self) -> None:
        dm, generator, turn = self._dm, random.Random(3), 0
        while not self._stop.wait(PAUSE):
            turn += 1
            symbol = self._looked_up if turn % 2 else generator.choice(dm.symbols)
            truth = self._truth.get(symbol, (0.0, 0.0, 0.0))
            before, found, failed = self._requests(), [0.0, 0.0, 0.0], False
            kind = turn // 2 % 3
            try:
                if kind == 0:
                    found[kind] = dm.get_agg_trades(symbol, 50)[-1]["time"] / 1e3
                elif kind == 1:
                    found[kind] = dm.get_orderbook(symbol)["timestamp"] / 1e3
                else:
                    found[kind] = dm.get_klines(symbol, INTERVALS[0], 100)[-1][0] / 1e3
            except DataError:
                failed = True
            late = truth[kind] - found[kind]
            stale = f"{symbol}: {WHAT[kind]} {late:.1f} s before the truth" if late > BOUND and not failed else ""
            self._note(time.monotonic(), self._requests() - before, stale, failed=failed)

    def _note(self, now: float, requests: int, stale: str, *, failed: bool) -> None:
        with self._lock:
            seen = self._seen
            seen.reads += 1
            seen.requests += requests
            seen.raised += failed
            if stale:
                seen.stale.append(stale)
            if failed or requests:
                seen.unserved = now
            else:
                seen.longest_unserved, seen.served = max(seen.longest_unserved, now - seen.served), now
            if not failed:
                seen.longest, seen.answered = max(seen.longest, now - seen.answered), now

    def _requests(self) -> int:
        return int(self._dm.get_stats()["rest_calls"])

    def _look_up(self) -> None:
        """Query the exchange itself, whose data may be behind its own clock, so ages cannot be judged."""
        base, generator = f"{self._dm.config.fapi_base}/fapi/v1", random.Random(4)
        with web.Session() as session:
            session.trust_env = False

            def get(path: str, **params: Any) -> Any:
                return session.get(f"{base}/{path}", params=params, timeout=60).json()

            while not self._stop.wait(TRUTH_EVERY):
                symbol = generator.choice(self._dm.symbols)
                self._truth[symbol] = (
                    float(get("aggTrades", symbol=symbol, limit=1)[0]["T"]) / 1e3,
                    float(get("depth", symbol=symbol, limit=5)["E"]) / 1e3,
                    float(get("klines", symbol=symbol, interval=INTERVALS[0], limit=1)[0][0]) / 1e3,
                )
                self._looked_up = symbol


# --- collectors ----------------------------------------------------------------------------------------


def _collect(pipe: Connection, config: Mapping[str, Any], symbols: Sequence[str], *, cold: bool) -> None:
    """Run a collector until SIGTERM, as the command does."""
    ends = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ends.set())
    settings = Config(**config)
    if cold:
        pipe.send("stands by")
        store = SharedStore.of(settings)
        wait_for_the_lease(store, WHOLE)
        store.close()
    manager = DataManager(symbols, INTERVALS, config=settings)
    manager.start(170)
    while not all(live == count for live, count in [manager.status().ready("trades")]):
        ends.wait(0.25)
    pipe.send("ready")
    ends.wait()
    manager.close()


class Collectors:
    """The collectors of one store, in the order of their starts."""

    def __init__(self, config: Mapping[str, Any], symbols: Sequence[str]) -> None:
        self._config = {**config, "role": "collector", "decode_ahead": False, "close_timeout": 30.0}
        self._symbols = symbols
        self._running: list[Any] = []

    def start(self, *, cold: bool = False, **changes: Any) -> Any:
        """Start one; return once it is ready or, if it is cold, stands by."""
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        arguments = (theirs, {**self._config, **changes}, self._symbols)
        process = context.Process(target=_collect, args=arguments, kwargs={"cold": cold}, daemon=True)
        process.start()
        theirs.close()
        self._running.append((process, ours))
        if not ours.poll(170) or not ours.recv():
            raise RuntimeError("a collector did not get ready")
        threading.Event().wait(SETTLED)
        return process

    def close(self) -> None:
        for process, _ in self._running:
            process.kill()
        for process, _ in self._running:
            process.join()


# --- the cases -----------------------------------------------------------------------------------------


class Scene:
    """A store, an exchange, and a reader that reads continuously."""

    def __init__(self, report: Report, section: str, server: StoreServer, ex: SimulatedExchange, reader: Child) -> None:
        self._report, self._section, self._server, self._ex, self._reader = report, section, server, ex, reader
        self._behind = 0.0

    def case(self, name: str, disturb: Callable[[], float | None], target: str) -> None:
        """Disturb something and wait until the store serves all reads again; ``disturb`` returns the time from which
        the store can, or None if that is when the disturbance began."""
        with _memory(self._server) as most:
            self._reader.call("begin")
            self._behind = 0.0
            began = time.monotonic()
            since = disturb() or began
            seen = self._until_quiet(since)
        add = self._report.add
        bound = MOST[target]
        healed = max(0.0, seen.unserved - since)
        note = f"{seen.reads} reads, {seen.raised} raised, load {os.getloadavg()[0]:.0f}"
        add(self._section, name, f"{OURS}: longest time without an answer", seen.longest, "s")
        add(
            self._section, name, f"{OURS}: longest time without one from the store", seen.longest_unserved, "s",
            bound if since == began else None,
        )  # fmt: skip
        add(self._section, name, f"{OURS}: last one by REST after", healed, "s", bound, note=note)
        add(self._section, name, f"{OURS}: requests by REST", seen.requests, "", 0.0 if target == "planned" else None)
        add(self._section, name, f"{OURS}: stale values", len(seen.stale), "", 0.0, note="; ".join(seen.stale[:2]))
        add(self._section, name, f"{OURS}: the exchange behind its own clock, at most", self._behind, "s")
        add(self._section, name, f"{OURS}: most memory of Valkey meanwhile", most[0], "MB")

    def _until_quiet(self, since: float, patience: float = 120.0) -> Seen:
        pause, deadline = threading.Event(), time.monotonic() + patience
        while True:
            seen: Seen = self._reader.call("seen")
            self._behind = max(self._behind, self._ex.stats().behind_ms / 1e3)
            now = time.monotonic()
            if now - max(seen.unserved, since) > QUIET and seen.served > since and now - seen.answered < QUIET:
                return seen
            if now > deadline:
                raise RuntimeError(f"the reader was not served again: {seen}")
            pause.wait(0.2)


@contextmanager
def _memory(server: StoreServer) -> Iterator[list[float]]:
    """Watch the server's memory until the end of the block; yield the most so far, MB."""
    most, stop = [0.0], threading.Event()

    def look() -> None:
        while not stop.wait(0.05):
            try:
                with server.client() as client:
                    most[0] = max(most[0], int(client.info("memory")["used_memory"]) / 1e6)
            except (redis.RedisError, OSError):
                continue  # the server is unavailable on purpose

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure leaders that end, die or are stopped, and stores and networks that are unavailable for a while."""
    section = f"Fail-over in front of a reader, {symbols} symbols × {len(INTERVALS)} intervals"
    with ExitStack() as stack:
        server = stack.enter_context(StoreServer("valkey", port=free_port()))
        ex = stack.enter_context(SimulatedExchange(symbols, seed=7, **UNLIMITED))
        try:
            _measure_leaders(report, section, server, ex)
            if not quick:
                _measure_network(report, section, server, ex)
        finally:
            report.show(section)


def _measure_leaders(report: Report, section: str, server: StoreServer, ex: SimulatedExchange) -> None:
    config = settings(ex, shared=server.url, **WITHOUT_INTEREST)
    with ExitStack() as stack:
        collectors = Collectors(config, ex.symbols)
        stack.callback(collectors.close)
        first = collectors.start()
        reader = stack.enter_context(child(Reader, core=None, config=config, symbols=ex.symbols))
        scene = Scene(report, section, server, ex, reader)
        scene.case("nothing happens", lambda: None, "planned")

        second = collectors.start()
        scene.case("the leader ends (SIGTERM), hot standby", lambda: _signal(first, signal.SIGTERM), "planned")
        third: list[Any] = []
        scene.case("--take-over", lambda: third.append(collectors.start(take_over=True)), "planned")
        _until_led_by(server, third[0])
        scene.case("the leader is killed, hot standby", lambda: _signal(third[0], signal.SIGKILL), "hot")
        fourth = collectors.start()
        scene.case("the leader is stopped, hot standby", lambda: _signal(second, signal.SIGSTOP), "hot")
        scene.case("it goes on", lambda: _signal(second, signal.SIGCONT), "planned")
        second.kill()

        fifth = collectors.start(cold=True)
        scene.case("the leader is killed, cold standby", lambda: _signal(fourth, signal.SIGKILL), "cold")
        collectors.start(cold=True)
        scene.case("the leader is stopped, cold standby", lambda: _signal(fifth, signal.SIGSTOP), "cold")
        fifth.kill()

        scene.case("the store is killed and restarted empty", lambda: _restarted(server), "healed")
        scene.case("the store is paused for 10 s", lambda: _away(server.pause, server.resume), "healed")


def _measure_network(report: Report, section: str, server: StoreServer, ex: SimulatedExchange) -> None:
    server.restart()
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy(server.port))
        config = settings(ex, shared=proxy.url, **WITHOUT_INTEREST)
        collectors = Collectors(config, ex.symbols)
        stack.callback(collectors.close)
        collectors.start()
        reader = stack.enter_context(child(Reader, core=None, config=config, symbols=ex.symbols))
        scene = Scene(report, section, server, ex, reader)
        scene.case("the network to the store is cut for 10 s", lambda: _away(proxy.cut, proxy.mend), "healed")


def _signal(process: Any, number: int) -> None:
    os.kill(process.pid, number)


def _until_led_by(server: StoreServer, process: Any) -> None:
    store, pause = SharedStore(server.url), threading.Event()
    lease = Lease(store, "")
    while not lease.view().label.endswith(f":{process.pid}"):
        pause.wait(0.1)
    store.close()


def _restarted(server: StoreServer) -> float:
    server.restart()
    return time.monotonic()


def _away(begin: Callable[[], None], end: Callable[[], None]) -> float:
    begin()
    threading.Event().wait(AWAY)
    end()
    return time.monotonic()
