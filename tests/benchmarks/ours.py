"""The manager as the client of a benchmark, in a process of its own."""

from __future__ import annotations

import itertools
import random
import statistics
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from ats_sync import Config, DataManager, NoSpotPair
from ats_sync.feeds import FEEDS
from ats_sync.status import GOOD
from ats_sync.store.klines import KlineSeries
from ats_sync.store.trades import TradeSeries
from ats_sync.venue.endpoints import Bucket
from ats_sync.venue.envelope import scan_event_time

from . import machine
from .distribution import Distribution

INTERVALS = ("1h", "4h", "15m", "1d")
A_DAY = 86_400.0


class Ours:
    """A manager that follows ``symbols``; ``call`` runs the method of that name."""

    def __init__(
        self,
        config: Mapping[str, Any],
        symbols: Sequence[str],
        deep_books: bool = False,
        wait_for_trades: bool = False,
        lift_limits: bool = False,
        audits: bool = True,
    ) -> None:
        self._before = machine.memory_mb()
        if not audits:
            _put_off_audits()
        self.config = Config(**config)
        self.dm = DataManager(symbols, INTERVALS, config=self.config)
        if lift_limits:
            # No setting lifts these: the real exchange allows no more requests for open interest.
            for bucket in (Bucket.OPEN_INTEREST, Bucket.FUNDING):
                self.dm._life.budget.windows[bucket].limit = 10**6
        self._deep_books = deep_books
        self._wait_for_trades = wait_for_trades
        self.started_in = 0.0
        self.start_cpu = 0.0

    def start(self) -> None:
        begun, cpu = time.perf_counter(), time.process_time()
        self.dm.start(timeout=400)
        self.started_in = time.perf_counter() - begun
        self.start_cpu = time.process_time() - cpu
        if self._deep_books:
            self._follow_deep_books()
        if self._wait_for_trades:
            self._until(lambda: all(live == count for live, count in [self.dm.status().ready("trades")]))

    def _follow_deep_books(self) -> None:
        for symbol in self.dm.symbols:
            self.dm.get_orderbook(symbol, 100)

        def quiet() -> bool:
            before = self._requests("read")
            for symbol in self.dm.symbols:
                self.dm.get_orderbook(symbol, 100)
            return self._requests("read") == before

        self._until(quiet)

    def _requests(self, cause: str) -> int:
        return int(self.dm.get_stats()["rest_calls_by_cause"][cause])

    @staticmethod
    def _until(condition: Callable[[], bool], patience: float = 180.0) -> None:
        pause = threading.Event()
        deadline = time.monotonic() + patience
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError("the manager did not get ready")
            pause.wait(0.25)

    def frames(self) -> int:
        return int(self.dm.get_stats()["ws_updates"])

    def close(self) -> None:
        self.dm.close()

    def call(self, name: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self, name)(**arguments)

    # --- what a benchmark calls ---------------------------------------------------------------------

    def started(self) -> dict[str, float]:
        """Return how long ``start()`` took, its CPU time (both in seconds), and its requests."""
        stats = self.dm.get_stats()
        return {
            "seconds": self.started_in,
            "cpu": self.start_cpu,
            "requests": float(stats["rest_calls"]),
        }

    def trades_left(self) -> int:
        """Return how many symbols have fewer trades than are kept."""
        most = self.config.max_trades
        return sum(len(series) < most for series in self.dm._life.store.of(TradeSeries))

    def read_times(self, seconds: float, names: Sequence[str] | None = None) -> dict[str, list[float]]:
        """Return the µs of each read of random symbols and intervals: ``{read: [each]}``."""
        dm, shaped = self.dm, self.dm.rest_shaped
        reads: dict[str, Callable[[str, str], object]] = {
            "get_klines 300": lambda symbol, interval: dm.get_klines(symbol, interval, 300),
            "rest_shaped.klines 300": lambda symbol, interval: shaped.klines(symbol, interval, 300),
            "get_klines_frame 300": lambda symbol, interval: dm.get_klines_frame(symbol, interval, 300),
            "get_orderbook 20": lambda symbol, interval: dm.get_orderbook(symbol),
            "get_mark_price": lambda symbol, interval: dm.get_mark_price(symbol),
            "get_funding_rate": lambda symbol, interval: dm.get_funding_rate(symbol),
            "get_spot_price": lambda symbol, interval: _spot(dm, symbol),
            "get_oi_history 200": lambda symbol, interval: dm.get_oi_history(symbol, "1h", 200),
            "get_agg_trades 500": lambda symbol, interval: dm.get_agg_trades(symbol, 500),
            "get_orderbook 100": lambda symbol, interval: dm.get_orderbook(symbol, 100),
        }
        if names is None:
            names = [name for name in reads if name != "get_orderbook 100"]
        generator = random.Random(5)
        with_spot = [symbol for symbol in dm.symbols if _spot(dm, symbol)]
        targets = {
            name: [
                (generator.choice(with_spot if "spot" in name else dm.symbols), generator.choice(INTERVALS))
                for _ in range(997)
            ]
            for name in names
        }
        taken: dict[str, list[float]] = {name: [] for name in names}
        for name in names:
            reads[name](*targets[name][-1])  # what it imports when it is first called is not part of a read
        clock = time.perf_counter
        end = clock() + seconds
        turn = 0
        while clock() < end:
            for name in names:
                symbol, interval = targets[name][turn % 997]
                read = reads[name]
                begun = clock()
                read(symbol, interval)
                taken[name].append((clock() - begun) * 1e6)
            turn += 1
        return taken

    def hot_read_times(self, times: int) -> dict[str, float]:
        """Return the median µs of the same few series read again and again."""
        dm, shaped = self.dm, self.dm.rest_shaped
        symbol = dm.symbols[0]
        reads: dict[str, Callable[[], object]] = {
            "get_klines 300, the same series": lambda: dm.get_klines(symbol, "1h", 300),
            "rest_shaped.klines 300, the same series": lambda: shaped.klines(symbol, "1h", 300),
        }
        return {name: _median(read, times) for name, read in reads.items()}

    def table_times(self, times: int) -> dict[str, float]:
        """Read the candles of one interval of every symbol, one by one and as a table; return the median ms of CPU."""
        dm = self.dm
        ways: dict[str, Callable[[], object]] = {
            "get_klines of each": lambda: [dm.get_klines(symbol, "1h", 300) for symbol in dm.symbols],
            "get_klines_array of each": lambda: [dm.get_klines_array(symbol, "1h", 300) for symbol in dm.symbols],
            "read_klines": lambda: dm.read_klines(None, "1h", 300),
            "get_klines_frame of each": lambda: [dm.get_klines_frame(symbol, "1h", 300) for symbol in dm.symbols],
            "read_klines(…).frame()": lambda: dm.read_klines(None, "1h", 300).frame(),
        }
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(times):
            for name, read in ways.items():
                begun = time.thread_time()
                read()
                taken[name].append((time.thread_time() - begun) * 1e3)
        return {name: statistics.median(each) for name, each in taken.items()}

    def book_lags(self, seconds: float) -> list[float]:
        """Return how long (ms) after its event time a reader first saw each book, one symbol after another."""
        dm, end = self.dm, time.perf_counter() + seconds
        lags: list[float] = []
        symbols = itertools.cycle(dm.symbols)
        while time.perf_counter() < end:
            symbol = next(symbols)
            before = dm.get_orderbook(symbol)["timestamp"]
            until = time.perf_counter() + 0.3
            while time.perf_counter() < until:
                if (event := dm.get_orderbook(symbol)["timestamp"]) != before:
                    lags.append(time.time() * 1e3 - event)
                    break
        return lags

    def scan(self, times: int, prefetch: bool = False) -> dict[str, float]:
        """Read everything that a scan reads of every symbol; return the ms of the best of ``times`` scans, by part and
        in all, and the median in all. With ``prefetch``, a reader of a shared store first fetches all of it at once."""
        best: dict[str, float] = {}
        each = []
        requests = self._requests("read")
        least = float("inf")
        for _ in range(times):
            begun, cpu = time.perf_counter(), time.thread_time()
            if prefetch:
                self.dm.prefetch()
            fetched = (time.perf_counter() - begun) * 1e3
            took = self._scan()
            took["all"] += fetched
            least = min(least, (time.thread_time() - cpu) * 1e3)
            each.append(took["all"])
            if not best or took["all"] < best["all"]:
                best = took
        best["all, median"] = statistics.median(each)
        best["CPU"] = least
        best["requests caused"] = float(self._requests("read") - requests)
        return best

    def scans(self, times: int) -> list[dict[str, float]]:
        """Return the same for each scan since the start, in ms of CPU."""
        return [self._scan(time.thread_time) for _ in range(times)]

    def _scan(self, clock: Callable[[], float] = time.perf_counter) -> dict[str, float]:
        dm = self.dm
        took = dict.fromkeys(("klines", "books", "open interest", "marks", "spot", "trades"), 0.0)
        begun = clock()
        for symbol in dm.symbols:
            at = clock()
            for interval in INTERVALS:
                dm.get_klines(symbol, interval, 300)
            took["klines"] += (then := clock()) - at
            dm.get_orderbook(symbol)
            took["books"] += (at := clock()) - then
            dm.get_oi_history(symbol, "1h", 200)
            took["open interest"] += (then := clock()) - at
            dm.get_mark_price(symbol)
            dm.get_funding_rate(symbol)
            took["marks"] += (at := clock()) - then
            _spot(dm, symbol)
            took["spot"] += (then := clock()) - at
            dm.get_agg_trades(symbol, 500)
            took["trades"] += clock() - then
        took["all"] = clock() - begun
        return {name: seconds * 1e3 for name, seconds in took.items()}

    def lag(self, seconds: float, busy: bool) -> dict[str, Any]:
        """Return how long (ms) after its event time each batch's first and last frame could be read.

        The exchange runs on this machine's clock. With ``busy`` another thread scans meanwhile; its speed is reported
        in loops a second.
        """
        lags: list[float] = []
        computing = _Computing(self.dm)
        if busy:
            computing.start()
        with self._lags_go_to(lags.append):
            loops, cpu, begun = computing.loops, time.process_time(), time.perf_counter()
            threading.Event().wait(seconds)
            took = time.perf_counter() - begun
            used = (time.process_time() - cpu) / took
            rate = (computing.loops - loops) / took
        if busy:
            computing.stop()
        return {"lags": lags, "loops": rate, "cpu": used}

    @contextmanager
    def _lags_go_to(self, add: Callable[[float], object]) -> Iterator[None]:
        """Until the end of the block, call ``add`` with the lag (ms) of the first and the last frame of each batch once
        they can be read."""
        store: Any = self.dm._life.store
        honest = store.ingest

        def ingest(frames: Sequence[bytes], link: Any) -> Any:
            found = honest(frames, link)
            now = time.time() * 1e3
            for frame in (frames[0], frames[-1]):
                if b'"E":' in frame:
                    add(now - scan_event_time(frame))
            return found

        store.ingest = ingest
        try:
            yield
        finally:
            del store.ingest

    def endure(self, seconds: float, pace: float) -> dict[str, Any]:
        """For ``seconds``, scan everything every ``pace`` seconds; return lags (ms), the scans (ms) and the requests
        they have caused, reconnects, memory (MB) after each scan, and the cores that were used, scans included."""
        lags = Distribution(0.1, 10_000.0)
        scans: list[float] = []
        memory: list[float] = []
        stats = self.dm.get_stats()
        cpu, begun = time.process_time(), time.monotonic()
        pause = threading.Event()
        with self._lags_go_to(lags.add):
            for number in itertools.count(1):
                pause.wait(max(0.0, begun + number * pace - 0.5 * pace - time.monotonic()))
                scans.append(self._scan()["all"])
                memory.append(machine.memory_mb())
                if (number + 0.5) * pace > seconds:
                    break
            pause.wait(max(0.0, begun + seconds - time.monotonic()))
            took = time.monotonic() - begun
        after = self.dm.get_stats()
        return {
            "lags": float(lags.total),
            **{f"lag p{100 * share:g}": lags.percentile(share) for share in (0.5, 0.99, 0.999)},
            "scans": scans,
            "memory": memory,
            "requests": float(after["rest_calls_by_cause"]["read"] - stats["rest_calls_by_cause"]["read"]),
            "reconnects": float(after["ws_reconnects"] - stats["ws_reconnects"]),
            "cpu": (time.process_time() - cpu) / took,
        }

    def stays_live(self, seconds: float) -> dict[str, Any]:
        """Return the state after ``seconds`` without reads, and the requests that a scan then causes."""
        before = self.dm.get_stats()
        threading.Event().wait(seconds)
        status = self.dm.status()
        reads = self._requests("read")
        self._scan()
        bad = [feed for feed in status.feeds if feed.state not in GOOD]
        return {
            "connections": float(len(status.connections)),
            "series": float(len(status.feeds)),
            "not live": float(len(bad)),
            "why": "; ".join(
                f"{count} × {why}" for why, count in Counter(f"{x.kind}: {x.reason}" for x in bad).items()
            ),
            "reconnects": float(self.dm.get_stats()["ws_reconnects"] - before["ws_reconnects"]),
            "requests": float(self._requests("read") - reads),
        }

    def lost(self) -> dict[str, Any]:
        """Return the frames that were dropped since the start, by cause."""
        return {"dropped": dict(self.dm.get_stats()["ws_dropped"])}

    def compute(self, seconds: float) -> float:
        """Return the loops per second of a thread that computes while nobody else reads."""
        computing = _Computing(self.dm)
        computing.start()
        threading.Event().wait(0.1)
        loops, begun = computing.loops, time.perf_counter()
        threading.Event().wait(seconds)
        rate = (computing.loops - loops) / (time.perf_counter() - begun)
        computing.stop()
        return rate

    def scan_each_minute(self, minutes: float, pace: float = 60.0) -> list[dict[str, float]]:
        """Scan everything of every symbol, prefetched, every ``pace`` seconds; return how long each scan took (s), how
        old (s) its oldest book was, and how many requests it caused."""
        found: list[dict[str, float]] = []
        ends = time.monotonic() + minutes * 60.0
        pause = threading.Event()
        pause.wait(random.Random().uniform(0.0, pace))
        while (begun := time.monotonic()) < ends:
            requests = self._requests("read")
            self.dm.prefetch()
            self._scan()
            took = time.monotonic() - begun
            oldest = max(time.time() - self.dm.get_orderbook(each)["timestamp"] / 1e3 for each in self.dm.symbols[:20])
            caused = float(self._requests("read") - requests)
            found.append({"seconds": took, "oldest": oldest, "requests": caused})
            pause.wait(max(0.0, begun + pace - time.monotonic()))
        return found

    def prefetched_candles(self, rows: int) -> dict[str, float]:
        """Read the candles of every symbol and interval in one round trip; return ms, ms of CPU, and the requests
        caused."""
        requests, begun, cpu = self._requests("read"), time.perf_counter(), time.thread_time()
        self.dm.prefetch()
        for symbol in self.dm.symbols:
            for interval in INTERVALS:
                self.dm.get_klines(symbol, interval, rows)
        return {
            "ms": (time.perf_counter() - begun) * 1e3,
            "CPU": (time.thread_time() - cpu) * 1e3,
            "requests": float(self._requests("read") - requests),
        }

    def resident(self) -> float:
        """Return the MB of this process now."""
        return machine.memory_mb()

    def memory(self) -> dict[str, float]:
        """Return the MB of this process before the manager was made, now, and after everything was read."""
        found = {"before": self._before, "warm": machine.memory_mb()}
        self._scan()
        found["after a scan"] = machine.memory_mb()
        shaped = self.dm.rest_shaped
        for symbol in self.dm.symbols:
            for interval in INTERVALS:
                shaped.klines(symbol, interval, 300)
        found["after exact reads"] = machine.memory_mb()
        found["candles"] = sum(each.size() for each in self.dm._life.store.of(KlineSeries)) / 1e6
        return found

    def collection(self) -> dict[str, Any]:
        """Measure a full garbage collection of this process; return it with the modules in it that are not ours."""
        return {"all": machine.collected(), "modules": machine.others(sys.modules)}


