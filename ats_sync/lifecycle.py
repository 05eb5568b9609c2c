"""What lies behind a manager, from one launch to its close: the store, the threads that fill it, the reads of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import TYPE_CHECKING, NoReturn

from . import forks
from .clock import Clock
from .config import Config
from .engine.budget import Budget
from .engine.engine import Engine
from .errors import InvalidSymbol, NotRunning, StartTimeout
from .feeds import ACTIVITY, SHARED, Key
from .look import connection_statuses, contract_statuses, feed_statuses, feeds_summary
from .publisher.publisher import Publisher
from .reads import Reads
from .reentry import (
    hand_over,
    hand_over_from_finalizer,
    interrupts_itself,
    refuse_reentry,
    take_left_over,
)
from .runtime.counters import Counters
from .runtime.direct import DirectRequests
from .runtime.executor import Elsewhere
from .runtime.requests import Requests
from .snapshots.loader import Kept
from .snapshots.snapshotter import Snapshotter
from .status import (
    ALONE,
    FeedStatus,
    KindSummary,
    Overall,
    SharedStatus,
    SharedTotals,
    SnapshotStatus,
    Status,
    Summary,
    overall,
)
from .store.market import MarketStore
from .transport.green_threads import check_unpatched
from .venue.endpoints import Host

if TYPE_CHECKING:
    from .engine.quality import Quality
    from .runtime.runtime import Runtime
    from .shared.grants import SharedGrants

log = logging.getLogger(__name__)


def check_reachable(config: Config) -> None:
    """Raise :class:`~ats_sync.errors.ConfigError` for a proxy that cannot be used or a file of certificate authorities
    that cannot be read, from the settings or from the environment, and in a process without real threads."""
    from .transport.adapter import proxy_for
    from .transport.sockets import tls_context

    check_unpatched()
    tls_context(config.ca_file)
    for base in (config.fapi_base, config.spot_base, config.fstream_base, config.spot_stream_base):
        proxy_for(base, config)


def _nothing(key: Key) -> None:
    """Follow nothing."""


def _unwanted(key: Key, rows: int) -> None:
    """Follow nothing for others."""


def refuse_unfollowed(key: Key) -> NoReturn:
    """Raise the error of a wait for candles that are not followed."""
    symbol, interval = key.symbol, key.interval
    raise InvalidSymbol(f"{symbol} {interval} is not followed; watch(['{symbol}'], ['{interval}']) first")


def join_events(thread: threading.Thread, timeout: float) -> None:
    """Join the thread of events, unless this is that thread."""
    if thread is threading.current_thread():
        return
    thread.join(timeout)
    if thread.is_alive():
        log.warning("a callback still runs after close(); %s ends with it", thread.name)


class Lifecycle:
    """Has at most one runtime at a time, each launch with an empty store; without one, reads go to REST directly.

    Neither this nor anything that its threads refer to may refer to the manager, which is closed when it is collected.
    """

    reads_shared = False
    """Whether a collector follows for this process, and polls: it reads what that one writes into the shared store."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.closed = False
        """Whether it was closed since the last launch."""
        self.forked = self._fork_logged = False
        self._accepted: set[str] = set()
        """Symbols that the exchange had when they were first checked: whatever becomes of them, none is misspelt."""
        self.reconnects_before = self.frames_before = 0
        """Of the runtimes that were closed."""
        self._begin_afresh()
        forks.register(self)

    def _begin_afresh(self) -> None:
        """Start without a runtime and without data, with new locks."""
        self.lock = threading.Lock()
        """Guards everything below and what is followed; released while waiting."""
        self.counters = Counters()
        self.budget = Budget(self._config)
        self.grants: SharedGrants | None = None
        if self._config.shared is not None:
            # (Not at the top: without a shared store nothing of it is imported.)
            from .shared.grants import SharedGrants

            self.grants = SharedGrants(self._config, self._clock, self.budget)
        self.runtime: Runtime | None = None
        self._snapshotter: Snapshotter | None = None
        self.publisher = Publisher(self._clock)
        self.begun = self._clock.wall()
        self.ready = False
        with self.lock:
            self.reset()

    def reset(self) -> None:
        """Begin with an empty store, whose reads go to REST directly. The caller holds the lock."""
        assert self.lock.locked()
        self.store = MarketStore(self._config, self._clock.now, self._clock.exchange_ms)
        self._direct = DirectRequests(self._config, self._clock, self.store, self.budget, self.counters, self.grants)
        self._read_by(self._direct, streams=False, touch=_nothing)

    def _read_by(self, requests: Requests, *, streams: bool, touch: Callable[[Key], None]) -> None:
        self.reads, self.patient_reads = (
            Reads(
                self._config,
                self._clock,
                self.store,
                requests,
                self.counters,
                streams=streams,
                touch=touch,
                patience=patience,
            )
            for patience in (self._config.read_timeout, self._config.shim_timeout)
        )

    def launch(
        self,
        keys: Callable[[], Iterable[Key]],
        touch: Callable[[Key], None],
        *,
        streams: bool,
        demand: Callable[[Key, int], None] = _unwanted,
    ) -> tuple[Runtime | None, bool]:
        """Start the threads, unless they run already; do not wait. Return the runtime, and whether this call launched
        it.

        ``keys()`` is what to follow from the start; ``touch`` is called with what reads would have followed as well,
        ``demand`` with what other processes want or what was read before this start, and how many rows.
        Raises :class:`~ats_sync.errors.ConfigError` where no request could ever be sent with these settings.
        """
        refuse_reentry()
        take_left_over()
        check_reachable(self._config)
        # (Not at the top: a process that reads from a shared store runs nothing.)
        from .runtime.runtime import Runtime

        if self.grants is not None:
            self.grants.check()
        left = self._rows_left() if not self.running else None
        with self.lock:
            if self.runtime is not None and not self.runtime.stopped:
                return self.runtime, False
            self._direct.close()
            self.reset()
            self.ready = False
            self.begun = self._clock.wall()
            runtime = Runtime(
                self._config,
                self._clock,
                self.store,
                self.budget,
                self.counters,
                streams=streams,
                notices=self.publisher,
                grants=self.grants,
                elsewhere=self._elsewhere(),
            )
            self._read_by(runtime.requests, streams=streams, touch=touch)
            self.runtime = runtime
            self.closed = False
            snapshotter = None
            try:
                runtime.start()
                self.publisher.attach(self.store, lambda: self._assess(runtime))
                if self._config.state_dir is not None or left is not None:
                    snapshotter = Snapshotter(self._config, self._clock, self.store, demand, left)
            except BaseException:
                self.runtime = None
                self.publisher.detach()
                runtime.close(self._config.close_timeout)
                self.reset()
                raise
            followed = self.store.follow(keys())
            self._snapshotter = snapshotter
            if snapshotter is not None:
                snapshotter.expect(followed)
                snapshotter.start(runtime)
            runtime.follow([*SHARED, *(ACTIVITY if streams else ()), *followed])
            return runtime, True

    def _rows_left(self) -> Kept | None:
        """Return the rows that another process left for this start, None if there are none. Called without the lock."""
        return None

    def _elsewhere(self) -> Elsewhere | None:
        """Return the process whose answers spare this one requests, None where there is none. Performs no I/O."""
        return None

    def _assess(self, runtime: Runtime) -> tuple[Overall, str]:
        """Return the overall state and the reason for it."""
        if runtime.stopped or self.runtime is not runtime:
            return Overall.STOPPED, "the manager was closed"
        if not self.ready:
            return overall((), ready=False)  # whatever its series are
        feeds = runtime.query(lambda engine, at: feed_statuses(engine, engine.store, self._clock))
        return overall(feeds, ready=True)

    def wait_until_ready(self, runtime: Runtime | None, symbols: Iterable[str], deadline: float | None) -> None:
        """Return when nothing that start() waits for is missing; ``deadline`` is on the steady clock.

        A stream that has not come for a while, though REST serves its series, is not waited for. An obstacle that
        waiting cannot mend is raised once it has failed a few times, unless it has worked since.
        """
        assert runtime is not None
        checked = False
        waited_for: list[Key] | None = None
        while True:
            if runtime.stopped:
                raise NotRunning("the manager was closed while it was starting")
            if not checked and self.store.listings.get() is not None:
                checked = True
                self._check_started(tuple(symbols))
            with runtime.changed:
                waited_for = runtime.still_missing(waited_for)
                if not waited_for:
                    break
                if (obstacle := runtime.hopeless()) is not None:
                    raise obstacle
                left = None if deadline is None else deadline - self._clock.now()
                if left is not None and left <= 0:
                    missing = [str(key) for key in runtime.still_missing(None)]
                    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
                    raise StartTimeout(
                        f"not ready in time, still warming up; missing: {shown}; call start() again to wait on, "
                        "status() shows how far it is",
                        missing,
                    )
                runtime.changed.wait(left)
        degraded, present = runtime.without_stream()
        if degraded:
            log.warning(
                "started degraded: %d series, such as %s, are served by REST until their streams come (%s)",
                len(degraded),
                degraded[0],
                present or "their subscriptions are not acknowledged",
            )

    def _check_started(self, symbols: tuple[str, ...]) -> None:
        """Raise :class:`~ats_sync.errors.InvalidSymbol` for a name that the exchange never had, or where none is left
        that trades. One that has left the exchange does not stop the others: a warning names it."""
        listings = self.store.listings.get()
        if listings is None:
            return
        gone = [symbol for symbol in symbols if self.store.is_gone(symbol)]
        unknown = [symbol for symbol in gone if symbol not in listings.value.listed and symbol not in self._accepted]
        if unknown or (gone and len(gone) == len(symbols)):
            self.check_listed(unknown or gone)
        if gone:
            log.warning("%s: no longer trading; the other symbols are served", ", ".join(gone))
        self._accepted.update(symbols)

    def check_listed(self, symbols: Iterable[str]) -> None:
        """Raise :class:`~ats_sync.errors.InvalidSymbol` where the exchange is known not to trade one of them."""
        listings = self.store.listings.get()
        gone = [symbol for symbol in symbols if self.store.is_gone(symbol)]
        if listings is None or not gone:
            return
        unknown = [symbol for symbol in gone if symbol not in listings.value.listed]
        if unknown:
            raise InvalidSymbol(f"the exchange lists no perpetual {', '.join(unknown)}; check the spelling")
        closed = [f"{symbol} ({self.store.contract_status(symbol) or 'closed'})" for symbol in gone]
        raise InvalidSymbol(f"{', '.join(closed)}: listed, but no longer trading")

    def close(self) -> None:
        """End every thread and connection within ``config.close_timeout`` seconds.

        From a signal handler that interrupted a call of ours, whose locks are taken, the thread ``ats-close`` does it.
        """
        if interrupts_itself():
            hand_over(self._close)
        else:
            self._close()

    def abandon(self) -> None:
        """Close soon, on a separate thread, since nothing refers to the manager any more. Its finalizer calls this on
        any thread and with any lock taken, so it takes none and does not wait."""
        if self.running or self._direct.connected:
            hand_over_from_finalizer(self._close_collected)

    def _close_collected(self) -> None:
        if self.running:
            log.info("a DataManager that nobody refers to any more is closed")
        self._close()

    def _close(self) -> None:
        self._end(self._clock.now() + self._config.close_timeout)

    def _end(self, deadline: float) -> None:
        """End everything; ``deadline`` (steady) is that of all that is waited for together."""
        with self.lock:
            runtime, self.runtime = self.runtime, None
            snapshotter, self._snapshotter = self._snapshotter, None
            self.ready = False
            self.closed = True
            if runtime is not None:
                self.reset()
            direct = self._direct
            thread = self.publisher.detach() if runtime is not None else None
        direct.close()
        if runtime is not None:
            if snapshotter is not None:
                snapshotter.stop(deadline)
            self.reconnects_before += runtime.reconnects()
            self.frames_before += runtime.frames()
            runtime.close(self._left(deadline))
            if snapshotter is not None:
                snapshotter.join(deadline)
            if thread is not None:
                join_events(thread, self._left(deadline))
        if self.grants is not None:
            self.grants.close()

    def _left(self, deadline: float) -> float:
        """Return the seconds until a deadline (steady)."""
        return max(0.0, deadline - self._clock.now())

    # --- what is followed ------------------------------------------------------------------------------

    def watch(self, keys: list[Key]) -> None:
        """Follow these series from now on. The caller holds the lock."""
        assert self.lock.locked()
        snapshotter = self._snapshotter
        self.living().watch(keys, snapshotter.expect if snapshotter is not None else None)
        if snapshotter is not None:
            snapshotter.load(keys)

    def bring_watched(self, keys: list[Key]) -> None:
        """Do what :meth:`watch` leaves to be done without the lock."""

    def unwatch(self, symbols: Collection[str]) -> None:
        """Stop following these symbols. The caller holds the lock."""
        assert self.lock.locked()
        gone = self.store.unfollow(key for key in self.store.followed_keys() if key.symbol in symbols)
        self.living().unfollow(gone)

    def prefetch(self, symbols: Collection[str], intervals: Collection[str]) -> None:
        """Bring what a scan of these reads into this process, where it is elsewhere."""

    def bring(self, keys: Sequence[Key]) -> None:
        """Bring these series into this process, where they are elsewhere."""

    def followed_keys(self) -> list[Key]:
        """Return the keys of the series that are followed by symbol."""
        return self.store.followed_keys()

    def wait_closed(self, key: Key, after: int, deadline: float | None) -> bytes | None:
        """Wait for a candle that opened later than ``after`` (ms) and is final; return the text of the newest, None at
        the deadline (steady). Raises :class:`~ats_sync.errors.InvalidSymbol` where the series is not followed and
        :class:`~ats_sync.errors.NotRunning` once nothing runs."""
        runtime = self.living()
        series = self.store.klines(key.symbol, key.interval)
        if series is None:
            refuse_unfollowed(key)
        while True:
            with runtime.closed_candle:
                text = series.closed_after(after)
                if text is not None:
                    return text
                if runtime.stopped:
                    raise NotRunning("the manager was closed while waiting for a candle")
                left = None if deadline is None else deadline - self._clock.now()
                if left is not None and left <= 0:
                    return None
                runtime.closed_candle.wait(left)

    def launched(self) -> Runtime | None:
        """Return the runtime, if there is one; :class:`~ats_sync.errors.NotRunning` where nothing was started."""
        return self.living()

    def status(self) -> Status:
        """Return the overall state, every connection and every feed."""
        store, clock = self.store, self._clock
        return self._look(lambda engine: ((), feed_statuses(engine, store, clock))).status

    def summary(self) -> Summary:
        """Return the status without the feeds that are well, which costs less."""
        store, clock = self.store, self._clock
        return self._look(lambda engine: feeds_summary(engine, store, clock))

    def _look(self, look: Callable[[Engine], tuple[tuple[KindSummary, ...], tuple[FeedStatus, ...]]]) -> Summary:
        """Return the state with the kinds and feeds that a look at the engine shows (of those that are degraded,
        all)."""
        runtime, store, clock, blocked = self.runtime, self.store, self._clock, self.blocked()
        if runtime is None or runtime.stopped:
            return Summary(Status(Overall.STOPPED, self.begun, (), (), 0, blocked, shared=self.shared_status()), ())
        connections, (kinds, feeds) = runtime.query(
            lambda engine, at: (connection_statuses(engine, clock), look(engine))
        )
        state, _ = overall(feeds, ready=self.ready)
        waiting = runtime.requests.waiting()
        status = Status(
            state,
            self.begun,
            connections,
            feeds,
            waiting,
            blocked,
            contracts=contract_statuses(store),
            snapshot=self.snapshot_status(),
            shared=self.shared_status(),
            audit_every=runtime.requests.audit_every() if runtime.streams else None,
            dropped=store.dropped(),
        )
        return Summary(status, kinds)

    def blocked(self) -> dict[str, float]:
        """Return the hosts that said to wait, with the epoch second from which requests are allowed again."""
        clock, now = self._clock, self._clock.now()
        return {
            host.value: clock.to_wall(until)
            for host in Host
            if (until := self.budget.blocked_until(host, now)) is not None
        }

    def quality(self, symbol: str) -> Quality:
        """Return how good a followed symbol's data was. Raises :class:`~ats_sync.errors.InvalidSymbol` for others."""
        runtime = self.living()
        if symbol not in self.store.symbols:
            raise InvalidSymbol(f"{symbol} is not watched; watch(['{symbol}']) first")
        return runtime.quality(symbol)

    def shared_status(self) -> SharedStatus | None:
        """Return what this process is in the shared store, None where none is set."""
        return SharedStatus(ALONE, alone=self.grants.alone) if self.grants is not None else None

    def shared_totals(self) -> SharedTotals | None:
        """Return what was counted of the shared store, None where none is set."""
        grants = self.grants
        if grants is None:
            return None
        return SharedTotals(ALONE, grants.alone, {"account": grants.store.calls()}, not grants.store.away)

    def expects(self, key: Key) -> bool:
        """Return whether a series that is to be followed may begin with what was written down of it."""
        snapshotter = self._snapshotter
        return snapshotter is not None and snapshotter.resuming == key

    def snapshot_status(self) -> SnapshotStatus | None:
        """Return what is kept on disk, None where nothing is."""
        snapshotter = self._snapshotter
        return snapshotter.status() if snapshotter is not None and self._config.state_dir is not None else None

    @property
    def running(self) -> bool:
        """Whether the threads run."""
        runtime = self.runtime
        return runtime is not None and not runtime.stopped

    def living(self) -> Runtime:
        """Return the runtime; :class:`~ats_sync.errors.NotRunning` where none runs."""
        refuse_reentry()
        runtime = self.runtime
        if runtime is None or runtime.stopped:
            raise NotRunning("the manager is not running; call start() first")
        return runtime

    def alive(self) -> Reads:
        """Return the reads of the running manager."""
        # As living(), without a call: most of a cheap read's time would go into it.
        runtime = self.runtime
        if runtime is None or runtime.stopped or interrupts_itself():
            self.living()
        return self.reads

    # --- forks -------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """Start over in a child process, which has none of its parent's threads, sockets, locks and data."""
        ran = self.runtime is not None
        self._clock.after_fork()
        self.publisher.after_fork()
        self._begin_afresh()
        self.forked = self.forked or ran
        self._fork_logged = False

    def warn_if_forked(self) -> None:
        """Say once what a read costs in a child of a process that ran a manager."""
        refuse_reentry()
        if self.forked and not self._fork_logged:
            self._fork_logged = True
            log.warning(
                "this process was forked from one that ran a DataManager: it shares nothing with it, and each read is "
                "one REST request, counted against the same address; call start() for a manager of its own"
            )
