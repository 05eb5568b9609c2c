"""A reader that compares what it reads with the exchange's own truth, and records its findings."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import random
import threading
import time
from typing import Any

from ...config import Config
from ...errors import AtsSyncError, NoSpotPair, StartTimeout
from ...simulator.control_client import ControlClient
from ...simulator.controls import Control, Controls
from ...simulator.controls.exchange import rest as answer_rest
from ...simulator.errors import SimulatorError
from ..checks import candles_in_order
from ..manager import DisturbedTime, MeasuredManager
from ..options import BOUNDS, Options
from ..tally import Finding, Promise, Tally
from ..truth import LIMITS, BookCheck, Check, KlinesCheck, MarkCheck, TradesCheck
from ..world import World
from .processes import until_terminated

EVERY = 0.12
"""Seconds between two checks."""
START_WITHIN = 1.0
READ_TIMEOUT = 3.0
SETTLING = 0.1
DEPTH = 300


class RemoteExchange(Controls):
    """The exchange's controls, used from a process other than the one that started it."""

    def __init__(self, url: str, token: str) -> None:
        self._client = ControlClient(url, token)

    def call(self, control: Control[Any, Any], arguments: dict[str, Any]) -> Any:
        return self._client.call(control.name, arguments)

    def rest(self, path: str, **params: Any) -> Any:
        """Return what REST would answer, without weight, fault or log."""
        return answer_rest(self, path, params)


def read_and_compare(spec: dict[str, Any]) -> None:
    """Read until SIGTERM; then wait until reads cause no request, compare everything, and end."""
    ends = until_terminated()
    exchange: Any = RemoteExchange(*spec["control"])
    config = Config(**spec["config"], read_timeout=READ_TIMEOUT)
    manager = MeasuredManager(spec["symbols"], spec["intervals"], config, DisturbedTime())
    with contextlib.suppress(StartTimeout):
        manager.start(START_WITHIN)
    options = Options(symbols=len(spec["symbols"]), intervals=tuple(spec["intervals"]))
    rng = random.Random(spec["seed"])
    world = World(options, exchange, manager, DisturbedTime(), rng, Tally(), spec["symbols"])
    with open(spec["report"], "w", encoding="utf-8", buffering=1) as file:
        reader = _Reader(world, file)
        try:
            reader.run(ends)
            reader.settle(spec["healed_within"])
        except SimulatorError as error:
            reader.note(Finding(Promise.CRASH, f"the exchange does not answer: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
            reader.note(Finding(Promise.CRASH, repr(error)))
        reader.finish()
    manager.close()


class _Reader:
    def __init__(self, world: World, file: Any) -> None:
        self._world = world
        self._file = file
        self._numbers = itertools.count()
        self._epoch = 0
        self._healed = 0.0
        self._by_rest = 0

    def note(self, finding: Finding) -> None:
        """Record a finding at once: this process may be killed."""
        began = self._world.tally.began
        text = f"{finding.text} ({time.monotonic() - began:.2f} s after the reader's start)"
        self._file.write(json.dumps({"finding": [finding.promise.value, text]}) + "\n")

    def run(self, ends: threading.Event) -> None:
        """Make checks: sample the truth, later a read that must know it, the truth again."""
        pending: list[tuple[float, int, Check]] = []
        due = time.monotonic()
        while not ends.is_set():
            now = time.monotonic()
            if now >= due:
                due = max(due + EVERY, now)
                check = self._new()
                check.sample()
                heapq.heappush(pending, (check.samples[0][0] + BOUNDS[check.kind].usual, next(self._numbers), check))
            elif pending and pending[0][0] <= now:
                self._finish(heapq.heappop(pending)[2])
            else:
                ends.wait(min([due, *(each[0] for each in pending[:1])]) - now)

    def _finish(self, check: Check) -> None:
        for finding in check.finish():
            self.note(finding)
        self._by_rest += self._world.manager.sources.by_rest()
        epoch = self._world.manager._life.store.sources.epoch  # type: ignore[attr-defined]
        if epoch < self._epoch:
            self.note(Finding(Promise.OLD_EPOCH, f"{check.symbol} {check.kind}: epoch {epoch} after {self._epoch}"))
        self._epoch = max(self._epoch, epoch)

    def _new(self) -> Check:
        world, rng = self._world, self._world.rng
        symbol, kind = rng.choice(world.symbols), rng.random()
        if kind < 0.45:
            return KlinesCheck(world, symbol, rng.choice(world.options.intervals), rng.choice(LIMITS))
        if kind < 0.7:
            return BookCheck(world, symbol)
        return TradesCheck(world, symbol) if kind < 0.9 else MarkCheck(world, symbol)

    # --- the end -------------------------------------------------------------------------------------

    def settle(self, within: float) -> None:
        """Wait until reads cause no request, then compare everything with the truth."""
        began, pause = time.monotonic(), threading.Event()
        while (missing := self._not_served()) and time.monotonic() - began < within:
            pause.wait(SETTLING)
        self._healed = time.monotonic() - began
        if missing:
            self.note(Finding(Promise.CONVERGENCE, f"{within:g} s after the last fault {missing}"))
        for symbol in self._world.symbols:
            for interval in self._world.options.intervals:
                self._compare(symbol, interval)
            check = TradesCheck(self._world, symbol)
            check.samples.append((0.0, -1))
            self._finish(check)

    def _not_served(self) -> str:
        """Return what is not served from the store, "" if everything is."""
        manager = self._world.manager
        for symbol in self._world.symbols:
            for name, read in (
                *((f"klines {each}", self._klines(symbol, each)) for each in self._world.options.intervals),
                ("book", lambda: manager.get_orderbook(symbol)),  # noqa: B023 - called at once
                ("trades", lambda: manager.get_agg_trades(symbol, 50)),  # noqa: B023
            ):
                try:
                    read()
                except (AtsSyncError, NoSpotPair) as error:
                    return f"{symbol} {name} raises {error!r}"
                if manager.sources.by_rest():
                    return f"{symbol} {name} is read by REST"
        return ""

    def _klines(self, symbol: str, interval: str) -> Any:
        return lambda: self._world.manager.get_klines(symbol, interval, 50)

    def _compare(self, symbol: str, interval: str) -> None:
        """Compare closed candles, string for string."""
        world = self._world
        try:
            rows = world.manager.rest_shaped.klines(symbol, interval, DEPTH)
        except AtsSyncError as error:
            world.tally.refused(error)
            return
        world.tally.checked("klines")
        truth = {
            row[0]: row
            for row in world.exchange.rest("/fapi/v1/klines", symbol=symbol, interval=interval, limit=DEPTH + 2)
        }
        for finding in candles_in_order(f"{symbol} klines {interval}", rows, interval):
            self.note(finding)
        wrong = [row for row in rows[:-2] if row != truth.get(row[0])]
        if wrong:
            text = f"{symbol} klines {interval}: {wrong[0]} is {truth.get(wrong[0][0])}, and {len(wrong) - 1} more"
            self.note(Finding(Promise.DIVERGENCE, text))

    def finish(self) -> None:
        """Record the counts."""
        tally = self._world.tally
        done = {
            "checks": tally.checks.total(),
            "by_rest": self._by_rest,
            "raised": dict(tally.raised),
            "healed": self._healed,
        }
        self._file.write(json.dumps({"done": done}) + "\n")
