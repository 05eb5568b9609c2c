"""A stretch of the exchange's life, recorded once: every frame it sends, and what was true when.

The market is deterministic, so that many schedules of faults can share one recording; REST answers are computed
by a market of the same beginning that is led through the same script.
"""

from __future__ import annotations

import json
import pickle
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from ats_sync.simulator.market import Market

STEP = 20  # ms; symbols trade at most once in it
CHUNK = 60_000
"""The tape is recorded so much (ms) at a time, as far as somebody plays it."""
ALL_MARKET = ("!markPrice@arr@1s", "!forceOrder@arr", "!ticker@arr", "!bookTicker", "!contractInfo")
KNOWN_ROWS = 150

Row = list[Any]


@dataclass(frozen=True)
class Setting:
    """Which stretch: the market's arguments and what happens in it besides."""

    seed: int
    start: int
    symbols: tuple[str, ...] = ("BTCUSDT", "币安人生USDT", "BTCDOMUSDT")
    intervals: tuple[str, ...] = ("1m", "3m")
    activity: float = 0.02
    trailing_klines: bool = True
    book_ticks: tuple[int, ...] = (300, 1500, 700)
    script: tuple[tuple[int, str, str], ...] = ()
    """``(ms after the start, "trade", "silence", "unsilence", "halt" or "resume", symbol)``."""


@dataclass
class KlineTruth:
    """``versions`` of each candle by its open time: ``(visible from, trades, row)``; ``told``: what frames said."""

    versions: dict[int, list[tuple[int, int, Row]]] = field(default_factory=dict)
    told_at: list[int] = field(default_factory=list)
    told: list[tuple[int, int]] = field(default_factory=list)
    """``(open time, trades)`` of each frame, at the times of ``told_at``."""

    def note(self, row: Row, now: int) -> None:
        known = self.versions.setdefault(row[0], [])
        if not known or (known[-1][2] != row and row[8] >= known[-1][1]):
            known.append((now, row[8], row))

    def final(self, opened: int) -> Row:
        return self.versions[opened][-1][2]

    def last_told(self, at: int) -> tuple[int, int] | None:
        index = bisect_right(self.told_at, at)
        return self.told[index - 1] if index else None


@dataclass
class TradeTruth:
    """All trades by id, and which had been told by aggTrade frames when."""

    by_id: dict[int, dict[str, Any]] = field(default_factory=dict)
    told_at: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """Times of all trades since the start, in order."""
    counts: list[int] = field(default_factory=list)
    """How many single trades each of them sums up."""

    def last_told(self, at: int) -> int:
        index = bisect_right(self.told_at, at)
        return self.told[index - 1] if index else -1


@dataclass
class BookTruth:
    """The states that depth frames told."""

    told_at: list[int] = field(default_factory=list)
    told: list[int] = field(default_factory=list)
    levels: dict[int, tuple[list[tuple[str, ...]], list[tuple[str, ...]]]] = field(default_factory=dict)

    def last_told(self, at: int) -> int:
        index = bisect_right(self.told_at, at)
        return self.told[index - 1] if index else -1


