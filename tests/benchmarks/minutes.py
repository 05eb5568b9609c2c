"""How long a start and a repair take because of the weight, on virtual time, so the machine makes no difference.

The dispatcher and the budget are those of a manager, whose requests take 200 ms each. The exchange counts by the UTC
clock minute and reports its count, as measured on 2026-10-07. "Without reports" is the same without the header: the
budget used to read only other programs' use from it. "Dictated" is a client that knows to the millisecond when a minute
begins, keeps to the same share, and reserves nothing for later repairs.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterable
from typing import Any

from ats_sync.config import Config
from ats_sync.engine.budget import Budget
from ats_sync.engine.dispatch import Dispatcher, Send
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.feeds import Cause, Key, Kind
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Bucket, Request

from .report import OURS, Report

MIDNIGHT = 1_795_219_200_000
MINUTE = 60_000
ONE_WAY = 100
THREADS = Config().max_rest_threads
INTERVALS = ("15m", "1h", "4h", "1d")
SECONDS = (0, 10, 20, 30, 40, 50, 54, 55, 56, 57, 58)
"""The seconds of the minute at which a start is examined."""
LATEST = 900_000


class Dictated(Budget):
    """A budget that knows when minutes begin: the whole share is available with each new one."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self._counted: dict[int, int] = {}

    def free_at(self, request: Request[Any], cause: Cause, at: Moment, waiting: int = 1) -> float:
        if request.bucket is not Bucket.FUTURES:
            return super().free_at(request, cause, at, waiting)
        arrives = at.exchange + ONE_WAY
        urgent = cause in (Cause.READ, Cause.REPAIR, Cause.PROBE)
        allowed = int(self.windows[Bucket.FUTURES].limit * (self.share if urgent else self.share - self.reserve))
        if self._counted.get(arrives // MINUTE, 0) + request.weight <= allowed:
            return at.steady
        return at.steady + (MINUTE - arrives % MINUTE) / 1000.0

    def spend(self, request: Request[Any], at: Moment, cause: Cause) -> None:
        super().spend(request, at, cause)
        minute = (at.exchange + ONE_WAY) // MINUTE
        if request.bucket is Bucket.FUTURES:
            self._counted[minute] = self._counted.get(minute, 0) + request.weight


class Start:
    """A manager's requests from one moment on, until they are answered."""

    def __init__(self, budget: Budget, config: Config, begun: int, *, reports: bool) -> None:
        self.now = self.begun = begun
        self.budget = budget
        self.most = 0
        """The most weight that arrived within a clock minute."""
        self.last: dict[Kind, int] = {}
        """When (ms after the start) the last answer of a kind came."""
        self._dispatcher = Dispatcher(config, budget, lambda steady: steady, random.Random(1))
        self._reports = reports
        self._counted: dict[int, int] = {}
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._under_way = 0

    def run(self, fetches: Iterable[Fetch], *, candles: int, quiet: int = 0) -> Start:
        """Run the fetches; ``quiet`` is how long (ms) the manager has run before, with a poll every 5 s."""
        self.budget.candles(candles, 0)
        self.now = self.begun - quiet
        polls = itertools.count()
        while self.now < self.begun:
            self._dispatcher.submit(Fetch(Key(Kind.MARK, f"{next(polls)}"), endpoints.premium_index(), Cause.POLL))
            self._send_all()
            self._play(self.now + 5_000)
        for fetch in fetches:
            self._dispatcher.submit(fetch)
        self._send_all()
        self._play(self.begun + LATEST)
        return self

    def _play(self, until: int) -> None:
        while self._heap and self._heap[0][0] <= until:
            self.now, _, do = heapq.heappop(self._heap)
            do()
        if self.now < self.begun:
            self.now = until

    def _moment(self) -> Moment:
        # After an answer about the time, the exchange's clock is known to within the duration of the request.
        return Moment((self.now - MIDNIGHT) / 1000.0 + 1_000.0, self.now + ONE_WAY, True, ONE_WAY * 2)

    def _at(self, time: int, do: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (max(time, self.now), next(self._numbers), do))

    def _send_all(self) -> None:
        while self._under_way < THREADS:
            at = self._moment()
            found = self._dispatcher.next(at)
            if isinstance(found, Send):
                self._send(found, at.steady)
                continue
            if found is not None:
                self._at(self.now + max(1, math.ceil((found - at.steady) * 1000)), self._send_all)
            return

    def _send(self, send: Send, sent: float) -> None:
        self._under_way += 1
        request = send.request

        def arrives() -> None:
            minute = self.now // MINUTE
            if request.bucket is Bucket.FUTURES:
                self._counted[minute] = self._counted.get(minute, 0) + request.weight
                self.most = max(self.most, self._counted[minute])
            count = self._counted.get(minute, 0) if self._reports else None
            self._at(self.now + ONE_WAY, lambda: answered(count))

        def answered(count: int | None) -> None:
            self._under_way -= 1
            self.last[send.fetch.key.kind] = self.now - self.begun
            self._dispatcher.answered(send, count, sent, self._moment())
            self._dispatcher.done(send, None, self._moment())
            self._send_all()

        self._at(self.now + ONE_WAY, arrives)


def shared_fetches() -> Iterable[Fetch]:
    """Return what a start requests in addition to its symbols."""
    for kind, request in (
        (Kind.CLOCK, endpoints.time()),
        (Kind.LISTINGS, endpoints.exchange_info()),
        (Kind.MARK, endpoints.premium_index()),
        (Kind.TICKERS, endpoints.ticker_24h()),
    ):
        yield Fetch(Key(kind), request, Cause.PROBE if kind is Kind.CLOCK else Cause.WARM_UP)


def candles_of(symbols: int, cause: Cause, limit: int) -> Iterable[Fetch]:
    for number in range(symbols):
        for interval in INTERVALS:
            symbol = f"S{number}USDT"
            yield Fetch(Key(Kind.KLINES, symbol, interval), endpoints.klines(symbol, interval, limit), cause)


def trades_of(symbols: int, cause: Cause) -> Iterable[Fetch]:
    for number in range(symbols):
        yield Fetch(
            Key(Kind.TRADES, f"S{number}USDT"), endpoints.agg_trades(f"S{number}USDT", 1000), cause, order=1
        )  # (after the candles)


def start_of(symbols: int, *, trades: bool) -> list[Fetch]:
    found = [*shared_fetches(), *candles_of(symbols, Cause.WARM_UP, 500)]
    return found + list(trades_of(symbols, Cause.WARM_UP)) if trades else found


def repair_of(symbols: int) -> list[Fetch]:
    """Return what follows an outage in which no candle closed: the open candles, and the trades that were missed."""
    return [*candles_of(symbols, Cause.REPAIR, 2), *trades_of(symbols, Cause.REPAIR)]


def begun_at(second: int) -> int:
    return MIDNIGHT + second * 1000


def ours(fetches: list[Fetch], second: int, *, candles: int, quiet: int = 0, reports: bool = True) -> Start:
    config = Config(proxies={})
    start = Start(Budget(config), config, begun_at(second), reports=reports)
    return start.run(fetches, candles=candles, quiet=quiet)


def dictated(fetches: list[Fetch], second: int, *, candles: int, quiet: int = 0) -> Start:
    config = Config(proxies={})
    return Start(Dictated(config), config, begun_at(second), reports=False).run(fetches, candles=candles, quiet=quiet)


def seconds_of(start: Start) -> float:
    return max(start.last.values()) / 1000.0


MOST_TIMES, MOST_SECONDS = 1.1, 75.0
"""As a multiple of what the clock minutes dictate; in seconds for 200 symbols with their trades, from any second."""


def measure(report: Report, *, quick: bool, symbols: int) -> None:
    """Measure a start with and without trades, and a repair, from several seconds of the minute."""
    section = "What the weight makes a start take, on virtual time at 200 ms a request"
    more = 5 * symbols // 2
    trades = f"{symbols} symbols × 4 intervals and trades"
    cases = [
        (trades, start_of(symbols, trades=True), symbols, 0),
        (f"{more} symbols × 4 intervals", start_of(more, trades=False), more, 0),
        (f"repair of {symbols} symbols' candles and trades", repair_of(symbols), symbols, 130_000),
    ]
    for name, fetches, count, quiet in cases:
        candles = count * len(INTERVALS)
        for second in SECONDS[::3] if quick else SECONDS:
            found = ours(fetches, second, candles=candles, quiet=quiet)
            least = seconds_of(dictated(fetches, second, candles=candles, quiet=quiet))
            before = seconds_of(ours(fetches, second, candles=candles, quiet=quiet, reports=False))
            case = f"{name}, from :{second:02d}"
            note = f"without reports {before:.1f} s; most in a minute {found.most}"
            report.add(section, case, OURS, seconds_of(found), "s", MOST_SECONDS if name is trades else None, note)
            report.add(section, case, DICTATED, least, "s")
            report.ratio(section, case, OURS, DICTATED, None if name is trades else MOST_TIMES)
    report.show(section)


DICTATED = "dictated by the clock minutes"
