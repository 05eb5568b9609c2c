"""The exchange itself: market, clock, four ports and the pump, on one event loop."""

from __future__ import annotations

import asyncio
import functools
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from aiohttp import web

from .broadcaster import Broadcaster
from .clock import ExchangeClock, start_ms
from .endpoints import DAPI, FAPI, SPOT, make_endpoints
from .lagging_replica import LaggingReplica, make_lagging_replica
from .limits import HostLimits
from .listener import Listener
from .literals import What
from .market import Market
from .pump import Pump
from .request_log import HostRequests, RequestLog
from .rest import RestService
from .settings import Settings
from .stats import SimulatorStats
from .stream_faults import StreamFaults
from .tls import make_context

REST_LISTENERS = ("fapi", "spot")
STREAM_LISTENERS = ("fstream", "spot_stream")
_PORTS: dict[What, tuple[str, ...]] = {
    "rest": REST_LISTENERS,
    "streams": STREAM_LISTENERS,
    "all": (*REST_LISTENERS, *STREAM_LISTENERS),
    "fapi": ("fapi",),
    "spot": ("spot",),
    "fstream": ("fstream",),
    "spot_stream": ("spot_stream",),
}

Handler = Callable[[web.BaseRequest], Coroutine[Any, Any, web.StreamResponse]]


