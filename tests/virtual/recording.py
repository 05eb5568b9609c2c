"""A stretch of the exchange's life, recorded once: every frame it sends, and what was true when.

The market is deterministic, so that many schedules of faults can share one recording; REST answers are computed
by a market of the same beginning that is led through the same script.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import orjson

from ats_sync.simulator.market import Market
from ats_sync.simulator.market.book import BookState
from ats_sync.simulator.market.instrument import Instrument

from .reported import BookTruth, KlineTruth, Levels, Row, TradeTruth
from .script import NEW_COUNTS, STEP, ScriptedMarket, Setting, market_of

CHUNK = 60_000
"""It is made so much (ms) at a time, as far as somebody plays it."""
ALL_MARKET = ("!markPrice@arr@1s", "!forceOrder@arr", "!ticker@arr", "!bookTicker", "!contractInfo")
KNOWN_ROWS = 150
QUOTES, QUOTES_EVERY = "!bookTicker", 5_000
OTHER = "OTHERUSDT"
"""A symbol that nobody follows and that goes on where all others rest."""
ENDLESS = 1 << 62
FULL_LEVELS = 100
"""How deep the full book is compared."""
KEPT = 12
"""So many recordings are remembered."""


class Recording:
    """The recording of one setting, made as it is played; with ``full_book`` it includes the changes of one symbol's
    whole book."""

    def __init__(self, setting: Setting, full_book: bool) -> None:
        self.setting = setting
        self.start = setting.start
        self.end = setting.start
        """How far it is recorded (ms)."""
        self.groups: list[tuple[int, list[tuple[str, bytes]]]] = []
        """Frames by event time: ``(time, [(stream, text)])``."""
        self.klines = {(s, i): KlineTruth(i) for s in setting.symbols for i in setting.intervals}
        self.trades = {s: TradeTruth() for s in setting.symbols}
        self.books = {s: BookTruth() for s in setting.symbols}
        self.full_books = {setting.symbols[0]: BookTruth()} if full_book else {}
        """As the stream of changes of one symbol's whole book says."""
        self.marks: dict[tuple[str, int], str] = {}
        self.away: dict[str, list[tuple[int, int]]] = {s: [] for s in setting.symbols}
        """When (from, to) a symbol was not on the exchange."""
        self._young: set[str] = set()  # contracts without a past
        market = market_of(setting)
        for symbol in setting.symbols:
            market.agg_trades(symbol, limit=1)  # makes the older trades, which is slow
            if market._instruments[symbol].untraded:
                self._begin(symbol, 0)
            for interval in setting.intervals:
                truth = self.klines[symbol, interval]
                truth.halts += [(0, start, stop) for start, stop in market._instruments[symbol].candles._halts]
                for row in market.klines(symbol, interval, limit=KNOWN_ROWS):
                    truth.note(row, 0)
        self._market = pickle.dumps(market, pickle.HIGHEST_PROTOCOL)
        for name in map(str.lower, setting.symbols):
            market.subscribed |= {f"{name}@aggTrade", f"{name}@depth20@100ms"}
            market.subscribed |= {f"{name}@kline_{interval}" for interval in setting.intervals}
        market.subscribed |= {f"{name.lower()}@depth@100ms" for name in self.full_books}
        market.subscribed |= set(ALL_MARKET)
        self._recorder = ScriptedMarket(market, setting, self._note_all, self._changed)
        self._last_ids = dict.fromkeys(setting.symbols, -1)
        for symbol in setting.symbols:
            self._note_trades(symbol, 0)
            self.trades[symbol].forget_times()

    def market(self) -> ScriptedMarket:
        """Return the market at the beginning of the stretch."""
        return ScriptedMarket(pickle.loads(self._market), self.setting)

    def counts_anew(self, symbol: str) -> bool:
        """Return whether its script lets the symbol's ids begin again."""
        return any(verb in NEW_COUNTS and name == symbol for _, verb, name in self.setting.script)

    def away_since(self, symbol: str, now: int) -> int | None:
        """Return since when the symbol has not been on the exchange, None where it is."""
        return next((left for left, back in self.away[symbol] if left <= now < back), None)

    def back_since(self, symbol: str, now: int) -> int:
        """Return when the symbol last came back, 0 where it was there all along."""
        return max((back for _, back in self.away[symbol] if back <= now), default=0)

    # --- recording ---------------------------------------------------------------------------------------

    def record_until(self, time: int) -> None:
        """Record at least as far as ``time`` (ms)."""
        while self.end < time:
            self._record(self.end + CHUNK)

    def _record(self, end: int) -> None:
        lower = {symbol.lower(): symbol for symbol in self.setting.symbols}
        for now in range(self.end + STEP, end + 1, STEP):
            turned, quoted = now % 60_000 < STEP, now % QUOTES_EVERY == 0
            if not (turned or quoted) and self._recorder.next_at() > now:
                continue
            frames = self._recorder.advance(now)
            self._note_all(turned=turned)
            for frame in frames:
                self._note_frame(frame.stream, frame.event_time, frame.payload, lower)
            if quoted and not (self.setting.alone or any(each.stream == QUOTES for each in frames)):
                self._note_frame(QUOTES, now, quotes_of_another(now), lower)
        self.end = end

    def _note_all(self, *, turned: bool = False) -> None:
        market = self._recorder.market
        for symbol in self.setting.symbols:
            if symbol in market._instruments:
                self._note(market, symbol, turned)

    def _note(self, market: Market, symbol: str, turned: bool) -> None:
        """Note what REST shows now and did not show a step before."""
        newest = market._instruments[symbol].trades.next_id - 1
        made = newest != self._last_ids[symbol]
        if made:
            self._note_trades(symbol, self._last_ids[symbol] + 1)
        if made or turned:
            self._note_rows(market, symbol)

    def _note_rows(self, market: Market, symbol: str) -> None:
        for interval in self.setting.intervals:
            rows = market.klines(symbol, interval, limit=KNOWN_ROWS if symbol in self._young else 2)
            for row in rows:
                self.klines[symbol, interval].note(row, market.now - STEP)
            if rows and symbol in self._young:
                self.klines[symbol, interval].begins_with(rows[0][0], market.now - STEP)

    def _note_trades(self, symbol: str, first: int) -> None:
        market = self._recorder.market
        self._last_ids[symbol] = market._instruments[symbol].trades.next_id - 1
        for trade in market.agg_trades(symbol, from_id=first, limit=100_000):
            self.trades[symbol].note(trade)

    def _begin(self, symbol: str, now: int) -> None:
        """Note that a contract without a past begins."""
        self._young.add(symbol)
        for interval in self.setting.intervals:
            self.klines[symbol, interval].begin_contract(now)

    def _changed(self, verb: str, symbol: str) -> None:
        """Note what the script has just done."""
        market = self._recorder.market
        now = market.now
        klines = [self.klines[symbol, interval] for interval in self.setting.intervals]
        if verb == "delist":
            self.away[symbol].append((now, ENDLESS))
        if verb in ("list", "list below"):
            self.away[symbol][-1] = (self.away[symbol][-1][0], now)
            self._begin(symbol, now)
        if verb in NEW_COUNTS:
            self.trades[symbol].begin_anew(now)
            for books in (self.books, self.full_books):
                if symbol in books:
                    books[symbol].begin_anew(now)
            self._note_trades(symbol, 0)
        if verb == "recompute":
            for truth in klines:
                truth.generation += 1
            self._note_rows(market, symbol)
        if verb == "halt without candles":
            for truth in klines:
                truth.halts.append((now, now, ENDLESS))
        if verb in ("resume", "first trade"):
            for truth in klines:
                truth.resume(now)

    def _note_frame(self, stream: str, at: int, payload: str, lower: dict[str, str]) -> None:
        text = f'{{"stream":"{stream}","data":{payload}}}'.encode()
        if self.groups and self.groups[-1][0] == at:
            self.groups[-1][1].append((stream, text))
        else:
            self.groups.append((at, [(stream, text)]))
        name, _, kind = stream.partition("@")
        symbol = lower.get(name)
        if stream == "!markPrice@arr@1s":
            for mark in orjson.loads(payload):
                self.marks[mark["s"], mark["E"]] = mark["p"]
        if symbol is None:
            return
        data: Any = orjson.loads(payload)
        if kind.startswith("kline_"):
            k = data["k"]
            row: Row = [k["t"], *(k[x] for x in "ohlcv"), k["T"], k["q"], k["n"], k["V"], k["Q"], "0"]
            self.klines[symbol, kind[6:]].report(row, at)
        elif kind == "aggTrade":
            self.trades[symbol].report(data, at)
        elif kind == "depth20@100ms":
            self.books[symbol].report(data["u"], at, partial(_levels, data["b"], data["a"]))
        elif kind == "depth@100ms":
            self.full_books[symbol].report(data["u"], at, self._full_levels(symbol, data["u"]))

    def _full_levels(self, symbol: str, update_id: int) -> Callable[[], Levels] | None:
        """Return how to write the whole book at an update id, None where the market has gone on meanwhile."""
        market = self._recorder.market
        instrument = market._instruments.get(symbol)
        if instrument is None:
            return None
        state = instrument.state(market.now)
        return partial(_written, instrument, state) if instrument.book.update_id(state) == update_id else None


