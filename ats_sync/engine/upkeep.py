"""What every series needs next: its snapshot, what it missed, its next poll, a confirmation.

A streamed series is *live* once a REST answer that was asked for after its subscription was
acknowledged has been merged (for an order book, a whole frame on that subscription does as well).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

from ..config import Config
from ..errors import AtsSyncError, RequestRejected
from ..feeds import CANDLES, FEEDS, STREAM_ONLY, Cause, Feed, Key, Kind
from ..store.book import BookSeries
from ..store.depth import DepthBook
from ..store.link import Link
from ..store.market import MarketStore
from ..store.notices import Event, Notice
from ..store.order import LAGS_AT_MOST
from ..venue.endpoints import UNKNOWN_SYMBOL
from .agenda import Agenda
from .depths import DepthCare
from .first_frames import FIRST_FRAME_WITHIN, FirstFrames
from .jobs import Fetch
from .moment import Moment
from .plans import Plans
from .remedies import Remedies, streamed
from .state import State
from .turns import Turns

WITHOUT_STREAM_AFTER = 5.0
"""A series whose stream is not acknowledged this soon is fetched all the same."""
STREAMS_MISSED_FOR = 15.0
"""``start()`` does not wait longer (seconds) for a stream where REST serves its series."""
CLOCK = Key(Kind.CLOCK)
LISTINGS = Key(Kind.LISTINGS)
DEPTH_AGAIN_AFTER = 0.3
"""A snapshot that was older than the first event kept is followed by another this soon."""
LISTINGS_AGAIN_AFTER = 20.0
CLOCK_AGAIN_AFTER = 5.0
UNCERTAIN, UNCERTAIN_AGAIN_AFTER = 500, 15.0
"""Where slow answers leave the exchange's time open by more than so many ms, it is asked for again after so many
seconds: everything looks older by as much, and the path may have become quicker."""
SLEPT = 5.0
CAUSE_OF_POLL = {Kind.CLOCK: Cause.PROBE, Kind.TICKERS: Cause.AUDIT}
PATIENCE_WITH_CLOCK = 3
"""After so many failures of ``/time`` the rest is asked for without it."""
PER_SYMBOL = frozenset({*CANDLES, Kind.TRADES, Kind.BOOK, Kind.DEPTH})


class Upkeep:
    """Decides what is fetched for which series, and when. ``fetches`` collects what is to be sent."""

    def __init__(self, config: Config, store: MarketStore, rng: random.Random, *, streams: bool) -> None:
        self._store = store
        self._rng = rng
        self._streams = streams
        self.states: dict[Key, State] = {}
        self.fetches: list[Fetch] = []
        self.remedies = Remedies(store, self.states)
        self._offset: float | None = None  # exchange time minus steady time at the last proven tick
        self._polled_in_doubt: set[Key] = set()
        self._depths = DepthCare(store)
        self._agenda = Agenda(self.states, rng)
        self._turns = Turns(store, self.states, self._agenda, rng)
        self._frames = FirstFrames(config, store)
        self._plans = Plans(config, store, self._agenda, self._frames)

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        for key in keys:
            if key in self.states:
                continue
            feed = FEEDS[key.kind]
            state = self.states[key] = State(key, feed, unstreamed_since=at.steady)
            if key.kind in STREAM_ONLY:
                continue
            if feed.streamed and self._streams and not feed.one_for_all:
                self._agenda.schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.WARM_UP)
            else:
                self._agenda.schedule(state, at.steady, Cause.PROBE if key == CLOCK else Cause.WARM_UP)
            if key.kind in CANDLES and self._streams:
                self._turns.add(key.interval, at)

    def unfollow(self, keys: Iterable[Key]) -> None:
        for key in keys:
            self.states.pop(key, None)
            self.remedies.forget(key)
        self._turns.keep({key.interval for key in self.states if key.kind in CANDLES})

    def bury(self, key: Key, reason: str) -> None:
        """The exchange has this series no longer: nothing more is asked for it."""
        state = self.states.get(key)
        if state is not None:
            state.dead = reason
            state.due = state.link = None
            self.remedies.forget(key)
            series = streamed(self._store, key)
            if series is not None:
                series.suspect(reason)  # should it come back, what is held is not to be trusted

    def renew(self, keys: Iterable[Key], at: Moment) -> None:
        """Their names belong to new contracts, of which nothing is known yet."""
        for key in keys:
            epoch = self.states.pop(key).epoch
            self.remedies.renew(key)
            self.follow([key], at)
            self.states[key].epoch = epoch + 1  # what is under way was asked of the old contract

    def again(self, key: Key, at: Moment, pause: float) -> None:
        """Ask again for what is polled, unless that was done less than ``pause`` seconds ago."""
        state = self.states.get(key)
        if state is not None and state.fetching is None and at.steady - state.audit_at >= pause:
            state.audit_at = at.steady
            self._agenda.schedule(state, at.steady, CAUSE_OF_POLL.get(key.kind, Cause.POLL))

    def later(self, key: Key, at: Moment, pause: float) -> None:
        """Ask again for what is polled in ``pause`` seconds, unless it is due before anyway."""
        state = self.states.get(key)
        if state is not None:
            self._agenda.schedule(state, at.steady + pause, CAUSE_OF_POLL.get(key.kind, Cause.POLL))

    def wake(self, symbol: str, at: Moment) -> None:
        """The symbol has begun to trade: ask at once for whatever of it was refused or empty."""
        for key, state in self.states.items():
            if key.symbol == symbol and key.kind is not Kind.SPOT_KLINES and not state.dead:
                state.attempts = 0
                self._agenda.schedule(state, at.steady, state.mending)

    # --- what happened ---------------------------------------------------------------------------

    def acknowledged(self, key: Key, link: Link, at: Moment) -> None:
        """Its subscription was acknowledged on ``link``: whatever happens from now on is delivered."""
        state = self.states.get(key)
        if state is None or state.dead:
            return
        state.link = link
        state.subscribed = at.exchange
        state.epoch += 1
        state.attempts = 0
        if key.kind in PER_SYMBOL:
            # What is under way proves nothing for this subscription, and may wait long in line or never be sent.
            state.fetching = None
        self.remedies.forget(key)
        cause = state.mending
        series = self._frames.series(state)
        if series is not None:
            series.begin_on(link)
            self._agenda.schedule(state, at.steady + self._frames.wait(state), cause)
        elif key.kind is Kind.DEPTH:
            self._agenda.schedule(state, at.steady, cause)
            if (depth := self._store.depths.get(key.symbol)) is not None:
                depth.acknowledged()
        elif key.kind is Kind.BOOK:
            self._agenda.schedule(state, at.steady + FIRST_FRAME_WITHIN, cause)

    def moved(self, key: Key, link: Link, at: Moment) -> None:
        """``link`` has taken over from another living connection, without a gap."""
        state = self.states.get(key)
        if state is None or state.dead:
            return
        if state.link is None:
            # It was suspected, or not acknowledged there: the new connection begins it again.
            self.acknowledged(key, link, at)
            return
        old, state.link = state.link, link
        state.epoch += 1
        if state.fetching is not None and state.fetching.link is old:
            # It would be dropped with the old connection, or prove nothing for the new one.
            state.fetching = None
            self._agenda.schedule(state, at.steady, state.mending)
        series = self._frames.series(state)
        if series is not None and series.link is old:
            series.go_live(link)
        elif series is not None:
            series.begin_on(link)
            self._agenda.schedule(state, at.steady + self._frames.wait(state), state.mending)
        elif key.kind is Kind.BOOK:
            book = self._store.books.get(key.symbol)
            if book is not None and book.standing().link is old:
                book.go_live(link)
        elif key.kind is Kind.DEPTH and (depth := self._store.depths.get(key.symbol)) is not None:
            depth.hand_over(old, link)

    def lost(self, link: Link, at: Moment) -> None:
        """The connection is gone: what it fed waits for a new subscription."""
        for state in self.states.values():
            if state.fetching is not None and state.fetching.link is link:
                state.fetching = None  # it is dropped where it waits in line
            if state.link is link:
                state.link = None
                state.unstreamed_since = at.steady
                if state.key.kind in PER_SYMBOL:
                    state.due = None  # the next acknowledgement schedules it again

    def noticed(self, notices: Iterable[Notice], at: Moment) -> None:
        """A store found something missing."""
        for notice in notices:
            if notice.event is not Event.GAP:
                continue
            state = self.states.get(notice.key)
            if state is None or state.dead or state.link is None:
                continue
            if notice.key.kind is Kind.TRADES and self._frames.close_the_gap(state, at) and not self._lacks(state):
                continue
            due = at.steady + 0.1
            if notice.key.kind is Kind.DEPTH and self._depths.holed(notice.key.symbol, at):
                state.due = None
                continue
            if notice.key.kind in CANDLES:
                due = max(due, self._turns.strewn(notice.key, at))
            self._agenda.schedule(state, due, state.mending)

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
            self._agenda.release()
        if error is not None:
            state.error = error
            unknown = isinstance(error, RequestRejected) and error.code == UNKNOWN_SYMBOL
            if unknown and fetch.key.kind is Kind.SPOT_KLINES:
                self.bury(fetch.key, "the spot exchange does not list it (any more)")
            elif mine:
                state.attempts += 1
                self._agenda.schedule(state, at.steady + self._agenda.back_off(state, error), cause)
            return
        state.error = None
        # What is asked while the time is not sure counts as older than it is.
        if state.key == CLOCK:
            self._wake_polls(at, self.states if not state.known else self._polled_in_doubt)
            self._polled_in_doubt.clear()
        elif not at.proven and self._polled(state.feed):
            self._polled_in_doubt.add(state.key)
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
                if self.remedies.refute(key, at):
                    return
                series.go_live(link)
                state.live_once = True
            standing = series.standing(at.exchange)
            if standing.doubt and state.link is not None:
                state.attempts += 1
                due = max(at.steady + self._agenda.back_off(state, None), self._turns.confirmable(key, at))
                self._agenda.schedule(state, due, Cause.REPAIR)
                return
        elif key.kind is Kind.TRADES:
            ring = self._store.trades.get(key.symbol)
            if ring is None:
                return
            if on_link and link is not None:
                if self.remedies.refute(key, at):
                    return
                ring.go_live(link)
                state.live_once = True
            if self._lacks(state):
                first = ring.first_id()
                progress = state.reached < 0 or first < state.reached
                state.attempts = 0 if progress else state.attempts + 1
                state.reached = first
                pause = 0.0 if progress else self._agenda.back_off(state, None)
                self._agenda.schedule(state, at.steady + pause, state.mending)
                return
        elif key.kind is Kind.OPEN_INTEREST:
            interest = self._store.open_interest.get((key.symbol, key.interval))
            if interest is not None and not interest.asked():
                # What came was asked of the contract that had the name before.
                self._agenda.schedule(state, at.steady + self._agenda.back_off(state, None), state.mending)
                return
        elif key.kind is Kind.DEPTH:
            depth = self._store.depths.get(key.symbol)
            if depth is None or depth.suspended:
                return
            if on_link and link is not None:
                if not depth.standing().doubt and self._may_lack(state, depth, at):
                    return
                depth.go_live(link)
            if not depth.live():
                if state.link is not None:
                    state.attempts += 1
                    pause = DEPTH_AGAIN_AFTER if state.attempts == 1 else self._agenda.back_off(state, None)
                    self._agenda.schedule(state, at.steady + pause, state.mending)
                return
            state.live_once = True
        elif key.kind is Kind.BOOK:
            book = self._store.books.get(key.symbol)
            if book is not None and on_link and link is not None:
                if self._may_lack(state, book, at):
                    return
                book.go_live(link)
                state.live_once = True
        elif on_link:
            state.live_once = True
        if state.link is not None and not on_link and key.kind in PER_SYMBOL:
            # The subscription came while this was under way: it proves nothing about what fell in between.
            self._agenda.schedule(state, at.steady + self._frames.wait(state), state.mending)
            return
        state.attempts = 0
        if key.kind in CANDLES and state.link is not None:
            self._turns.confirm(state, at)
        if (key.kind in CANDLES or key.kind is Kind.DEPTH) and self._streams:
            self._agenda.schedule_audit(state, at)
        if self._polled(state.feed) and state.feed.poll is not None:
            # The first polls are strewn over the period so that they never come as one crowd.
            first = fetch.cause is Cause.WARM_UP and not state.feed.one_for_all
            pause = state.feed.poll * (self._rng.uniform(0.3, 1.0) if first else 1.0)
            pause = min(pause, self._still_fresh_for(state, at))
            self._agenda.schedule(state, at.steady + pause, CAUSE_OF_POLL.get(key.kind, Cause.POLL))

    def _may_lack(self, state: State, book: BookSeries | DepthBook, at: Moment) -> bool:
        """Whether a book whose stream says nothing may lack what happened before its subscription. It is then asked for
        again when an answer shows that by its own age, whatever replica it is from."""
        if book.standing().link is state.link or book.shown_until() >= state.subscribed:
            return False
        state.attempts += 1
        pause = self._agenda.back_off(state, None)
        if state.attempts > 1 or state.key.kind is not Kind.DEPTH:  # whose first was asked for at its subscription
            pause = max(pause, (state.subscribed + LAGS_AT_MOST + at.uncertain - at.exchange) / 1000.0)
        self._agenda.schedule(state, at.steady + pause, state.mending)
        return True

    def _still_fresh_for(self, state: State, at: Moment) -> float:
        """How long (seconds) what was just merged counts as fresh, less a tenth of its bound; 1 at least.

        An answer is as old as its request: one that reached a process which was stopped meanwhile may be old already.
        """
        key, bound, asked = state.key, state.feed.bound_polled, 0
        if key.kind is Kind.OPEN_INTEREST and (rows := self._store.open_interest.get((key.symbol, key.interval))):
            asked = rows.asked()
        elif key.kind is Kind.SPOT and (prices := self._store.spot.get()) is not None:
            asked = prices.as_of
        if bound is None or not asked or not at.proven:
            return math.inf
        return max(1.0, 0.9 * bound - (at.exchange - asked) / 1000.0)

    def _polled(self, feed: Feed) -> bool:
        return feed.poll is not None and (feed.poll_always or not self._streams)

    # --- time ------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Send what is due."""
        self._turns.check(at)
        if self._streams:
            self.remedies.look(at)
            for key in self.remedies.unsure:
                state = self.states.get(key)
                if state is not None and state.fetching is None and not state.dead:
                    self._agenda.schedule(state, at.steady, Cause.REPAIR)
            self.remedies.unsure.clear()
            self._look_at_depths(at)
        if not at.proven:
            self.again(CLOCK, at, CLOCK_AGAIN_AFTER)
        elif at.uncertain > UNCERTAIN:
            self.again(CLOCK, at, UNCERTAIN_AGAIN_AFTER if at.uncertain < 5_000 else CLOCK_AGAIN_AFTER)
        self._check_sleep(at)
        while (state := self._agenda.pop(at.steady)) is not None:
            if state.key != CLOCK and self.waits_for_clock():
                self._agenda.hold(state)
                continue
            state.due = None
            if state.fetching is not None and not self._outranked(state):
                continue
            if state.link is None and state.known and self._streams and state.key.kind in PER_SYMBOL:
                continue  # What is known serves until its subscription is acknowledged.
            fetch = self._plans.plan(state, at)
            if fetch is not None:
                state.fetching = fetch
                self.fetches.append(fetch)
            elif state.key.kind in CANDLES and state.link is not None:
                self._turns.confirm(state, at)

    @staticmethod
    def _outranked(state: State) -> bool:
        """Whether what is due may not wait for what is under way: an audit goes last and may be minutes in line."""
        return state.fetching is not None and state.fetching.cause is Cause.AUDIT and state.cause is not Cause.AUDIT

    def _look_at_depths(self, at: Moment) -> None:
        for key in self._depths.look(at):
            state = self.states.get(key)
            if state is not None and state.link is not None and not state.dead:
                self._agenda.schedule(state, at.steady, Cause.REPAIR)

    def _check_sleep(self, at: Moment) -> None:
        """Where the steady clock stood still while the machine slept, polls are late without being due."""
        if not at.proven:
            return
        offset = at.exchange / 1000.0 - at.steady
        slept = self._offset is not None and offset - self._offset > SLEPT
        self._offset = offset
        if slept:
            self._wake_polls(at, self.states)

    def _wake_polls(self, at: Moment, keys: Iterable[Key]) -> None:
        """Ask again at once for those of them that are polled and known."""
        for key in keys:
            state = self.states.get(key)
            if state is not None and state.known and not state.dead and self._polled(state.feed):
                self._agenda.schedule(state, at.steady, CAUSE_OF_POLL.get(state.key.kind, Cause.POLL))

    def waits_for_clock(self) -> bool:
        """Whether the first answer of ``/time`` is still to come: it goes alone, before many threads start,
        since its header tells the budget that others have left."""
        clock = self.states.get(CLOCK)
        return clock is not None and not clock.known and clock.attempts < PATIENCE_WITH_CLOCK

    def next_due(self, at: Moment) -> float | None:
        """When :meth:`tick` has something to do next (steady)."""
        moments = self._turns.due(at)
        if self._streams:
            moments.append(self.remedies.due())
            if (depths_due := self._depths.due()) is not None:
                moments.append(depths_due)
        if (due := self._agenda.next_due()) is not None:
            moments.append(due)
        return min(moments, default=None)

    # --- what it tells -----------------------------------------------------------------------------

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
            return ring is None or (ring.link is not None and not self._lacks(state))
        return state.known

    def left_to_rest(self, key: Key, now: float) -> bool:
        """Whether REST serves a streamed series while its stream has not come for so long, at ``now`` (steady), that
        nobody should wait for it any longer."""
        state = self.states.get(key)
        return (
            state is not None
            and state.known
            and state.link is None
            and self._streams
            and key.kind in PER_SYMBOL
            and now - state.unstreamed_since >= STREAMS_MISSED_FOR
        )

    def _lacks(self, state: State) -> bool:
        """Whether older trades are still to come."""
        return self._plans.trades_lacking(state)