class Tape:
    """The recording of one setting, made as it is played."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.start = setting.start
        self.end = setting.start
        """How far it is recorded (ms)."""
        self.groups: list[tuple[int, list[tuple[str, bytes]]]] = []
        """Frames by event time: ``(time, [(stream, text)])``."""
        self.klines = {(s, i): KlineTruth() for s in setting.symbols for i in setting.intervals}
        self.trades = {s: TradeTruth() for s in setting.symbols}
        self.books = {s: BookTruth() for s in setting.symbols}
        self.marks: dict[tuple[str, int], str] = {}
        market = _market(setting)
        for symbol in setting.symbols:
            market.agg_trades(symbol, limit=1)  # makes the older trades, which is slow
            for interval in setting.intervals:
                for row in market.klines(symbol, interval, limit=KNOWN_ROWS):
                    self.klines[symbol, interval].note(row, 0)
        self._market = pickle.dumps(market, pickle.HIGHEST_PROTOCOL)
        for name in map(str.lower, setting.symbols):
            market.wanted |= {f"{name}@aggTrade", f"{name}@depth20@100ms"}
            market.wanted |= {f"{name}@kline_{interval}" for interval in setting.intervals}
        market.wanted |= set(ALL_MARKET)
        self._first_ids = {s: market.agg_trades(s, limit=1)[0]["a"] for s in setting.symbols}
        self._last_ids = dict(self._first_ids)
        self._recorder = ScriptedMarket(market, setting)
        for symbol in setting.symbols:
            for trade in market.agg_trades(symbol, from_id=0, limit=100_000):
                self.trades[symbol].by_id[trade["a"]] = trade

    def market(self) -> ScriptedMarket:
        """The market at the beginning of the stretch."""
        return ScriptedMarket(pickle.loads(self._market), self.setting)

    def record_until(self, time: int) -> None:
        """Record as far as ``time`` (ms) at least."""
        while self.end < time:
            self._record(self.end + CHUNK)

    def _record(self, end: int) -> None:
        setting, market, last_ids = self.setting, self._recorder.market, self._last_ids
        lower = {symbol.lower(): symbol for symbol in setting.symbols}
        for now in range(self.end + STEP, end + 1, STEP):
            for frame in self._recorder.advance(now):
                self._note_frame(frame.stream, frame.event_time, frame.payload, lower)
            turned = now % 60_000 < STEP
            for symbol in setting.symbols:
                newest = market.agg_trades(symbol, limit=1)[0]["a"]
                if newest != last_ids[symbol]:
                    self._note_trades(symbol, last_ids[symbol] + 1)
                if newest != last_ids[symbol] or turned:
                    last_ids[symbol] = newest
                    for interval in setting.intervals:
                        for row in market.klines(symbol, interval, limit=2):
                            self.klines[symbol, interval].note(row, now - STEP)
        self.end = end

    def _note_trades(self, symbol: str, first: int) -> None:
        truth = self.trades[symbol]
        for trade in self._recorder.market.agg_trades(symbol, from_id=first, limit=100_000):
            truth.by_id[trade["a"]] = trade
            truth.times.append(trade["T"])
            truth.counts.append(trade["l"] - trade["f"] + 1)

    def _note_frame(self, stream: str, at: int, payload: str, lower: dict[str, str]) -> None:
        text = f'{{"stream":"{stream}","data":{payload}}}'.encode()
        if self.groups and self.groups[-1][0] == at:
            self.groups[-1][1].append((stream, text))
        else:
            self.groups.append((at, [(stream, text)]))
        name, _, kind = stream.partition("@")
        symbol = lower.get(name)
        data = json.loads(payload)
        if stream == "!markPrice@arr@1s":
            for mark in data:
                self.marks[mark["s"], mark["E"]] = mark["p"]
        elif symbol is None:
            return
        elif kind.startswith("kline_"):
            klines = self.klines[symbol, kind[6:]]
            klines.told_at.append(at)
            k = data["k"]
            klines.told.append((k["t"], k["n"]))
            klines.note([k["t"], *(k[x] for x in "ohlcv"), k["T"], k["q"], k["n"], k["V"], k["Q"], "0"], at)
        elif kind == "aggTrade":
            self.trades[symbol].told_at.append(at)
            self.trades[symbol].told.append(data["a"])
        elif kind == "depth20@100ms":
            book = self.books[symbol]
            book.told_at.append(at)
            book.told.append(data["u"])
            book.levels[data["u"]] = ([*map(tuple, data["b"])], [*map(tuple, data["a"])])


class ScriptedMarket:
    """A market that goes through the script as time advances."""

    def __init__(self, market: Market, setting: Setting) -> None:
        self.market = market
        self._script = sorted((setting.start + after, method, symbol) for after, method, symbol in setting.script)
        self._done = 0

    def advance(self, now: int) -> Sequence[Any]:
        frames = []
        while self._done < len(self._script) and self._script[self._done][0] <= now:
            at, method, symbol = self._script[self._done]
            self._done += 1
            frames += self.market.advance(at)
            if method == "trade":
                frames += self.market.trade(symbol, ticks=1 if self._done % 2 else -1)
            elif method in ("halt", "resume"):
                self.market.set_status(symbol, "TRADING_HALT" if method == "halt" else "TRADING")
            else:
                self.market.silence(symbol, method == "silence")
        return frames + self.market.advance(max(now, self.market.now))


def _market(setting: Setting) -> Market:
    market = Market(
        setting.symbols,
        seed=setting.seed,
        start=setting.start,
        activity=setting.activity,
        trailing_klines=setting.trailing_klines,
    )
    for symbol, tick in zip(setting.symbols, setting.book_ticks, strict=True):
        # A book that changes less often keeps a schedule cheap; everything else stays as it is.
        instrument = market._instruments[symbol]
        instrument.spec = replace(instrument.spec, book_tick=tick)
    return market


@cache
def tape(setting: Setting) -> Tape:
    return Tape(setting)


def _quiet(*seconds: float) -> tuple[tuple[int, str, str], ...]:
    return tuple((round(second * 1000) // STEP * STEP, "trade", "BTCDOMUSDT") for second in seconds)


SETTINGS = (
    # 2026-11-21 23:58:34: midnight (and a Sunday) after 86 s.
    Setting(3, 1_795_305_514_000, script=_quiet(9, 25.3, 26.1, 58, 84.8, 86.2, 110, 145.5, 171, 205.9, 206.9, 240)),
    # 12:29:40, with hours; the busy one falls silent for a while over a turn.
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
    # A Monday's midnight after 41 s; kline events as in recordings, where late changes stay untold.
    Setting(
        21,
        1_795_391_959_000,
        intervals=("1m", "1d"),
        trailing_klines=False,
        script=_quiet(12, 40.7, 42.3, 70, 100.9, 131, 160.5, 190, 221.1, 250),
    ),
    # Little trades at all.
    Setting(
        34,
        1_795_270_023_000,
        activity=0.0015,
        script=_quiet(30, 36.9, 37.2, 60, 96.5, 97.3, 130, 157.1, 190, 216.8, 240),
    ),
)  # fmt: skip
