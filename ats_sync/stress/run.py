"""One stress run: warm up, make faults and watch, compare everything, report."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from ..simulator import ApiError, SimulatedExchange, before_midnight
from .accounts import Accountant, Resources, resources
from .faults import Fault, draw
from .manager import DisturbedTime, MeasuredManager
from .options import Options
from .readers import Reader
from .recovery import all_series, different, note_feeds, wait_for_recovery
from .report import Report
from .tally import Finding, Promise, Tally
from .truth import READ_TIMEOUT, TradesCheck, checkers
from .world import World

START_WITHIN = 300.0
LONGEST_SPELL = 1.0
SETTLED_WITHIN = 20.0
DOCUMENTED_MESSAGES = 10
"""Messages per second that the exchange allows on a stream connection; it answers a few more, which clients must not
rely on."""
UNDER_WAY = 64
DEPTH = 490
MIDNIGHT_AFTER = 0.3
"""The moment of a run, as a fraction of it, at which every interval turns at once."""
WARM_UP_A_SECOND = 28.0
"""Weight per second that the budget allows for warm-up, once its first minute is used up."""
MEMORY_GROWTH = (1.3, 60.0)
"""What the end may use beyond what was used halfway through: a factor, and MB on top."""

Tell = Callable[[str], None]


def run_stress(options: Options, tell: Tell = lambda text: None) -> Report:
    """Run it; ``tell`` receives a progress line now and then. Ctrl-C ends it early, with a report."""
    begun = Tally()
    lead = _warm_up_takes(options) + options.seconds * MIDNIGHT_AFTER
    machine = DisturbedTime()
    start = before_midnight(lead)
    # Requests in flight when a ban begins arrive during it, on every request thread at once.
    with SimulatedExchange(
        options.symbols,
        seed=options.seed,
        start=start,
        ban_patience=UNDER_WAY,
        messages_per_second=DOCUMENTED_MESSAGES,
    ) as exchange:
        config = exchange.config(read_timeout=READ_TIMEOUT)
        manager = MeasuredManager(exchange.symbols, options.intervals, config, machine)
        world = World(options, exchange, manager, machine, random.Random(options.seed), begun, list(exchange.symbols))
        try:
            return _Run(world, tell).run()
        finally:
            world.stop.set()
            machine.release()
            manager.close()


def _warm_up_takes(options: Options) -> float:
    weight = options.symbols * (2 * len(options.intervals) + 2)
    return 4.0 + max(0.0, (weight - 1680) / WARM_UP_A_SECOND)


class _Run:
    def __init__(self, world: World, tell: Tell) -> None:
        self._world = world
        self._tell = tell
        self._report = Report(world.options)
        self._accountant = Accountant(world)
        self._threads: list[threading.Thread] = []
        self._frames = 0
        self._half_way: Resources | None = None

    def run(self) -> Report:
        world, options, report = self._world, self._world.options, self._report
        self._tell(f"warming up {options.symbols} symbols × {len(options.intervals)} intervals")
        world.manager.start(START_WITHIN)
        status = world.manager.status()
        report.connections = len(status.connections)
        report.streams = sum(each.streams for each in status.connections)
        report.at_start = resources()
        self._frames = world.manager.get_stats()["ws_updates"]
        began = world.tally.began = time.monotonic()
        self._accountant.look()
        self._threads = [
            *(Reader(world, number) for number in range(options.readers)),
            *checkers(world, options),
            self._accountant,
        ]
        for thread in self._threads:
            thread.start()
        try:
            while (passed := time.monotonic() - began) < options.seconds:
                if passed > options.seconds / 2 and self._half_way is None:
                    self._half_way = resources()
                self._episode()
            self._compare_all()
        except KeyboardInterrupt:
            report.interrupted = True
        report.seconds = time.monotonic() - began
        self._finish()
        return report

    # --- episodes ------------------------------------------------------------------------------------

    def _episode(self) -> None:
        """Make some faults together, then allow time to recover."""
        world = self._world
        world.stop.wait(world.rng.uniform(0.0, LONGEST_SPELL))
        note_feeds(world)
        faults = draw(world)
        name = " + ".join(sorted(fault.name for fault in faults))
        world.tally.active = name
        self._tell(self._line(name))
        for fault in faults:
            world.made[fault.name] += 1
        self._make(faults)
        ended = time.monotonic()
        recovery = wait_for_recovery(world, ended, self._accountant, max(fault.grace for fault in faults))
        taken = recovery.equal if recovery.equal is not None else time.monotonic() - ended
        kind = faults[0].name if len(faults) == 1 else "several at once"
        slowest = self._report.recovery
        slowest[kind] = max(slowest.get(kind, 0.0), taken)
        self._report.delayed += recovery.delayed > 0.0
        if recovery.trades is not None:
            self._report.trades_recovery = max(self._report.trades_recovery, recovery.trades)
        world.tally.active = ""
        last = f", last {recovery.last}" if recovery.last else ""
        self._tell(self._line(f"recovered from {name} after {taken:.1f} s{last}"))

    def _make(self, faults: list[Fault]) -> None:
        world = self._world
        lasting: list[tuple[float, Fault]] = []
        for fault in faults:
            world.affected(fault.effects, fault.seconds)
        try:
            for fault in faults:
                fault.begin()
                lasting.append((time.monotonic() + fault.seconds, fault))
            for until, fault in sorted(lasting, key=lambda each: each[0]):
                world.stop.wait(max(0.0, until - time.monotonic()))
                fault.end()
        finally:
            for _, fault in lasting:
                fault.end()
            world.exchange.clear_faults()
        for fault in faults:
            world.affected(fault.effects, 0.0)

    def _line(self, what: str) -> str:
        world = self._world
        tally = world.tally
        passed = time.monotonic() - tally.began
        broken = ", ".join(f"{count} {promise.value}" for promise, count in tally.broken.items()) or "no promise broken"
        return (
            f"{passed:5.0f}/{world.options.seconds:.0f} s  {sum(world.made.values())} faults, {tally.reads} reads, "
            f"{sum(tally.checks.values())} compared, {broken}; {what}"
        )

    # --- the end ---------------------------------------------------------------------------------------

    def _compare_all(self) -> None:
        """Compare everything that is kept, to its full depth."""
        world = self._world
        self._tell(self._line("comparing everything"))
        wait_for_recovery(world, time.monotonic(), self._accountant)
        for symbol, interval in sorted(different(world, all_series(world), DEPTH) or ()):
            world.tally.found(Finding(Promise.DIVERGENCE, f"{symbol} klines {interval} differ from REST at the end"))
        for symbol in world.symbols:
            if symbol in world.warm:
                check = TradesCheck(world, symbol)
                check.samples.append((0.0, -1))
                try:
                    findings = check.finish()
                except ApiError:
                    continue
                for finding in findings:
                    world.tally.found(finding)

    def _finish(self) -> None:
        world, report = self._world, self._report
        stats = world.manager.get_stats()
        world.stop.set()
        for thread in self._threads:
            thread.join(READ_TIMEOUT + 10.0)
        self._settle()
        self._accountant.look()
        self._judge()
        tally = world.tally
        report.messages_per_second = (stats["ws_updates"] - self._frames) / max(report.seconds, 1e-9)
        report.reconnects = stats["ws_reconnects"]
        report.connections_most = self._accountant.most_connections
        report.faults = dict(world.made)
        report.reads, report.from_memory, report.raised = tally.reads, tally.from_memory, dict(tally.raised)
        report.by_rest = tally.reads - tally.from_memory - sum(tally.raised.values())
        report.checks = dict(tally.checks)
        report.requests = stats["rest_calls_by_cause"]
        report.exchange_behind = self._accountant.most_behind
        report.weight_most = self._accountant.most_used("fapi")
        report.unsuspected = {kind: seconds for kind, seconds in world.unsuspected.items() if seconds > 0}
        report.broken = {promise.value: count for promise, count in tally.broken.items()}
        report.examples = tally.examples

    def _settle(self) -> None:
        """Wait for idle request threads, which end by themselves; what they use is not a leak."""
        manager, report = self._world.manager, self._report
        patience = threading.Event()
        deadline = time.monotonic() + (0.0 if report.interrupted else SETTLED_WITHIN)
        while manager.get_stats()["rest_threads"] > 2 and time.monotonic() < deadline:
            patience.wait(0.2)
        report.at_end = resources()

    def _judge(self) -> None:
        world, report = self._world, self._report
        config, found = world.manager.config, world.tally.found
        share = config.weight_share
        limits = {"fapi": int(config.futures_weight_limit * share), "spot": int(config.spot_weight_limit * share)}
        report.weight_allowed = limits["fapi"]
        for text in self._accountant.over_budget(limits):
            found(Finding(Promise.BUDGET, text))
        if report.interrupted:
            return
        start, end = report.at_start, report.at_end
        if end.threads > max(start.threads, len(world.manager.status().connections) + 4):
            found(Finding(Promise.LEAK, f"{end.threads} threads, {start.threads} at the start"))
        if start.sockets is not None and end.sockets is not None and end.sockets > start.sockets + 4:
            found(Finding(Promise.LEAK, f"{end.sockets} sockets, {start.sockets} at the start"))
        before = self._half_way
        factor, more = MEMORY_GROWTH
        memory = (before.memory if before is not None else None), end.memory
        if memory[0] is not None and memory[1] is not None and memory[1] > memory[0] * factor + more:
            found(Finding(Promise.LEAK, f"{memory[1]:.0f} MB, {memory[0]:.0f} halfway through"))
