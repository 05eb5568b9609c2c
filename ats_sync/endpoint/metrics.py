"""``/metrics`` for Prometheus: the manager's state at the moment of the scrape, and nothing on the way of data.

Needs the extra ``metrics`` (prometheus-client). There are no labels for symbols: their number would be that of series.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .. import __version__
from ..manager import DataManager
from ..status import FeedState, Overall, Status, by_kind
from ..venue.endpoints import Bucket
from .replies import Reply
from .views import Views

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_WEIGHED = {"futures": Bucket.FUTURES, "spot": Bucket.SPOT}


class _Found(Collector):
    """Metrics that were collected beforehand: no code of others stands between us and the manager."""

    def __init__(self, found: list[Metric]) -> None:
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


class Metrics:
    """Renders the metrics of ``manager``."""

    def __init__(self, manager: DataManager, views: Views) -> None:
        self._manager = manager
        self._views = views

    def reply(self) -> Reply:
        """Return the text of all metrics."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Found(list(self.collect())))
        return Reply(200, generate_latest(registry), CONTENT_TYPE)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric with its values of now."""
        status = self._views.look()
        yield from _overall(status)
        yield from _feeds(status)
        yield from self._connections(status)
        yield from self._counts()
        yield from self._budget(status)
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
        for route, seconds in sorted(oldest.items()):
            age.add_metric([route], seconds)
        yield age

    def _counts(self) -> Iterator[Metric]:
        stats = self._manager.get_stats()
        frames = CounterMetricFamily("ats_sync_frames", "Data frames that have come.")
        frames.add_metric([], stats["ws_updates"])
        yield frames
        reconnects = CounterMetricFamily("ats_sync_reconnects", "Connections that were made again.")
        reconnects.add_metric([], stats["ws_reconnects"])
        yield reconnects
        reads = CounterMetricFamily("ats_sync_reads", "Reads, by what answered them.", labels=["source"])
        reads.add_metric(["memory"], stats["cache_hits"])
        reads.add_metric(["rest"], stats["cache_misses"])
        yield reads
        requests = CounterMetricFamily("ats_sync_requests", "REST requests, by what caused them.", labels=["cause"])
        for cause, number in sorted(stats["rest_calls_by_cause"].items()):
            requests.add_metric([cause], number)
        yield requests
        kept = GaugeMetricFamily("ats_sync_store_rows", "Rows in memory.", labels=["kind"])
        kept.add_metric(["klines"], stats["klines_cached"])
        kept.add_metric(["open interest"], stats["oi_cached"])
        kept.add_metric(["trades"], stats["trades_cached"])
        yield kept

    def _budget(self, status: Status) -> Iterator[Metric]:
        text = self._manager.rest_text
        used = GaugeMetricFamily("ats_sync_weight_used", "Request weight of the last minute.", labels=["host"])
        allowed = GaugeMetricFamily(
            "ats_sync_weight_allowed", "Request weight a minute that this process may use.", labels=["host"]
        )
        blocked = GaugeMetricFamily(
            "ats_sync_blocked_until_timestamp_seconds",
            "When the host may be sent requests again after a limit or a ban; 0 where it may be now.",
            labels=["host"],
        )
        for host, bucket in _WEIGHED.items():
            usage = text.usage(bucket)
            used.add_metric([host], usage.cost)
            allowed.add_metric([host], usage.allowed)
            blocked.add_metric([host], status.blocked.get(host, 0.0))
        waiting = GaugeMetricFamily("ats_sync_requests_waiting", "REST requests in line or under way.")
        waiting.add_metric([], status.waiting_requests)
        yield from (used, allowed, blocked, waiting)


def _overall(status: Status) -> Iterator[Metric]:
    state = GaugeMetricFamily("ats_sync_state", "1 for the state the manager is in, else 0.", labels=["state"])
    for each in Overall:
        state.add_metric([each.value], float(status.state is each))
    yield state


def _feeds(status: Status) -> Iterator[Metric]:
    feeds = GaugeMetricFamily("ats_sync_feeds", "Series that are followed.", labels=["kind", "state"])
    oldest = GaugeMetricFamily(
        "ats_sync_feed_oldest_age_seconds", "Age of the series whose newest event is the oldest.", labels=["kind"]
    )
    for kind, states, age in by_kind(status.feeds):
        for state in FeedState:
            feeds.add_metric([kind.value, state.value], states[state])
        if age is not None:
            oldest.add_metric([kind.value], age)
    yield from (feeds, oldest)
