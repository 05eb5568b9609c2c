"""The real engine and stores on a virtual clock, against a tiny exchange that can be made to fail."""

from __future__ import annotations

import bisect
import heapq
import itertools
import json
import random
from collections.abc import Callable
from functools import partial
from typing import Any

from ats_sync.config import Config
from ats_sync.engine.connection import Connect, Send
from ats_sync.engine.engine import Engine, Submit
from ats_sync.engine.jobs import Fetch
from ats_sync.engine.moment import Moment
from ats_sync.errors import AtsSyncError
from ats_sync.feeds import ACTIVITY, FEEDS, LISTINGS, SHARED, Cause, Key, Kind
from ats_sync.store.book import BookSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore, keys_of
from ats_sync.store.trades import TradeSeries

from ..store.candles import Truth
from ..venue import samples
from ..venue.samples import HOUR, MIDNIGHT, MINUTE, compact

START = 1_000.0
"""Steady seconds at the beginning, when the exchange's time is half a minute before midnight."""
BEGAN = MIDNIGHT - 30_000
HISTORY = 30
FIRST_TRADE = 5_000
TURN = (MIDNIGHT - BEGAN) / 1000.0
"""Seconds from the start to the first turn of a minute."""
UNANSWERED = frozenset(kind for kind, feed in FEEDS.items() if feed.stream_only)
"""What comes by stream alone."""


def touch(number: int) -> str:
    """Return the quantity at the best bid after this many trades."""
    return str(1 + number % 89)


class TinySymbol:
    """One contract: a minute has ``busy`` trades, spread evenly; its other candles follow from the minutes."""

    def __init__(
        self,
        name: str,
        minutes: list[int],
        *,
        first_trade: int = FIRST_TRADE,
        began: int = MIDNIGHT - HISTORY * MINUTE,
    ) -> None:
        self.name = name
        self.first_trade = first_trade
        self.truth = Truth("1m", began, minutes)
        self.trades = [self.truth.told_at(i, n) for i, count in enumerate(minutes) for n in range(1, count + 1)]
        """When each trade happened; the ids count from ``first_trade``."""

    def last_trade(self, now: int) -> int:
        return self.first_trade + bisect.bisect_right(self.trades, now) - 1

    def tape(self) -> list[tuple[int, str, Callable[[], bytes]]]:
        """Return ``(when, stream, frame)`` of everything its own streams send from the beginning."""
        lower, number = self.name.lower(), self.first_trade - 1
        told: list[tuple[int, str, Callable[[], bytes]]] = []
        for i, count in enumerate(self.truth.trades):
            if self.truth.close_time(i) < BEGAN:
                number += count
                continue
            for n in range(1, count + 1):
                number += 1
                at = self.truth.told_at(i, n)
                told += [
                    (at, f"{lower}@kline_1m", partial(self._kline, i, n, number, at)),
                    (at + 20, f"{lower}@aggTrade", partial(self._trade, number, at)),
                    (at + 30, f"{lower}@depth20@100ms", partial(self._book, number, at + 30)),
                    (at + 40, "!bookTicker", partial(self._quotes, number, at + 40)),
                ]
            if count:
                at = self.truth.close_time(i) + 204
                told.append((at, f"{lower}@kline_1m", partial(self._kline, i, count, number, at, final=True)))
        return told

    def _book(self, number: int, at: int) -> bytes:
        data = samples.book_data(number * 10, event=at, symbol=self.name)
        data["b"][0][1] = touch(number)
        return samples.frame(f"{self.name.lower()}@depth20@100ms", data)

    def _quotes(self, number: int, at: int) -> bytes:
        data = samples.quotes_data(self.name, number * 10, event=at)
        data["B"] = touch(number)
        return samples.frame("!bookTicker", data)

    def rest_book(self, now: int) -> dict[str, Any]:
        number = self.last_trade(now)
        book = samples.rest_book(number * 10, event=now)
        book["bids"][0][1] = touch(number)
        return book

    def _kline(self, i: int, n: int, number: int, at: int, *, final: bool = False) -> bytes:
        row = self.truth.row(i, n)
        data = samples.kline_data(row, symbol=self.name, interval="1m", event=at, final=final)
        data["k"] |= {"f": number - n + 1, "L": number}
        return samples.frame(f"{self.name.lower()}@kline_1m", data)

    def _trade(self, number: int, at: int) -> bytes:
        data = samples.trade_data(number, symbol=self.name, at=at) | {"f": number, "l": number}
        return samples.frame(f"{self.name.lower()}@aggTrade", data)

    def rest_trade(self, number: int) -> dict[str, Any]:
        at = self.trades[number - self.first_trade]
        return samples.rest_trade(number, at=at) | {"f": number, "l": number}


