"""Reads compared with the exchange's own truth, sampled before and after each of them."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ..errors import AtsSyncError, InvalidSymbol, NoSpotPair
from ..simulator import ApiError, SimulatorError
from . import checks
from .options import BOUNDS, Options
from .tally import Finding, Promise
from .world import Effects, World

KLINES, DEPTH, AGG_TRADES, OPEN_INTEREST = (
    "/fapi/v1/klines",
    "/fapi/v1/depth",
    "/fapi/v1/aggTrades",
    "/futures/data/openInterestHist",
)
LIMITS = (2, 5, 30, 300)
TRADES_READ = 50
LEVELS = 20
OI_ROWS = 24
READ_TIMEOUT = 3.0


class Check(ABC):
    """One comparison: the truth twice, a bound apart, then a read, then the truth again."""

    kind: str

    def __init__(self, world: World, symbol: str) -> None:
        self.world = world
        self.symbol = symbol
        self.samples: list[tuple[float, Any]] = []
        """The times (monotonic) at which the truth was sampled, and the truth."""

    def sample(self) -> None:
        """Sample the truth."""
        truth = self.truth()
        self.samples.append((time.monotonic(), truth))

    def due(self) -> float:
        """Return when (monotonic) the next step is due."""
        bounds = BOUNDS[self.kind]
        first = self.samples[0][0]
        return first + (bounds.silent - bounds.usual if len(self.samples) == 1 else bounds.silent) + 0.01

    def before(self, began: float, effects: Effects) -> Any:
        """Return the newest truth that an answer to a read begun at ``began`` must already know."""
        bound = self.world.bound(self.kind, effects)
        known = [truth for at, truth in self.samples if at <= began - bound]
        return known[-1] if known else None

    @abstractmethod
    def truth(self) -> Any: ...

    @abstractmethod
    def read(self) -> Any: ...

    @abstractmethod
    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]: ...

    def finish(self) -> list[Finding]:
        """Read and compare."""
        began = time.monotonic()
        effects = self.world.effects()
        try:
            read = self.read()
        except (AtsSyncError, NoSpotPair) as error:
            self.world.tally.refused(error)
            return []
        by_rest = self.world.manager.sources.by_rest()
        self.world.tally.read(memory=not by_rest)
        self.world.tally.checked(self.kind)
        after = self.world.effects()
        both = Effects(effects.silent or after.silent, effects.lagging or after.lagging)
        return self.compare(read, self.before(began, both), bounded=not (by_rest and both.lagging))


class KlinesCheck(Check):
    kind = "klines"

    def __init__(self, world: World, symbol: str, interval: str, limit: int) -> None:
        super().__init__(world, symbol)
        self.interval = interval
        self.limit = limit

    def truth(self) -> Any:
        return self._rows(4)

    def _rows(self, limit: int) -> Any:
        return self.world.exchange.rest(KLINES, symbol=self.symbol, interval=self.interval, limit=limit)

    def read(self) -> Any:
        return self.world.manager.rest_shaped.klines(self.symbol, self.interval, self.limit)

    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]:
        after = self._rows(self.limit + 2)
        what = f"{self.symbol} klines {self.interval} limit {self.limit}"
        now = self.world.exchange.now()
        return checks.klines(what, self.interval, self.limit, read, before, after, now, bounded=bounded)


class BookCheck(Check):
    kind = "orderbook"

    def truth(self) -> Any:
        return self.world.exchange.rest(DEPTH, symbol=self.symbol, limit=LEVELS)

    def read(self) -> Any:
        return self.world.manager.rest_shaped.depth(self.symbol, LEVELS)

    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]:
        return checks.book(f"{self.symbol} orderbook", read, before, self.truth(), bounded=bounded)


class TradesCheck(Check):
    kind = "trades"

    def truth(self) -> Any:
        newest = self.world.exchange.rest(AGG_TRADES, symbol=self.symbol, limit=1)
        return newest[-1]["a"] if newest else -1

    def read(self) -> Any:
        return self.world.manager.rest_shaped.agg_trades(self.symbol, TRADES_READ)

    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]:
        same: list[Any] = []
        if read:
            same = self.world.exchange.rest(AGG_TRADES, symbol=self.symbol, fromId=read[0]["a"], limit=len(read))
        return checks.trades(f"{self.symbol} trades", read, before, same, bounded=bounded)


class MarkCheck(Check):
    """A check of a mark price, which is judged by its own time."""

    kind = "mark"

    def truth(self) -> Any:
        return self.world.exchange.now()

    def read(self) -> Any:
        return self.world.manager.get_funding_rate(self.symbol)

    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]:
        if bounded and read["timestamp"] < before:
            return [Finding(Promise.STALE, f"{self.symbol} mark price of {read['timestamp']}, {before} is long past")]
        return []


class OpenInterestCheck(Check):
    """A check of open interest: all rows except the newest never change."""

    kind = "oi"

    def truth(self) -> Any:
        return self.world.exchange.rest(OPEN_INTEREST, symbol=self.symbol, period="1h", limit=OI_ROWS + 2)

    def read(self) -> Any:
        return self.world.manager.rest_shaped.open_interest_hist(self.symbol, "1h", OI_ROWS)

    def compare(self, read: Any, before: Any, *, bounded: bool) -> list[Finding]:
        truth = {row["timestamp"]: row for row in self.truth()[:-1]}
        wrong = [row for row in read[:-1] if row != truth.get(row["timestamp"], row)]
        return [Finding(Promise.INVARIANT, f"{self.symbol} open interest: {wrong[0]}")] if wrong else []


class Checker(threading.Thread):
    """Makes ``per_second`` checks, each on a random symbol and kind."""

    def __init__(self, world: World, number: int, per_second: float) -> None:
        super().__init__(name=f"stress-check-{number}", daemon=True)
        self._world = world
        self._rng = random.Random(world.options.seed * 1000 + number)
        self._pace = 1.0 / per_second
        self._pending: list[tuple[float, int, Check]] = []
        self._numbers = itertools.count()

    def run(self) -> None:
        world = self._world
        with catching(world):
            next_start = time.monotonic()
            while not world.stop.is_set():
                now = time.monotonic()
                if now >= next_start:
                    next_start = max(next_start + self._pace, now)
                    self._step(self._new())
                elif self._pending and self._pending[0][0] <= now:
                    self._step(heapq.heappop(self._pending)[2])
                else:
                    due = min([next_start, *(each[0] for each in self._pending[:1])])
                    world.stop.wait(max(0.0, due - now))

    def _step(self, check: Check) -> None:
        world = self._world
        try:
            if len(check.samples) < 2:
                check.sample()
                heapq.heappush(self._pending, (check.due(), next(self._numbers), check))
                return
            findings = check.finish()
        except ApiError:
            return  # it was delisted in between
        if check.symbol not in world.delisted:
            for finding in findings:
                world.tally.found(finding)

    def _new(self) -> Check:
        world, rng = self._world, self._rng
        symbol = rng.choice(world.symbols)
        kind = rng.random()
        if kind < 0.5:
            return KlinesCheck(world, symbol, rng.choice(world.options.intervals), rng.choice(LIMITS))
        if kind < 0.7:
            return BookCheck(world, symbol)
        if kind < 0.9 and symbol in world.warm:
            return TradesCheck(world, symbol)
        return MarkCheck(world, symbol) if kind < 0.97 else OpenInterestCheck(world, symbol)


@contextmanager
def catching(world: World) -> Iterator[None]:
    """Turn an error that ends a thread of the run into a finding, unless the run is ending."""
    try:
        yield
    except InvalidSymbol as error:
        world.tally.found(Finding(Promise.CRASH, repr(error)))
    except SimulatorError as error:
        if not world.stop.is_set():
            world.tally.found(Finding(Promise.CRASH, f"the exchange does not answer: {error}"))
    except Exception as error:  # noqa: BLE001 - whatever it is, it is reported
        world.tally.found(Finding(Promise.CRASH, repr(error)))


def checkers(world: World, options: Options, threads: int = 3) -> list[Checker]:
    """Return threads that together make the checks that the options require."""
    return [Checker(world, number, options.checks_per_second / threads) for number in range(threads)]
