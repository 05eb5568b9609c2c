"""Requests without threads: each is sent once, by the thread that asks, inside the budget."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.jobs import Fetch
from ..store.market import MarketStore
from ..transport.rest import RestClient
from ..venue.endpoints import Bucket
from .counters import Counters
from .courier import Courier

KEPT = 8
"""Connections kept for the next call."""


class DirectRequests:
    """What answers while no manager runs."""

    def __init__(self, config: Config, clock: Clock, store: MarketStore, budget: Budget, counters: Counters) -> None:
        self._config = config
        self._clock = clock
        self._stop = threading.Event()
        self._lock = budget.shared()  # guards the clients, too
        self._budget = budget
        self._clients: deque[RestClient] = deque()
        self._courier = Courier(config, clock, store, budget, counters, self._lock, self._stop)

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """One request, at most ``timeout`` seconds; what was decoded."""
        with self._lock:
            client = self._clients.pop() if self._clients else None
        if client is None:
            client = RestClient(self._config, self._clock)
        try:
            return self._courier.carry(client, fetch, deadline=self._clock.now() + timeout, attempts=1, paid=False)
        finally:
            with self._lock:
                keep = len(self._clients) < KEPT
                if keep:
                    self._clients.append(client)
            if not keep:
                client.close()

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        with self._lock:
            return self._budget.usage(bucket, self._clock.now())

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            clients, self._clients = self._clients, deque()
        for client in clients:
            client.close()
