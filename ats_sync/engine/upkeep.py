"""What every series needs next: its snapshot, what it missed, its next poll, a confirmation.

A streamed series is *live* once a REST answer that was asked for after its subscription was
acknowledged has been merged (for an order book, a whole frame on that subscription does as well).
"""

from __future__ import annotations

import heapq
import itertools
import logging
import random
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ..config import Config
from ..errors import AtsSyncError, RequestRejected
from ..feeds import CANDLES, FEEDS, Cause, Feed, Key, Kind
from ..store.book import BookSeries
from ..store.depth import DepthBook
from ..store.klines import FINAL_EVENT_WITHIN, FINAL_IN_REST_AFTER, KlineSeries
from ..store.link import Link
from ..store.market import MarketStore
from ..store.notices import Event, Notice
from ..store.trades import TradeRing
from ..venue import endpoints
from ..venue.intervals import candles_between, next_open, nominal_length, open_time
from .depths import DepthCare, enough
from .jobs import Fetch
from .moment import Moment
from .witness import Witnesses

log = logging.getLogger(__name__)

WITHOUT_STREAM_AFTER = 5.0
"""A series whose stream is not acknowledged this soon is fetched all the same."""
ALL_FINAL = max(FINAL_EVENT_WITHIN.values())
FIRST_FRAME_WITHIN = 1.5
"""A book of which no frame came this long after the acknowledgement is fetched."""
CONFIRM_SPREAD = 20.0
"""Confirmations of quiet candles are spread over this long after a turn."""
OVERDUE_SPREAD = 3.0
RETRY_FIRST, RETRY_MOST = 1.0, 10.0
BARRED_RETRY = 60.0
UNKNOWN_SYMBOL = -1121
CLOCK = Key(Kind.CLOCK)
LISTINGS = Key(Kind.LISTINGS)
AUDIT_EVERY = 300.0
DEPTH_AUDIT_EVERY = 600.0
DEPTH_AGAIN_AFTER = 0.3
"""A snapshot that was older than the first event kept is followed by another this soon."""
AUDIT_ROWS = 99
"""The most rows that weigh 1."""
FORGIVEN_AFTER = 120.0
"""A stream that lived this long after a remedy counts as well again."""
GIVEN_UP_FOR = 300.0
"""How long a stream that no remedy helped is left alone, its series served by REST."""
LISTINGS_AGAIN_AFTER = 20.0
CLOCK_AGAIN_AFTER = 5.0
SLEPT = 5.0
CAUSE_OF_POLL = {Kind.CLOCK: Cause.PROBE, Kind.TICKERS: Cause.AUDIT}
PATIENCE_WITH_CLOCK = 3
"""After so many failures of ``/time`` the rest is asked for without it."""


class Remedy(Enum):
    """What to do about a stream that is dead."""

    RESUBSCRIBE = "resubscribe"
    MOVE = "move to another connection"


@dataclass(slots=True)
class State:
    """Where one series stands."""

    key: Key
    feed: Feed
    live_once: bool = False
    known: bool = False
    """Whether an answer was ever merged."""
    link: Link | None = None
    """Its acknowledged subscription."""
    last_id: int = -1
    """The last trade known when the subscription was acknowledged."""
    reached: int = -1
    """The oldest trade that the last backfill reached."""
    fetching: Fetch | None = None
    due: float | None = None
    cause: Cause = Cause.WARM_UP
    attempts: int = 0
    error: AtsSyncError | None = None
    dead: str = ""
    epoch: int = 0
    """Counts its subscriptions: what was asked before one proves nothing for it."""
    audit_at: float = 0.0
    remedies: int = 0
    """How often its stream was found dead in a row."""
    remedied: float = -FORGIVEN_AFTER
    """When it was last (steady)."""
    heard_when_given_up: int = 0


PER_SYMBOL = frozenset({*CANDLES, Kind.TRADES, Kind.BOOK, Kind.DEPTH})
REMEDIES = (Remedy.RESUBSCRIBE, Remedy.MOVE)


