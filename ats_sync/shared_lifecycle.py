"""What lies behind a manager with a shared store: a reader of what a collector writes there, or the collector."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .clock import Clock
from .config import Config
from .errors import ConfigError, NotRunning, SharedStoreUnavailable, StartTimeout
from .feeds import FEEDS, LISTINGS, TICKERS, Key, Kind
from .lifecycle import Lifecycle, join_events, refuse_unfollowed
from .look import copied_feed, feeds_summary
from .reads import Reads
from .reentry import refuse_reentry, take_left_over
from .runtime.direct import DirectRequests
from .shared.census import Census, Observer
from .shared.client import SharedStore
from .shared.leader_copies import LeaderCopies
from .shared.lease_keeper import LeaseKeeper
from .shared.lease_state import Role
from .shared.publish import Condition, FeedPublisher
from .shared.quality import quality_of
from .shared.reading import SharedReads
from .shared.replica import Replica
from .shared.shards import Shard, check_count
from .shared_events import AWAY, BLOCKED, Listener, ReaderPublisher
from .snapshots.left import LeftFeed
from .snapshots.loader import Kept
from .status import (
    READER,
    ConnectionStatus,
    FeedState,
    LeaseSigns,
    Overall,
    SharedStatus,
    SharedTotals,
    Status,
    Summary,
    summary_of,
)
from .store.market import keys_of
from .transport.green_threads import check_unpatched

if TYPE_CHECKING:
    from .engine.quality import Quality
    from .runtime.runtime import Runtime

log = logging.getLogger(__name__)

ENDS_WITHIN = 1.0
"""Seconds of the time for closing that are left for the rest when another process takes the lease over."""
LOOK_EVERY = 0.1
"""While a reader starts, it looks so often (seconds) whether the collector serves what it follows."""
BOARDS = tuple(Key(kind) for kind, feed in FEEDS.items() if feed.shared and feed.copied and feed.shown)
"""What a collector has of all symbols and a status shows."""
ANYWAY = [TICKERS, LISTINGS]
"""What a reader without symbols waits for: by that it can choose some."""
WARMS_UP = "the collector is warming up"


def _left_to_rest(keys: Sequence[Key]) -> tuple[list[Key], list[Key]]:
    """Return which of these a collector serves sooner or later, and for which it may have no room among its polls."""
    limited = {key for key in keys if FEEDS[key.kind].shares_limit}
    return [key for key in keys if key not in limited], [key for key in keys if key in limited]


class SharedLifecycle(Lifecycle):
    """Of a reader, there is no runtime: each read is one round trip to the shared store, else REST. A collector has one
    as every manager does, and publishes what it knows while it leads. A child of either is a reader."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._shared = SharedStore.of(config)
        self.reads_shared = config.role != "collector"
        self._shard = Shard.parse(config.shard)
        self._open = False
        self._closing = threading.Event()
        self._keeper: LeaseKeeper | None = None
        self._feed: FeedPublisher | None = None
        super().__init__(config, clock)

    def _begin_afresh(self) -> None:
        super()._begin_afresh()
        self._observer = Observer(self._shared, self._clock.now)
        if self.reads_shared:
            self.publisher = ReaderPublisher(self._clock)

    def reset(self) -> None:
        if not self.reads_shared:
            super().reset()
            return
        self.store = self._replica = Replica(self._config, self._clock, self._shared)
        self._direct = DirectRequests(self._config, self._clock, self.store, self.budget, self.counters, self.grants)
        assert self.grants is not None
        show = self.grants.show
        self.reads, self.patient_reads = (
            SharedReads(
                self._config, self._clock, self._replica, self._direct, self.counters, patience=patience, show=show
            )
            for patience in (self._config.read_timeout, self._config.shim_timeout)
        )

    # --- life ----------------------------------------------------------------------------------------

    def launch(
        self,
        keys: Callable[[], Iterable[Key]],
        touch: Callable[[Key], None],
        *,
        streams: bool,
        demand: Callable[[Key, int], None] = lambda key, rows: None,
    ) -> tuple[Runtime | None, bool]:
        if not self.reads_shared:
            return self._launch_collector(keys, touch, streams, demand)
        refuse_reentry()
        take_left_over()
        check_unpatched()
        with self.lock:
            launched = not self._open
            if launched:
                self._direct.close()
                self.reset()
                self.begun = self._clock.wall()
                self.ready = False
                self._closing.clear()
                self._attach(keys())
            self._open, self.closed = True, False
        self._connect(writes=False)
        self._replica.wish(keys())
        return None, launched

    def _attach(self, keys: Iterable[Key]) -> None:
        """Let events come of these series, in a reader. Causes no I/O on this thread."""
        self._replica.intend(keys)
        try:
            self.publisher.attach(self._replica, self._assess_feeds)
        except BaseException:
            self.publisher.detach()
            raise

    def _assess_feeds(self) -> tuple[Overall, str]:
        self._replica.pull([])
        return self._overall()

    def _overall(self) -> tuple[Overall, str]:
        """Return the state as a reader has last seen it, and the reason for it."""
        sources = self._replica.sources
        unled, feeds = sources.unled(), sources.feeds()
        if unled or not feeds:
            return Overall.DEGRADED, unled
        worst = next((feed for feed in feeds if feed.state != Overall.LIVE.value), feeds[0])
        return Overall(worst.state), worst.reason

    def _connect(self, *, writes: bool) -> None:
        try:
            self._shared.connect(writes=writes)
        except SharedStoreUnavailable as error:
            log.warning("%s; until it answers, %s", error, "nobody reads from it" if writes else "reads go to REST")

    def _launch_collector(
        self,
        keys: Callable[[], Iterable[Key]],
        touch: Callable[[Key], None],
        streams: bool,
        demand: Callable[[Key, int], None],
    ) -> tuple[Runtime | None, bool]:
        if not streams:
            raise ConfigError("a collector serves others from its streams; give it enable_websocket=True")
        self._connect(writes=True)
        with contextlib.suppress(SharedStoreUnavailable):
            check_count(self._shared, self._shard)
        runtime, launched = super().launch(keys, touch, streams=streams, demand=demand)
        if launched:
            assert runtime is not None
            keeper = LeaseKeeper(self._shared, self._clock, name=self._shard.lease, prepares=True)
            feed = FeedPublisher(
                self._shared,
                keeper,
                self._clock,
                self.store,
                exchange=self._config.exchange,
                condition=lambda: self._condition(runtime),
                qualities=runtime.qualities,
                demand=demand,
                complete=lambda: self._is_complete(runtime),
                take_over=self._config.take_over,
                flush=self._config.flush,
                shard=self._shard,
            )
            self._keeper, self._feed = keeper, feed
            keeper.start()
            feed.start()
        return runtime, launched

    def _rows_left(self) -> Kept | None:
        with contextlib.suppress(SharedStoreUnavailable):
            return LeftFeed.look(self._shared, self._config, self._clock, self._shard)
        return None

    def _elsewhere(self) -> LeaderCopies:
        return LeaderCopies(self._shared, self._config, self._shard, self._stands_by)

    def _stands_by(self) -> bool:
        """Return whether this process is surely not the one that writes the feed."""
        keeper = self._keeper
        return keeper is None or keeper.known()[0] is Role.STANDBY

    def _condition(self, runtime: Runtime) -> Condition:
        state, reason = self._assess(runtime)
        return Condition(state.value, reason)

    def _is_complete(self, runtime: Runtime) -> bool:
        """Return whether every series is fresh, those that ``start()`` does not wait for included."""
        _, others = runtime.query(lambda engine, at: feeds_summary(engine, engine.store, self._clock))
        return all(feed.state is FeedState.GONE for feed in others)

    def wait_until_ready(self, runtime: Runtime | None, symbols: Iterable[str], deadline: float | None) -> None:
        if runtime is not None:
            super().wait_until_ready(runtime, symbols, deadline)
            return
        clock, symbols, checked = self._clock, tuple(symbols), False
        patience = clock.now() + self._config.read_timeout
        waits_for = [key for key in self._replica.followed() if FEEDS[key.kind].gates_start] if symbols else ANYWAY
        while True:
            if not self._open:
                raise NotRunning("the manager was closed while it was starting")
            missing = self._replica.lacking(waits_for, self.reads)
            feed = self._replica.sources.feed
            if feed is not None and clock.now() >= patience:
                missing, by_rest = _left_to_rest(missing)
                if by_rest and not missing:
                    log.warning(
                        "%d series, such as %s, are served by REST: the collector does not", len(by_rest), by_rest[0]
                    )
            begins = not symbols and feed is not None and feed.state == Overall.STARTING.value
            is_served = not missing and not begins and feed is not None
            if is_served and (self._knows_listings() or clock.now() >= patience):
                self.publisher.started()
                return
            if not checked and feed is not None and self.store.listings.get() is not None:
                checked = True
                self._check_started(symbols)
            leads = self._replica.sources.feed is not None
            until = deadline if deadline is not None or leads else patience
            left = None if until is None else until - clock.now()
            if left is not None and left <= 0:
                names = [str(key) for key in missing]
                shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                why = (f"missing: {shown}" if missing else WARMS_UP) if leads else self._replica.sources.why
                raise StartTimeout(f"not ready in time; {why}; until then REST answers, inside the budget", names)
            clock.wait(self._closing, LOOK_EVERY if left is None else min(LOOK_EVERY, left))

    def _knows_listings(self) -> bool:
        """Return whether the listings are there, without which it is not known what happens to contracts later."""
        listings = self.store.listings
        return listings.get() is not None or (self._replica.pull([LISTINGS]) and listings.get() is not None)

    def _end(self, deadline: float) -> None:
        with self.lock:
            events = self.publisher.detach() if self.reads_shared else None
            self._open = False
            self._closing.set()
        keeper, feed, self._keeper, self._feed = self._keeper, self._feed, None, None
        if keeper is not None:
            # The longer this may take, the more series a process that stands by can write before it leads.
            keeper.leave(max(self._config.close_timeout - ENDS_WITHIN, self._config.close_timeout / 2))
        # Where the store does not answer, each of these takes its share, and the last one is that of the streams.
        if feed is not None:
            feed.close(self._left(deadline) / 3)
        if keeper is not None:
            keeper.close(self._left(deadline) / 2)
        super()._end(deadline)
        self._shared.close()
        if events is not None:
            join_events(events, self._left(deadline))
            self._shared.close()  # what it was in the middle of may have connected again

    @property
    def running(self) -> bool:
        return self._open if self.reads_shared else super().running

    def launched(self) -> Runtime | None:
        if self.reads_shared and self._open:
            refuse_reentry()
            return None
        return super().launched()

    def alive(self) -> Reads:
        self.launched()
        return self.reads

    def after_fork(self) -> None:
        """A child reads what its parent collects or reads."""
        ran = self._open or self.runtime is not None
        followed = self.followed_keys() if ran else []
        self.reads_shared = True
        self._open = ran
        self._shared.serve_as(READER)
        self._keeper = self._feed = None
        self._closing = threading.Event()
        super().after_fork()
        self.forked, self.ready = False, ran
        if ran:
            self._attach(followed)

    # --- what is followed ------------------------------------------------------------------------------

    def watch(self, keys: list[Key]) -> None:
        if self.reads_shared:
            self._replica.intend(keys)
        else:
            super().watch(keys)

    def bring_watched(self, keys: list[Key]) -> None:
        if self.reads_shared:
            self._replica.wish(keys)
            self._replica.pull_each(keys)  # what has closed before is not news
            self.publisher.followed(keys)

    def unwatch(self, symbols: Collection[str]) -> None:
        if self.reads_shared:
            gone = [key for key in self._replica.followed() if key.symbol in symbols]
            self._replica.forget_wishes(symbols)
            self.publisher.unfollowed(gone)
        else:
            super().unwatch(symbols)

    def prefetch(self, symbols: Collection[str], intervals: Collection[str]) -> None:
        if not self.reads_shared:
            return
        keys = keys_of(symbols, intervals, self._config.open_interest_periods)
        shared = [Key(kind, symbol) for symbol in symbols for kind in (Kind.MARK, Kind.QUOTES)]
        self._replica.prefetch([*keys, *shared, Key(Kind.SPOT)])

    def bring(self, keys: Sequence[Key]) -> None:
        if self.reads_shared:
            self._replica.prefetch(keys)

    def followed_keys(self) -> list[Key]:
        return self._replica.followed() if self.reads_shared else super().followed_keys()

    def wait_closed(self, key: Key, after: int, deadline: float | None) -> bytes | None:
        if not self.reads_shared:
            return super().wait_closed(key, after, deadline)
        self.launched()
        if key not in self._replica.followed():
            refuse_unfollowed(key)
        listener = Listener(self._replica, self._clock, lambda: [key])
        while True:
            left = None if deadline is None else deadline - self._clock.now()
            listener.listen(BLOCKED if left is None else min(BLOCKED, max(0.0, left)))
            series = self._replica.klines(key.symbol, key.interval)
            text = series.closed_after(after) if series is not None else None
            if text is not None:
                return text
            if not self._open:
                raise NotRunning("the manager was closed while waiting for a candle")
            if left is not None and left <= 0:
                return None
            if listener.away:
                self._clock.wait(self._closing, AWAY if left is None else min(AWAY, left))

    # --- what it reports ---------------------------------------------------------------------------------

    def _census(self) -> Census | None:
        """Return who uses the store, None where nothing is started or the store does not say."""
        with contextlib.suppress(SharedStoreUnavailable, ConfigError):
            return self._observer.look() if self.running else None
        return None

    def quality(self, symbol: str) -> Quality:
        if not (self.reads_shared and self._open):
            return super().quality(symbol)
        refuse_reentry()
        return quality_of(symbol, self._replica, self._shared, self._clock)

    def shared_status(self) -> SharedStatus:
        found, grants = self._shared_role(), self.grants
        assert grants is not None
        users = self._census()
        if users is None:
            return replace(found, alone=grants.alone)
        leaders = ", ".join(view.label for _, view in users.leases if view.left > 0)
        return replace(
            found,
            leader=leaders if found.role == Role.STANDBY.value else found.leader,
            standbys=users.standbys,
            readers=users.readers,
            memory=users.memory,
            alone=grants.alone,
        )

    def _shared_role(self) -> SharedStatus:
        keeper = self._keeper
        if keeper is not None:
            role, epoch = keeper.known()
            return SharedStatus(role.value, epoch, keeper.lease.label if role is Role.LEADER else "")
        if not self.reads_shared:
            return SharedStatus(Role.STANDBY.value)  # not started
        sources = self._replica.sources
        feeds = sources.feeds()
        reason = self._overall()[1]
        if not feeds:
            return SharedStatus(READER, reason=reason)
        return SharedStatus(READER, sources.epoch, ", ".join(feed.leader for feed in feeds), reason)

    def shared_totals(self) -> SharedTotals | None:
        totals, users, feed = super().shared_totals(), self._census(), self._feed
        assert totals is not None
        totals = totals._replace(
            role=self._shared_role().role,
            calls={"feed": self._shared.calls(), **totals.calls},
            answers=totals.answers and not self._shared.away,
            leases=tuple(
                LeaseSigns(str(shard), view.epoch, view.left > 0, view.silent_for, len(view.standbys))
                for shard, view in (users.leases if users is not None else ())
            )
            or tuple(
                LeaseSigns(str(shard), 0, False, None, None) for shard in self._observer.shards() or (self._shard,)
            ),
            written=feed.written if feed is not None else None,
        )
        if self.reads_shared:
            totals = totals._replace(feed_ages=self._replica.sources.ages(self._clock.exchange()))
        if users is None:
            return totals
        return totals._replace(readers=users.readers, memory=users.memory)

    def summary(self) -> Summary:
        return summary_of(self.status()) if self.reads_shared and self._open else super().summary()

    def status(self) -> Status:
        if not (self.reads_shared and self._open):
            return super().status()
        replica = self._replica
        keys = [*replica.followed(), *BOARDS]
        seen = replica.look(keys, self.reads, whole=True)
        feeds = replica.sources.feeds()
        connections = tuple(
            ConnectionStatus(f"{route}-{number}", route, "open" if up else "closed", 0, 0, watermark, 0, "")
            for feed in feeds
            for number, (route, up, watermark) in feed.links.items()
        )
        exchange = self._clock.exchange()
        followed = tuple(
            copied_feed(key, one.event, one.doubt, exchange)
            if (one := seen.get(key)) is not None
            else copied_feed(key, None, "" if feeds else replica.sources.why, exchange)
            for key in keys
        )
        overall = self._overall()[0]
        if not self.ready and overall is not Overall.LIVE:
            overall = Overall.STARTING
        return Status(overall, self.begun, connections, followed, 0, self.blocked(), shared=self.shared_status())