def _written(instrument: Instrument, state: BookState) -> Levels:
    price, quantity = instrument.price_text, instrument.qty_text
    bids, asks = ([(price(p), quantity(q)) for p, q in side] for side in instrument.book.top(state, FULL_LEVELS))
    return bids, asks


def _levels(bids: list[list[str]], asks: list[list[str]]) -> Levels:
    return [*map(tuple, bids)], [*map(tuple, asks)]


def quotes_of_another(now: int) -> str:
    """Return the quotes of a symbol that nobody follows."""
    data = {"e": "bookTicker", "u": now, "s": OTHER, "b": "7.6", "B": "1", "a": "7.7", "A": str(now % 89 + 1)}
    return json.dumps(data | {"T": now - 20, "E": now, "st": 1, "ps": OTHER}, separators=(",", ":"))


@lru_cache(maxsize=KEPT)
def recording(setting: Setting, full_book: bool = False) -> Recording:
    return Recording(setting, full_book)


def _quiet(*seconds: float) -> tuple[tuple[int, str, str], ...]:
    return tuple((round(second * 1000) // STEP * STEP, "trade", "BTCDOMUSDT") for second in seconds)


SETTINGS = (
    # 2026-11-21 23:58:34: midnight (and a Sunday) after 86 s.
    Setting(3, 1_795_305_514_000, script=_quiet(9, 25.3, 26.1, 58, 84.8, 86.2, 110, 145.5, 171, 205.9, 206.9, 240)),
    # 12:29:40, with hours; the busy symbol falls silent for a while across a close.
    Setting(
        8,
        1_795_264_180_000,
        intervals=("1m", "1h"),
        activity=0.006,
        script=(
            *_quiet(3, 19.9, 20.3, 41, 79, 80.2, 100.5, 139.9, 140.1, 180, 215, 259.9),
            (45_000, "silence", "BTCUSDT"),
            (92_000, "unsilence", "BTCUSDT"),
        ),
    ),
    # A Monday's midnight after 41 s; kline events as in recordings, where late changes stay unreported.
    Setting(
        21,
        1_795_391_959_000,
        intervals=("1m", "1d"),
        trailing_klines=False,
        script=_quiet(12, 40.7, 42.3, 70, 100.9, 131, 160.5, 190, 221.1, 250),
    ),
    # Very little is traded.
    Setting(
        34,
        1_795_270_023_000,
        activity=0.0015,
        script=_quiet(30, 36.9, 37.2, 60, 96.5, 97.3, 130, 157.1, 190, 216.8, 240),
    ),
)  # fmt: skip
