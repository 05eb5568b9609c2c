"""Runs the instruments' events, and builds frames for the subscribed streams."""

from __future__ import annotations

from . import payloads
from .book_frames import BookFrames
from .history import Candle
from .instrument import Instrument
from .intervals import MINUTE
from .kline_frames import KlineFrames
from .market_frames import MarketFrames
from .plan import Plan
from .schedule import Frame, Schedule
from .spot import SpotPair
from .streams import BookStream, KlineStream, parse
from .trade_frames import TradeFrames
from .trades import AggTrade

CONTRACT_INFO = "!contractInfo"


class Pump:
    """Runs events in order of time. Frames are built for the streams that are subscribed at the time of a run."""

    def __init__(self, start: int, *, seed: int, trailing_klines: bool) -> None:
        late_key = bool(seed % 2)
        self._schedule = Schedule(start)
        self._plans: dict[str, Plan] = {}  # by lower-case symbol
        self._spot_plans: dict[str, Plan] = {}  # by lower-case spot pair
        self._known: set[str] = set()
        self._spot_known: set[str] = set()
        self._all: set[str] = set()  # subscribed streams of the whole market
        self._announced: list[Frame] = []
        self._books = BookFrames(self._schedule)
        self._klines = KlineFrames(self._schedule, late_key=late_key, trailing=trailing_klines)
        self._trades = TradeFrames(self._schedule, self._all, late_key=late_key)
        self.market = MarketFrames(self._schedule, self._plans, self._all, self._books)
        self._schedule.at(self._klines.first_finish(start), self._finish_candles, None)

    # -- what the market does ----------------------------------------------------------------------------------

    def join(self, instrument: Instrument, pair: SpotPair | None, now: int) -> None:
        """Let an instrument take part from now on."""
        plan = Plan(instrument, pair)
        self._plans[instrument.lower] = plan
        if pair is not None:
            self._spot_plans[pair.lower] = plan
        self.market.resting.pop(instrument.name, None)
        self.schedule(instrument, now)
        self._forget_known(plan)

    def announce(self, instrument: Instrument, now: int, status: str) -> None:
        """Announce a listing or a new status, with the next frames."""
        self._announced.append(Frame(CONTRACT_INFO, now, payloads.contract_info(instrument, now, status), False))

    def leave(self, instrument: Instrument, now: int, *, rests: bool) -> None:
        """Silence an instrument permanently; if it ``rests``, its mark price stays where it is."""
        if rests:
            self.market.rest(instrument, now)
        plan = self._plans.pop(instrument.lower)
        if plan.pair is not None:
            del self._spot_plans[plan.pair.lower]
        instrument.next_moment = 0
        self._forget_known(plan)
        plan.clear()

    def _forget_known(self, plan: Plan) -> None:
        """Make the next run examine the streams of this plan again."""
        self._known = {name for name in self._known if not name.startswith(plan.instrument.lower + "@")}
        if plan.pair is not None:
            self._spot_known = {n for n in self._spot_known if not n.startswith(plan.pair.lower + "@")}

    def restart_ids(self, instrument: Instrument, now: int) -> None:
        """Restart the instrument's ids; the last frame of each of its book streams gets a number from the new count."""
        instrument.restart_ids(now)
        for stream in self._plans[instrument.lower].books:
            if stream.state is not None:
                stream.last_id = instrument.book.update_id(stream.state)

    def schedule(self, instrument: Instrument, now: int) -> None:
        """Draw the instrument's next taker order."""
        instrument.next_moment = instrument.moment_after(now)
        if instrument.next_moment:
            self._schedule.at(instrument.next_moment, self._moment, self._plans[instrument.lower])

    def show_book(self, instrument: Instrument, now: int) -> None:
        """Note that a book that was empty so far now exists: its streams send all of it."""
        self._plans[instrument.lower].show_book(instrument.state(now))

    def run(self, since: int, now: int, subscribed: set[str], spot_subscribed: set[str]) -> list[Frame]:
        """Let everything in ``(since, now]`` happen; return its frames."""
        self._subscribe(subscribed, spot_subscribed, since)
        if CONTRACT_INFO in self._all:
            self._schedule.frames += self._announced
        self._announced = []
        self._schedule.run(now)
        return self._schedule.take()

    def force(
        self,
        instrument: Instrument,
        now: int,
        at: int,
        ticks: int,
        qty: int | None,
        subscribed: set[str],
        spot_subscribed: set[str],
    ) -> list[Frame]:
        """Make one trade outside the schedule; return its frames."""
        self._subscribe(subscribed, spot_subscribed, now)
        self._schedule.now = now
        minute = instrument.candles.current
        last_id = instrument.trades.next_trade - 1
        plan = self._plans[instrument.lower]
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        first = instrument.trades.next_id
        instrument.force(at, ticks, qty)
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        self._send(plan, minute, last_id, instrument.trades.since(first))
        return self._schedule.take()

    def _moment(self, plan: Plan) -> None:
        instrument = plan.instrument
        now = self._schedule.now
        if instrument.next_moment != now or instrument.silent:
            return
        minute = instrument.candles.current
        last_id = instrument.trades.next_trade - 1
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        first = instrument.trades.next_id
        instrument.moment(now)
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        if plan.needs_trades or self._all:
            self._send(plan, minute, last_id, instrument.trades.since(first))
        self.schedule(instrument, now)

    def _send(self, plan: Plan, minute: Candle, last_id: int, made: list[AggTrade]) -> None:
        """Send the frames of the trades just made; ``minute`` and ``last_id`` are from before them."""
        current = plan.instrument.candles.current
        turned = current if current[0] > minute[0] else None
        if plan.klines:
            self._klines.traded(plan, plan.klines, minute, turned, last_id)
        if plan.spot_klines:
            self._klines.traded(plan, plan.spot_klines, minute, turned, last_id)
        self._trades.traded(plan, made)
        self._books.traded(plan)

    def _finish_candles(self, _: object) -> None:
        self._schedule.at(self._schedule.now + MINUTE, self._finish_candles, None)
        self._klines.finish(self._plans.values())

    # -- which streams -----------------------------------------------------------------------------------------

    def _subscribe(self, subscribed: set[str], spot_subscribed: set[str], now: int) -> None:
        if subscribed != self._known:
            for name in self._known - subscribed:
                self._drop(name, self._plans)
            for name in sorted(subscribed - self._known):
                self._add(name, now)
            self._known = set(subscribed)
        if spot_subscribed != self._spot_known:
            for name in self._spot_known - spot_subscribed:
                self._drop(name, self._spot_plans, spot=True)
            for name in sorted(spot_subscribed - self._spot_known):
                self._add_spot(name, now)
            self._spot_known = set(spot_subscribed)

    def _drop(self, name: str, plans: dict[str, Plan], *, spot: bool = False) -> None:
        self._all.discard(name)
        plan = plans.get(name.partition("@")[0])
        if plan is not None:
            plan.drop(name, spot=spot)

    def _add(self, name: str, now: int) -> None:
        parsed = parse(name)
        if parsed is None:
            return
        if not parsed.symbol:
            self._all.add(name)
            return
        plan = self._plans.get(parsed.symbol)
        if plan is None:
            return
        if parsed.kind == "kline":
            plan.klines.append(KlineStream(name, parsed.interval, 250, plan.instrument.candles, now))
        elif parsed.kind in ("depth", "bookTicker"):
            book = BookStream(name, parsed.levels, parsed.speed or 100)
            plan.books.append(book)
            if parsed.kind == "bookTicker":
                plan.tickers.append(book)
            elif not parsed.levels:
                plan.differences.append(book)
            self._books.begin(plan, book, now)
        elif parsed.kind == "markPrice":
            plan.marks[name] = parsed.speed
        elif parsed.kind != "trade":
            plan.others[parsed.kind] = name

    def _add_spot(self, name: str, now: int) -> None:
        parsed = parse(name)
        plan = self._spot_plans.get(parsed.symbol) if parsed else None
        if parsed is None or plan is None:
            return
        if parsed.kind == "kline":
            plan.spot_klines.append(KlineStream(name, parsed.interval, 2000, plan.instrument.candles, now))
        elif parsed.kind in ("trade", "aggTrade"):
            plan.spot_others[parsed.kind] = name
