"""Measures the manager of whatever checkout it runs in, which may be an older one: it uses long-standing names only.

``house.py`` runs it in a process whose working directory is that checkout, gives its orders as JSON on the standard
input, and reads the figures from the last line of the output.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import statistics
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

ORDERS = json.load(sys.stdin)
sys.path.insert(0, ORDERS["tree"])

import ats_sync  # noqa: E402
from ats_sync import Config, DataManager, NoSpotPair  # noqa: E402

INTERVALS = ("1h", "4h", "15m", "1d")
LIBRARY = os.path.join(ORDERS["tree"], "ats_sync") + os.sep
FEW = 2
"""Symbols of the manager whose calls are counted; their number makes no difference to one read."""
REQUEST_THREADS = "ats-rest"


def memory_mb() -> float:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 1e6


def spot(dm: DataManager, symbol: str) -> None:
    try:
        dm.get_spot_price(symbol)
    except NoSpotPair:
        pass


def scan(dm: DataManager) -> tuple[float, float]:
    """Read everything of every symbol; return ms, and ms of CPU."""
    begun, cpu = time.perf_counter(), time.thread_time()
    for symbol in dm.symbols:
        for interval in INTERVALS:
            dm.get_klines(symbol, interval, 300)
        dm.get_orderbook(symbol)
        dm.get_oi_history(symbol, "1h", 200)
        dm.get_mark_price(symbol)
        dm.get_funding_rate(symbol)
        spot(dm, symbol)
        dm.get_agg_trades(symbol, 500)
    return (time.perf_counter() - begun) * 1e3, (time.thread_time() - cpu) * 1e3


def ready(dm: DataManager) -> None:
    """Return once everything is live, including trades."""
    dm.start(timeout=170)
    deadline = time.monotonic() + 150.0
    pause = threading.Event()
    while len(set(dm.status().ready("trades"))) > 1:
        if time.monotonic() > deadline:
            raise RuntimeError("the trades did not get ready")
        pause.wait(0.25)


def p50(dm: DataManager, read: Callable[[str, str], object], times: int) -> float:
    """Return the median µs of a read of a random symbol and interval."""
    generator = random.Random(5)
    taken = []
    for _ in range(times):
        symbol, interval = generator.choice(dm.symbols), generator.choice(INTERVALS)
        begun = time.perf_counter()
        read(symbol, interval)
        taken.append((time.perf_counter() - begun) * 1e6)
    return statistics.median(taken)


class Trace:
    """The module of each call and each return of the library's functions, in the caller's thread and in those that
    make requests."""

    def __init__(self) -> None:
        self.on = False
        self.events: dict[str, list[tuple[str, str]]] = {}

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        module = frame.f_code.co_filename
        if self.on and event in ("call", "return") and module.startswith(LIBRARY):
            name = threading.current_thread().name
            if name == "MainThread" or name.startswith(REQUEST_THREADS):
                self.events.setdefault(name, []).append((event, module))

    def of(self, caller: bool) -> dict[str, float]:
        """Return calls, modules, and how often control passed from one module to another."""
        traces = [events for name, events in self.events.items() if (name == "MainThread") is caller]
        return {
            "calls": sum(event == "call" for events in traces for event, _ in events),
            "modules": len({module for events in traces for _, module in events}),
            "moves between modules": sum(
                one[1] != other[1] for events in traces for one, other in itertools.pairwise(events)
            ),
        }


def traced(trace: Trace, read: Callable[[], object], times: int = 7) -> tuple[dict[str, float], dict[str, float]]:
    """Return what :meth:`Trace.of` finds for a read in the caller's thread and in the others, as medians."""
    found: tuple[list[dict[str, float]], list[dict[str, float]]] = ([], [])
    for _ in range(times):
        trace.events = {}
        trace.on = True
        sys.setprofile(trace)
        try:
            read()
        finally:
            sys.setprofile(None)
            trace.on = False
        found[0].append(trace.of(caller=True))
        found[1].append(trace.of(caller=False))
    caller, others = ({name: statistics.median(each[name] for each in all_) for name in all_[0]} for all_ in found)
    return caller, others


def counted(config: Config) -> dict[str, float]:
    trace = Trace()
    threading.setprofile(trace)
    try:
        with DataManager(ORDERS["symbols"][:FEW], INTERVALS, config=config) as dm:
            ready(dm)
            symbol = dm.symbols[0]
            for _ in range(5):
                dm.get_klines(symbol, "1h", 300)
            warm, _ = traced(trace, lambda: dm.get_klines(symbol, "1h", 300))
            fresh, requests = traced(trace, lambda: dm.get_klines(symbol, "1h", 300, max_age=0))
    finally:
        threading.setprofile(None)
    return {
        **{f"get_klines, warm: {name}": value for name, value in warm.items()},
        **{f"get_klines(max_age=0), caller: {name}": value for name, value in fresh.items()},
        **{f"get_klines(max_age=0), request thread: {name}": value for name, value in requests.items()},
    }


def measured(config: Config) -> dict[str, float]:
    found: dict[str, float] = {"resident, MB: with the library imported": memory_mb()}
    times = ORDERS["reads"]
    cpu = time.process_time()
    with DataManager(ORDERS["symbols"], INTERVALS, config=config) as dm:
        ready(dm)
        found["CPU seconds of a start, trades included"] = time.process_time() - cpu
        found["resident, MB: warm"] = memory_mb()
        scans = [scan(dm) for _ in range(10)]
        found["scan, the first, ms of CPU"] = scans[0][1]
        found["scan, the second, ms of CPU"] = scans[1][1]
        found["scan, later ones, ms of CPU"] = statistics.median(cpu for _, cpu in scans[2:])
        found["scan, first ÷ later"] = scans[0][1] / found["scan, later ones, ms of CPU"]
        found["scan, later ones, ms"] = statistics.median(took for took, _ in scans[2:])
        found["resident, MB: after scans"] = memory_mb()
        shaped: Any = dm.rest_shaped
        reads: dict[str, Callable[[str, str], object]] = {
            "get_klines 300": lambda symbol, interval: dm.get_klines(symbol, interval, 300),
            "exact strings 300": lambda symbol, interval: shaped.klines(symbol, interval, 300),
            "get_klines_array 300": lambda symbol, interval: dm.get_klines_array(symbol, interval, 300),
            "get_klines_frame 300": lambda symbol, interval: dm.get_klines_frame(symbol, interval, 300),
            "get_orderbook": lambda symbol, interval: dm.get_orderbook(symbol),
            "get_agg_trades 500": lambda symbol, interval: dm.get_agg_trades(symbol, 500),
        }
        for name, read in reads.items():
            p50(dm, read, times // 10)
            found[f"{name}, p50, µs"] = p50(dm, read, times)
        found["resident, MB: after exact strings and tables"] = memory_mb()
    return found


if not os.path.abspath(ats_sync.__file__).startswith(LIBRARY):
    raise SystemExit(f"{ats_sync.__file__} is not of {ORDERS['tree']}")
config_ = Config(**ORDERS["config"])
print(json.dumps({**counted(config_), **measured(config_)}))