def deep(name: str, busy: int, *, minutes: int = 20) -> TinySymbol:
    """Return a symbol whose trades reach further back than a ring; the older ones came in one burst long ago."""
    return TinySymbol(name, [1_500, *[busy] * (HISTORY + minutes - 1)])


def failing(kind: Kind, error: AtsSyncError, *, times: int = 10**9) -> Callable[[Fetch], AtsSyncError | None]:
    """Return a value for :attr:`Bench.fails` that makes the first requests of a kind fail."""
    left = [times]

    def fails(fetch: Fetch) -> AtsSyncError | None:
        if fetch.key.kind is kind and left[0] > 0:
            left[0] -= 1
            return error
        return None

    return fails


class Bench:
    """``asked`` records every request that the engine made: when (seconds from the start) and which."""

    def __init__(
        self,
        symbols: dict[str, int] | list[TinySymbol] | None = None,
        *,
        minutes: int = 20,
        streams: bool = True,
        seed: int = 3,
        follow: bool = True,
        **settings: Any,
    ) -> None:
        if not isinstance(symbols, list):
            symbols = [
                TinySymbol(name, [busy] * (HISTORY + minutes)) for name, busy in (symbols or {"AUSDT": 12}).items()
            ]
        self.symbols = {symbol.name: symbol for symbol in symbols}
        self.config = Config(**settings)
        self.store = MarketStore(self.config, lambda: self.now)
        self.engine = Engine(self.config, self.store, streams=streams, rng=random.Random(seed))
        self.now = START
        self.exchange_ahead = 0
        """How far (ms) our idea of the exchange's time is ahead of it."""
        self.proven = True
        self.asked: list[tuple[float, Fetch]] = []
        self.fails: Callable[[Fetch], AtsSyncError | None] = lambda fetch: None
        self.holds: Callable[[Fetch], bool] = lambda fetch: False
        """Which requests are never answered (they wait in line)."""
        self.held: list[Fetch] = []
        self.dropped: Callable[[str, bytes], bool] = lambda stream, frame: False
        """Which frames are lost on their way."""
        self.unlisted: set[str] = set()
        self.statuses: dict[str, str] = {}
        """What exchangeInfo says of these symbols, whatever they do."""
        self.onboarded: dict[str, int] = {}
        """What it says of when they began to trade (exchange ms), where it says so."""
        self.acknowledges: Callable[[str], bool] = lambda stream: True
        self.refuses = False
        self.links: dict[int, Link] = {}
        self.subscribed: dict[int, set[str]] = {}
        self.connects: list[tuple[float, str]] = []
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self._tape = sorted(
            itertools.chain.from_iterable(symbol.tape() for symbol in symbols), key=lambda each: each[0]
        )
        self._tape_at = bisect.bisect_left(self._tape, BEGAN, key=lambda each: each[0])
        self._next_second = BEGAN
        if follow:
            self.follow(*self.symbols)

    def follow(self, *symbols: str, intervals: tuple[str, ...] = ("1m",), periods: tuple[str, ...] = ("1h",)) -> None:
        keys = self.store.follow(keys_of(symbols, intervals, periods))
        shared = [*SHARED, *(ACTIVITY if self.engine.streams else ())]
        self.engine.follow([*shared, *keys], self.at())

    def replace(self, young: TinySymbol) -> None:
        """Give the name to this contract from now on."""
        name = b'"%s"' % young.name.encode()
        kept = [each for each in self._tape[self._tape_at :] if name not in each[2]()]
        self._tape = sorted([*kept, *young.tape()], key=lambda each: each[0])
        self._tape_at = bisect.bisect_right(self._tape, self.exchange(), key=lambda each: each[0])
        self.symbols[young.name] = young

    # --- time ----------------------------------------------------------------------------------------------

    def exchange(self) -> int:
        """The exchange's own time, ms."""
        return BEGAN + round((self.now - START) * 1000)

    def at(self) -> Moment:
        return Moment(self.now, self.exchange() + self.exchange_ahead, self.proven)

    @property
    def seconds(self) -> float:
        return self.now - START

    def run(self, seconds: float, *, until: Callable[[], bool] = lambda: False) -> bool:
        """Let time pass; return whether ``until`` came true."""
        end, idle = self.now + seconds, 0
        self._carry_out()
        while not until():
            due = self.engine.next_due(self.at())
            moments = [end, self._steady(self._next_delivery()), end if due is None else due]
            wake = min(moments + [moment for moment, _, _ in self._agenda[:1]])
            idle = idle + 1 if wake <= self.now else 0
            assert idle < 200, f"it asks to be woken at {due} again and again, now is {self.now}"
            self.now = max(self.now, wake) + (1e-4 if idle > 10 else 0.0)
            self._tell()
            while self._agenda and self._agenda[0][0] <= self.now:
                heapq.heappop(self._agenda)[2]()
            self.engine.tick(self.at())
            self._carry_out()
            if self.now >= end:
                return until()
        return True

    def later(self, pause: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._agenda, (self.now + pause, next(self._count), act))

    def _steady(self, exchange: int) -> float:
        return START + (exchange - BEGAN) / 1000.0

    # --- streams -----------------------------------------------------------------------------------------------

    def _next_event(self) -> int:
        tape = self._tape[self._tape_at][0] if self._tape_at < len(self._tape) else self._next_second
        return min(tape, self._next_second)

    def _next_delivery(self) -> int:
        """Return when the network delivers next: it carries what was sent within 50 ms together."""
        event = self._next_event()
        return event + -event % 50

    def _tell(self) -> None:
        now = self.exchange()
        while self._next_event() <= now:
            if self._next_event() == self._next_second:
                second = self._next_second
                self._next_second += 1_000
                names = [name for name in self.symbols if name not in self.unlisted]
                self.deliver("!markPrice@arr@1s", samples.marks_frame(names, event=second))
                last = {name: self.symbols[name].last_trade(second) for name in names}
                self.deliver("!ticker@arr", samples.tickers_frame(last, event=second))
            else:
                _, stream, frame = self._tape[self._tape_at]
                self._tape_at += 1
                if any(stream in held for held in self.subscribed.values()):
                    self.deliver(stream, frame())
        for link in self.links.values():
            if link.up:
                link.advance(now / 1000.0, self.at().exchange / 1000.0)

    def deliver(self, stream: str, frame: bytes) -> None:
        if self.dropped(stream, frame):
            return
        for number, link in list(self.links.items()):
            if link.up and stream in self.subscribed[number]:
                notices, _ = self.store.ingest([frame], link)
                if notices:
                    self.engine.noticed(notices, self.at())

    def _carry_out(self) -> None:
        while actions := self.engine.take():
            for action in actions:
                if isinstance(action, Submit):
                    self.asked.append((self.seconds, action.fetch))
                    self._ask(action.fetch)
                elif isinstance(action, Connect):
                    self.connects.append((self.seconds, action.route.value))
                    self.later(0.05, partial(self._shake, action))
                elif isinstance(action, Send):
                    link = self.links[action.connection]
                    self.later(0.05, partial(self._obey, action.connection, json.loads(action.text), link))
                else:
                    self.cut(action.connection, action.reason)

    def _shake(self, action: Connect) -> None:
        if self.refuses:
            self.engine.lost(action.connection, action.link, "refused", self.at())
            return
        self.links[action.connection] = action.link
        self.subscribed[action.connection] = set()
        self.engine.opened(action.connection, action.link, self.at())

    def _obey(self, number: int, message: dict[str, Any], link: Link) -> None:
        if self.links.get(number) is not link or not link.up:
            return
        if message["method"] == "UNSUBSCRIBE":
            self.subscribed[number].difference_update(message["params"])
        else:
            self.subscribed[number].update(message["params"])
        if all(map(self.acknowledges, message["params"])):
            self.engine.replied(number, {"result": None, "id": message["id"]}, self.at())

    def cut(self, number: int, reason: str = "cut") -> None:
        link = self.links.pop(number, None)
        if link is not None:
            link.up = False
            self.engine.lost(number, link, reason, self.at())

    def cut_route(self, route: str = "market") -> None:
        for number, link in list(self.links.items()):
            if link.route == route:
                self.cut(number)

    def link_of(self, stream: str) -> Link | None:
        return next((link for number, link in self.links.items() if stream in self.subscribed[number]), None)

    # --- REST ------------------------------------------------------------------------------------------------------

    def _ask(self, fetch: Fetch) -> None:
        if self.holds(fetch):
            self.held.append(fetch)
            return
        asked = self.exchange()
        error = self.fails(fetch)
        body = self.answer(fetch, asked) if error is None else b""
        self.later(0.1, lambda: self.receive(fetch, body, asked, error))

    def receive(self, fetch: Fetch, body: bytes, asked: int, error: AtsSyncError | None = None) -> None:
        if error is None:
            if fetch.key.kind is Kind.CLOCK:
                self.exchange_ahead, self.proven = 0, True
            try:
                self.store.merge(fetch.key, fetch.request, body, asked, fetch.link)
            except AtsSyncError as refused:
                error = refused
        self.engine.fetched(fetch, error, self.at())

    def answer(self, fetch: Fetch, now: int) -> bytes:
        key, params = fetch.key, dict(fetch.request.params)
        limit = int(params.get("limit", 0))
        names = [name for name in self.symbols if name not in self.unlisted]
        symbol = self.symbols.get(key.symbol)
        if key.kind is Kind.KLINES:
            assert symbol is not None
            return compact(symbol.truth.rest(now, limit))
        if key.kind is Kind.TRADES:
            assert symbol is not None
            last = symbol.last_trade(now)
            first = max(symbol.first_trade, int(params["fromId"]) if "fromId" in params else last - limit + 1)
            return compact([symbol.rest_trade(number) for number in range(first, min(last, first + limit - 1) + 1)])
        if key.kind in (Kind.BOOK, Kind.DEPTH):
            assert symbol is not None
            return compact(symbol.rest_book(now))
        if key.kind is Kind.OPEN_INTEREST:
            newest = now - now % HOUR
            return compact([samples.open_interest_row(newest - back * HOUR) for back in reversed(range(limit))])
        return {
            Kind.CLOCK: lambda: compact({"serverTime": now}),
            Kind.MARK: lambda: compact([samples.rest_mark(name, at=now) for name in names]),
            Kind.SPOT: lambda: compact([{"symbol": name, "price": "7.6"} for name in names]),
            Kind.TICKERS: lambda: compact([{"symbol": n, "lastId": self.symbols[n].last_trade(now)} for n in names]),
            Kind.LISTINGS: lambda: compact(
                samples.exchange_info(
                    {n: "SETTLING" if n in self.unlisted else "TRADING" for n in self.symbols} | self.statuses,
                    onboarded=self.onboarded,
                )
            ),
        }[key.kind]()

    # --- what one wants to know --------------------------------------------------------------------------------------

    def of(
        self, kind: Kind, *, since: float = 0.0, cause: Cause | None = None, symbol: str | None = None
    ) -> list[tuple[float, Fetch]]:
        """Return the requests of a kind made from ``since`` on, in seconds from the start."""
        return [
            (when, fetch)
            for when, fetch in self.asked
            if fetch.key.kind is kind
            and when >= since
            and (cause is None or fetch.cause is cause)
            and (symbol is None or fetch.key.symbol == symbol)
        ]

    def series(self, symbol: str = "AUSDT") -> KlineSeries:
        return self.store.klines(symbol, "1m")

    def warm(self) -> None:
        """Run until everything is live, including trades."""
        assert self.run(20, until=self.all_live), [str(key) for key in self.lacking()]

    def lacking(self) -> list[Key]:
        return [key for key in self.engine.reconciler.states if key.kind not in UNANSWERED and not self._is_live(key)]

    def _is_live(self, key: Key) -> bool:
        series = self.store.get(key)
        if self.engine.streams and isinstance(series, KlineSeries | BookSeries | TradeSeries):
            link = series.state(self.exchange()).link if isinstance(series, KlineSeries) else series.state(0).link
            if link is not None and not link.up:
                return False
        return self.engine.reconciler.ready(key)

    def all_live(self) -> bool:
        return not self.lacking()

    def agrees(self, symbol: str = "AUSDT") -> bool:
        """Return whether the candles in memory are what REST would answer now."""
        self._tell()
        now = self.exchange()
        return self.series(symbol).rows(HISTORY, now, exact=True) == self.symbols[symbol].truth.rest(now, HISTORY)

    def trade_ids(self, symbol: str = "AUSDT") -> list[int]:
        return [trade.id for trade in self.store.trades(symbol).read(1_000)]


def ask_for_listings(bench: Bench) -> None:
    """Have exchangeInfo requested now."""
    bench.engine.reconciler.polls.again(LISTINGS, bench.at(), 0.0)


def announce(bench: Bench, symbol: str, status: str) -> None:
    """Deliver an event of ``!contractInfo``."""
    bench.deliver("!contractInfo", samples.contract_frame(symbol, status, event=bench.exchange()))
