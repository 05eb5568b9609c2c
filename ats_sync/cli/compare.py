"""``compare``: runs the same scan by REST alone, as the old code did, and through the manager, side by side."""

from __future__ import annotations

import sys
import threading
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from ..config import Config
from ..errors import AtsSyncError
from ..manager import DataManager
from ..rest_shaped import RestShaped
from ..simulator import SimulatedExchange
from ..status import FeedState
from .busiest import busiest
from .demo import LOOK_EVERY, SEED
from .exits import FAILED, OK, CommandFailed
from .screen import Meter, Screen, Table

PATIENCE = 300.0
"""Seconds within which everything that was read once must be in memory."""
MINUTE = 60.0
RATE_LIMITED = (429, 418)
DIFFERENCES_SHOWN = 5

Call = Callable[[RestShaped, str], Any]

SCAN: Mapping[str, Call] = {
    "klines 1h": lambda rest, s: rest.klines(s, "1h", 300),
    "klines 4h": lambda rest, s: rest.klines(s, "4h", 200),
    "klines 15m": lambda rest, s: rest.klines(s, "15m", 200),
    "open interest": lambda rest, s: rest.open_interest_hist(s, "1h", 300),
    "spot klines": lambda rest, s: rest.spot_klines(s, "1h", 300),
    "order book": lambda rest, s: rest.depth(s, 100),
    "mark price": lambda rest, s: rest.mark_price(s),
    "funding rate": lambda rest, s: rest.last_funding_rate(s),
    "spot price": lambda rest, s: rest.spot_price(s),
    "BTC": lambda rest, s: rest.klines("BTCUSDT", "1h", 48),
    "ETH": lambda rest, s: rest.klines("ETHUSDT", "1h", 48),
    "listings": lambda rest, s: rest.get("/fapi/v1/exchangeInfo", timeout=PATIENCE),
}
"""The calls that the old ``analyze_symbol`` makes for each symbol."""
ROWS = {"klines 1h": 0, "klines 4h": 0, "klines 15m": 0, "spot klines": 0, "open interest": "timestamp"}
"""Calls that return rows, and the index of the time in a row. All but the newest row are settled and must be equal."""


@dataclass
class Scan:
    """The results of one scan, and its cost."""

    seconds: float = 0.0
    requests: int = 0
    """All requests sent in the meantime."""
    reads: int = 0
    """The requests that its calls caused."""
    weight: int | None = None
    """The weight on the futures host, as the exchange counted it; None if it does not report it."""
    results: dict[tuple[str, str], Any] = field(default_factory=dict)
    """Results by symbol and call."""
    failures: dict[tuple[str, str], AtsSyncError] = field(default_factory=dict)


@dataclass
class Side:
    """One of the two sides of the comparison."""

    name: str
    scans: list[Scan] = field(default_factory=list)
    warm_after: float | None = None
    most_weight: int = 0
    """The highest request weight of the futures host in one minute."""

    @property
    def rate_limited(self) -> int:
        """How many calls failed because of a 429 or a ban."""
        failures = (error for scan in self.scans for error in scan.failures.values())
        return sum(getattr(error, "status", None) in RATE_LIMITED for error in failures)


def run(options: Namespace) -> int:
    """Run both sides, one after the other; return the exit status, which says whether their results are equal."""
    screen = Screen(sys.stdout)
    with ExitStack() as stack:
        exchange: SimulatedExchange | None = None
        if options.live:
            config = Config.from_env()
            symbols: Sequence[str] = busiest(config, options.symbols)
            where = f"the exchange at {config.fapi_base}"
        else:
            exchange = stack.enter_context(SimulatedExchange(options.symbols, seed=SEED, latency=options.latency))
            config, symbols = exchange.config(), exchange.symbols
            where = f"a simulated exchange that takes {1000 * options.latency:g} ms per request"
        screen.heading(f"{len(symbols)} symbols, {len(SCAN)} calls each, {options.threads} threads, on {where}")
        comparison = _Comparison(screen, exchange, symbols, options.threads, options.scans)
        alone = comparison.by_rest(config)
        comparison.let_a_minute_begin()
        managed = comparison.by_manager(config)
        refused = None
        if exchange is not None:
            seen = exchange.stats()
            refused = sum(host.refused_429 + host.refused_418 for host in (seen.fapi, seen.spot))
    screen.line()
    screen.table(Table("Side by side", ("", alone.name, managed.name), list(_rows(alone, managed, refused))))
    return _tell_equality(screen, alone, managed)


