"""What happens when: the schedule of the market's events, and the frames they give."""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from typing import Any

from . import answers, payloads
from .derived import TRADIFI_MARKS_AT, MarkValues, mark_values
from .frame import Frame
from .history import Candle
from .instrument import Instrument
from .intervals import DAY, MINUTE
from .plan import Plan
from .spot import SpotPair
from .streams import FINAL_AFTER, BookStream, KlineStream, parse
from .trades import AggTrade

SECOND = 1000
AGGREGATED_AFTER = 150  # ms in which trades of one order at one price may still join it
DEPTH_PHASE = 60  # ms after a symbol's taker orders at which its depth frames go out
CONTRACT_INFO, SESSIONS = "!contractInfo", "tradingSession"
BOOK_TICKERS_EVERY = 5 * SECOND

# One aggregated trade in so many is a forced order.
_FORCED_ONE_IN = 601

_Event = tuple[int, int, Callable[..., None], Any]


class Pump:
    """Runs events in order of time. Frames are built for the streams that are wanted when it is run."""

    def __init__(self, start: int, *, seed: int, trailing_klines: bool) -> None:
        self._late_key = bool(seed % 2)
        self._trailing = trailing_klines
        self._now = start
        self._heap: list[_Event] = []
        self._number = count()
        self._plans: dict[str, Plan] = {}  # by lower-case symbol
        self._spot_plans: dict[str, Plan] = {}  # by lower-case spot pair
        self._known: set[str] = set()
        self._spot_known: set[str] = set()
        self._all: set[str] = set()  # wanted streams of the whole market
        self._frames: list[Frame] = []
        self._announced: list[Frame] = []
        self.coin_margined: tuple[str, ...] = ()
        """COIN-M contracts of which the all-market streams tell, too."""
        self.resting: dict[str, MarkValues] = {}
        """Contracts that have left and whose mark rests in the stream."""
        self.sessions: dict[str, str] = {"equity": "REGULAR", "commodity": "REGULAR"}
        """The present session of TradFi contracts by market."""
        self._at(start - start % SECOND + SECOND, self._second, None)
        self._at(start - start % SECOND + SECOND + TRADIFI_MARKS_AT, self._tradifi_marks, None)
        self._at(start + 1 + (FINAL_AFTER - start - 1) % MINUTE, self._finals, None)

    def _at(self, time: int, action: Callable[..., None], subject: Any) -> None:
        heappush(self._heap, (time, next(self._number), action, subject))

    # -- what the market does ----------------------------------------------------------------------------------

    def join(self, instrument: Instrument, pair: SpotPair | None, now: int) -> None:
        """An instrument takes part from now on."""
        plan = Plan(instrument, pair)
        self._plans[instrument.lower] = plan
        if pair is not None:
            self._spot_plans[pair.lower] = plan
        self.resting.pop(instrument.name, None)
        self.schedule(instrument, now)
        self._forget_wanted(plan)

    def announce(self, instrument: Instrument, now: int, status: str) -> None:
        """Tell of a listing or of a new status, with the next frames."""
        self._announced.append(Frame(CONTRACT_INFO, now, payloads.contract_info(instrument, now, status), False))

    def leave(self, instrument: Instrument, now: int, *, rests: bool) -> None:
        """An instrument falls silent for good; its mark price rests where it is."""
        if rests:
            self.resting[instrument.name] = mark_values(instrument, now - now % SECOND)
        plan = self._plans.pop(instrument.lower)
        if plan.pair is not None:
            del self._spot_plans[plan.pair.lower]
        instrument.next_moment = 0
        self._forget_wanted(plan)
        plan.clear()

    def _forget_wanted(self, plan: Plan) -> None:
        """Have the streams of this plan looked at again."""
        self._known = {name for name in self._known if not name.startswith(plan.instrument.lower + "@")}
        if plan.pair is not None:
            self._spot_known = {n for n in self._spot_known if not n.startswith(plan.pair.lower + "@")}

    def restart_ids(self, instrument: Instrument, now: int) -> None:
        """The instrument's counts begin again: what its streams told before has a number of the new count."""
        instrument.restart_ids(now)
        for stream in self._plans[instrument.lower].books:
            if stream.state is not None:
                stream.last_id = instrument.book.update_id(stream.state)

    def schedule(self, instrument: Instrument, now: int) -> None:
        """Draw the instrument's next taker order."""
        instrument.next_moment = instrument.moment_after(now)
        if instrument.next_moment:
            self._at(instrument.next_moment, self._moment, self._plans[instrument.lower])

    def run(self, since: int, now: int, wanted: set[str], spot_wanted: set[str]) -> list[Frame]:
        """Everything in ``(since, now]``."""
        self._want(wanted, spot_wanted, since)
        if CONTRACT_INFO in self._all:
            self._frames += self._announced
        self._announced = []
        heap = self._heap
        while heap and heap[0][0] <= now:
            self._now, _, action, subject = heappop(heap)
            action(subject)
        self._now = now
        return self._taken()

    def force(
        self,
        instrument: Instrument,
        now: int,
        at: int,
        ticks: int,
        qty: int | None,
        wanted: set[str],
        spot_wanted: set[str],
    ) -> list[Frame]:
        """One trade outside the schedule."""
        self._want(wanted, spot_wanted, now)
        self._now = now
        minute = instrument.candles.current
        last_id = instrument.trades.next_trade - 1
        plan = self._plans[instrument.lower]
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        first = instrument.trades.next_id
        instrument.force(at, ticks, qty)
        for stream in plan.differences:
            plan.note_book(stream, instrument.state(now))
        self._tell(plan, minute, last_id, instrument.trades.since(first))
        return self._taken()

    def _taken(self) -> list[Frame]:
        frames, self._frames = self._frames, []
        return frames

    def _emit(self, stream: str, payload: str, spot: bool = False) -> None:
        self._frames.append(Frame(stream, self._now, payload, spot))

    # -- which streams -----------------------------------------------------------------------------------------

    def _want(self, wanted: set[str], spot_wanted: set[str], now: int) -> None:
        if wanted != self._known:
            for name in self._known - wanted:
                self._drop(name, self._plans)
            for name in sorted(wanted - self._known):
                self._add(name, now)
            self._known = set(wanted)
        if spot_wanted != self._spot_known:
            for name in self._spot_known - spot_wanted:
                self._drop(name, self._spot_plans, spot=True)
            for name in sorted(spot_wanted - self._spot_known):
                self._add_spot(name, now)
            self._spot_known = set(spot_wanted)

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
            stream = KlineStream(name, parsed.interval, 250, plan.instrument.candles, now)
            plan.klines.append(stream)
        elif parsed.kind in ("depth", "bookTicker"):
            book = BookStream(name, parsed.levels, parsed.speed or 100)
            plan.books.append(book)
            if parsed.kind == "bookTicker":
                plan.tickers.append(book)
            elif not parsed.levels:
                plan.differences.append(book)
            action = self._book_ticker if parsed.kind == "bookTicker" else self._depth
            phase = (plan.instrument.phase + DEPTH_PHASE) % book.speed
            book.state = book.noted = plan.instrument.state(now)
            book.last_id = plan.instrument.book.update_id(book.state)
            self._at(now + 1 + (phase - now - 1) % book.speed, action, (plan, book))
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

    # -- trades and candles ------------------------------------------------------------------------------------

    def _moment(self, plan: Plan) -> None:
        instrument = plan.instrument
        now = self._now
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
        if plan.wants_trades or self._all:
            self._tell(plan, minute, last_id, instrument.trades.since(first))
        self.schedule(instrument, now)

    def _tell(self, plan: Plan, minute: Candle, last_id: int, made: list[AggTrade]) -> None:
        """The frames of trades just made; ``minute`` and ``last_id`` are from before them."""
        instrument = plan.instrument
        current = instrument.candles.current
        turned = current[0] > minute[0]
        if plan.klines:
            self._klines(plan, plan.klines, minute, current if turned else None, last_id)
        if plan.spot_klines:
            self._klines(plan, plan.spot_klines, minute, current if turned else None, last_id)
        name = plan.others.get("aggTrade")
        if name is not None:
            self._agg_trades(plan, name, made)
        if self._all or "forceOrder" in plan.others:
            self._force_order(plan, made[0])
        if plan.spot_others:
            self._spot_trades(plan, made)
        for ticker in plan.tickers:
            self._tell_book_ticker(plan, ticker)

    def _klines(
        self, plan: Plan, streams: list[KlineStream], ended: Candle, current: Candle | None, last_id: int
    ) -> None:
        now = self._now
        earliest = 0
        for stream in streams:
            if current is not None:
                opened, ends, finished = stream.opened, stream.ends, stream.finished
                candle = stream.candle(ended)
                if stream.turn(ended, current[0]) and not finished and candle[6]:
                    self._kline(plan, stream, candle, opened, ends, last_id, True)
                    stream.ready = now + stream.period
            if now >= stream.ready:
                self._open_kline(plan, stream)
            else:
                stream.dirty = True
                if not earliest or stream.ready < earliest:
                    earliest = stream.ready
        if earliest and self._trailing and not now <= plan.flush_at <= earliest:
            plan.flush_at = earliest
            self._at(earliest, self._flush, plan)

    def _flush(self, plan: Plan) -> None:
        now = self._now
        if plan.flush_at != now:
            return
        plan.flush_at = 0
        earliest = 0
        for stream in (*plan.klines, *plan.spot_klines):
            if not stream.dirty:
                continue
            if stream.ready <= now:
                self._open_kline(plan, stream)
            elif not earliest or stream.ready < earliest:
                earliest = stream.ready
        if earliest:
            plan.flush_at = earliest
            self._at(earliest, self._flush, plan)

    def _open_kline(self, plan: Plan, stream: KlineStream) -> None:
        if stream.finished:
            return
        instrument = plan.instrument
        stream.ready = self._now + stream.period
        stream.dirty = False
        candle = stream.candle(instrument.candles.current)
        self._kline(plan, stream, candle, stream.opened, stream.ends, instrument.trades.next_trade - 1, False)

    def _kline(
        self, plan: Plan, stream: KlineStream, candle: Candle, opened: int, ends: int, last_id: int, final: bool
    ) -> None:  # fmt: skip
        if stream.period == 250:
            text = payloads.kline(
                plan.instrument, stream.interval, self._now, candle, opened, ends, last_id, final, self._late_key
            )
            self._frames.append(Frame(stream.name, self._now, text))
        elif plan.pair is not None:
            text = payloads.spot_kline(plan.pair, stream.interval, self._now, candle, opened, ends, last_id, final)
            self._emit(stream.name, text, True)

    def _finals(self, _: object) -> None:
        """Candles that closed two seconds ago without a trade since become final."""
        boundary = self._now - FINAL_AFTER
        self._at(self._now + MINUTE, self._finals, None)
        for plan in self._plans.values():
            instrument = plan.instrument
            minute = instrument.candles.current
            if minute[0] >= boundary:
                continue
            for stream in (*plan.klines, *plan.spot_klines):
                if stream.ends <= boundary and not stream.finished:
                    stream.finished = True
                    stream.dirty = False
                    candle = stream.candle(minute)
                    if candle[6]:
                        last_id = instrument.trades.next_trade - 1
                        self._kline(plan, stream, candle, stream.opened, stream.ends, last_id, True)

    def _agg_trades(self, plan: Plan, name: str, made: list[AggTrade]) -> None:
        self._flush_pending(plan)
        for trade in made[:-1]:
            self._emit(name, payloads.agg_trade(plan.instrument, self._now, trade, self._late_key))
        plan.pending = made[-1]
        self._at(self._now + AGGREGATED_AFTER, self._aggregated, (plan, made[-1].id))

    def _aggregated(self, subject: tuple[Plan, int]) -> None:
        plan, trade_id = subject
        if plan.pending is not None and plan.pending.id == trade_id:
            self._flush_pending(plan)

    def _flush_pending(self, plan: Plan) -> None:
        trade, plan.pending = plan.pending, None
        name = plan.others.get("aggTrade")
        if trade is not None and name is not None:
            self._emit(name, payloads.agg_trade(plan.instrument, self._now, trade, self._late_key))

    def _force_order(self, plan: Plan, trade: AggTrade) -> None:
        instrument = plan.instrument
        if (trade.id + instrument.salt) % _FORCED_ONE_IN or self._now - instrument.forced_at < SECOND:
            return
        instrument.forced_at = self._now
        text = payloads.force_order(instrument, self._now, trade)
        if "forceOrder" in plan.others:
            self._emit(plan.others["forceOrder"], text)
        if "!forceOrder@arr" in self._all:
            self._emit("!forceOrder@arr", text)

    def _spot_trades(self, plan: Plan, made: list[AggTrade]) -> None:
        if plan.pair is None:
            return
        for trade in made:
            if "trade" in plan.spot_others:
                for text in payloads.spot_trades(plan.pair, self._now, trade):
                    self._emit(plan.spot_others["trade"], text, True)
            if "aggTrade" in plan.spot_others:
                text = payloads.spot_agg_trade(plan.pair, self._now, trade)
                self._emit(plan.spot_others["aggTrade"], text, True)

    # -- books -------------------------------------------------------------------------------------------------

    def _depth(self, subject: tuple[Plan, BookStream]) -> None:
        plan, stream = subject
        if not stream.alive:
            return
        now = self._now
        self._at(now + stream.speed, self._depth, subject)
        instrument = plan.instrument
        state = instrument.state(now)
        before = stream.state
        if before is None or state == before:
            return
        book = instrument.book
        if stream.levels:
            bids, asks = plan.best_levels(state, stream.levels)
            told: object = (bids, asks)
            if told == stream.told:
                return
            stream.told = told
        else:
            plan.note_book(stream, state)
            if not stream.bids and not stream.asks:
                return
            changed = book.quantities(state, stream.bids, stream.asks)
            bids, asks = (payloads.levels(instrument, side) for side in changed)
            stream.bids, stream.asks = set(), set()
        stream.state = state
        previous = stream.last_id
        stream.last_id = update_id = book.update_id(state)
        ids = (previous + 1 + previous % 6, update_id, previous)
        self._emit(stream.name, payloads.depth(instrument, now, instrument.changed_at(now), ids, bids, asks))

    def _book_ticker(self, subject: tuple[Plan, BookStream]) -> None:
        plan, stream = subject
        if stream.alive:
            self._at(self._now + stream.speed, self._book_ticker, subject)
            self._tell_book_ticker(plan, stream)

    def _tell_book_ticker(self, plan: Plan, stream: BookStream) -> None:
        text = self._touch(plan, stream)
        if text is not None:
            self._emit(stream.name, text)

    def _touch(self, plan: Plan, stream: BookStream) -> str | None:
        """A bookTicker text if the touch has changed since the stream's last."""
        instrument = plan.instrument
        state = instrument.state(self._now)
        touch = instrument.book.touch(state)
        told = (state.bid, state.ask, touch)
        if told == stream.told:
            return None
        stream.told = told
        return payloads.book_ticker(
            instrument,
            self._now,
            instrument.changed_at(self._now),
            state,
            instrument.book.update_id(state),
            touch,
        )

    # -- every second ------------------------------------------------------------------------------------------

    def _tradifi_marks(self, _: object) -> None:
        """The marks of TradFi contracts, in a frame of their own."""
        now = self._now
        self._at(now + SECOND, self._tradifi_marks, None)
        second = now - TRADIFI_MARKS_AT
        every = [name for name, speed in _ALL_MARKS.items() if name in self._all and second % speed == 0]
        marks: list[str] = []
        for plan in self._plans.values():
            if plan.instrument.spec.tradifi:
                plan.instrument.marked = plan.instrument.bid + plan.instrument.ask
                self._mark(plan, now, second, marks, every=bool(every))
        for name in every if marks else ():
            self._emit(name, "[" + ",".join(marks) + "]")

    def _mark(self, plan: Plan, now: int, second: int, marks: list[str], *, every: bool) -> None:
        mine = [name for name, speed in plan.marks.items() if second % speed == 0]
        if every or mine:
            text = payloads.mark_price(plan.instrument.name, now, mark_values(plan.instrument, now))
            marks.append(text)
            for name in mine:
                self._emit(name, text)

    def _other_marks(self, now: int) -> list[str]:
        """The rows of contracts that have left, and those of the COIN-M market."""
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

    def _second(self, _: object) -> None:
        now = self._now
        self._at(now + SECOND, self._second, None)
        if SESSIONS in self._all:
            day = now - now % DAY
            for market, session in self.sessions.items():
                event = f"{market.capitalize()}Update"
                self._emit(SESSIONS, payloads.trading_session(event, now, day, day + DAY, session))
        every = [name for name, speed in _ALL_MARKS.items() if name in self._all and now % speed == 0]
        tickers = "!ticker@arr" in self._all
        marks: list[str] = []
        rows: list[str] = []
        for plan in self._plans.values():
            instrument = plan.instrument
            if not instrument.spec.tradifi:
                instrument.marked = instrument.bid + instrument.ask
                self._mark(plan, now, now, marks, every=bool(every))
            own = plan.others.get("ticker")
            if (tickers or own) and plan.ticker_id != instrument.trades.next_id:
                plan.ticker_id = instrument.trades.next_id
                text = payloads.ticker(answers.ticker_24hr(instrument, now), now)
                rows.append(text)
                if own:
                    self._emit(own, text)
        if every:
            marks += self._other_marks(now)
        for name in every:
            self._emit(name, "[" + ",".join(marks) + "]")
        if tickers:
            rows += self._coin_margined_tickers(now)
        if tickers and rows:
            self._emit("!ticker@arr", "[" + ",".join(rows) + "]")
        if "!bookTicker" in self._all and now % BOOK_TICKERS_EVERY == 0:
            for plan in self._plans.values():
                book_text = self._touch(plan, plan.touch)
                if book_text is not None:
                    self._emit("!bookTicker", book_text)


_ALL_MARKS = {"!markPrice@arr": 3 * SECOND, "!markPrice@arr@1s": SECOND}
