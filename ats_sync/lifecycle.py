"""What lies behind a manager, from one launch to its close: the store, the threads that fill it, the reads of it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable

from . import forks
from .clock import Clock
from .config import Config
from .engine.budget import Budget
from .engine.engine import SHARED, WITNESSES
from .errors import InvalidSymbol, NotRunning, StartTimeout
from .feeds import Key
from .reads.reads import Reads
from .runtime.counters import Counters
from .runtime.direct import DirectRequests
from .runtime.requests import Requests
from .runtime.runtime import Runtime
from .store.market import MarketStore

log = logging.getLogger(__name__)


def _nothing(key: Key) -> None:
    """Nobody follows anything."""


class Lifecycle:
    """At most one runtime at a time, each launch with an empty store; without one, reads ask REST directly."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self.closed = False
        """Whether it was closed since the last launch."""
        self.forked = self._fork_told = False
        self.reconnects_before = self.frames_before = 0
        """Of the runtimes that were closed."""
        self._begin_afresh()
        forks.tell(self)

    def _begin_afresh(self) -> None:
        """No runtime, nothing known, fresh locks."""
        self.lock = threading.Lock()
        """Guards everything below and what is followed; never held while waiting."""
        self.counters = Counters()
        self.budget = Budget(self._config)
        self.runtime: Runtime | None = None
        self.begun = self._clock.wall()
        self.ready = False
        self.reset()

    def reset(self) -> None:
        """An empty store, read directly. The lock is held, or nobody else knows this object yet."""
        self.store = MarketStore(self._config, self._clock.now)
        self._direct = DirectRequests(self._config, self._clock, self.store, self.budget, self.counters)
        self._read_by(self._direct, streams=False, wanted=_nothing)

    def _read_by(self, requests: Requests, *, streams: bool, wanted: Callable[[Key], None]) -> None:
        self.reads, self.patient_reads = (
            Reads(
                self._config,
                self._clock,
                self.store,
                requests,
                self.counters,
                streams=streams,
                wanted=wanted,
                patience=patience,
            )
            for patience in (self._config.read_timeout, self._config.shim_timeout)
        )

    def launch(self, keys: Callable[[], Iterable[Key]], wanted: Callable[[Key], None], *, streams: bool) -> Runtime:
        """Start the threads, unless they run already; does not wait.

        ``keys()`` is what to follow from the start; ``wanted`` is told of what reads would have followed besides.
        """
        with self.lock:
            if self.runtime is not None and not self.runtime.stopped:
                return self.runtime
            self._direct.close()
            self.reset()
            self.ready = False
            self.begun = self._clock.wall()
            runtime = Runtime(self._config, self._clock, self.store, self.budget, self.counters, streams=streams)
            self._read_by(runtime.requests, streams=streams, wanted=wanted)
            self.runtime = runtime
            self.closed = False
            try:
                runtime.start()
            except BaseException:
                self.runtime = None
                self.reset()
                raise
            followed = self.store.follow(keys())
            runtime.follow([*SHARED, *(WITNESSES if streams else ()), *followed])
            return runtime

    def wait_until_ready(self, runtime: Runtime, symbols: Iterable[str], deadline: float | None) -> None:
        """Return when nothing that start() waits for is missing; ``deadline`` is on the steady clock."""
        checked = False
        waited_for: list[Key] | None = None
        while True:
            if runtime.stopped:
                raise NotRunning("the manager was closed while it was starting")
            if runtime.fatal is not None:
                raise runtime.fatal
            if not checked and self.store.listings.get("info") is not None:
                checked = True
                self.check_listed(symbols)
            with runtime.changed:
                waited_for = runtime.still_missing(waited_for)
                if not waited_for:
                    return
                left = None if deadline is None else deadline - self._clock.now()
                if left is not None and left <= 0:
                    missing = [str(key) for key in waited_for]
                    shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
                    raise StartTimeout(
                        f"not ready in time, still warming up; missing: {shown}; call start() again to wait on, "
                        "status() shows how far it is",
                        missing,
                    )
                runtime.changed.wait(left)

    def check_listed(self, symbols: Iterable[str]) -> None:
        """:class:`~ats_sync.errors.InvalidSymbol` where the exchange is known not to trade one of them."""
        listings = self.store.listings.get("info")
        gone = [symbol for symbol in symbols if self.store.is_gone(symbol)]
        if listings is None or not gone:
            return
        unknown = [symbol for symbol in gone if symbol not in listings.value.listed]
        if unknown:
            raise InvalidSymbol(f"the exchange lists no perpetual {', '.join(unknown)}; check the spelling")
        closed = [f"{symbol} ({self.store.contract_status(symbol) or 'closed'})" for symbol in gone]
        raise InvalidSymbol(f"{', '.join(closed)}: listed, but no longer trading")

    def close(self) -> None:
        """End every thread and connection within ``config.close_timeout`` seconds."""
        with self.lock:
            runtime, self.runtime = self.runtime, None
            self.ready = False
            self.closed = True
            if runtime is not None:
                self.reset()
            direct = self._direct
        direct.close()
        if runtime is not None:
            with runtime.engine_lock:
                self.reconnects_before += runtime.engine.connections.reconnects
            self.frames_before += runtime.frames()
            runtime.close(self._config.close_timeout)

    @property
    def running(self) -> bool:
        """Whether the threads run."""
        runtime = self.runtime
        return runtime is not None and not runtime.stopped

    def living(self) -> Runtime:
        """The runtime; :class:`~ats_sync.errors.NotRunning` where none runs."""
        runtime = self.runtime
        if runtime is None or runtime.stopped:
            raise NotRunning("the manager is not running; call start() first")
        return runtime

    def alive(self) -> Reads:
        """The reads of the running manager."""
        self.living()
        return self.reads

    # --- forks -------------------------------------------------------------------------------------

    def after_fork(self) -> None:
        """In a child process: the parent's threads, sockets, locks and data are not here."""
        ran = self.runtime is not None
        self._clock.after_fork()
        self._begin_afresh()
        self.forked = self.forked or ran
        self._fork_told = False

    def warn_if_forked(self) -> None:
        """Say once what a read costs in a child of a process that ran a manager."""
        if self.forked and not self._fork_told:
            self._fork_told = True
            log.warning(
                "this process was forked from one that ran a DataManager: it shares nothing with it, and each read is "
                "one REST request, counted against the same address; call start() for a manager of its own"
            )
