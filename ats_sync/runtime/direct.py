"""Requests without threads of our own: the calling thread sends each once, inside the budget."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.dispatch import Dispatcher, Send
from ..engine.jobs import LEAST_TIME, Fetch
from ..engine.moment import moment
from ..store.market import MarketStore
from ..transport.green_threads import check_unpatched
from ..venue.endpoints import Bucket
from .counters import Counters
from .executor import Grants, RequestExecutor

if TYPE_CHECKING:
    from ..transport.rest import RestClient

MAX_KEPT = 8
"""The most connections kept for later calls."""


class DirectRequests:
    """Requests while no manager runs."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        budget: Budget,
        counters: Counters,
        grants: Grants | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._unset = threading.Event()  # never set: a wait for the budget ends by its timeout
        self._lock = budget.shared()  # guards _clients too
        self._budget = budget
        self._rng = random.Random()
        self._clients: deque[RestClient] = deque()
        self._executor = RequestExecutor(config, clock, store, budget, counters, grants)

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """Send one request within ``timeout`` seconds; return its decoded answer."""
        check_unpatched()
        # A dispatcher of its own, so that no caller waits for the requests of another.
        dispatcher = Dispatcher(self._config, self._budget, self._clock.to_wall, self._rng, once=True)
        with self._lock:
            reader = dispatcher.ask(fetch, self._clock.now() + timeout, moment(self._clock))
        while not reader.settled:
            with self._lock:
                at = moment(self._clock)
                found = dispatcher.next(at)
                if found is None or (isinstance(found, float) and found > reader.deadline - LEAST_TIME):
                    raise dispatcher.gave_up(reader, at)
            if isinstance(found, Send):
                self._execute(dispatcher, found)
            else:
                self._clock.wait(self._unset, found - at.steady)
        if reader.error is not None:
            raise reader.error
        return reader.value

    def _execute(self, dispatcher: Dispatcher, send: Send) -> None:
        with self._lock:
            client = self._clients.pop() if self._clients else None
        if client is None:
            # (Not at the top: a process that reads from a shared store does without REST and all that it imports.)
            from ..transport.rest import RestClient

            client = RestClient(self._config, self._clock)
        try:
            self._executor.execute(client, dispatcher, send)
        finally:
            with self._lock:
                keep = len(self._clients) < MAX_KEPT
                if keep:
                    self._clients.append(client)
            if not keep:
                client.close()

    def usage(self, bucket: Bucket) -> Usage:
        """Return what a bucket has used in its window."""
        with self._lock:
            return self._budget.usage(bucket, moment(self._clock))

    @property
    def connected(self) -> bool:
        """Return whether connections are kept. Takes no lock."""
        return bool(self._clients)

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            clients, self._clients = self._clients, deque()
        for client in clients:
            client.close()