class _Comparison:
    """Runs the two sides. ``exchange`` is None for the real one."""

    def __init__(
        self, screen: Screen, exchange: SimulatedExchange | None, symbols: Sequence[str], threads: int, scans: int
    ) -> None:
        self._screen = screen
        self._exchange = exchange
        self._symbols = symbols
        self._threads = threads
        self._scans = scans
        self._pause = threading.Event()  # never set: only Ctrl-C ends a wait for it

    def by_rest(self, config: Config) -> Side:
        """Run scans in which each call is one request, paced by the budget (the old code had none, and was banned)."""
        side = Side("REST alone")
        with closing(DataManager(config=config)) as manager:
            for number in range(self._scans):
                side.scans.append(self._scan(side.name, number, manager))
            side.most_weight = _most_weight(manager)
        return side

    def by_manager(self, config: Config) -> Side:
        """Run scans through the manager. The first scan starts it; whatever is read once is followed."""
        side = Side("through the manager")
        with closing(DataManager(config=config).autostart()) as manager:
            if not manager.running:
                raise CommandFailed("ATS_SYNC_AUTOSTART=0 is set, so there is nothing to compare; unset it")
            side.scans.append(self._scan(side.name, 0, manager))
            side.warm_after = self._until_warm(manager)
            for number in range(1, self._scans):
                side.scans.append(self._scan(side.name, number, manager))
            side.most_weight = _most_weight(manager)
        return side

    def let_a_minute_begin(self) -> None:
        """Wait, so that the weight that one side has used does not slow down the other."""
        if self._exchange is not None:
            self._exchange.jump_clock(round(1000 * MINUTE))
            return
        self._screen.line(f"pausing {MINUTE:g} s, so that the weight of one side does not count against the other")
        self._pause.wait(MINUTE)

    def _scan(self, name: str, number: int, manager: DataManager) -> Scan:
        scan = Scan()
        logged = self._logged()
        before = manager.get_stats()["rest_calls_by_cause"]
        began = time.perf_counter()
        with self._screen.meter(f"{name}, scan {number + 1} of {self._scans}") as meter:
            self._read_all(manager, scan, meter)
        scan.seconds = time.perf_counter() - began
        after = manager.get_stats()["rest_calls_by_cause"]
        scan.requests = sum(after.values()) - sum(before.values())
        scan.reads = after["read"] - before["read"]
        if self._exchange is not None:
            log = self._exchange.request_log()[logged:]
            scan.weight = sum(each.weight for each in log if each.host == "fapi")
        self._screen.line(f"{name}, scan {number + 1}: {scan.seconds:.2f} s, {scan.reads} requests")
        return scan

    def _logged(self) -> int:
        return len(self._exchange.request_log()) if self._exchange is not None else 0

    def _read_all(self, manager: DataManager, scan: Scan, meter: Meter) -> None:
        left = iter(self._symbols)
        lock = threading.Lock()  # guards left, scan and done
        done = 0
        ended = threading.Event()
        faults: list[BaseException] = []

        def work() -> None:
            nonlocal done
            while not ended.is_set():
                with lock:
                    symbol = next(left, None)
                if symbol is None:
                    return
                try:
                    results, failures = _analyze(manager, symbol, ended)
                except BaseException as fault:  # noqa: BLE001 -- raised on the thread that waits
                    faults.append(fault)
                    ended.set()
                    return
                with lock:
                    scan.results.update(results)
                    scan.failures.update(failures)
                    done += 1

        # Daemons: a call may wait a minute for budget, but Ctrl-C must not.
        threads = [threading.Thread(target=work, name=f"scan-{n}", daemon=True) for n in range(self._threads)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                while thread.is_alive():
                    thread.join(LOOK_EVERY)
                    meter.show({"symbols": (done, len(self._symbols))})
        finally:
            ended.set()
        if faults:
            raise faults[0]

    def _until_warm(self, manager: DataManager) -> float:
        """Wait until everything that was read is in memory (an old scanner returns minutes later); return the time."""
        began = time.monotonic()
        with self._screen.meter("filling memory") as meter:
            while True:
                status = manager.status()
                lacking = sum(feed.state in (FeedState.WARMING_UP, FeedState.DEGRADED) for feed in status.feeds)
                meter.show({"series": (len(status.feeds) - lacking, len(status.feeds))})
                took = time.monotonic() - began
                if not lacking and not status.waiting_requests:
                    return took
                if took > PATIENCE:
                    raise CommandFailed(f"not everything was in memory within {PATIENCE:g} s:\n{status}")
                self._pause.wait(LOOK_EVERY)


def _analyze(
    manager: DataManager, symbol: str, ended: threading.Event
) -> tuple[dict[tuple[str, str], Any], dict[tuple[str, str], AtsSyncError]]:
    results: dict[tuple[str, str], Any] = {}
    failures: dict[tuple[str, str], AtsSyncError] = {}
    for name, call in SCAN.items():
        if ended.is_set():
            break
        try:
            results[symbol, name] = call(manager.rest_shaped, symbol)
        except AtsSyncError as error:
            failures[symbol, name] = error
    return results, failures


def _most_weight(manager: DataManager) -> int:
    return int(manager.get_stats()["weight_most_used"]["futures weight"])


def _rows(alone: Side, managed: Side, refused: int | None) -> Iterator[tuple[str, str, str]]:
    sides = (alone, managed)

    def row(name: str, show: Callable[[Side], str]) -> tuple[str, str, str]:
        return (name, *map(show, sides))  # type: ignore[return-value]

    yield row("first scan", lambda side: f"{side.scans[0].seconds:.2f} s")
    yield row("  requests", lambda side: _requests(side.scans[0]))
    yield row("  weight", lambda side: _weight(side.scans[0]))
    yield row("in memory after another", lambda side: "-" if side.warm_after is None else f"{side.warm_after:.1f} s")
    if len(alone.scans) > 1:
        yield row("repeated scan", lambda side: f"{median(scan.seconds for scan in side.scans[1:]):.2f} s")
        yield row("  requests", lambda side: "; ".join(map(_requests, side.scans[1:])))
        yield row("  weight", lambda side: "; ".join(map(_weight, side.scans[1:])))
    yield row("highest weight in a minute", lambda side: str(side.most_weight))
    yield row("calls answered with 429 or 418", lambda side: str(side.rate_limited))
    yield row("calls that failed", lambda side: str(len(side.scans[-1].failures)))
    if refused is not None:
        yield "refused by the exchange, both sides", str(refused), ""


def _requests(scan: Scan) -> str:
    other = scan.requests - scan.reads
    return f"{scan.reads} + {other} in the background" if other else str(scan.reads)


def _weight(scan: Scan) -> str:
    return "-" if scan.weight is None else str(scan.weight)


def _tell_equality(screen: Screen, alone: Side, managed: Side) -> int:
    compared, differences = _compared(alone.scans[-1], managed.scans[-1])
    rows, others = compared["rows"], compared["results"]
    if not differences:
        screen.line(
            f"The results are equal: {rows} settled rows string for string, {others} other results of the same shape."
        )
        return OK
    screen.line(f"{len(differences)} results differ:")
    for difference in differences[:DIFFERENCES_SHOWN]:
        screen.line(f"  {difference}")
    return FAILED


def _compared(one: Scan, other: Scan) -> tuple[Counter[str], list[str]]:
    """Return how many rows and other results were compared, and what differs.

    The two scans were made one after the other, so only the shape of prices and open candles is compared."""
    counts: Counter[str] = Counter()
    differences = [
        f"{symbol} {name}: {one.failures.get((symbol, name), 'a result')}, but "
        f"{other.failures.get((symbol, name), 'a result')}"
        for symbol, name in sorted(one.failures.keys() ^ other.failures.keys())
    ]
    for (symbol, name), result in one.results.items():
        its = other.results.get((symbol, name))
        if its is None:
            continue
        at = ROWS.get(name)
        if at is None:
            counts["results"] += 1
            if _shape(result) != _shape(its):
                differences.append(f"{symbol} {name}: of a different shape")
            continue
        known = {row[at]: row for row in result[:-1]}
        common = [row for row in its[:-1] if row[at] in known]
        counts["rows"] += len(common)
        unequal = [row[at] for row in common if row != known[row[at]]]
        if unequal or len(common) < max(len(result), len(its)) // 2:
            differences.append(f"{symbol} {name}: {len(unequal)} of {len(common)} settled rows")
    return counts, differences


def _shape(value: Any) -> Any:
    """Return the types in a result; for a list, those of its first item (nothing for an empty list)."""
    if isinstance(value, dict):
        return {name: _shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_shape(value[0])] if value else []
    return type(value).__name__
