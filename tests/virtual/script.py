"""The market of a setting, and what happens in it at given moments."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ats_sync.simulator.market import Market

STEP = 20  # ms; symbols trade at most once in it
MINUTE = 60_000
HALTED = "TRADING_HALT"
NEW_COUNTS = ("recount", "list", "list below")
"""Verbs after which the counters of a symbol begin again."""
COUNTS_APART = 2_000
"""So soon (ms) after a count of ids the next one does not begin: where two that begin with the same id lie closer
together than connections may differ, nobody can tell an event of the one from an event of the other."""
BEFORE = ("new", "pending", "hole", "hole ends")
"""Verbs that say how the market has begun."""
SMALL = 500
"""A price of so many ticks cannot well be divided."""


@dataclass(frozen=True)
class Setting:
    """A stretch of a market: its arguments and what else happens in it."""

    seed: int
    start: int
    symbols: tuple[str, ...] = ("BTCUSDT", "币安人生USDT", "BTCDOMUSDT")
    intervals: tuple[str, ...] = ("1m", "3m")
    activity: float = 0.02
    trailing_klines: bool = True
    book_ticks: tuple[int, ...] = (300, 1500, 700)
    script: tuple[tuple[int, str, str], ...] = ()
    """``(ms after the start, verb, symbol)``. What cannot be done at its moment is left out.

    "trade"; "silence", "unsilence"; "halt" and "halt without candles", "resume"; "recount": ids of trades and books
    begin again; "recompute": the open candles lose most of the newest minute's trades; "delist"; "list": another
    contract has the name, at another price, "list below": and counts from low ids on. "new" and "pending": until
    "first trade" it has never traded (and is only announced). "hole" to "hole ends" (times below 0): of then REST has
    no candles.
    """
    alone: bool = False
    """Whether these symbols are the whole market, so that nothing at all is quoted where all of them rest."""


class ScriptedMarket:
    """A market that follows the script as time advances."""

    def __init__(
        self,
        market: Market,
        setting: Setting,
        before: Callable[[], None] = lambda: None,
        after: Callable[[str, str], None] = lambda verb, symbol: None,
    ) -> None:
        self.market = market
        self._setting = setting
        self._before, self._after = before, after
        self._script = sorted(
            (setting.start + after, verb, symbol) for after, verb, symbol in setting.script if verb not in BEFORE
        )
        self._done = 0
        self._counting_since: dict[str, int] = {}

    def advance(self, now: int) -> Sequence[Any]:
        frames: list[Any] = []
        market = self.market
        while self._done < len(self._script) and self._script[self._done][0] <= now:
            at, verb, symbol = self._script[self._done]
            self._done += 1
            frames += market.advance(at)
            if self._can(verb, symbol):
                if verb in NEW_COUNTS:
                    self._counting_since[symbol] = at
                self._before()
                frames += self._do(verb, symbol)
                self._after(verb, symbol)
        return frames + market.advance(max(now, market.now))

    def next_at(self) -> int:
        """Return when (ms) something happens next, by the script or by itself."""
        due = self.market._pump._schedule._heap[0][0]
        return min(due, self._script[self._done][0]) if self._done < len(self._script) else due

    def _can(self, verb: str, symbol: str) -> bool:
        market = self.market
        if symbol not in market._instruments:
            return verb in ("list", "list below")
        if verb in ("list", "list below"):
            return False
        status = market._statuses.get(symbol, "")
        instrument = market._instruments[symbol]
        if verb == "recount":
            return market.now - self._counting_since.get(symbol, 0) >= COUNTS_APART
        if verb == "recompute":
            current = instrument.candles.current
            return not status and current[0] == market.now // MINUTE * MINUTE and current[6] >= 10
        if verb == "first trade":
            return instrument.silent or instrument.untraded
        if verb == "resume":
            return status == HALTED
        return not status or verb == "delist"

    def _do(self, verb: str, symbol: str) -> list[Any]:
        market = self.market
        if verb == "trade":
            return market.trade(symbol, ticks=1 if self._done % 2 else -1)
        if verb == "first trade":
            if market._statuses.get(symbol):
                market.set_status(symbol, "TRADING")
            market.silence(symbol, False)
            return market.trade(symbol)
        if verb in ("halt", "halt without candles"):
            market.set_status(symbol, HALTED, candles=verb == "halt")
        elif verb == "resume":
            market.set_status(symbol, "TRADING")
        elif verb == "recount":
            market.restart_ids(symbol)
        elif verb == "recompute":
            market.recompute_candle(symbol)
        elif verb == "delist":
            market.delist(symbol)
        elif verb in ("list", "list below"):
            spec = market._gone[symbol].spec
            price = spec.price * spec.tick / 10**spec.price_decimals
            market.list_symbol(symbol, price=price / 100 if spec.price >= 100 * SMALL else price * 50)
            _slow_book(market, self._setting, symbol)
            if verb == "list below":
                market.restart_ids(symbol)
        else:
            market.silence(symbol, verb == "silence")
        return []


def market_of(setting: Setting) -> Market:
    """Return the market at the beginning of a setting."""
    market = Market(
        setting.symbols,
        seed=setting.seed,
        start=setting.start,
        activity=setting.activity,
        trailing_klines=setting.trailing_klines,
    )
    for symbol, start, stop in _holes(setting):
        market.halt_history(symbol, setting.start + start, setting.start + stop)
    for _, verb, symbol in setting.script:
        if verb in ("new", "pending") and market._instruments[symbol].spec.age:
            market.delist(symbol)
            market.list_symbol(symbol, pending=verb == "pending")
            market.silence(symbol)
    market.advance(setting.start)  # (Nobody receives what is announced then.)
    for symbol in setting.symbols:
        _slow_book(market, setting, symbol)
    return market


def _holes(setting: Setting) -> list[tuple[str, int, int]]:
    """Return ``(symbol, start, stop)`` of the holes in history; those that overlap or touch are one."""
    found: list[tuple[str, int, int]] = []
    for symbol in setting.symbols:
        begun: int | None = None
        for after, verb, name in setting.script:
            if name != symbol:
                continue
            if verb == "hole":
                begun = after if begun is None else begun
            elif verb == "hole ends" and begun is not None:
                found.append((symbol, begun, after))
                begun = None
            elif verb == "hole ends":
                found[-1] = (symbol, found[-1][1], after)
    return found


def _slow_book(market: Market, setting: Setting, symbol: str) -> None:
    """A book that changes less often keeps a schedule cheap; everything else stays as it is."""
    instrument = market._instruments[symbol]
    tick = setting.book_ticks[setting.symbols.index(symbol)]
    instrument.spec = replace(instrument.spec, book_tick=tick)