class Upkeep:
    """Decides what is fetched for which series, and when. ``fetches`` collects what is to be sent."""

    def __init__(self, config: Config, store: MarketStore, rng: random.Random, *, streams: bool) -> None:
        self._config = config
        self._store = store
        self._rng = rng
        self._streams = streams
        self.states: dict[Key, State] = {}
        self.fetches: list[Fetch] = []
        self.remedies: list[tuple[Key, Remedy]] = []
        """Dead streams and what to do about them, since last taken."""
        self.given_up: dict[Key, float] = {}
        """Streams that no remedy helped, and until when (steady) they are left alone."""
        self._witnesses = Witnesses(store)
        self._offset: float | None = None  # exchange time minus steady time at the last proven tick
        self._depths = DepthCare(store)
        self._agenda: list[tuple[float, int, Key]] = []
        self._turns: dict[str, int] = {}
        self._held: list[tuple[float, Key]] = []
        self._numbers = itertools.count()

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        for key in keys:
            if key in self.states:
                continue
            feed = FEEDS[key.kind]
            state = self.states[key] = State(key, feed)
            if key.kind in (Kind.LIQUIDATIONS, Kind.QUOTES):
                continue
            if feed.streamed and self._streams and not feed.one_for_all:
                self._schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.WARM_UP)
            else:
                self._schedule(state, at.steady, Cause.PROBE if key == CLOCK else Cause.WARM_UP)
            if key.kind in CANDLES and self._streams and key.interval not in self._turns:
                self._turns[key.interval] = self._next_turn(key.interval, at.exchange)

    def unfollow(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.states.pop(key, None)
            self.given_up.pop(key, None)
        followed = {key.interval for key in self.states if key.kind in CANDLES}
        self._turns = {interval: due for interval, due in self._turns.items() if interval in followed}

    def bury(self, key: Key, reason: str) -> None:
        """The exchange has this series no longer: nothing more is asked for it."""
        state = self.states.get(key)
        if state is not None:
            state.dead = reason
            state.due = state.link = None
            self.given_up.pop(key, None)
            series = self._streamed(key)
            if series is not None:
                series.suspect(reason)  # should it come back, what is held is not to be trusted

    def revive(self, key: Key, at: Moment) -> None:
        """The exchange has it again."""
        state = self.states.get(key)
        if state is not None and state.dead:
            state.dead = ""
            self._schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.REPAIR)

    def again(self, key: Key, at: Moment, pause: float) -> None:
        """Ask anew for what is polled, unless that was done less than ``pause`` seconds ago."""
        state = self.states.get(key)
        if state is not None and state.fetching is None and at.steady - state.audit_at >= pause:
            state.audit_at = at.steady
            self._schedule(state, at.steady, CAUSE_OF_POLL.get(key.kind, Cause.POLL))

    # --- what happened ---------------------------------------------------------------------------

    def acknowledged(self, key: Key, link: Link, at: Moment) -> None:
        """Its subscription was acknowledged on ``link``: whatever happens from now on is delivered."""
        state = self.states.get(key)
        if state is None or state.dead:
            return
        state.link = link
        state.epoch += 1
        state.attempts = 0
        self.given_up.pop(key, None)
        cause = Cause.REPAIR if state.live_once else Cause.WARM_UP
        if key.kind in CANDLES or key.kind is Kind.DEPTH:
            self._schedule(state, at.steady, cause)
        elif key.kind is Kind.TRADES:
            ring = self._store.trades.get(key.symbol)
            state.last_id = ring.last_id() if ring is not None else -1
            # The next trade may prove that none was missed, which saves the request.
            self._schedule(state, at.steady + (FIRST_FRAME_WITHIN if state.last_id >= 0 else 0.0), cause)
        elif key.kind is Kind.BOOK:
            self._schedule(state, at.steady + FIRST_FRAME_WITHIN, cause)

    def moved(self, key: Key, link: Link, at: Moment) -> None:
        """``link`` has taken over from another living connection, without a gap."""
        state = self.states.get(key)
        if state is None or state.dead:
            return
        if state.link is None:
            # It was suspected, or not acknowledged there: the new connection begins it anew.
            self.acknowledged(key, link, at)
            return
        old, state.link = state.link, link
        state.epoch += 1
        if state.fetching is not None and state.fetching.link is old:
            # It would be dropped with the old connection, or prove nothing for the new one.
            state.fetching = None
            self._schedule(state, at.steady, Cause.REPAIR if state.live_once else Cause.WARM_UP)
        if key.kind in CANDLES:
            series = self._store.candles(key)
            if series is not None and series.link is old:
                series.go_live(link)
        elif key.kind is Kind.TRADES:
            ring = self._store.trades.get(key.symbol)
            if ring is not None and ring.link is old:
                ring.go_live(link)
        elif key.kind is Kind.BOOK:
            book = self._store.books.get(key.symbol)
            if book is not None and book.standing().link is old:
                book.go_live(link)
        elif key.kind is Kind.DEPTH and (depth := self._store.depths.get(key.symbol)) is not None:
            depth.hand_over(old, link)

    def lost(self, link: Link) -> None:
        """The connection is gone: what it fed waits for a new subscription."""
        for state in self.states.values():
            if state.fetching is not None and state.fetching.link is link:
                state.fetching = None  # it is dropped where it waits in line
            if state.link is link:
                state.link = None
                if state.key.kind in PER_SYMBOL:
                    state.due = None  # the next acknowledgement schedules it anew

    def noticed(self, notices: Iterable[Notice], at: Moment) -> None:
        """A store found something missing."""
        for notice in notices:
            if notice.event is not Event.GAP:
                continue
            state = self.states.get(notice.key)
            if state is None or state.dead or state.link is None:
                continue
            due = at.steady + 0.1
            if notice.key.kind is Kind.DEPTH and self._depths.holed(notice.key.symbol, at):
                state.due = None
                continue
            if notice.key.kind in CANDLES:
                due = max(due, self._confirmable(notice.key, at) + self._rng.uniform(0.0, OVERDUE_SPREAD))
            self._schedule(state, due, Cause.REPAIR if state.live_once else Cause.WARM_UP)

    def fetched(self, fetch: Fetch, error: AtsSyncError | None, at: Moment) -> None:
        """A fetch was answered and merged, or failed for good."""
        state = self.states.get(fetch.key)
        if state is None:
            return
        waiting = state.fetching
        mine = waiting is fetch or (waiting is not None and waiting.identity == fetch.identity)
        # Where a reader had asked for the same already, the answer comes under the reader's cause.
        cause = waiting.cause if waiting is not None else fetch.cause
        if mine:
            state.fetching = None
        if state.key == CLOCK:
            self._release()
        if error is not None:
            state.error = error
            if isinstance(error, RequestRejected) and error.code == UNKNOWN_SYMBOL:
                self.bury(fetch.key, "the exchange does not list it (any more)")
                self.again(LISTINGS, at, LISTINGS_AGAIN_AFTER)
            elif mine:
                state.attempts += 1
                self._schedule(state, at.steady + self._back_off(state, error), cause)
            return
        state.error = None
        if state.key == CLOCK and not state.known:
            self._wake_polls(at)  # what was asked before counts as older than it is
        state.known = True
        if mine or fetch.link is not None:
            self._settle(state, fetch, at)

    def _settle(self, state: State, fetch: Fetch, at: Moment) -> None:
        """After a merge: is the series live, and what is still missing?"""
        key, link = state.key, fetch.link
        on_link = link is not None and link is state.link and link.up and fetch.epoch == state.epoch
        if key.kind in CANDLES:
            series = self._store.candles(key)
            if series is None:
                return
            if on_link and link is not None:
                series.go_live(link)
                state.live_once = True
            standing = series.standing(at.exchange)
            if standing.doubt and state.link is not None:
                state.attempts += 1
                due = max(at.steady + self._back_off(state, None), self._confirmable(key, at))
                self._schedule(state, due, Cause.REPAIR)
                return
        elif key.kind is Kind.TRADES:
            ring = self._store.trades.get(key.symbol)
            if ring is None:
                return
            if on_link and link is not None:
                ring.go_live(link)
                state.live_once = True
            if self._trades_lacking(state):
                first = ring.first_id()
                progress = state.reached < 0 or first < state.reached
                state.attempts = 0 if progress else state.attempts + 1
                state.reached = first
                pause = 0.0 if progress else self._back_off(state, None)
                self._schedule(state, at.steady + pause, Cause.REPAIR if state.live_once else Cause.WARM_UP)
                return
        elif key.kind is Kind.DEPTH:
            depth = self._store.depths.get(key.symbol)
            if depth is None or depth.suspended:
                return
            if on_link and link is not None:
                depth.go_live(link)
            if not depth.live():
                if state.link is not None:
                    state.attempts += 1
                    pause = DEPTH_AGAIN_AFTER if state.attempts == 1 else self._back_off(state, None)
                    self._schedule(state, at.steady + pause, Cause.REPAIR if state.live_once else Cause.WARM_UP)
                return
            state.live_once = True
        elif on_link:
            state.live_once = True
        if state.link is not None and not on_link and key.kind in PER_SYMBOL:
            # The subscription came while this was under way: it proves nothing about what fell in between.
            self._schedule(state, at.steady, Cause.REPAIR if state.live_once else Cause.WARM_UP)
            return
        state.attempts = 0
        if (key.kind in CANDLES or key.kind is Kind.DEPTH) and self._streams:
            self._schedule_audit(state, at)
        if self._polled(state.feed) and state.feed.poll is not None:
            # The first polls are strewn over the period so that they never come as one crowd.
            first = fetch.cause is Cause.WARM_UP and not state.feed.one_for_all
            pause = state.feed.poll * (self._rng.uniform(0.3, 1.0) if first else 1.0)
            self._schedule(state, at.steady + pause, CAUSE_OF_POLL.get(key.kind, Cause.POLL))

    def _schedule_audit(self, state: State, at: Moment) -> None:
        if at.steady >= state.audit_at:
            every = DEPTH_AUDIT_EVERY if state.key.kind is Kind.DEPTH else AUDIT_EVERY
            state.audit_at = at.steady + every * self._rng.uniform(0.7, 1.0)
        self._schedule(state, state.audit_at, Cause.AUDIT)

    # --- dead streams ------------------------------------------------------------------------------

    def _look(self, at: Moment) -> None:
        """Find the streams that have died alone, and those given up that may be tried again."""
        for key, reason in self._witnesses.look(at):
            self._suspect(key, reason, at)
        for key in self._depths.look(at):
            book = self.states.get(key)
            if book is not None and book.link is not None and not book.dead:
                self._schedule(book, at.steady, Cause.REPAIR)
        for key, until in list(self.given_up.items()):
            series = self._streamed(key)
            state = self.states.get(key)
            if series is None or state is None:
                del self.given_up[key]
            elif at.steady >= until or series.received > state.heard_when_given_up:
                del self.given_up[key]
                state.remedies = 0
                self.remedies.append((key, Remedy.RESUBSCRIBE))

    def _suspect(self, key: Key, reason: str, at: Moment) -> None:
        state, series = self.states.get(key), self._streamed(key)
        if state is None or series is None or state.link is None or state.dead:
            return
        series.suspect(reason)
        if at.steady - state.remedied > FORGIVEN_AFTER:
            state.remedies = 0
        state.remedied = at.steady
        state.remedies += 1
        state.link = None
        state.due = None
        log.info("%s: %s; remedy %d", key, reason, state.remedies)
        if state.remedies <= len(REMEDIES):
            self.remedies.append((key, REMEDIES[state.remedies - 1]))
        else:
            series.suspect("its stream is dead and no remedy helped: REST answers")
            state.heard_when_given_up = series.received
            self.given_up[key] = at.steady + GIVEN_UP_FOR

    def _streamed(self, key: Key) -> KlineSeries | TradeRing | BookSeries | DepthBook | None:
        if key.kind in CANDLES:
            return self._store.candles(key)
        if key.kind is Kind.TRADES:
            return self._store.trades.get(key.symbol)
        if key.kind is Kind.DEPTH:
            return self._store.depths.get(key.symbol)
        return self._store.books.get(key.symbol) if key.kind is Kind.BOOK else None

    def _polled(self, feed: Feed) -> bool:
        return feed.poll is not None and (feed.poll_always or not self._streams)

    # --- time ------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Send what is due."""
        self._check_turns(at)
        if self._streams:
            self._look(at)
        if not at.proven:
            self.again(CLOCK, at, CLOCK_AGAIN_AFTER)
        self._check_sleep(at)
        while self._agenda and self._agenda[0][0] <= at.steady:
            due, _, key = heapq.heappop(self._agenda)
            state = self.states.get(key)
            if state is None or state.due != due or state.dead:
                continue
            if key != CLOCK and self.waits_for_clock():
                self._held.append((due, key))
                continue
            state.due = None
            if state.fetching is not None:
                continue
            fetch = self._plan(state, at)
            if fetch is not None:
                state.fetching = fetch
                self.fetches.append(fetch)

    def _check_sleep(self, at: Moment) -> None:
        """Where the steady clock stood still while the machine slept, polls are late without being due."""
        if not at.proven:
            return
        offset = at.exchange / 1000.0 - at.steady
        slept = self._offset is not None and offset - self._offset > SLEPT
        self._offset = offset
        if slept:
            self._wake_polls(at)

    def _wake_polls(self, at: Moment) -> None:
        """Ask anew at once for everything polled that is known."""
        for state in self.states.values():
            if state.known and not state.dead and self._polled(state.feed):
                self._schedule(state, at.steady, CAUSE_OF_POLL.get(state.key.kind, Cause.POLL))

    def waits_for_clock(self) -> bool:
        """Whether the first answer of ``/time`` is still to come: it goes alone, before many threads start,
        since its header tells the budget that others have left."""
        clock = self.states.get(CLOCK)
        return clock is not None and not clock.known and clock.attempts < PATIENCE_WITH_CLOCK

    def _release(self) -> None:
        """Whatever waited for the clock is due now."""
        for due, key in self._held:
            heapq.heappush(self._agenda, (due, next(self._numbers), key))
        self._held.clear()

    def next_due(self, at: Moment) -> float | None:
        """When :meth:`tick` has something to do next (steady)."""
        moments = [at.steady + (turn - at.exchange) / 1000.0 for turn in self._turns.values()]
        if self._streams:
            moments.append(self._witnesses.due())
            if (depths_due := self._depths.due()) is not None:
                moments.append(depths_due)
        while self._agenda:
            due, _, key = self._agenda[0]
            state = self.states.get(key)
            if state is not None and state.due == due:
                moments.append(due)
                break
            heapq.heappop(self._agenda)
        return min(moments, default=None)

    def _schedule(self, state: State, due: float, cause: Cause) -> None:
        if state.due is not None and state.due <= due:
            return
        state.due = due
        state.cause = cause
        heapq.heappush(self._agenda, (due, next(self._numbers), state.key))

    def _back_off(self, state: State, error: AtsSyncError | None) -> float:
        if error is not None and not error.retryable:
            return BARRED_RETRY
        delay = min(RETRY_MOST, RETRY_FIRST * 2.0 ** min(state.attempts - 1, 10))
        return delay * self._rng.uniform(0.75, 1.25)

    # --- the turn of the candle ------------------------------------------------------------------

    def _next_turn(self, interval: str, exchange: int) -> int:
        """When (exchange ms) candles of this interval that have just ended must all be final."""
        return next_open(interval, open_time(interval, exchange - ALL_FINAL)) + ALL_FINAL

    def _check_turns(self, at: Moment) -> None:
        for interval, due in self._turns.items():
            if due > at.exchange + nominal_length(interval) + ALL_FINAL:
                # It was foreseen while the clock was ahead.
                self._turns[interval] = self._next_turn(interval, at.exchange)
                continue
            if at.exchange < due:
                continue
            self._turns[interval] = self._next_turn(interval, at.exchange)
            for key, state in self.states.items():
                if key.kind not in CANDLES or key.interval != interval or state.link is None:
                    continue
                series = self._store.candles(key)
                if series is None or not series.following():
                    continue
                if next_open(interval, series.following()) <= at.exchange:
                    overdue = bool(series.standing(at.exchange).doubt)
                    spread = OVERDUE_SPREAD if overdue else CONFIRM_SPREAD
                    due_at = self._confirmable(key, at) + self._rng.uniform(0.0, spread)
                    self._schedule(state, due_at, Cause.REPAIR)

    def _confirmable(self, key: Key, at: Moment) -> float:
        """When (steady) a REST answer can close the first candle that is not closed here; now at the earliest."""
        series = self._store.candles(key)
        following = series.following() if series is not None else 0
        if not following or next_open(key.interval, following) > at.exchange:
            return at.steady
        final = next_open(key.interval, following) + FINAL_IN_REST_AFTER + 50
        return at.steady + max(0, final - at.exchange) / 1000.0

    # --- requests ----------------------------------------------------------------------------------

    def _plan(self, state: State, at: Moment) -> Fetch | None:
        """The request that serves a series now, None where none is needed (any more)."""
        key = state.key
        symbol = key.symbol
        if key.kind in CANDLES:
            return self._plan_klines(state, at)
        if key.kind is Kind.TRADES:
            return self._plan_trades(state)
        if key.kind is Kind.BOOK:
            book = self._store.books.get(symbol)
            if book is None:
                return None
            standing = book.standing()
            if state.link is not None and standing.link is state.link:
                state.known = state.live_once = True
                return None
            return self._fetch(state, endpoints.depth(symbol, 20), 20)
        if key.kind is Kind.DEPTH:
            return self._plan_depth(state, at)
        if key.kind is Kind.OPEN_INTEREST:
            limit = self._config.max_open_interest
            series = self._store.open_interest.get((symbol, key.interval))
            if series is not None and series.newest():
                behind = candles_between(key.interval, series.newest(), at.exchange)
                limit = min(limit, max(2, behind + 1))
            return self._fetch(state, endpoints.open_interest_hist(symbol, key.interval, limit), limit)
        request = {
            Kind.TICKERS: endpoints.ticker_24h,
            Kind.MARK: endpoints.premium_index,
            Kind.SPOT: endpoints.spot_price,
            Kind.LISTINGS: endpoints.exchange_info,
            Kind.CLOCK: endpoints.time,
        }[key.kind]()
        return self._fetch(state, request, 0)

    def _plan_klines(self, state: State, at: Moment) -> Fetch | None:
        key = state.key
        series = self._store.candles(key)
        if series is None:
            return None
        limit = tail_limit(series.following(), key.interval, at.exchange)
        first_rows = min(series.first_rows or self._config.warmup_klines, series.depth)
        # An early read may have begun the history with a few rows only.
        short = not series.complete and len(series) + 1 < first_rows
        if limit is None or limit > series.depth or short:
            limit = first_rows
        elif state.cause is Cause.AUDIT:
            limit = max(limit, AUDIT_ROWS)
        ask = endpoints.spot_klines if key.kind is Kind.SPOT_KLINES else endpoints.klines
        return self._fetch(state, ask(key.symbol, key.interval, limit), limit)

    def _plan_depth(self, state: State, at: Moment) -> Fetch | None:
        book = self._store.depths.get(state.key.symbol)
        if book is None or book.suspended or state.link is None:
            return None  # Without its stream a snapshot is of no use.
        if state.cause is not Cause.AUDIT and book.live() and enough(book):
            # The stream went on exactly where it had been, or a reader's snapshot did.
            state.known = state.live_once = True
            self._schedule_audit(state, at)
            return None
        limit = book.snapshot_limit()
        return self._fetch(state, endpoints.depth(state.key.symbol, limit), limit)

    def _trades_lacking(self, state: State) -> bool:
        ring = self._store.trades.get(state.key.symbol)
        if ring is None:
            return False
        standing = ring.standing()
        return not standing.complete and standing.rows < min(ring.capacity, endpoints.AGG_TRADES_MOST)

    def _plan_trades(self, state: State) -> Fetch | None:
        symbol = state.key.symbol
        ring = self._store.trades.get(symbol)
        if ring is None:
            return None
        standing = ring.standing()
        went_on = ring.first_id() <= state.last_id < ring.last_id() and state.last_id >= 0
        if state.link is not None and ring.link is not state.link and went_on:
            # The stream went on exactly where the last known trade had been: nothing was missed.
            ring.go_live(state.link)
            state.live_once = state.known = True
        if ring.link is state.link and state.link is not None:
            if not self._trades_lacking(state):
                return None
            first = ring.first_id()
            least = standing.hole[0] if standing.hole else 0
            start = max(least, first - endpoints.AGG_TRADES_MOST)
            limit = min(endpoints.AGG_TRADES_MOST, max(1, first - start))
            return self._fetch(state, endpoints.agg_trades(symbol, limit, from_id=start), limit)
        limit = min(endpoints.AGG_TRADES_MOST, ring.capacity)
        return self._fetch(state, endpoints.agg_trades(symbol, limit), limit)

    def _fetch(self, state: State, request: endpoints.Request, limit: int) -> Fetch:
        return Fetch(state.key, request, state.cause, limit, state.link, state.epoch, state.feed.warm_up_order)

    def candles(self) -> tuple[int, int]:
        """How many kline series are followed by stream, and how many of those that were live need a repair."""
        if not self._streams:
            return 0, 0
        count = lacking = 0
        for key, state in self.states.items():
            if key.kind is not Kind.KLINES or state.dead:
                continue
            count += 1
            if state.live_once:
                series = self._store.klines.get((key.symbol, key.interval))
                broken = series is not None and (series.link is None or not series.link.up)
                lacking += broken or (state.cause is Cause.REPAIR and (state.due or state.fetching) is not None)
        return count, lacking

    # --- readiness ---------------------------------------------------------------------------------

    def ready(self, key: Key) -> bool:
        """Whether a read of this series would be answered from memory, its stream permitting."""
        state = self.states.get(key)
        if state is None or state.dead:
            return True
        if not (state.feed.streamed and self._streams):
            return state.known
        if key.kind in CANDLES:
            series = self._store.candles(key)
            return series is None or series.link is not None
        if key.kind is Kind.BOOK:
            book = self._store.books.get(key.symbol)
            return book is None or book.standing().link is not None
        if key.kind is Kind.DEPTH:
            depth = self._store.depths.get(key.symbol)
            return depth is None or depth.live()
        if key.kind is Kind.TRADES:
            ring = self._store.trades.get(key.symbol)
            return ring is None or ring.link is not None
        return state.known


def tail_limit(following: int, interval: str, exchange: int) -> int | None:
    """How many newest rows reach back to the candle that opened at ``following``; None where nothing is known."""
    if not following:
        return None
    current = open_time(interval, exchange, known_open=following)
    return max(1, candles_between(interval, following, current)) + 1
