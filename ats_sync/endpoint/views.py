"""The state of a manager for other programs: ``/status``, ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import orjson

from .. import __version__
from ..engine.budget import Usage
from ..feeds import FEEDS, Kind
from ..manager import DataManager
from ..overview import BUCKET
from ..status import GOOD, ConnectionStatus, KindSummary, Overall, Status, Summary
from ..venue.endpoints import Host
from .replies import Reply, refused

if TYPE_CHECKING:
    from .metrics import Metrics

KEPT = 0.5
"""Seconds for which one look at the manager serves everybody who asks."""
MOST_REASONS = 5


class Views:
    """Renders the state of ``manager``. Any thread may call it; a look takes some milliseconds."""

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()  # guards everything below
        self._looked_at = float("-inf")
        self._summary: Summary | None = None
        self._state: Overall | None = None
        self._since = time.time()
        self.paths: Mapping[str, Callable[[], Reply]] = {
            "/status": self.status,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/metrics": self.metrics,
        }
        self._metrics: Metrics | None = None

    def look(self) -> Summary:
        """Return a summary of the manager's status, at most ``KEPT`` seconds old."""
        with self._lock:
            now = time.monotonic()
            if self._summary is None or now - self._looked_at > KEPT:
                self._summary, self._looked_at = self._manager.overview.summary(), now
                state = self._summary.status.state
                if state is not self._state:
                    self._state, self._since = state, time.time()
            return self._summary

    def healthz(self) -> Reply:
        """Return 200, since the process answers."""
        return Reply(200, b'{"status":"ok"}')

    def readyz(self) -> Reply:
        """Return 200 while everything that is followed is live, else 503 and why."""
        status = self.look().status
        if status.state is Overall.LIVE:
            return Reply(200, orjson.dumps({"state": status.state.value}))
        shared, reasons = status.shared, why(status)
        reason = shared.reason if shared is not None else ""
        if not reason and reasons:
            reason = reasons[0]["reason"]
        return Reply(503, orjson.dumps({"state": status.state.value, "reason": reason}))

    def status(self) -> Reply:
        """Return the state as JSON: what :class:`~ats_sync.Status` and ``get_stats()`` say, without single series."""
        return Reply(200, orjson.dumps(self._as_json()))

    def metrics(self) -> Reply:
        """Return the metrics for Prometheus, where the extra is installed."""
        if self._metrics is None:
            try:
                from .metrics import Metrics
            except ImportError:
                return refused(501, "/metrics needs prometheus-client; install with: pip install 'ats-sync[metrics]'")
            self._metrics = Metrics(self._manager, self)
        return self._metrics.reply()

    def close(self) -> None:
        """Give up what was registered with the manager, until the next scrape."""
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            metrics.close()

    def _as_json(self) -> dict[str, Any]:
        manager, (status, summaries) = self._manager, self.look()
        stats = manager.get_stats()
        text = manager.rest_text
        usage = {host: text.usage(bucket) for host, bucket in BUCKET.items()}
        return {
            "state": status.state.value,
            "since": self._since,
            "begun": status.since,
            "why": why(status),
            "connections": [as_json(each) for each in status.connections],
            "kinds": kinds(summaries, streams=manager.enable_websocket),
            "contracts": dict(status.contracts),
            "budget": budget(usage, status.blocked),
            "waiting_requests": status.waiting_requests,
            "requests_by_cause": stats["rest_calls_by_cause"],
            "reads": {"memory": stats["cache_hits"], "rest": stats["cache_misses"]},
            "store": {
                "symbols": stats["symbols_count"],
                "klines": stats["klines_cached"],
                "open_interest": stats["oi_cached"],
                "trades": stats["trades_cached"],
                "books": stats["depth_cached"],
                "frames": stats["ws_updates"],
                "dropped": stats["ws_dropped"],
                "reconnects": stats["ws_reconnects"],
            },
            "snapshot": asdict(status.snapshot) if status.snapshot is not None else None,
            "shared": asdict(status.shared) if status.shared is not None else None,
            "versions": {"ats_sync": __version__, "python": platform.python_version()},
        }


def why(status: Status) -> list[dict[str, Any]]:
    """Return the reasons why series are not live, the most frequent first, and how many share each."""
    reasons = Counter(feed.reason for feed in status.feeds if feed.state not in GOOD and feed.reason)
    return [{"reason": reason, "series": count} for reason, count in reasons.most_common(MOST_REASONS)]


def as_json(connection: ConnectionStatus) -> dict[str, Any]:
    """Return one connection."""
    return {
        "name": connection.name,
        "route": connection.route,
        "state": connection.state,
        "streams": connection.streams,
        "acknowledged": connection.acknowledged,
        "since": connection.since,
        "frames": connection.frames,
        "last_error": connection.last_error,
    }


def budget(usage: Mapping[Host, Usage], blocked: Mapping[str, float]) -> dict[str, Any]:
    """Return what each host's limit is used for."""
    return {
        host.value: {
            "requests": used.requests,
            "used": used.cost,
            "allowed": used.allowed,
            "blocked_until": blocked.get(host.value),
        }
        for host, used in usage.items()
    }


def bound(kind: Kind, *, streams: bool) -> float | None:
    """Return the age (s) up to which a series of a kind, or its stream's last sign of life, is fresh; None where age
    proves nothing."""
    feed = FEEDS[kind]
    return feed.max_age(streams=streams) or feed.stream_timeout or None


def kinds(summaries: Iterable[KindSummary], *, streams: bool) -> dict[str, Any]:
    """Return for each kind how many series are in each state, the oldest age and its bound."""
    return {
        kind.value: {
            "series": {state.value: count for state, count in states.items()},
            "oldest": oldest,
            "bound": bound(kind, streams=streams),
        }
        for kind, states, oldest in summaries
    }
