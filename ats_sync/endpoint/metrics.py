"""``/metrics`` for Prometheus: the manager's state at the moment of the scrape, and nothing on the path of the data.

Needs the extra ``metrics`` (prometheus-client). There are no labels for symbols: their number would be that of series.
"""

from __future__ import annotations

import itertools
import platform
import threading
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample

from .. import __version__
from ..engine.quality import SAMPLE_EVERY, Quality
from ..engine.stream_session import LAG_BOUNDS
from ..events.values import CandleEvent, Missed
from ..feeds import Cause, Kind
from ..manager import DataManager
from ..overview import BUCKET, Totals
from ..publisher.publisher import CallbackHandle
from ..runtime.counters import ENDINGS, STALE, UNAVAILABLE
from ..shared.lease_state import Role
from ..status import (
    ALONE,
    READER,
    FeedState,
    KindSummary,
    LeaseSigns,
    Overall,
    SharedTotals,
    Status,
)
from ..store.closed import SOURCES
from ..venue.endpoints import Host
from .replies import Reply
from .views import Views, bound

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
DELAY_BOUNDS = (0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 7.5, 10.0, 30.0, 60.0)
"""Seconds."""
VERDICTS = ("publish", "degrade", "stop")
M = TypeVar("M", GaugeMetricFamily, CounterMetricFamily)


class _Found(Collector):
    """Metrics that were collected beforehand, so that no foreign code runs between us and the manager."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


class _Delays:
    """Counts how long after their close candles were final, by what made them final. It refers to nothing, since the
    manager keeps its callbacks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()  # guards everything below
        self._counts = {source.value: [0] * (len(DELAY_BOUNDS) + 1) for source in SOURCES}
        self._sums = {source.value: 0.0 for source in SOURCES}

    def note(self, event: CandleEvent | Missed) -> None:
        """Count a candle that has closed."""
        if isinstance(event, CandleEvent) and event.delay is not None:
            with self._lock:
                self._counts[event.source][bisect_left(DELAY_BOUNDS, event.delay)] += 1
                self._sums[event.source] += event.delay

    def metric(self) -> Metric:
        """Return the histogram."""
        metric = HistogramMetricFamily(
            "ats_sync_candle_close_delay_seconds",
            "Seconds from the close of a candle until it was final here, since the first scrape.",
            labels=["source"],
        )
        with self._lock:
            for source, counts in sorted(self._counts.items()):
                metric.add_metric([source], _buckets(DELAY_BOUNDS, counts), self._sums[source])
        return metric


