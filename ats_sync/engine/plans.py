"""Which request serves a series now: the smallest that closes what is missing."""

from __future__ import annotations

from ..config import Config
from ..feeds import CANDLES, Cause, Key, Kind
from ..store.market import MarketStore
from ..venue import endpoints
from ..venue.intervals import candles_between, open_time
from .agenda import Agenda
from .depths import ample
from .first_frames import FirstFrames
from .jobs import Fetch
from .moment import Moment
from .state import State

AUDIT_ROWS = 100
"""The most rows that weigh 1."""


class Plans:
    """Plans fetches. Where a stream has closed its gap by itself, the series is live and nothing is asked."""

    def __init__(self, config: Config, store: MarketStore, agenda: Agenda, frames: FirstFrames) -> None:
        self._config = config
        self._store = store
        self._agenda = agenda
        self._frames = frames

    def plan(self, state: State, at: Moment) -> Fetch | None:
        """The request that serves a series now, None where none is needed (any more)."""
        key = state.key
        if key.kind in CANDLES:
            return self._plan_klines(state, at)
        if key.kind is Kind.TRADES:
            return self._plan_trades(state, at)
        if key.kind is Kind.BOOK:
            return self._plan_book(state)
        if key.kind is Kind.DEPTH:
            return self._plan_depth(state, at)
        if key.kind is Kind.OPEN_INTEREST:
            return self._plan_open_interest(state, at)
        request = {
            Kind.TICKERS: endpoints.ticker_24h,
            Kind.MARK: endpoints.premium_index,
            Kind.SPOT: endpoints.spot_price,
            Kind.LISTINGS: endpoints.exchange_info,
            Kind.CLOCK: endpoints.time,
        }[key.kind]()
        return _fetch(state, request, 0)

    def _plan_klines(self, state: State, at: Moment) -> Fetch | None:
        key = state.key
        series = self._store.candles(key)
        if series is None:
            return None
        limit = tail_limit(series.following(), key.interval, at.exchange)
        if state.cause is not Cause.AUDIT and self._frames.close_the_gap(state, at):
            self._agenda.schedule_audit(state, at)
            return None
        if limit is None or limit > series.depth or self._frames.short(series):
            limit = self._frames.first_rows(series)
        elif state.cause is Cause.AUDIT:
            limit = max(limit, AUDIT_ROWS)
        elif series.stopped():
            limit = min(limit, AUDIT_ROWS)  # a halt of hours is no reason to ask for rows of hours
        return _fetch(state, klines_request(key, limit), limit)

    def _plan_book(self, state: State) -> Fetch | None:
        symbol = state.key.symbol
        book = self._store.books.get(symbol)
        if book is None:
            return None
        if state.link is not None and book.standing().link is state.link:
            state.known = state.live_once = True
            return None
        return _fetch(state, endpoints.depth(symbol, 20), 20)

    def _plan_depth(self, state: State, at: Moment) -> Fetch | None:
        book = self._store.depths.get(state.key.symbol)
        if book is None or book.suspended or state.link is None:
            return None  # Without its stream a snapshot is of no use.
        if state.cause is not Cause.AUDIT and book.live() and ample(book):
            # The stream went on exactly where it had been, or a reader's snapshot did.
            state.known = state.live_once = True
            self._agenda.schedule_audit(state, at)
            return None
        limit = book.snapshot_limit()
        return _fetch(state, endpoints.depth(state.key.symbol, limit), limit)

    def _plan_open_interest(self, state: State, at: Moment) -> Fetch:
        key = state.key
        limit = self._config.max_open_interest
        series = self._store.open_interest.get((key.symbol, key.interval))
        if series is not None and series.newest():
            behind = candles_between(key.interval, series.newest(), at.exchange)
            limit = min(limit, max(2, behind + 1))
        return _fetch(state, endpoints.open_interest_hist(key.symbol, key.interval, limit), limit)

    def _plan_trades(self, state: State, at: Moment) -> Fetch | None:
        symbol = state.key.symbol
        ring = self._store.trades.get(symbol)
        if ring is None:
            return None
        standing = ring.standing()
        self._frames.close_the_gap(state, at)
        if ring.link is state.link and state.link is not None:
            if not self.trades_lacking(state):
                return None
            first = ring.first_id()
            least = standing.hole[0] if standing.hole else 0
            start = max(least, first - endpoints.AGG_TRADES_MOST)
            limit = min(endpoints.AGG_TRADES_MOST, max(1, first - start))
            return _fetch(state, endpoints.agg_trades(symbol, limit, from_id=start), limit)
        limit = min(endpoints.AGG_TRADES_MOST, ring.capacity)
        return _fetch(state, endpoints.agg_trades(symbol, limit), limit)

    def trades_lacking(self, state: State) -> bool:
        """Whether there are older trades to be fetched."""
        ring = self._store.trades.get(state.key.symbol)
        if ring is None:
            return False
        standing = ring.standing()
        return not standing.complete and standing.rows < min(ring.capacity, endpoints.AGG_TRADES_MOST)


def _fetch(state: State, request: endpoints.Request, limit: int) -> Fetch:
    # An answer for all symbols is wanted whether its stream lives on or not.
    link = None if state.feed.one_for_all else state.link
    return Fetch(state.key, request, state.cause, limit, link, state.epoch, state.feed.warm_up_order)


def klines_request(key: Key, limit: int) -> endpoints.Request:
    """The newest candles of a key, of futures or spot."""
    ask = endpoints.spot_klines if key.kind is Kind.SPOT_KLINES else endpoints.klines
    return ask(key.symbol, key.interval, limit)


def tail_limit(following: int, interval: str, exchange: int) -> int | None:
    """How many newest rows reach back to the candle that opened at ``following``; None where nothing is known."""
    if not following:
        return None
    current = open_time(interval, exchange, known_open=following)
    return max(1, candles_between(interval, following, current)) + 1
