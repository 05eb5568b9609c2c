"""The market and its feeds at a glance: looks that are not reads, so nothing is requested or followed for them.

For the endpoint's page, which looks once a second: :meth:`Overview.signs` costs a fraction of a whole
:meth:`~ats_sync.DataManager.status`, and shows when another one is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from .clock import Clock
from .engine.budget import Usage
from .engine.engine import Engine
from .engine.quality import Quality
from .feeds import FEEDS, Cause, Key, Kind
from .lifecycle import Lifecycle
from .look import connection_statuses
from .reads import WATCHED_WITHIN
from .runtime.counters import Traffic
from .status import ConnectionStatus, SharedTotals, Summary
from .store.klines import KlineSeries
from .store.series import Series
from .venue.endpoints import Bucket, Host, Route
from .venue.intervals import INTERVALS
from .venue.klines import text_close

LIFE_WITHIN = {
    route: min(
        feed.stream.timeout
        for feed in FEEDS.values()
        if feed.stream and feed.stream.route is route and feed.stream.timeout
    )
    for route in Route
}
"""A connection without a sign of life for so many seconds: the first of its series are in doubt then."""
BUCKET = {Host.FUTURES: Bucket.FUTURES, Host.SPOT: Bucket.SPOT}


class Signs(NamedTuple):
    """What is seen without going through every series. Times are epoch seconds."""

    running: bool
    ready: bool
    connections: tuple[ConnectionStatus, ...]
    quiet: frozenset[str]
    """Connections without a recent sign of life."""
    doubtful: int
    """Streamed series that no connection keeps up to date, or that are suspected, and candles that need a repair."""
    sure: bool
    """Whether the exchange's time is known, and somebody has looked out for silent streams."""
    reconnects: int
    frames: int
    usage: dict[Host, Usage]
    blocked: dict[str, float]
    """Hosts that said to wait, and from when requests are allowed again."""
    limits: dict[Host, str]
    """What each host said when it last refused requests for their rate."""
    waiting: int
    requests: dict[str, int]
    """By cause."""
    hits: int
    misses: int
    repairs: int
    repaired: Key | None
    """The series of the newest repair."""

    def mark(self) -> tuple[object, ...]:
        """Return what differs as soon as the state of some series may have changed."""
        return (
            self.running,
            self.ready,
            tuple((each.name, each.state) for each in self.connections),
            self.quiet,
            self.doubtful,
            self.sure,
            self.reconnects,
            frozenset(self.blocked),
            self.requests[Cause.REPAIR.value],
        )


Price = tuple[str, str, int | None]
"""The newest price of a symbol in memory, its change in 24 hours (percent) and its age (whole seconds); "" and None
where that is not known."""


class Totals(NamedTuple):
    """What was counted since the manager was made, and what is missing now."""

    traffic: dict[str, Traffic]
    """By route."""
    endings: dict[tuple[str, str], int]
    """Connections that have ended, by route and by which of ``ENDINGS``."""
    reads: dict[Kind, tuple[int, int]]
    """For each kind, reads that memory has answered, and reads that went to REST."""
    read_errors: dict[tuple[Kind, str], int]
    """By kind and error: ``stale`` or ``unavailable``."""
    requests: dict[tuple[Host, Cause, str], int]
    """Requests that have ended, by host, cause and HTTP status ("none" without an answer)."""
    repairs: int
    missed: int
    """How often a consumer of events was given ``Missed`` for candles that memory no longer had."""