class Metrics:
    """Renders the metrics of ``manager``."""

    def __init__(self, manager: DataManager, views: Views) -> None:
        self._manager = manager
        self._views = views
        self._lock = threading.Lock()  # guards the three below
        self._qualities: dict[str, Quality] = {}
        self._judged_at = float("-inf")
        self._written: dict[str, tuple[list[Sample], bytes]] = {}
        self._delays = _Delays()
        self._handle: CallbackHandle | None = None
        config = manager.config
        if config.shared is None or config.role != "reader":  # a reader would have to fetch each candle for it
            self._handle = manager.on_closed(self._delays.note)

    def close(self) -> None:
        """Stop listening to closed candles."""
        # Never by a finalizer: it would run on any thread, also on one that has the publisher's lock.
        if self._handle is not None:
            self._handle.close()

    def reply(self) -> Reply:
        """Return the text of all metrics."""
        return Reply(200, b"".join(map(self._text, self.collect())), CONTENT_TYPE)

    def _text(self, metric: Metric) -> bytes:
        """Return the text of a metric, that of the last scrape where its samples are the same. Most are, and to write
        them is most of a scrape's cost apart from the look at every series."""
        with self._lock:
            known = self._written.get(metric.name)
        if known is not None and known[0] == metric.samples:
            return known[1]
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Found([metric]))
        text = generate_latest(registry)
        with self._lock:
            self._written[metric.name] = metric.samples, text
        return text

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values of now."""
        summary, totals = self._views.look(), self._manager.overview.totals()
        status = summary.status
        yield from _overall(status)
        yield from _feeds(summary.kinds, streams=self._manager.enable_websocket)
        yield from self._connections(status)
        yield from _traffic(totals)
        yield from _reads(totals)
        yield from _requests(totals)
        yield from self._budget(status)
        yield from _gaps(totals, self._manager.overview.gaps(summary))
        yield self._delays.metric()
        yield from self._quality()
        yield from self._store()
        yield from _snapshot(status)
        if (shared := self._manager.overview.shared()) is not None:
            yield from _shared(shared)
        build = GaugeMetricFamily("ats_sync_build_info", "The versions that run.", labels=["version", "python"])
        build.add_metric([__version__, platform.python_version()], 1)
        yield build

    def _connections(self, status: Status) -> Iterator[Metric]:
        now = self._manager.clock.wall()
        count = GaugeMetricFamily("ats_sync_connections", "Stream connections.", labels=["route", "state"])
        for (route, state), number in sorted(Counter((each.route, each.state) for each in status.connections).items()):
            count.add_metric([route, state], number)
        yield count
        oldest: dict[str, float] = {}
        for each in status.connections:
            oldest[each.route] = max(oldest.get(each.route, 0.0), now - each.since)
        age = GaugeMetricFamily(
            "ats_sync_connection_oldest_age_seconds",
            "How long the oldest connection has been as it is.",
            labels=["route"],
        )
        yield _by(age, dict(sorted(oldest.items())))

    def _quality(self) -> Iterator[Metric]:
        with self._lock:
            now = time.monotonic()
            if now - self._judged_at > SAMPLE_EVERY:  # there is no newer sample before that
                self._qualities, self._judged_at = self._manager.overview.judged(), now
            qualities = list(self._qualities.values())
        score = GaugeMetricFamily(
            "ats_sync_quality_score", "Quality of the symbols' data over the last 5 minutes, 0 to 1.", labels=["of"]
        )
        if qualities:
            score.add_metric(["worst"], min(each.score for each in qualities))
            score.add_metric(["mean"], sum(each.score for each in qualities) / len(qualities))
        verdicts = GaugeMetricFamily(
            "ats_sync_quality_symbols", "Symbols by what their quality allows to do.", labels=["verdict"]
        )
        found = Counter([each.verdict for each in qualities])
        yield from (score, _by(verdicts, {verdict: found[verdict] for verdict in VERDICTS}))

    def _store(self) -> Iterator[Metric]:
        stats = self._manager.get_stats()
        kept = GaugeMetricFamily("ats_sync_store_rows", "Rows in memory.", labels=["kind"])
        rows = {
            "klines": stats["klines_cached"],
            "open interest": stats["oi_cached"],
            "trades": stats["trades_cached"],
        }
        yield _by(kept, rows)

    def _budget(self, status: Status) -> Iterator[Metric]:
        text = self._manager.rest_text
        used = GaugeMetricFamily("ats_sync_weight_used", "Request weight of the last minute.", labels=["host"])
        limit = GaugeMetricFamily(
            "ats_sync_weight_limit",
            "The exchange's limit of request weight a minute, all programs of this address.",
            labels=["host"],
        )
        allowed = GaugeMetricFamily(
            "ats_sync_weight_allowed", "Request weight a minute that this process may use.", labels=["host"]
        )
        blocked = GaugeMetricFamily(
            "ats_sync_blocked_until_timestamp_seconds",
            "When the host may be sent requests again after a limit or a ban; 0 where it may be now.",
            labels=["host"],
        )
        usage = {host.value: text.usage(bucket) for host, bucket in BUCKET.items()}
        yield _by(used, {host: each.cost for host, each in usage.items()})
        yield _by(allowed, {host: each.allowed for host, each in usage.items()})
        yield _by(limit, {host: each.limit for host, each in usage.items()})
        yield _by(blocked, {host: status.blocked.get(host, 0.0) for host in usage})
        waiting = GaugeMetricFamily("ats_sync_requests_waiting", "REST requests in line or under way.")
        waiting.add_metric([], status.waiting_requests)
        yield waiting


def _snapshot(status: Status) -> Iterator[Metric]:
    """Yield what is kept on disk, where something is."""
    kept = status.snapshot
    if kept is None:
        return
    yield GaugeMetricFamily(
        "ats_sync_snapshot_failing", "1 while rows cannot be kept on disk for the next start.", value=bool(kept.problem)
    )
    yield GaugeMetricFamily(
        "ats_sync_snapshot_written_timestamp_seconds",
        "When rows were last written to disk, 0 before the first time.",
        value=kept.written or 0.0,
    )
    series = GaugeMetricFamily(
        "ats_sync_snapshot_loaded_series", "Series that were begun with rows from disk.", labels=["compared"]
    )
    yield _by(series, {"yes": kept.loaded - kept.unaudited, "no": kept.unaudited})


def _shared(totals: SharedTotals) -> Iterator[Metric]:
    """Yield what this process knows of the shared store."""
    role = GaugeMetricFamily(
        "ats_sync_shared_role", "1 for what this process is in the shared store, else 0.", labels=["role"]
    )
    roles = (*(each.value for each in Role), READER, ALONE)
    yield _by(role, {each: float(totals.role == each) for each in roles})
    yield from _leases(totals.leases)
    calls = CounterMetricFamily(
        "ats_sync_shared_round_trips", "Calls that went to the shared store, by what for.", labels=["of"]
    )
    errors = CounterMetricFamily("ats_sync_shared_errors", "Those of them that failed.", labels=["of"])
    yield _by(calls, {of: sent for of, (sent, _) in totals.calls.items()})
    yield _by(errors, {of: failed for of, (_, failed) in totals.calls.items()})
    yield GaugeMetricFamily(
        "ats_sync_shared_answers", "1 while the shared store answers this process, else 0.", value=totals.answers
    )
    yield GaugeMetricFamily(
        "ats_sync_shared_alone",
        "1 while this process counts its requests by itself, with its part of the limit, else 0.",
        value=totals.alone,
    )
    users = (
        ("ats_sync_shared_readers", "Processes that read from the shared store at this moment.", totals.readers),
        ("ats_sync_shared_memory_bytes", "Memory that the shared store uses.", totals.memory),
    )
    written, lag = totals.written or (None, None)
    writes = (
        ("ats_sync_shared_written_timestamp_seconds", "When this collector last wrote, while it led.", written),
        (
            "ats_sync_shared_write_lag_seconds",
            "From the look at what had changed to the shared store's answer, in this collector's last write.",
            lag,
        ),
    )
    for metric, explained, known in (*users, *writes):
        family = GaugeMetricFamily(metric, explained, labels=[])
        if known is not None:
            family.add_metric([], known)
        yield family
    age = GaugeMetricFamily(
        "ats_sync_shared_feed_age_seconds",
        "Of what this reader read last: how long ago a connection of the collector had proved that it delivers.",
        labels=["shard"],
    )
    yield _by(age, totals.feed_ages)


def _leases(leases: Sequence[LeaseSigns]) -> Iterator[Metric]:
    led = GaugeMetricFamily(
        "ats_sync_shared_leader_seen", "1 while a collector is seen to lead, else 0.", labels=["shard"]
    )
    silent = GaugeMetricFamily(
        "ats_sync_shared_leader_age_seconds",
        "Since the last sign of the collector that led last, unless it has handed over.",
        labels=["shard"],
    )
    epoch = GaugeMetricFamily(
        "ats_sync_shared_epoch", "The number of the reign: another one with each new leader.", labels=["shard"]
    )
    standbys = GaugeMetricFamily("ats_sync_shared_standbys", "Collectors that stand by.", labels=["shard"])
    yield _by(led, {each.shard: each.led for each in leases})
    yield _by(silent, {each.shard: each.silent_for for each in leases if each.silent_for is not None})
    yield _by(epoch, {each.shard: each.epoch for each in leases if each.epoch})
    yield _by(standbys, {each.shard: each.standbys for each in leases if each.standbys is not None})


def _overall(status: Status) -> Iterator[Metric]:
    state = GaugeMetricFamily("ats_sync_state", "1 for the state the manager is in, else 0.", labels=["state"])
    yield _by(state, {each.value: float(status.state is each) for each in Overall})


def _feeds(summaries: Iterable[KindSummary], *, streams: bool) -> Iterator[Metric]:
    feeds = GaugeMetricFamily("ats_sync_feeds", "Series that are followed.", labels=["kind", "state"])
    oldest = GaugeMetricFamily(
        "ats_sync_feed_oldest_age_seconds", "Age of the series whose newest event is the oldest.", labels=["kind"]
    )
    bounds = GaugeMetricFamily(
        "ats_sync_feed_max_age_seconds",
        "Within which a series, or its stream's last sign of life, is fresh.",
        labels=["kind"],
    )
    for kind, states, age in summaries:
        for state in FeedState:
            feeds.add_metric([kind.value, state.value], states[state])
        if age is not None:
            oldest.add_metric([kind.value], age)
        if (most := bound(kind, streams=streams)) is not None:
            bounds.add_metric([kind.value], most)
    yield from (feeds, oldest, bounds)


# A counter exists from the start: Prometheus sees no increase where one appears with its first event.


def _traffic(totals: Totals) -> Iterator[Metric]:
    frames = CounterMetricFamily("ats_sync_frames", "Data frames that have come.", labels=["route"])
    received = CounterMetricFamily(
        "ats_sync_received_bytes", "Bytes that have come on stream connections.", labels=["route"]
    )
    lag = HistogramMetricFamily(
        "ats_sync_event_lag_seconds", "Age of the newest event of each receive, when it came.", labels=["route"]
    )
    by_route = dict(sorted(totals.traffic.items()))
    for route, traffic in by_route.items():
        if traffic.lags:
            lag.add_metric([route], _buckets(LAG_BOUNDS, traffic.lags), traffic.lag_sum)
    reconnects = CounterMetricFamily(
        "ats_sync_reconnects", "Connections that have ended, or could not be made, by why.", labels=["route", "reason"]
    )
    for route, reason in itertools.product(by_route, ENDINGS):
        reconnects.add_metric([route, reason], totals.endings.get((route, reason), 0))
    yield _by(frames, {route: traffic.frames for route, traffic in by_route.items()})
    yield _by(received, {route: traffic.received_bytes for route, traffic in by_route.items()})
    yield from (lag, reconnects)


def _reads(totals: Totals) -> Iterator[Metric]:
    reads = CounterMetricFamily("ats_sync_reads", "Reads, by what answered them.", labels=["kind", "source"])
    for kind, (memory, rest) in totals.reads.items():
        reads.add_metric([kind.value, "memory"], memory)
        reads.add_metric([kind.value, "rest"], rest)
    errors = CounterMetricFamily(
        "ats_sync_read_errors", "Reads that neither memory nor REST could answer freshly.", labels=["kind", "error"]
    )
    for kind, error in itertools.product(Kind, (STALE, UNAVAILABLE)):
        errors.add_metric([kind.value, error], totals.read_errors.get((kind, error), 0))
    yield from (reads, errors)


def _requests(totals: Totals) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "ats_sync_requests",
        "REST requests that have ended, by what caused them and their HTTP status (none: no answer came).",
        labels=["host", "cause", "code"],
    )
    known = dict.fromkeys(itertools.product(Host, Cause, ("200",)), 0) | totals.requests
    for (host, cause, code), number in sorted(known.items()):
        requests.add_metric([host.value, cause.value, code], number)
    yield requests


def _gaps(totals: Totals, open_gaps: Mapping[str, int]) -> Iterator[Metric]:
    repairs = CounterMetricFamily("ats_sync_repairs", "Repairs that REST has answered.")
    repairs.add_metric([], totals.repairs)
    gaps = GaugeMetricFamily("ats_sync_open_gaps", "Series that lack something by now.", labels=["kind"])
    missed = CounterMetricFamily(
        "ats_sync_events_missed", "Times that a consumer of events missed candles, since memory no longer had them."
    )
    missed.add_metric([], totals.missed)
    yield from (repairs, _by(gaps, dict(sorted(open_gaps.items()))), missed)


def _by(metric: M, values: Mapping[str, float]) -> M:
    """Return a metric of one label, with its value for each value of the label."""
    for label, value in values.items():
        metric.add_metric([label], value)
    return metric


def _buckets(bounds: Sequence[float], counts: Sequence[int]) -> list[tuple[str, float]]:
    """Return the cumulative buckets of a histogram."""
    names = [*(str(bound) for bound in bounds), "+Inf"]
    return list(zip(names, map(float, itertools.accumulate(counts)), strict=True))