class ExchangeServer:
    """All parts that answer clients. :meth:`open` and :meth:`close` must run on the same event loop."""

    def __init__(self, settings: Settings, *, may_fork: bool, stop: Callable[[], None] = lambda: None) -> None:
        self.settings = settings
        self.stop = stop
        """Called to make the owner of this server close it."""
        self._may_fork = may_fork
        self._folder = tempfile.TemporaryDirectory(prefix="exchange-")
        self.ca_file: str | None = None
        try:
            context = None
            if settings.tls:
                context, self.ca_file = make_context(Path(self._folder.name))
            self._context = context
            start = start_ms(settings.start)
            self.clock = ExchangeClock(start)
            self.market = Market(
                settings.symbols,
                seed=settings.seed,
                start=start,
                activity=settings.activity,
                coin_margined=settings.coin_margined,
                resting_marks=settings.resting_marks,
            )
            self.market.weight_limit = settings.weight_limit
            self.market.spot_weight_limit = settings.spot_weight_limit
        except BaseException:
            self._folder.cleanup()
            raise
        now = self.clock.now
        futures = self._limits(settings.weight_limit, futures=True)
        shared = settings.coin_margined_shares_weight
        self.request_log = RequestLog(
            {
                FAPI: HostRequests(futures),
                DAPI: HostRequests(futures if shared else self._limits(settings.weight_limit, futures=True)),
                SPOT: HostRequests(self._limits(settings.spot_weight_limit, futures=False)),
            }
        )
        self.endpoints = make_endpoints(settings)
        self.rest = RestService(self.market, self.request_log, now, settings, self.endpoints)
        self.broadcaster = Broadcaster(self.market, settings, now)
        self.stream_faults = StreamFaults(settings.seed)
        self.lagging_replica: LaggingReplica | None = None
        self.listeners: dict[str, Listener] = {}
        self.connections_max = 0
        self._web_servers: list[web.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.failure: asyncio.Future[None] | None = None

    def _limits(self, weight: int, *, futures: bool) -> HostLimits:
        settings = self.settings
        buckets = {"funding": settings.funding_limit, "open interest": settings.oi_limit} if futures else {}
        return HostLimits(
            weight,
            buckets,
            ban_seconds=settings.ban_seconds,
            patience=settings.ban_patience,
            sliding=settings.sliding_weight,
            report_lag=round(settings.weight_header_lag * 1000),
        )

    # -- life

    async def open(self) -> None:
        """Bind the ports, start the clock and answer."""
        handlers: dict[str, Handler] = {
            "fapi": lambda request: self.rest.handle(request, FAPI),
            "spot": lambda request: self.rest.handle(request, SPOT),
            "fstream": lambda request: self.broadcaster.handle(request, False),
            "spot_stream": lambda request: self.broadcaster.handle(request, True),
        }
        for (name, handler), port in zip(handlers.items(), self.settings.ports, strict=True):
            server = web.Server(handler, handler_cancellation=True, access_log=None)
            self._web_servers.append(server)
            admit = self.broadcaster.admit if name in STREAM_LISTENERS else _always
            self.listeners[name] = Listener(name, port, server, self._context, admit)
        if self.settings.start is not None:
            self.clock.begin(self.settings.start)
        for listener in self.listeners.values():
            listener.open()
        self.pump = Pump(
            self.market,
            self.clock,
            self.broadcaster,
            self.stream_faults,
            list(self.listeners.values()),
            self.settings.tick,
        )
        self.pump.after_step = self._after_step
        self.failure = asyncio.get_running_loop().create_future()
        self.spawn(self.pump.run())

    async def close(self) -> None:
        """Release everything; safe after a failed :meth:`open`."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.broadcaster.unhang.set()
        self.rest.let_go()
        for listener in self.listeners.values():
            await listener.close()
        for server in self._web_servers:
            await server.shutdown(0.2)
        if self.lagging_replica is not None:
            self.lagging_replica.stop()
            self.lagging_replica = None
        self._folder.cleanup()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run ``work`` until it or the server ends; if it fails, the server fails."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or self.failure is None or self.failure.done():
            return
        error = task.exception()
        if error is not None:
            self.failure.set_exception(error)

    def after(self, name: str, seconds: float | None, action: Callable[[], None]) -> None:
        """Call ``action`` in ``seconds`` (None: never), replacing the pending action of that name."""
        self.cancel(name)
        if seconds is not None:
            loop = asyncio.get_running_loop()

            def run() -> None:
                self._timers.pop(name, None)
                action()

            self._timers[name] = loop.call_later(seconds, run)

    def cancel(self, name: str) -> None:
        """Drop the pending action of that name, if there is one."""
        pending = self._timers.pop(name, None)
        if pending is not None:
            pending.cancel()

    def _after_step(self) -> None:
        self.connections_max = max(self.connections_max, self.connections_now)

    # -- state

    @property
    def connections_now(self) -> int:
        """Number of TCP connections on the stream ports whose client is still there."""
        return sum(len(self.listeners[name].transports) for name in STREAM_LISTENERS)

    def urls(self) -> dict[str, str]:
        """Return the four base URLs by listener."""
        http, ws = ("https", "wss") if self.settings.tls else ("http", "ws")
        return {
            name: f"{http if name in REST_LISTENERS else ws}://127.0.0.1:{listener.port}"
            for name, listener in self.listeners.items()
        }

    def stats(self) -> SimulatorStats:
        """Return everything counted so far."""
        now = self.clock.now()
        return SimulatorStats(
            time=now,
            fapi=self.request_log.hosts[FAPI].stats(now),
            spot=self.request_log.hosts[SPOT].stats(now),
            dapi=self.request_log.hosts[DAPI].stats(now),
            connections_now=self.connections_now,
            connections_max=self.connections_max,
            connection_attempts=sum(self.listeners[name].attempts for name in STREAM_LISTENERS),
            attempts_refused=self.broadcaster.attempts_refused,
            frames_sent=self.broadcaster.frames_sent,
            faults_active=self.active_faults(),
            behind_ms=self.pump.behind,
            connections=[item.info() for item in self.broadcaster.connections.values()] + list(self.broadcaster.closed),
        )

    # -- faults that concern more than one part

    def active_faults(self) -> list[str]:
        """Return the faults in force, in words."""
        found = [*self.rest.faults.active(), *self.stream_faults.active()]
        found += [f"refused {name}" for name in sorted(self.broadcaster.refused_streams)]
        found += [f"dropped everywhere {name}" for name in sorted(self.broadcaster.silent_everywhere)]
        if self.broadcaster.handshake_fault is not None:
            found.append(f"handshake {self.broadcaster.handshake_fault}, {self.broadcaster.hanging} hanging")
        if self.lagging_replica is not None:
            found.append(f"lagging replica {self.lagging_replica.lag} ms")
        for name, listener in self.listeners.items():
            found += [
                f"{what} {name}"
                for what, on in (
                    ("refuse", not listener.listening or listener.resetting),
                    ("freeze", listener.frozen),
                    ("trickle", listener.rate is not None),
                )
                if on
            ]
        return found

    def aimed_at(self, what: What) -> list[Listener]:
        """Return the listeners that ``what`` names."""
        return [self.listeners[name] for name in _PORTS[what]]

    def thaw(self, what: What) -> None:
        """End a freeze."""
        for listener in self.aimed_at(what):
            self.cancel(f"thaw {listener.name}")
            if listener.frozen:
                listener.set_frozen(False)

    def accept(self, what: What) -> None:
        """End a refusal."""
        for listener in self.aimed_at(what):
            self.cancel(f"accept {listener.name}")
            listener.accept_again()

    def trickle(self, bytes_per_second: float | None, what: What, seconds: float | None = None) -> None:
        """Limit what each connection sends (None: no limit), for ``seconds`` (None: until further notice)."""
        for listener in self.aimed_at(what):
            listener.set_rate(bytes_per_second)
            self.cancel(f"flow {listener.name}")
            if bytes_per_second is not None:
                self.after(f"flow {listener.name}", seconds, functools.partial(listener.set_rate, None))

    def clear_faults(self) -> None:
        """End every fault."""
        self.rest.faults.clear()
        self.rest.let_go()
        self.rest.latency = self.settings.latency
        self.stream_faults.clear()
        self.broadcaster.clear_faults()
        self.lag_replica(None)
        self.thaw("all")
        self.trickle(None, "all")
        self.accept("all")
        for listener in self.listeners.values():
            listener.sweep_half_open()

    def lag_replica(self, seconds: float | None, share: float = 1.0) -> None:
        """Start, change, or end (None) the lagging replica, which answers a ``share`` of the requests."""
        self.rest.replica_share = share
        old = self.lagging_replica
        lag = None if seconds is None else round(seconds * 1000)
        if lag is not None and old is not None and lag >= old.lag:
            old.lag = lag
            return
        if old is not None:
            old.stop()
        self.lagging_replica = self.rest.replica = None
        if lag is not None:
            fresh = make_lagging_replica(
                self.market, lag, self.clock.now, may_fork=self._may_fork, endpoints=self.endpoints
            )
            self.lagging_replica = self.rest.replica = fresh

    def change_market(self, method: str, **arguments: Any) -> Any:
        """Call a method of the market that changes it, now and, when its time comes, on the lagging replica."""
        self.pump.step()
        result = getattr(self.market, method)(**arguments)
        if self.lagging_replica is not None:
            self.lagging_replica.change((self.market.now, method, arguments))
        return result


def _always() -> bool:
    return True