class _Computing:
    """A thread that scans: reads candles now and then, and computes without pause."""

    def __init__(self, dm: DataManager) -> None:
        self._dm = dm
        self.loops = 0
        self._on = True
        self._thread = threading.Thread(target=self._run, name="computing", daemon=True)

    def _run(self) -> None:
        while self._on:
            total = 0.0
            for row in self._dm.get_klines(self._dm.symbols[self.loops % len(self._dm.symbols)], "1h", 50):
                for number in range(40):
                    total += row[4] * number
            self.loops += 1

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._on = False
        self._thread.join()


def _put_off_audits() -> None:
    """Compare nothing with REST in this process: what a flood sends is unknown there, so that each comparison would
    find a difference and cause a repair."""
    for kind, feed in list(FEEDS.items()):
        if feed.audit_every is not None:
            FEEDS[kind] = replace(feed, audit_every=A_DAY)


def _spot(dm: DataManager, symbol: str) -> bool:
    try:
        dm.get_spot_price(symbol)
    except NoSpotPair:
        return False
    return True


def _median(read: Callable[[], object], times: int) -> float:
    clock = time.perf_counter
    taken = []
    for _ in range(times):
        begun = clock()
        read()
        taken.append((clock() - begun) * 1e6)
    return statistics.median(taken)
