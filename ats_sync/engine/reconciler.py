"""What every series needs next: its snapshot, what it missed, a confirmation. (For polls, see
:mod:`~ats_sync.engine.polls`.)

A streamed series is *live* once a REST answer that was requested after its subscription was
acknowledged has been merged (for an order book, a whole frame on that subscription does as well).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from ..errors import AtsSyncError, RequestRejected
from ..feeds import FEEDS, Cause, Key
from ..store.link import Link
from ..store.market import MarketStore
from ..store.order import LAGS_AT_MOST
from ..store.series import Change, Series, StoreEvent
from ..venue.endpoints import UNKNOWN_SYMBOL
from .candles import CandleCloses
from .jobs import Fetch
from .lacking import LackingCandles
from .moment import Moment
from .polls import Polls
from .remedies import Remedies
from .schedule import DueQueue
from .state import State

WITHOUT_STREAM_AFTER = 5.0
"""A series whose stream is not acknowledged this soon is fetched all the same."""
EXPECTED_WITHIN = 30.0
"""How long (seconds) nothing is requested for a series that may begin with rows from disk."""
STREAMS_MISSED_FOR = 15.0
"""``start()`` does not wait longer (seconds) for a stream where REST serves its series."""
GAP_REQUESTED_AFTER = 0.1
"""What arrives out of order may close a gap by itself within so many seconds."""
DRIFTS = 0.05
"""By so much (seconds) the exchange's time may become less certain while a request waits."""
REFRESH_LOOK_EVERY = 1.0