class Overview:
    """Looks at what a manager has in memory. Any thread may call it. It keeps the manager alive."""

    def __init__(self, life: Lifecycle, clock: Clock, symbols: Callable[[], Sequence[str]], keeps: object) -> None:
        self._life = life
        self._clock = clock
        self._symbols = symbols
        self._keeps = keeps
        # All series and what was last found among them: both are replaced whole, never changed in place.
        self._streams: tuple[object, list[Series]] = None, []
        self._shortest: tuple[object, dict[str, KlineSeries]] = None, {}

    def _streamed(self) -> list[Series]:
        every = self._life.store.series
        known, streamed = self._streams
        if known is not every:
            streamed = [series for series in every.values() if series.feed.own_stream]
            self._streams = every, streamed
        return streamed

    def signs(self) -> Signs:
        """Return the signs of life."""
        life, clock = self._life, self._clock
        runtime, store, counters = life.runtime, life.store, life.counters
        running = runtime is not None and not runtime.stopped
        connections: tuple[ConnectionStatus, ...] = ()
        quiet: frozenset[str] = frozenset()
        exchange = clock.exchange()
        reconnects, frames, waiting, doubtful = life.reconnects_before, life.frames_before, 0, 0
        if runtime is not None and running:
            connections, quiet, lost = runtime.query(lambda engine, at: _connections(engine, clock, exchange))
            reconnects += lost
            frames += runtime.frames()
            waiting = runtime.requests.waiting()
            doubtful = life.budget.lacking
            if runtime.streams:
                doubtful += sum(
                    [series.link is None or not series.link.up or bool(series.suspected) for series in self._streamed()]
                )
        repairs, repaired = counters.repairs()
        return Signs(
            running=running,
            ready=life.ready,
            connections=connections,
            quiet=quiet,
            doubtful=doubtful,
            sure=clock.proven() and exchange - store.watched_until <= WATCHED_WITHIN,
            reconnects=reconnects,
            frames=frames,
            usage={host: life.reads.usage(bucket) for host, bucket in BUCKET.items()},
            blocked=life.blocked(),
            limits=counters.limits(),
            waiting=waiting,
            requests=counters.requests(),
            hits=counters.hits,
            misses=counters.misses,
            repairs=repairs,
            repaired=repaired,
        )

    def totals(self) -> Totals:
        """Return everything that is counted."""
        life = self._life
        runtime, counters = life.runtime, life.counters
        traffic, endings = counters.streams_ended()
        if runtime is not None:
            traffic = runtime.traffic()
        return Totals(
            traffic=traffic,
            endings=endings,
            reads=counters.reads(),
            read_errors=counters.read_errors(),
            requests=counters.outcomes(),
            repairs=counters.repairs()[0],
            missed=life.publisher.missed.value,
        )

    def shared(self) -> SharedTotals | None:
        """Return what is counted and measured of the shared store, None where none is set."""
        return self._life.shared_totals()

    def summary(self) -> Summary:
        """Return the manager's status without the feeds that are well."""
        return self._life.summary()

    def gaps(self, summary: Summary) -> Counter[str]:
        """Return for each kind how many of its series lack something by now, or contradict what is known. (None that
        is live or polled does.)"""
        store, now = self._life.store, self._clock.exchange_ms()
        found = Counter({each.kind.value: 0 for each in summary.kinds})
        for feed in summary.status.feeds:
            series = store.series.get(Key(Kind(feed.kind), feed.symbol, feed.interval))
            if series is not None:
                lacks = series.lacks_older() and bool(series.unsettled(now))
                found[feed.kind] += bool(series.state(now).doubt) or lacks
        return found

    def symbols(self) -> list[str]:
        """Return the watched symbols, and after them those that are followed because they are read."""
        watched = self._symbols()
        return [*watched, *sorted(self._life.store.symbols.difference(watched))]

    def prices(self, symbols: Sequence[str]) -> list[Price]:
        """Return the newest price of each symbol: of its last trade, else its mark."""
        store, exchange = self._life.store, self._clock.exchange()
        found: list[Price] = []
        last, age = 0, None
        for symbol, known in zip(symbols, store.tickers.look_at(symbols), strict=True):
            if known is not None:
                as_of, row = known
                price, change = (row.get("c"), row.get("P")) if "s" in row else _rest(row)
            elif (mark := store.marks.get(symbol)) is not None:
                as_of, price, change = mark.time, mark.mark_price, ""
            else:
                found.append(("", "", None))
                continue
            if as_of != last:  # of most symbols it is the same
                last, age = as_of, max(0, int(exchange - as_of / 1000.0))
            found.append((str(price or ""), str(change or ""), age))
        return found

    def candles(self) -> dict[str, KlineSeries]:
        """Return for each symbol its candles with the shortest interval that is followed."""
        every = self._life.store.of(KlineSeries)
        known, found = self._shortest
        if known is every:
            return found
        found = {}
        for series in every:
            symbol = series.key.symbol
            if not series.feed.spot and (
                symbol not in found or _ORDER[series.interval] < _ORDER[found[symbol].interval]
            ):
                found[symbol] = series
        self._shortest = every, found
        return found

    @staticmethod
    def closes(candles: KlineSeries, count: int) -> list[float]:
        """Return the closes of the newest closed candles, oldest first."""
        return [text_close(text) for text in candles.newest_closed(count)]

    def qualities(self) -> dict[str, float]:
        """Return the score of every followed symbol over the last 5 minutes, as it was sampled (every 10 s)."""
        return {symbol: quality.score for symbol, quality in self.judged().items()}

    def judged(self) -> dict[str, Quality]:
        """Return the quality of every followed symbol, sampled likewise."""
        runtime = self._life.runtime
        if runtime is None or runtime.stopped:
            return {}
        return runtime.qualities()


_ORDER = {interval: place for place, interval in enumerate(INTERVALS)}


def _rest(row: dict[str, Any]) -> tuple[object, object]:
    return row.get("lastPrice"), row.get("priceChangePercent")


def _connections(
    engine: Engine, clock: Clock, exchange: float
) -> tuple[tuple[ConnectionStatus, ...], frozenset[str], int]:
    assert engine.guarded()
    statuses = connection_statuses(engine, clock)
    links = [each.link for each in engine.connections.connections.values()]
    quiet = frozenset(
        status.name
        for status, link in zip(statuses, links, strict=True)
        if link is not None and link.up and not link.alive(exchange, LIFE_WITHIN[Route(status.route)])
    )
    return statuses, quiet, engine.connections.reconnects
