"""Frames sent every second: marks, tickers, sessions, and best prices of the whole market."""

from __future__ import annotations

from collections.abc import Iterable

from . import answers, payloads
from .book_frames import BookFrames
from .derived import TRADIFI_MARKS_AT, MarkValues, mark_values
from .instrument import Instrument
from .intervals import DAY
from .plan import Plan
from .schedule import Schedule

SECOND = 1000
ALL_TICKERS, ALL_BEST_PRICES, SESSIONS = "!ticker@arr", "!bookTicker", "tradingSession"
BOOK_TICKERS_EVERY = 5 * SECOND
_ALL_MARKS = {"!markPrice@arr": 3 * SECOND, "!markPrice@arr@1s": SECOND}


class MarketFrames:
    """``plans``: the participating instruments by name; ``all_streams``: the subscribed streams of the whole market.

    The caller changes both."""

    def __init__(self, schedule: Schedule, plans: dict[str, Plan], all_streams: set[str], books: BookFrames) -> None:
        self._schedule = schedule
        self._plans = plans
        self._all = all_streams
        self._books = books
        self.coin_margined: tuple[str, ...] = ()
        """COIN-M contracts that the all-market streams also contain."""
        self.resting: dict[str, MarkValues] = {}
        """Delisted contracts whose mark stays in the stream."""
        self.sessions: dict[str, str] = {"equity": "REGULAR", "commodity": "REGULAR"}
        """The present session of TradFi contracts by market."""
        first = schedule.now - schedule.now % SECOND + SECOND
        schedule.at(first, self._second, None)
        schedule.at(first + TRADIFI_MARKS_AT, self._tradifi_marks, None)

    def rest(self, instrument: Instrument, now: int) -> None:
        """Keep the mark of a contract that leaves, unchanged."""
        self.resting[instrument.name] = mark_values(instrument, now - now % SECOND)

    def _second(self, _: object) -> None:
        now = self._schedule.now
        self._schedule.at(now + SECOND, self._second, None)
        if SESSIONS in self._all:
            day = now - now % DAY
            for market, session in self.sessions.items():
                event = f"{market.capitalize()}Update"
                self._schedule.emit(SESSIONS, payloads.trading_session(event, now, day, day + DAY, session))
        every = [name for name, speed in _ALL_MARKS.items() if name in self._all and now % speed == 0]
        tickers = ALL_TICKERS in self._all
        marks: list[str] = []
        rows: list[str] = []
        for plan in self._plans.values():
            if not plan.instrument.spec.tradifi:
                self._mark(plan, now, marks, every=bool(every))
            self._ticker(plan, rows, every=tickers)
        if every:
            marks += self._other_marks(now)
        for name in every:
            self._emit_array(name, marks)
        if tickers:
            rows += self._coin_margined_tickers(now)
            if rows:
                self._emit_array(ALL_TICKERS, rows)
        if ALL_BEST_PRICES in self._all and now % BOOK_TICKERS_EVERY == 0:
            for plan in self._plans.values():
                text = self._books.best_prices(plan, plan.touch)
                if text is not None:
                    self._schedule.emit(ALL_BEST_PRICES, text)

    def _tradifi_marks(self, _: object) -> None:
        """Send the marks of TradFi contracts, in their own frame."""
        now = self._schedule.now
        self._schedule.at(now + SECOND, self._tradifi_marks, None)
        second = now - TRADIFI_MARKS_AT
        every = [name for name, speed in _ALL_MARKS.items() if name in self._all and second % speed == 0]
        marks: list[str] = []
        for plan in self._plans.values():
            if plan.instrument.spec.tradifi:
                self._mark(plan, second, marks, every=bool(every))
        for name in every if marks else ():
            self._emit_array(name, marks)

    def _emit_array(self, name: str, rows: Iterable[str]) -> None:
        self._schedule.emit(name, "[" + ",".join(rows) + "]")

    def _mark(self, plan: Plan, second: int, marks: list[str], *, every: bool) -> None:
        plan.instrument.marked = plan.instrument.bid + plan.instrument.ask
        mine = [name for name, speed in plan.marks.items() if second % speed == 0]
        if every or mine:
            now = self._schedule.now
            text = payloads.mark_price(plan.instrument.name, now, mark_values(plan.instrument, now))
            marks.append(text)
            for name in mine:
                self._schedule.emit(name, text)

    def _ticker(self, plan: Plan, rows: list[str], *, every: bool) -> None:
        own = plan.others.get("ticker")
        if not (every or own) or plan.ticker_id == plan.instrument.trades.next_id:
            return
        now = self._schedule.now
        plan.ticker_id = plan.instrument.trades.next_id
        text = payloads.ticker(answers.ticker_24hr(plan.instrument, now), now)
        rows.append(text)
        if own:
            self._schedule.emit(own, text)

    def _other_marks(self, now: int) -> list[str]:
        """Return the rows of delisted contracts, and those of the COIN-M market."""
        rows = [payloads.mark_price(name, now, values) for name, values in self.resting.items()]
        first = next(iter(self._plans.values()), None)
        if first is not None and self.coin_margined:
            values = mark_values(first.instrument, now)
            rows += [
                payloads.mark_price(name, now, values, market=payloads.COIN_MARGINED) for name in self.coin_margined
            ]
        return rows

    def _coin_margined_tickers(self, now: int) -> list[str]:
        first = next(iter(self._plans.values()), None)
        if first is None or not self.coin_margined:
            return []
        row = answers.ticker_24hr(first.instrument, now)
        return [
            payloads.ticker(row | {"symbol": name}, now, market=payloads.COIN_MARGINED) for name in self.coin_margined
        ]