class Reconciler:
    """Decides what is fetched for which series, and when. ``fetches`` collects what is to be sent."""

    def __init__(self, store: MarketStore, rng: random.Random, *, streams: bool) -> None:
        self._store = store
        self._rng = rng
        self._streams = streams
        self.states: dict[Key, State] = {}
        self.fetches: list[Fetch] = []
        self._lacking = LackingCandles(store, self.states)
        self.remedies = Remedies(store, self.states, self._lacking.note)
        self._refreshed: dict[Key, State] = {}  # what may need a new answer though nothing is missing
        self._refresh_due = 0.0
        self._queue = DueQueue(self.states, rng, self._lacking.note)
        self.polls = Polls(self.states, self._queue, rng, streams=streams)
        self._closes = CandleCloses(store, self.states, self._queue, rng)

    # --- what is followed ------------------------------------------------------------------------

    def follow(self, keys: Iterable[Key], at: Moment) -> None:
        self._lacking.recount()
        for key in keys:
            if key in self.states:
                continue
            feed = FEEDS[key.kind]
            state = self.states[key] = State(key, feed, unstreamed_since=at.steady)
            if feed.refreshed:
                self._refreshed[key] = state
            if feed.stream_only:
                continue
            series = self._store.get(key)
            if series is not None and series.expecting:
                self._queue.schedule(state, at.steady + EXPECTED_WITHIN, Cause.WARM_UP)
            elif feed.own_stream and self._streams:
                self._queue.schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.WARM_UP)
            else:
                self._queue.schedule(state, at.steady, Cause.PROBE if feed.sets_clock else Cause.WARM_UP)
            if feed.closes and self._streams:
                self._closes.add(key.interval, at)

    def unfollow(self, keys: Iterable[Key]) -> None:
        self._lacking.recount()
        for key in keys:
            self.states.pop(key, None)
            self._refreshed.pop(key, None)
            self.remedies.forget(key)
        self._closes.keep({key.interval for key, state in self.states.items() if state.feed.closes})

    def delist(self, key: Key, reason: str) -> None:
        """Request nothing more for a series that the exchange no longer has."""
        state = self.states.get(key)
        if state is not None:
            state.delisted = reason
            self._lacking.recount()
            state.due = state.link = None
            self.remedies.forget(key)
            series = self._store.get(key)
            if series is not None and state.feed.own_stream:
                series.suspect(reason)  # should it come back, what is known is not to be trusted

    def renew(self, keys: Iterable[Key], at: Moment, listed: Callable[[str], int]) -> None:
        """Start over with series whose names belong to new contracts; ``listed``: when each symbol's was (exchange ms),
        0 where that is not known."""
        for key in keys:
            epoch = self.states.pop(key).epoch
            self.remedies.renew(key, listed(key.symbol))
            self.follow([key], at)
            self.states[key].epoch = epoch + 1  # what is under way is about the old contract

    def restored(self, keys: Iterable[Key], at: Moment) -> None:
        """Request what these series lack, now that their rows from disk have been loaded."""
        for key in keys:
            state, series = self.states.get(key), self._store.get(key)
            self.remedies.look_again(key)
            if series is not None:
                series.expecting = False
            if state is None or series is None or state.delisted or state.fetching is not None:
                continue
            if not (state.feed.own_stream and self._streams):
                self._queue.schedule(state, at.steady, Cause.WARM_UP)
            elif state.link is None:
                state.due = None  # it waited for this
                self._queue.schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.WARM_UP)
            elif not series.live():
                state.due = None
                waited = (at.exchange - state.subscribed) / 1000.0
                wait = max(0.0, series.patience(live_once=state.live_once) - waited)
                self._queue.schedule(state, at.steady + wait, state.repair_cause)
            else:
                state.due = None
                self._queue.schedule(state, at.steady + series.patience(live_once=False), state.repair_cause)

    def repair(self, key: Key, at: Moment, wait: float = 0.0) -> None:
        """Request in ``wait`` seconds what a series lacks, unless it is delisted."""
        state = self.states.get(key)
        if state is not None and not state.delisted:
            self._queue.schedule(state, at.steady + wait, state.repair_cause)

    def begin_trading(self, symbol: str, at: Moment) -> None:
        """Request at once whatever was refused or empty for a symbol, since it has begun to trade."""
        for key, state in self.states.items():
            if key.symbol == symbol and not state.feed.spot and not state.delisted:
                state.count_from_zero()
                state.outdated_until = at.exchange
                self._queue.schedule(state, at.steady, state.repair_cause)

    # --- what happened ---------------------------------------------------------------------------

    def acknowledged(self, key: Key, link: Link, at: Moment) -> None:
        """Note that a subscription was acknowledged on ``link``: whatever happens from now on is delivered."""
        state = self.states.get(key)
        if state is None or state.delisted:
            return
        state.link = link
        state.subscribed = at.exchange
        state.epoch += 1
        state.count_from_zero()
        if state.feed.own_stream:
            # What is under way proves nothing for this subscription, and may wait long in line or never be sent.
            state.fetching = None
        self.remedies.forget(key)
        series = self._store.get(key)
        if series is not None and state.feed.own_stream:
            series.subscribed_on(link)
            self._await_frame(state, series, at)
        elif state.known and state.feed.polled(streams=True):
            # What happened last before the subscription is not delivered, and an answer about it may have lagged.
            self.polls.within(key, at, at.wait(at.exchange + LAGS_AT_MOST))

    def _await_frame(self, state: State, series: Series, at: Moment) -> None:
        """Schedule a request for when a first frame is no longer worth waiting for."""
        wait = EXPECTED_WITHIN if series.expecting else series.patience(live_once=state.live_once)
        self._queue.schedule(state, at.steady + wait, state.repair_cause)

    def moved(self, key: Key, link: Link, at: Moment) -> None:
        """Note that ``link`` has taken over from another living connection without a gap."""
        state = self.states.get(key)
        if state is None or state.delisted:
            return
        if state.link is None:
            # It was suspected, or not acknowledged there: it starts over on the new connection.
            self.acknowledged(key, link, at)
            return
        old, state.link = state.link, link
        state.epoch += 1
        if state.fetching is not None and state.fetching.link is old:
            # It would be dropped with the old connection, or prove nothing for the new one.
            state.fetching = None
            self._queue.schedule(state, at.steady, state.repair_cause)
        series = self._store.get(key)
        if series is not None and state.feed.own_stream and not series.hand_over(old, link):
            self._await_frame(state, series, at)

    def lost(self, link: Link, at: Moment) -> None:
        """Note that a connection has ended: what it fed waits for a new subscription."""
        self._lacking.note_all()
        for state in self.states.values():
            if state.fetching is not None and state.fetching.link is link:
                state.fetching = None  # it is dropped where it waits in line
            if state.link is link:
                state.link = None
                state.unstreamed_since = at.steady
                if state.feed.own_stream:
                    state.due = None  # the next acknowledgement schedules it again

    def unstreamed(self, key: Key, at: Moment) -> None:
        """Note that a series waits for a subscription of its own: the stream that fed it so far is that of another
        series."""
        state, series = self.states.get(key), self._store.get(key)
        if state is None or series is None:
            return
        state.link = series.link = None
        self._lacking.note(state)
        state.epoch += 1
        state.unstreamed_since = at.steady
        state.due = None
        if not state.known:
            self._queue.schedule(state, at.steady + WITHOUT_STREAM_AFTER, Cause.WARM_UP)

    def lengthen(self, key: Key, at: Moment) -> None:
        """Request older rows of candles where something derived from them needs more than memory has."""
        state, series = self.states.get(key), self._store.get(key)
        if state is not None and series is not None and state.known and series.reach_back(0):
            self._queue.schedule(state, at.steady, state.repair_cause)

    def _wake_derived(self, key: Key, at: Moment) -> None:
        """Check what is derived from candles that are complete now: it may be complete, too."""
        for each in self._store.derivations.derived_from(key):
            state, series = self.states.get(each), self._store.get(each)
            if state is None or series is None or state.link is None or state.delisted or state.fetching is not None:
                continue
            if series.link is not state.link or series.unsettled(at.exchange):
                self._queue.schedule(state, at.steady, state.repair_cause)

    def changed(self, events: Iterable[StoreEvent], at: Moment) -> None:
        """Act on what the store has found: something missing, or the first frame of a subscription."""
        for event in events:
            if event.change is Change.CLOSED:
                continue
            state, series = self.states.get(event.key), self._store.get(event.key)
            if state is None or series is None or state.delisted or state.link is None:
                continue
            if event.change is Change.BEGUN and self._resume(state, series, at):
                continue
            if not series.gap_found(at.steady):
                state.due = None
                continue
            if self._closes.await_frames(state, at):
                continue
            due = max(at.steady + GAP_REQUESTED_AFTER, self._closes.jittered(series, at))
            self._queue.need(state, due, state.repair_cause)

    def _resume(self, state: State, series: Series, at: Moment) -> bool:
        """Make a series live where its frames have shown that it may be; return whether no answer is needed. Trades
        that follow one another may still lack the newest one."""
        link = state.link
        resumed = link is not None and not self.remedies.lacks(state.key, at) and series.resume(link, at.exchange)
        if resumed or (state.known and link is not None and series.live()):
            state.live_once = state.known = True
        if resumed:
            self._wake_derived(state.key, at)
        return resumed

    def fetched(self, fetch: Fetch, error: AtsSyncError | None, at: Moment) -> None:
        """Act on a fetch that was answered and merged, or has failed for good."""
        state = self.states.get(fetch.key)
        if state is None:
            return
        waiting = state.fetching
        mine = waiting is fetch or (waiting is not None and waiting.identity == fetch.identity)
        # Where a reader had requested the same already, the answer comes under the reader's cause.
        cause = waiting.cause if waiting is not None else fetch.cause
        if mine:
            state.fetching = None
        if state.feed.sets_clock:
            self._queue.release()
        if error is not None:
            state.error = error
            unknown = isinstance(error, RequestRejected) and error.code == UNKNOWN_SYMBOL
            if unknown and state.feed.spot and fetch.key.symbol:
                self.delist(fetch.key, "the spot exchange does not list it (any more)")
            elif mine:
                self._queue.retry(state, at, error, cause)
            return
        state.error = state.retry_at = None
        self.polls.answered(state, at)
        state.known = True
        if mine or fetch.link is not None:
            self._settle(state, fetch, at)
        else:
            self._look_at_doubt(state, at)

    def _look_at_doubt(self, state: State, at: Moment) -> None:
        """Request what an answer to a reader has put in doubt, unless that is due anyway."""
        series = self._store.get(state.key)
        if series is None or state.link is None or state.delisted or not state.left_alone:
            return
        if not self._closes.await_frames(state, at) and series.unsettled(at.exchange):
            self._queue.need(state, self._closes.jittered(series, at), state.repair_cause)

    def _settle(self, state: State, fetch: Fetch, at: Moment) -> None:
        """Decide after a merge whether a series is live, and schedule what is still missing."""
        link, series = fetch.link, self._store.get(state.key)
        if series is None:
            return
        on_link = link is not None and link is state.link and link.up and fetch.epoch == state.epoch
        if on_link and link is not None:
            if self.remedies.refute(state.key, at):
                return
            if self._may_lack(state, series, link, at):
                return
            if self.remedies.lacks(state.key, at):
                state.attempts += 1
                self._queue.schedule(state, at.steady + self._queue.back_off(state, None), state.repair_cause)
                return
            series.go_live(link)
            state.live_once = state.live_once or series.live() or not state.feed.own_stream
        own_stream = state.feed.own_stream
        if series.unsettled(at.exchange) and (state.link is not None or not own_stream):
            self._queue.schedule(state, self._next_try(state, series, at), state.repair_cause)
            return
        if state.link is not None and not on_link and own_stream:
            # The subscription came while this was under way: it proves nothing about what fell in between.
            self._await_frame(state, series, at)
            return
        state.count_from_zero()
        self._wake_derived(state.key, at)
        if state.link is not None:
            self._closes.await_frames(state, at)
            self._closes.confirm(state, at)
        if state.feed.audit_every is not None and self._streams:
            self._queue.schedule_audit(state, at)
        self.polls.settled(state, series, fetch, at)

    def _refetch(self, key: Key, at: Moment) -> None:
        """Request what a series lacks, and do not trust it until that has come."""
        state, series = self.states.get(key), self._store.get(key)
        if state is not None and series is not None and not state.delisted:
            series.suspect("it lacks what happened before its subscription")
            if state.fetching is None and state.due is None:
                self._queue.schedule(state, at.steady, Cause.REPAIR)

    def _may_lack(self, state: State, series: Series, link: Link, at: Moment) -> bool:
        """Return whether a book whose stream says nothing may lack what happened before its subscription. It is then
        requested again when an answer shows that by its own age, whatever replica it is from."""
        shown = series.shown_until(link)
        if shown is None or shown >= state.subscribed:
            return False
        state.attempts += 1
        pause = self._queue.back_off(state, None)
        if state.attempts > 1 or state.feed.second_try is None:  # else its first was requested at its subscription
            pause = max(pause, at.wait(state.subscribed + LAGS_AT_MOST) + DRIFTS)
        self._queue.schedule(state, at.steady + pause, state.repair_cause)
        return True

    def _next_try(self, state: State, series: Series, at: Moment) -> float:
        """Return when (steady) to request again what the last answer did not bring; at once where it brought a part."""
        reached = series.reached()
        if reached is not None and (state.backfilled_to is None or reached < state.backfilled_to):
            state.attempts, state.backfilled_to = 0, reached
            return at.steady
        state.attempts += 1
        first = state.feed.second_try if state.attempts == 1 else None
        pause = first if first is not None else self._queue.back_off(state, None)
        return max(at.steady + pause, self._closes.answerable(series, at))

    # --- time ------------------------------------------------------------------------------------

    def tick(self, at: Moment) -> None:
        """Send what is due."""
        self._closes.check(at)
        if self._streams:
            self.remedies.look(at)
            for key in self.remedies.unsure:
                state = self.states.get(key)
                if state is not None and state.fetching is None and not state.delisted:
                    self._queue.need(state, at.steady, Cause.REPAIR)
            self.remedies.unsure.clear()
            for key in self.remedies.lacking:
                self._refetch(key, at)
            self.remedies.lacking.clear()
            self._refresh(at)
        self.polls.check(at)
        while (state := self._queue.pop(at.steady)) is not None:
            if not state.feed.sets_clock and self.polls.waits_for_clock():
                self._queue.hold(state)
                continue
            state.due = None
            if state.fetching is not None and not self._outranked(state):
                self.polls.put_off(state)
                continue
            if state.link is None and state.known and self._streams and state.feed.own_stream:
                continue  # What is known serves until its subscription is acknowledged.
            self._ask(state, at)

    def _ask(self, state: State, at: Moment) -> None:
        """Request what a series lacks; nothing where its stream has closed the gap by itself."""
        series = self._store.get(state.key)
        if series is None:
            return
        series.end_patience()
        if state.cause is not Cause.AUDIT and self._resume(state, series, at):
            state.count_from_zero()
            if state.feed.audit_every is not None:
                self._queue.schedule_audit(state, at)
            if state.link is not None:
                self._closes.confirm(state, at)
            return
        request = series.request(at.exchange, state.cause, state.link)
        if request is not None:
            # An answer for all symbols is of use whether its stream lives on or not.
            link = None if state.feed.shared else state.link
            order, since = state.feed.warm_up_order, self.polls.since(state, at)
            state.fetching = Fetch(state.key, request, state.cause, link, state.epoch, order, since)
            self.fetches.append(state.fetching)

    @staticmethod
    def _outranked(state: State) -> bool:
        """Return whether what is due cannot wait for what is under way: an audit, which goes last and may be in line
        for minutes."""
        return state.fetching is not None and state.fetching.cause is Cause.AUDIT and state.cause is not Cause.AUDIT

    def _refresh(self, at: Moment) -> None:
        """Request the series that need a new answer though nothing is missing."""
        if at.steady < self._refresh_due:
            return
        self._refresh_due = at.steady + REFRESH_LOOK_EVERY
        for key, state in self._refreshed.items():
            series = self._store.get(key)
            if series is None or not series.needs_refresh(at.steady):
                continue
            if state.link is not None and not state.delisted:
                self._queue.need(state, at.steady, Cause.REPAIR)

    def next_due(self, at: Moment) -> float | None:
        """Return when :meth:`tick` has something to do next (steady)."""
        moments = self._closes.due(at)
        if self._streams:
            moments.append(self.remedies.due())
            if self._refreshed:
                moments.append(self._refresh_due)
        if (due := self._queue.next_due()) is not None:
            moments.append(due)
        return min(moments, default=None)

    # --- questions -----------------------------------------------------------------------------

    def candles(self) -> tuple[int, int]:
        """Return how many kline series are followed by stream, and how many of those that were live need a repair."""
        return self._lacking.count() if self._streams else (0, 0)

    def ready(self, key: Key) -> bool:
        """Return whether a read of this series would be answered from memory, its stream permitting."""
        state = self.states.get(key)
        if state is None or state.delisted:
            return True
        if not (state.feed.own_stream and self._streams):
            return state.known
        series = self._store.get(key)
        return series is None or (series.live() and not series.lacks_older())

    def left_to_rest(self, key: Key, now: float) -> bool:
        """Return whether REST serves a streamed series whose stream has been missing for so long, at ``now`` (steady),
        that a start no longer waits for it."""
        state = self.states.get(key)
        return (
            state is not None
            and state.known
            and state.link is None
            and self._streams
            and state.feed.own_stream
            and now - state.unstreamed_since >= STREAMS_MISSED_FOR
        )
