"""The state of a manager for other programs: ``/status``, ``/healthz``, ``/readyz``, ``/metrics``."""

from __future__ import annotations

import platform
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from .. import __version__
from ..feeds import FEEDS, Kind
from ..manager import DataManager
from ..status import FeedState, Overall, Status
from ..venue.endpoints import Bucket, Host
from .replies import Reply, refused

KEPT = 0.5
"""Seconds for which one look at the manager serves everybody who asks."""
MOST_REASONS = 5
_GOOD = (FeedState.LIVE, FeedState.POLLED)
_BUCKET = {Host.FUTURES: Bucket.FUTURES, Host.SPOT: Bucket.SPOT}


class Views:
    """Renders the state of ``manager``. Any thread may call it; a look takes some milliseconds."""

    def __init__(self, manager: DataManager) -> None:
        self._manager = manager
        self._lock = threading.Lock()  # guards everything below
        self._looked_at = float("-inf")
        self._status: Status | None = None
        self._state: Overall | None = None
        self._since = time.time()
        self.paths: Mapping[str, Callable[[], Reply]] = {
            "/status": self.status,
            "/healthz": self.healthz,
            "/readyz": self.readyz,
            "/metrics": self.metrics,
        }
        self._metrics: Callable[[], Reply] | None = None

    def look(self) -> Status:
        """Return the manager's status, at most half a second old."""
        with self._lock:
            now = time.monotonic()
            if self._status is None or now - self._looked_at > KEPT:
                self._status, self._looked_at = self._manager.status(), now
                if self._status.state is not self._state:
                    self._state, self._since = self._status.state, time.time()
            return self._status

    def healthz(self) -> Reply:
        """The process answers."""
        return Reply(200, b'{"status":"ok"}')

    def readyz(self) -> Reply:
        """200 while everything that is followed is live, else 503."""
        state = self.look().state
        return Reply(200 if state is Overall.LIVE else 503, orjson.dumps({"state": state.value}))

    def status(self) -> Reply:
        """All of it as JSON; its fields are those of :class:`~ats_sync.Status`."""
        return Reply(200, orjson.dumps(self._as_json()))

    def metrics(self) -> Reply:
        """The same for Prometheus, where the extra is installed."""
        if self._metrics is None:
            try:
                from .metrics import Metrics
            except ImportError:
                return refused(501, "/metrics needs prometheus-client; install with: pip install 'ats-sync[metrics]'")
            self._metrics = Metrics(self._manager, self).reply
        return self._metrics()

    def _as_json(self) -> dict[str, Any]:
        manager, status = self._manager, self.look()
        stats = manager.get_stats()
        text = manager.rest_text
        usage = {host: text.usage(bucket) for host, bucket in _BUCKET.items()}
        reasons = Counter(feed.reason for feed in status.feeds if feed.state not in _GOOD and feed.reason)
        return {
            "state": status.state.value,
            "since": self._since,
            "begun": status.since,
            "why": [{"reason": reason, "series": count} for reason, count in reasons.most_common(MOST_REASONS)],
            "connections": [
                {
                    "name": each.name,
                    "route": each.route,
                    "state": each.state,
                    "streams": each.streams,
                    "acknowledged": each.acknowledged,
                    "since": each.since,
                    "frames": each.frames,
                    "last_error": each.last_error,
                }
                for each in status.connections
            ],
            "kinds": _kinds(status, streams=manager.enable_websocket),
            "contracts": dict(status.contracts),
            "budget": {
                host.value: {
                    "requests": used.requests,
                    "used": used.cost,
                    "allowed": used.allowed,
                    "blocked_until": status.blocked.get(host.value),
                }
                for host, used in usage.items()
            },
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
            "versions": {"ats_sync": __version__, "python": platform.python_version()},
        }


def _kinds(status: Status, *, streams: bool) -> dict[str, Any]:
    kinds: dict[str, Any] = {}
    for kind in Kind:
        own = [feed for feed in status.feeds if feed.kind == kind.value]
        if own:
            ages = [feed.age for feed in own if feed.age is not None]
            feed = FEEDS[kind]
            kinds[kind.value] = {
                "series": dict(Counter(each.state.value for each in own)),
                "oldest": max(ages, default=None),
                "bound": feed.max_age(streams=streams) or feed.stream_timeout,
            }
    return kinds
