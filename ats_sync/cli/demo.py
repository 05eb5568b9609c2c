"""``demo``: shows what the library is for.

Warm-up, scans that cause no requests, the loss of all streams, scans served by REST, the recovery, the figures.
"""

from __future__ import annotations

import importlib.util
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from ..config import Config
from ..errors import StartTimeout
from ..feeds import Kind
from ..manager import DataManager
from ..simulator import SimulatedExchange
from ..status import FeedState, Overall, Status
from .busiest import busiest
from .exits import OK, CommandFailed
from .scanner import Finding, Scanner
from .screen import Counts, Screen, Table

SEED = 7
WEIGHT_LIMIT, REPAIR_SHARE = 4800, 0.4
"""Twice the real limit, half of it kept for repairs. With the real one, 200 symbols that lost their streams would have
to wait for the minute of their warm-up to end."""
LOOK_EVERY = 0.25
"""Seconds between two checks of a manager that is warming up or recovering."""
SCAN_EVERY = 4.0
MOST_SCANS, FEWEST_SCANS = 8, 2
SHOWN = 8
"""How many findings of each scan are shown."""
BY_REST = 20
"""Symbols scanned while only REST answers: about 80 of the minute's request weight."""
READ_WEIGHT = 6
"""Highest weight of everything that is read for one symbol."""
OUTAGE = 3.0
"""Seconds without streams."""
PATIENCE = 120.0
PATIENCE_PER_SERIES = 0.1
"""Seconds. Warming up requests about a thousand series per minute: the exchange's limit allows no more."""

NAMES = {
    Kind.KLINES: "candles",
    Kind.BOOK: "order books",
    Kind.MARK: "mark prices",
    Kind.OPEN_INTEREST: "open interest",
    Kind.SPOT: "spot prices",
    Kind.TRADES: "trades",
}
AWAITED = (Kind.KLINES, Kind.BOOK, Kind.MARK, Kind.OPEN_INTEREST, Kind.SPOT)
STREAMED = (Kind.KLINES, Kind.BOOK, Kind.MARK)
"""The kinds that must be live before memory answers a scan again."""


def run(options: Namespace) -> int:
    """Run the whole demo; return its exit status."""
    screen = Screen(sys.stdout)
    with ExitStack() as stack:
        exchange: SimulatedExchange | None = None
        if options.live:
            config = Config.from_env()
            symbols: Sequence[str] = busiest(config, options.symbols)
            screen.heading(f"The exchange at {config.fapi_base}: {_size(symbols, options.intervals)}")
        else:
            exchange = stack.enter_context(SimulatedExchange(options.symbols, seed=SEED, weight_limit=WEIGHT_LIMIT))
            config = replace(exchange.config(), repair_share=REPAIR_SHARE)
            symbols = exchange.symbols
            screen.heading(f"A simulated exchange on this machine: {_size(symbols, options.intervals)}")
            screen.line(f"(It allows a weight of {WEIGHT_LIMIT}/min, the real one 2400, to keep the demo short.)")
        manager = DataManager(symbols, options.intervals, config=config, enable_websocket=not options.no_websocket)
        stack.callback(manager.close)
        if importlib.util.find_spec("aiohttp") is not None:
            from ..endpoint import Endpoint

            page = stack.enter_context(Endpoint(manager, port=0))
            screen.line(f"While it runs, you can watch it in a browser at {page.url}/")
        _Demo(screen, manager, exchange, options.seconds).run()
    return OK


def _size(symbols: Sequence[str], intervals: Sequence[str]) -> str:
    return f"{len(symbols)} symbols × {len(intervals)} intervals ({', '.join(intervals)})"


