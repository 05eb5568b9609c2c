"""What lies behind a manager with a shared store: a reader of what a collector writes there, or the collector."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from .clock import Clock
from .config import Config
from .errors import ConfigError, NotRunning, SharedStoreUnavailable, StartTimeout
from .feeds import FEEDS, Key, Kind
from .lifecycle import Lifecycle, join_events, refuse_unfollowed
from .reads import Reads
from .reentry import refuse_reentry, take_left_over
from .runtime.direct import DirectRequests
from .shared.client import SharedStore
from .shared.lease_keeper import LeaseKeeper
from .shared.lease_state import Role
from .shared.publish import Condition, FeedPublisher
from .shared.reading import SharedReads
from .shared.replica import Replica
from .shared.shards import Shard, check_count
from .shared_events import AWAY, BLOCKED, Listener, ReaderPublisher
from .status import (
    READER,
    ConnectionStatus,
    FeedState,
    FeedStatus,
    Overall,
    SharedStatus,
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

LOOK_EVERY = 0.1
"""While a reader starts, it looks so often (seconds) whether the collector serves what it follows."""


class SharedLifecycle(Lifecycle):
    """Of a reader, there is no runtime: each read is one round trip to the shared store, else REST. A collector has one
    as every manager does, and publishes what it knows while it leads. A child of either is a reader."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._shared = SharedStore.of(config, label="ats_sync")
        self._collects = config.role == "collector"
        self._shard = Shard.parse(config.shard)
        self._open = False
        self._closing = threading.Event()
        self._keeper: LeaseKeeper | None = None
        self._feed: FeedPublisher | None = None
        super().__init__(config, clock)

    @property
    def _reads_shared(self) -> bool:
        return not self._collects

    def _begin_afresh(self) -> None:
        super()._begin_afresh()
        if self._reads_shared:
            self.publisher = ReaderPublisher(self._clock)

    def reset(self) -> None:
        if not self._reads_shared:
            super().reset()
            return
        self.store = self._replica = Replica(self._config, self._clock, self._shared)
        self._direct = DirectRequests(self._config, self._clock, self.store, self.budget, self.counters, self.grants)
        self.reads, self.patient_reads = (
            SharedReads(self._config, self._clock, self._replica, self._direct, self.counters, patience=patience)
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
        if self._collects:
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
        unled = self._replica.unled()
        feeds = [feed for feed in self._replica.feeds() if feed is not None]
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
            keeper = LeaseKeeper(self._shared, self._clock, name=self._shard.lease)
            feed = FeedPublisher(
                self._shared,
                keeper,
                self._clock,
                self.store,
                condition=lambda: self._condition(runtime),
                qualities=runtime.qualities,
                demand=demand,
                flush=self._config.flush,
                shard=self._shard,
            )
            self._keeper, self._feed = keeper, feed
            keeper.start()
            feed.start()
        return runtime, launched

    def _condition(self, runtime: Runtime) -> Condition:
        state, reason = self._assess(runtime)
        return Condition(state.value, reason)

    def wait_until_ready(self, runtime: Runtime | None, symbols: Iterable[str], deadline: float | None) -> None:
        if runtime is not None:
            super().wait_until_ready(runtime, symbols, deadline)
            if self._config.take_over and (keeper := self._keeper) is not None:
                keeper.take_over()
            return
        clock, symbols, checked = self._clock, tuple(symbols), False
        patience = clock.now() + self._config.read_timeout
        waits_for = [key for key in self._replica.followed() if FEEDS[key.kind].gates_start]
        while True:
            if not self._open:
                raise NotRunning("the manager was closed while it was starting")
            missing = self._replica.lacking(waits_for, self.reads)
            if not missing and self._replica.feed is not None:
                return
            if not checked and self._replica.feed is not None and self.store.listings.get() is not None:
                checked = True
                self._check_started(symbols)
            leads = self._replica.feed is not None
            until = deadline if deadline is not None or leads else patience
            left = None if until is None else until - clock.now()
            if left is not None and left <= 0:
                names = [str(key) for key in missing]
                shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
                why = f"missing: {shown}" if leads else self._replica.why
                raise StartTimeout(f"not ready in time; {why}; until then REST answers, inside the budget", names)
            clock.wait(self._closing, LOOK_EVERY if left is None else min(LOOK_EVERY, left))

    def _close(self) -> None:
        deadline = self._clock.now() + self._config.close_timeout
        with self.lock:
            events = self.publisher.detach() if self._reads_shared else None
            self._open = False
            self._closing.set()
        keeper, feed, self._keeper, self._feed = self._keeper, self._feed, None, None
        if feed is not None:
            feed.close(self._config.close_timeout / 2)
        if keeper is not None:
            keeper.close(max(0.1, deadline - self._clock.now()))
        super()._close()
        self._shared.close()
        if events is not None:
            join_events(events, max(0.0, deadline - self._clock.now()))
            self._shared.close()  # what it was in the middle of may have connected again

    @property
    def running(self) -> bool:
        return self._open if self._reads_shared else super().running

    def launched(self) -> Runtime | None:
        if self._reads_shared and self._open:
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
        self._collects, self._open = False, ran
        self._keeper = self._feed = None
        self._closing = threading.Event()
        super().after_fork()
        self.forked, self.ready = False, ran
        if ran:
            self._attach(followed)

    # --- what is followed ------------------------------------------------------------------------------

    def watch(self, keys: list[Key]) -> None:
        if self._reads_shared:
            self._replica.intend(keys)
        else:
            super().watch(keys)

    def bring_watched(self, keys: list[Key]) -> None:
        if self._reads_shared:
            self._replica.wish(keys)
            self._replica.pull_each(keys)  # what has closed before is not news
            self.publisher.followed(keys)

    def unwatch(self, symbols: Collection[str]) -> None:
        if self._reads_shared:
            gone = [key for key in self._replica.followed() if key.symbol in symbols]
            self._replica.forget_wishes(symbols)
            self.publisher.unfollowed(gone)
        else:
            super().unwatch(symbols)

    def prefetch(self, symbols: Collection[str], intervals: Collection[str]) -> None:
        if not self._reads_shared:
            return
        keys = keys_of(symbols, intervals, self._config.open_interest_periods)
        shared = [Key(kind, symbol) for symbol in symbols for kind in (Kind.MARK, Kind.QUOTES)]
        self._replica.prefetch([*keys, *shared, Key(Kind.SPOT)])

    def bring(self, keys: Sequence[Key]) -> None:
        if self._reads_shared:
            self._replica.prefetch(keys)

    def followed_keys(self) -> list[Key]:
        return self._replica.followed() if self._reads_shared else super().followed_keys()

    def wait_closed(self, key: Key, after: int, deadline: float | None) -> bytes | None:
        if not self._reads_shared:
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

    def quality(self, symbol: str) -> Quality:
        if not (self._reads_shared and self._open):
            return super().quality(symbol)
        refuse_reentry()
        return self._replica.quality(symbol)

    def shared_status(self) -> SharedStatus:
        keeper = self._keeper
        if keeper is not None:
            role, epoch = keeper.known()
            return SharedStatus(role.value, epoch, keeper.lease.label if role is Role.LEADER else "")
        if not self._reads_shared:
            return SharedStatus(Role.STANDBY.value)  # not started
        replica = self._replica
        feeds = [feed for feed in replica.feeds() if feed is not None]
        reason = self._overall()[1]
        if not feeds:
            return SharedStatus(READER, reason=reason)
        return SharedStatus(READER, replica.epoch, ", ".join(feed.leader for feed in feeds), reason)

    def summary(self) -> Summary:
        return summary_of(self.status()) if self._reads_shared and self._open else super().summary()

    def status(self) -> Status:
        if not (self._reads_shared and self._open):
            return super().status()
        replica = self._replica
        replica.pull([])
        feeds = [feed for feed in replica.feeds() if feed is not None]
        if not feeds:
            return Status(Overall.DEGRADED, self.begun, (), (), 0, {}, shared=self.shared_status())
        overall = self._overall()[0]
        connections = tuple(
            ConnectionStatus(f"{route}-{number}", route, "open" if up else "closed", 0, 0, watermark, 0, "")
            for feed in feeds
            for number, (route, up, watermark) in feed.links.items()
        )
        lacking = set(replica.lacking(replica.followed(), self.reads))
        followed = tuple(
            FeedStatus(
                key.kind.value,
                key.symbol,
                key.interval,
                FeedState.DEGRADED if key in lacking else FeedState.LIVE,
                None,
                "the collector does not serve it" if key in lacking else "",
            )
            for key in replica.followed()
        )
        return Status(overall, self.begun, connections, followed, 0, {}, shared=self.shared_status())
