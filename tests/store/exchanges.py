"""For each kind of data, a small truth of the exchange with the frames and answers that it sends about it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from ats_sync.feeds import Key, Kind
from ats_sync.store.book import BookSeries
from ats_sync.store.depth import DepthSeries
from ats_sync.store.klines import KlineSeries
from ats_sync.store.listings import ContractBoard, ListingBoard
from ats_sync.store.periods import OpenInterestSeries, RatioSeries
from ats_sync.store.series import Series
from ats_sync.store.tickers import QuoteBoard, TickerBoard
from ats_sync.store.trades import TradeSeries
from ats_sync.store.values import ClockSeries, LiquidationBoard, MarkBoard, SpotBoard
from ats_sync.venue import endpoints
from ats_sync.venue.endpoints import Request

from ..venue import samples
from ..venue.samples import DAY, HOUR, MIDNIGHT, compact
from . import depth_market
from .candles import STARTS, Truth
from .contract import Exchange, Frame

Draw = Callable[..., Any]
SYMBOLS = ("BTCUSDT", "ETHUSDT", "币安人生USDT")
IN_ONE_ANSWER = 500


def limit_of(request: Request[Any]) -> int:
    return int(dict(request.params)["limit"])


class Candles(Exchange):
    """Candles with and without trades; the newest is open."""

    kind = Kind.KLINES

    def __init__(self, draw: Draw) -> None:
        self.interval = draw(st.sampled_from(list(STARTS)))
        trades = draw(st.lists(st.integers(0, 4), min_size=2, max_size=9))
        first_trade = draw(st.sampled_from([None, 77]))
        self.truth = truth = Truth(self.interval, STARTS[self.interval], trades, first_trade=first_trade)
        # Late enough for the candle before to be final in REST.
        self.now = truth.opens[-1] + draw(st.integers(7_000, truth.end - truth.opens[-1] - 1))
        self.frames = []
        for i, count in enumerate(trades):
            for n in range(1, count + 1):
                if truth.told_at(i, n) <= self.now:
                    self.frames.append(Frame(truth.frame(i, n), truth.told_at(i, n)))
            if count and truth.close_time(i) + 204 <= self.now:
                self.frames.append(Frame(truth.frame(i, count, final=True), truth.close_time(i) + 204))
        self.limits = draw(st.lists(st.integers(1, 12), max_size=2))

    def series(self) -> KlineSeries:
        return KlineSeries("BTCUSDT", self.interval, IN_ONE_ANSWER, kind=self.kind)

    def requests(self) -> Sequence[Request[Any]]:
        return [self.series().newest_rows(limit) for limit in (*self.limits, 499)]

    def answer(self, request: Request[Any], at: int) -> bytes:
        return compact(self.truth.rest(at, limit_of(request)))

    def times(self) -> tuple[int, int]:
        return self.truth.opens[0], self.now

    def shown(self, series: KlineSeries) -> object:
        rows = series.rows(IN_ONE_ANSWER, self.now, exact=True)
        return rows, series.rows(IN_ONE_ANSWER, None, exact=False), series.following(), series.closed_rows()

    def check(self, series: KlineSeries) -> None:
        number = {opened: i for i, opened in enumerate(self.truth.opens)}
        closed = series.following()
        rows = series.rows(IN_ONE_ANSWER, self.now, exact=True)
        assert [row[0] for row in rows] == self.truth.opens[len(self.truth) - len(rows) :]
        for row in rows:
            i = number[row[0]]
            assert row[8] <= self.truth.trades[i]
            if row[0] < closed or row[8]:
                assert row == self.truth.row(i, None if row[0] < closed else row[8])
        state = series.state(self.now)
        assert not state.complete or state.doubt or state.rows == len(self.truth), "nothing older can be had"
        if not state.doubt:
            assert [row[0] for row in rows if row[0] >= closed and row[6] < self.now][1:] == []


class SpotCandles(Candles):
    kind = Kind.SPOT_KLINES


class Trades(Exchange):
    """Consecutive trades at times that never decrease; nothing is older than the first."""

    def __init__(self, draw: Draw) -> None:
        self.first = draw(st.sampled_from([0, 5_000]))
        at = MIDNIGHT
        self.at: list[int] = []
        for pause in draw(st.lists(st.sampled_from((0, 1, 40, 2_000)), min_size=1, max_size=30)):
            at += pause
            self.at.append(at)
        self.now = at + 3
        self.frames = [Frame(samples.trade_frame(self.first + i, at=at), at + 3) for i, at in enumerate(self.at)]
        self.capacity = draw(st.sampled_from([5, 100]))
        self.limits = draw(st.lists(st.integers(1, 12), max_size=2))

    def series(self) -> TradeSeries:
        return TradeSeries("BTCUSDT", self.capacity)

    def requests(self) -> Sequence[Request[Any]]:
        starts = [endpoints.agg_trades("BTCUSDT", limit, from_id=self.first + limit) for limit in self.limits]
        return [*starts, endpoints.agg_trades("BTCUSDT", self.capacity)]

    def answer(self, request: Request[Any], at: int) -> bytes:
        known = bisect_right(self.at, at)
        limit = limit_of(request)
        start = known - limit if request.from_id is None else request.from_id - self.first
        numbers = range(max(0, start), min(known, max(0, start) + limit))
        return compact([samples.rest_trade(self.first + i, at=self.at[i]) for i in numbers])

    def times(self) -> tuple[int, int]:
        return self.at[min(len(self.at) - 1, 12)], self.now

    def shown(self, series: TradeSeries) -> object:
        return series.read(1_000), series.last_heard(), series.columns(1_000).times.tolist()

    def check(self, series: TradeSeries) -> None:
        found = series.read(1_000)
        state = series.state(self.now)
        assert len(found) == state.rows <= self.capacity
        last = series.last_id()
        assert [trade.id for trade in found] == list(range(last - len(found) + 1, last + 1)) if found else last == -1
        assert [trade.time for trade in found] == [self.at[trade.id - self.first] for trade in found]
        assert not (state.complete and found) or found[0].id == self.first


class Books(Exchange):
    """Partial books of 20 levels, each with an update id and a time of its own."""

    def __init__(self, draw: Draw) -> None:
        steps = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 3_000)), min_size=1, max_size=9))
        self.states: list[tuple[int, int]] = []
        update_id, at = 1_000, MIDNIGHT
        for ids, pause in steps:
            update_id, at = update_id + ids, at + pause
            self.states.append((update_id, at))
        self.now = at
        self.frames = []
        for update_id, at in self.states:
            data = samples.book_data(update_id, event=at)
            data["b"], data["a"] = self.levels(update_id)
            self.frames.append(Frame(samples.frame("btcusdt@depth20@100ms", data), at))

    @staticmethod
    def levels(update_id: int) -> tuple[Any, Any]:
        return samples.levels(update_id / 100, -0.001, 20), samples.levels(update_id / 100 + 1, 0.001, 20)

    def series(self) -> BookSeries:
        return BookSeries("BTCUSDT")

    def answer(self, request: Request[Any], at: int) -> bytes:
        update_id, event = self.states[max(0, bisect_right(self.states, at, key=lambda state: state[1]) - 1)]
        bids, asks = self.levels(update_id)
        body = {"lastUpdateId": update_id, "E": event, "T": event - 4, "bids": bids, "asks": asks}
        return compact(body)

    def times(self) -> tuple[int, int]:
        return self.states[0][1], self.now

    def shown(self, series: BookSeries) -> object:
        return series.read(), series.update_id(), series.state(self.now).event

    def check(self, series: BookSeries) -> None:
        book = series.read()
        if book is not None:
            assert (book.update_id, book.time) in self.states
            assert [list(map(list, side)) for side in (book.bids, book.asks)] == list(self.levels(book.update_id))


class Depths(Exchange):
    """A whole book, sent as changes."""

    in_order = True
    limit = 500

    def __init__(self, draw: Draw) -> None:
        self.market = market = depth_market.Market(draw(st.integers(0, 10_000)), 60)
        self.frames = []
        for changes in draw(st.lists(st.integers(1, 6), min_size=1, max_size=12)):
            for _ in range(changes):
                market.change(1)
                market.rest(self.limit)
            last, frame = market.event()
            self.frames.append(Frame(frame, depth_market.BEGAN + last))
        self.now = depth_market.BEGAN + market.update_id

    def series(self) -> DepthSeries:
        series = DepthSeries("BTCUSDT")
        series.note_read(self.limit, 0.0)
        return series

    def answer(self, request: Request[Any], at: int) -> bytes:
        update_id = max(number for number in self.market.history if depth_market.BEGAN + number <= at)
        bids, asks = self.market.history[update_id]
        event = depth_market.BEGAN + update_id
        limit = limit_of(request)
        return compact(
            {"lastUpdateId": update_id, "E": event, "T": event - 4, "bids": bids[:limit], "asks": asks[:limit]}
        )

    def times(self) -> tuple[int, int]:
        return depth_market.BEGAN + min(self.market.history), self.now

    def shown(self, series: DepthSeries) -> object:
        book = series.read(100)
        return None if book is None else (book.update_id, book.bids, book.asks)

    def check(self, series: DepthSeries) -> None:
        book = series.read(100)
        if book is not None:
            bids, asks = self.market.history[book.update_id]
            shown = [[(float(price), float(size)) for price, size in side] for side in (book.bids, book.asks)]
            truth = [[(float(price), float(size)) for price, size in side] for side in (bids, asks)]
            assert shown == [side[: len(own)] for side, own in zip(truth, shown, strict=True)]
            assert all(len(own) >= min(100, len(side)) for side, own in zip(truth, shown, strict=True))


class OpenInterests(Exchange):
    """One row an hour; the newest is corrected once, half an hour later."""

    def __init__(self, draw: Draw) -> None:
        self.hours = sorted(draw(st.sets(st.integers(0, 40), min_size=1, max_size=15)))
        self.now = MIDNIGHT + self.hours[-1] * HOUR + draw(st.integers(0, HOUR - 1))
        self.limits = draw(st.lists(st.integers(1, 6), max_size=2))

    def series(self) -> OpenInterestSeries:
        return OpenInterestSeries("BTCUSDT", "1h", IN_ONE_ANSWER)

    def row(self, stamp: int, value: str) -> dict[str, Any]:
        return samples.open_interest_row(stamp, value)

    def requests(self) -> Sequence[Request[Any]]:
        return [self.series().newest_rows(limit) for limit in (*self.limits, IN_ONE_ANSWER)]

    def answer(self, request: Request[Any], at: int) -> bytes:
        stamps = [MIDNIGHT + hour * HOUR for hour in self.hours if MIDNIGHT + hour * HOUR <= at]
        rows = [self.row(stamp, self.value(stamp, at)) for stamp in stamps]
        return compact(rows[-limit_of(request) :])

    @staticmethod
    def value(stamp: int, at: int) -> str:
        return f"{stamp % 1_000_003}.{int(at > stamp + HOUR // 2)}"

    def times(self) -> tuple[int, int]:
        return MIDNIGHT + self.hours[0] * HOUR, self.now

    def shown(self, series: OpenInterestSeries) -> object:
        return series.read(1_000), series.newest(), series.columns(1_000).stamps.tolist()

    def check(self, series: OpenInterestSeries) -> None:
        rows = series.read(1_000)
        stamps = [MIDNIGHT + hour * HOUR for hour in self.hours]
        found = [row["timestamp"] for row in rows]
        newest = stamps.index(found[-1]) + 1 if found else 0
        assert found == stamps[newest - len(found) : newest]
        for row in rows:
            stamp = row["timestamp"]
            assert row in (self.row(stamp, self.value(stamp, 0)), self.row(stamp, self.value(stamp, self.now)))
        state = series.state(self.now)
        assert not (state.complete and found) or found[0] == stamps[0]


class Ratios(OpenInterests):
    """The same for a ratio."""

    def series(self) -> RatioSeries:
        return RatioSeries(Key(Kind.TOP_POSITIONS, "BTCUSDT", "1h"), IN_ONE_ANSWER, lambda: "PERPETUAL")

    def row(self, stamp: int, value: str) -> dict[str, Any]:
        return samples.ratio_row(Kind.TOP_POSITIONS.value, stamp, value)

    def shown(self, series: RatioSeries) -> object:
        return series.read(1_000), series.newest()


class OfAllSymbols(Exchange):
    """Every symbol changes at some of the moments; a frame contains those that did."""

    most = 6

    def __init__(self, draw: Draw) -> None:
        self.moments: list[tuple[int, list[str]]] = []
        at = MIDNIGHT
        for pause in draw(st.lists(st.integers(1, 3_000), min_size=1, max_size=8)):
            at += pause
            changed = draw(st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=3, unique=True))
            self.moments.append((at, changed))
        self.now = at
        self.frames = [Frame(frame, at) for at, symbols in self.moments for frame in self.tell(symbols, at)]

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        """Return the frames of a moment."""
        return []

    def changed(self, symbol: str, until: int) -> int:
        """Return when the symbol last changed, or the moment before all others where it did not."""
        return max((at for at, symbols in self.moments if symbol in symbols and at <= until), default=MIDNIGHT)

    def times(self) -> tuple[int, int]:
        return MIDNIGHT, self.now


class Marks(OfAllSymbols):
    def series(self) -> MarkBoard:
        return MarkBoard()

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        return [samples.marks_frame(symbols, event=at, price=self.price(at))]

    @staticmethod
    def price(at: int) -> str:
        return f"{at - MIDNIGHT}.5"

    def answer(self, request: Request[Any], at: int) -> bytes:
        told = [(symbol, self.changed(symbol, at)) for symbol in SYMBOLS]
        return compact([samples.rest_mark(symbol, at=at, price=self.price(at)) for symbol, at in told])

    def shown(self, series: MarkBoard) -> object:
        marks = series.everything()
        return {symbol: (mark.time, mark.mark_price) for symbol, mark in marks.items()}, series.event

    def check(self, series: MarkBoard) -> None:
        for symbol, mark in series.everything().items():
            assert mark.mark_price == self.price(mark.time)
            assert mark.time == self.changed(symbol, mark.time)


class SpotPrices(OfAllSymbols):
    def series(self) -> SpotBoard:
        return SpotBoard(now=lambda: 0.0)

    def answer(self, request: Request[Any], at: int) -> bytes:
        rows = [{"symbol": symbol, "price": f"{self.changed(symbol, at) - MIDNIGHT}.25"} for symbol in SYMBOLS]
        return compact(rows)

    def shown(self, series: SpotBoard) -> object:
        return series.get()

    def check(self, series: SpotBoard) -> None:
        newest = series.get()
        if newest is not None:
            for symbol, price in newest.value.items():
                assert price == f"{self.changed(symbol, newest.as_of) - MIDNIGHT}.25"


class Tickers(OfAllSymbols):
    """Each change of a symbol is a trade."""

    def series(self) -> TickerBoard:
        return TickerBoard()

    def last(self, symbol: str, until: int) -> int:
        return sum(symbol in symbols for at, symbols in self.moments if at <= until)

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        return [samples.tickers_frame({symbol: self.last(symbol, at) for symbol in symbols}, event=at)]

    def answer(self, request: Request[Any], at: int) -> bytes:
        return compact([samples.rest_ticker(symbol, self.last(symbol, at), event=at) for symbol in SYMBOLS])

    def shown(self, series: TickerBoard) -> object:
        series.take(MIDNIGHT + DAY)
        return dict(series.seen), series.listed, series.event

    def check(self, series: TickerBoard) -> None:
        series.take(MIDNIGHT + DAY)
        for symbol, seen in series.seen.items():
            assert any(at == seen and symbol in symbols for at, symbols in self.moments)


class Quotes(OfAllSymbols):
    def series(self) -> QuoteBoard:
        return QuoteBoard()

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        return [samples.quotes_frame(symbol, at - MIDNIGHT, event=at) for symbol in symbols]

    def shown(self, series: QuoteBoard) -> object:
        return [series.get(symbol) for symbol in SYMBOLS], series.event


class Contracts(OfAllSymbols):
    def series(self) -> ContractBoard:
        return ContractBoard()

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        return [samples.contract_frame(symbol, ("TRADING", "BREAK")[at % 2], event=at) for symbol in symbols]

    def shown(self, series: ContractBoard) -> object:
        return [series.get(symbol) for symbol in SYMBOLS], series.event


class Listings(OfAllSymbols):
    def series(self) -> ListingBoard:
        return ListingBoard(now=lambda: 0.0)

    def answer(self, request: Request[Any], at: int) -> bytes:
        statuses = {symbol: ("TRADING", "SETTLING")[self.changed(symbol, at) % 2] for symbol in SYMBOLS}
        return compact(samples.exchange_info(statuses, onboarded={SYMBOLS[0]: MIDNIGHT}))

    def shown(self, series: ListingBoard) -> object:
        return series.get(), series.known()


class Liquidations(OfAllSymbols):
    def series(self) -> LiquidationBoard:
        return LiquidationBoard(100)

    def tell(self, symbols: Sequence[str], at: int) -> list[bytes]:
        return [samples.liquidation_frame(symbol, at=at - 2) for symbol in symbols]

    def shown(self, series: LiquidationBoard) -> object:
        return [series.read(symbol, 100) for symbol in (None, *SYMBOLS)]

    def check(self, series: LiquidationBoard) -> None:
        orders = series.read(None, 100)
        assert [order.time for order in orders] == sorted(order.time for order in orders)


class Clock(OfAllSymbols):
    def series(self) -> ClockSeries:
        return ClockSeries()

    def answer(self, request: Request[Any], at: int) -> bytes:
        return compact({"serverTime": at})

    def shown(self, series: Series) -> object:
        return series.state(self.now)