class _Demo:
    """One run. ``exchange`` is None for the real one, whose connections cannot be cut."""

    def __init__(
        self, screen: Screen, manager: DataManager, exchange: SimulatedExchange | None, seconds: float
    ) -> None:
        self._screen = screen
        self._manager = manager
        self._exchange = exchange
        self._seconds = seconds
        self._pause = threading.Event()  # never set: only Ctrl-C ends a wait for it
        self._scanner = Scanner(manager)

    def run(self) -> None:
        self._warm_up()
        if self._manager.enable_websocket:
            self._scans(self._manager.symbols)
            if self._exchange is not None:
                self._outage(self._exchange)
        else:
            self._screen.line(f"Without streams, candles and books come from REST: {BY_REST} symbols per scan.")
            self._scans(self._manager.symbols[:BY_REST])
        self._figures()

    # --- the parts ---------------------------------------------------------------------------------

    def _warm_up(self) -> None:
        manager = self._manager
        began = time.monotonic()
        deadline = began + self._patience()
        # A book without a stream is stale after a second, so there is nothing to count.
        awaited = [kind for kind in AWAITED if manager.enable_websocket or kind is not Kind.BOOK]
        with self._screen.meter("warming up") as meter:
            while True:
                try:
                    manager.start(LOOK_EVERY)
                    break
                except StartTimeout:
                    if time.monotonic() > deadline:
                        raise
                    meter.show(_counts(manager.status(), awaited))

            def caught_up(status: Status) -> bool:
                meter.show(_counts(status, awaited))
                return not manager.enable_websocket or _live(status)

            # A busy machine has a backlog of frames by now, none of which counts as fresh.
            self._until(
                caught_up,
                deadline,
                "the streams lag behind; this machine is too busy for so many symbols (try --symbols 50)",
            )
        stats = manager.get_stats()
        self._screen.line(
            f"Ready after {time.monotonic() - began:.1f} s and {stats['rest_calls']} requests; "
            f"{stats['klines_cached']} candles in memory. Trades (expensive to request) follow in the background."
        )

    def _scans(self, symbols: Sequence[str]) -> None:
        count = max(FEWEST_SCANS, min(MOST_SCANS, round(self._seconds / SCAN_EVERY)))
        began = time.monotonic()
        for number in range(count):
            self._scan(f"Scan {number + 1} of {count}", symbols)
            due = began + self._seconds * (number + 1) / count
            self._pause.wait(max(0.0, due - time.monotonic()))

    def _scan(self, title: str, symbols: Sequence[str]) -> None:
        scan = self._scanner.scan(symbols)
        shown = sorted(scan.findings, key=lambda finding: abs(finding.score), reverse=True)[:SHOWN]
        fast, slow = self._scanner.interval, self._scanner.slow_interval
        columns = (
            "symbol", "price", f"{fast} %", f"{slow or ''} %", "volume", "OI %", "fund %", "basis %", "book", "flow",
        )  # fmt: skip
        count = f"{len(scan.findings)} of {len(symbols)}" if scan.failures else str(len(symbols))
        self._screen.heading(
            f"{title}: {count} symbols in {1000 * scan.seconds:.0f} ms, requests caused by the scan: {scan.requests}"
        )
        if shown:
            flows = sum(finding.flow is not None for finding in scan.findings)
            warm = f"; trades are warm for {flows} symbols" if flows < len(scan.findings) else ""
            rows = [_cells(finding) for finding in shown]
            self._screen.table(Table(f"the {len(shown)} that stand out{warm}", columns, rows))
        if scan.failures:
            symbol, error = next(iter(scan.failures.items()))
            if not shown:
                raise CommandFailed(f"not one symbol could be read; {symbol}: {error}")
            self._screen.line(f"{len(scan.failures)} symbols could not be read; {symbol}: {error}")

    def _outage(self, exchange: SimulatedExchange) -> None:
        screen, manager = self._screen, self._manager
        self._wait_for_budget()
        screen.heading(f"Now all stream connections are cut, and none is accepted for {OUTAGE:g} s")
        began = time.monotonic()
        exchange.refuse(OUTAGE, "streams")
        exchange.cut(how="reset")
        self._until(_cut_off, began + 10.0, "the loss was not noticed")
        screen.line(f"{time.monotonic() - began:5.1f} s  {manager.status().state.value}")
        self._scan("Served by REST, within its budget", manager.symbols[:BY_REST])
        screen.line()
        screen.line("Every series is completed by REST, as fast as the rest of the minute's request weight allows.")
        with screen.meter("restoring") as meter:

            def restored(status: Status) -> bool:
                meter.show(_counts(status, STREAMED))
                return _live(status)

            self._until(restored, began + self._patience(), "the streams were not restored")
        screen.line(f"{time.monotonic() - began:5.1f} s  restored, nothing is missing")
        self._scan("From memory again", manager.symbols)

    def _wait_for_budget(self) -> None:
        """Wait for the budget: warm-up has used most of a minute's weight, and every series has to be repaired."""
        manager = self._manager
        series = len(manager.symbols) * len(manager.intervals)

        def room(_: Status) -> bool:
            usage = manager.rest_shaped.usage()
            return usage.cost + min(series, usage.allowed // 2) + READ_WEIGHT * BY_REST <= usage.allowed

        if not room(manager.status()):
            self._screen.line()
            self._screen.line("Waiting for the end of the minute whose weight the warm-up used (at most a minute) …")
            self._until(room, time.monotonic() + PATIENCE, "other programs have used up the request weight")

    def _until(self, condition: Callable[[Status], bool], deadline: float, failure: str) -> None:
        while not condition(self._manager.status()):
            if time.monotonic() > deadline:
                raise CommandFailed(f"{failure}:\n{self._manager.status()}")
            self._pause.wait(LOOK_EVERY)

    def _patience(self) -> float:
        return PATIENCE + PATIENCE_PER_SERIES * len(self._manager.symbols) * len(self._manager.intervals)

    def _figures(self) -> None:
        stats = self._manager.get_stats()
        causes = ", ".join(f"{count} {cause}" for cause, count in stats["rest_calls_by_cause"].items() if count)
        rows = [
            ("symbols", str(stats["symbols_count"])),
            ("candles in memory", str(stats["klines_cached"])),
            ("stream frames", str(stats["ws_updates"])),
            ("connections lost", str(stats["ws_reconnects"])),
            ("reads from memory", f"{stats['cache_hits']} ({stats['cache_hit_rate']})"),
            ("requests", f"{stats['rest_calls']} ({causes})"),
            ("request weight, highest in a minute", str(stats["weight_most_used"]["futures weight"])),
        ]
        if self._exchange is not None:
            seen = self._exchange.stats()
            refused = seen.fapi.refused_429 + seen.fapi.refused_418
            rows += [
                ("… as the exchange counted it", f"{seen.fapi.max_weight} of {self._exchange.settings.weight_limit}"),
                ("requests refused by the rate limit", str(refused)),
                ("most connections at one time", str(seen.connections_max)),
            ]
        self._screen.line()
        self._screen.table(Table("The figures", ("", ""), rows))
        self._screen.line()
        self._screen.line(str(self._manager.status()))


def _cut_off(status: Status) -> bool:
    return status.state is Overall.DEGRADED and not any(each.state == "open" for each in status.connections)


def _live(status: Status) -> bool:
    return all(feed.state is FeedState.LIVE for feed in status.feeds if feed.kind in STREAMED)


def _counts(status: Status, kinds: Sequence[Kind]) -> Counts:
    return {NAMES[kind]: ready for kind in kinds if (ready := status.ready(kind.value))[1]}


def _cells(finding: Finding) -> tuple[str, ...]:
    return (
        finding.symbol,
        f"{finding.price:g}",
        _signed(finding.trend, 2),
        _signed(finding.slow_trend, 2),
        f"{finding.volume:.2f}",
        _signed(finding.open_interest, 2),
        _signed(finding.funding, 4),
        _signed(finding.basis, 3),
        _signed(finding.imbalance, 2),
        _signed(finding.flow, 2),
    )


def _signed(value: Any, digits: int) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"
