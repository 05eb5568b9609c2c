"""Requests without threads: each is sent once, by the thread that asks, inside the budget."""

from __future__ import annotations

import random
import threading
from collections import deque
from typing import Any

from ..clock import Clock
from ..config import Config
from ..engine.budget import Budget, Usage
from ..engine.dispatch import Dispatcher, Send
from ..engine.jobs import LEAST_TIME, Fetch
from ..store.market import MarketStore
from ..transport.genuine import check_unpatched
from ..transport.rest import RestClient
from ..venue.endpoints import Bucket
from .counters import Counters
from .courier import Courier, moment

KEPT = 8
"""Connections kept for the next call."""


class DirectRequests:
    """What answers while no manager runs."""

    def __init__(self, config: Config, clock: Clock, store: MarketStore, budget: Budget, counters: Counters) -> None:
        self._config = config
        self._clock = clock
        self._unset = threading.Event()  # never set: a wait for the budget ends when there is some
        self._lock = budget.shared()  # guards the clients, too
        self._budget = budget
        self._rng = random.Random()
        self._clients: deque[RestClient] = deque()
        self._courier = Courier(config, clock, store, budget, counters)

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        """One request, at most ``timeout`` seconds; what was decoded."""
        check_unpatched()
        # A dispatcher of its own: nobody waits here for the requests of another caller.
        dispatcher = Dispatcher(self._config, self._budget, self._clock.to_wall, self._rng, once=True)
        with self._lock:
            ticket = dispatcher.ask(fetch, self._clock.now() + timeout, moment(self._clock))
        while not ticket.settled:
            with self._lock:
                at = moment(self._clock)
                found = dispatcher.next(at)
                if found is None or (isinstance(found, float) and found > ticket.deadline - LEAST_TIME):
                    raise dispatcher.gave_up(ticket, at)
            if isinstance(found, Send):
                self._carry(dispatcher, found)
            else:
                self._clock.wait(self._unset, found - at.steady)
        if ticket.error is not None:
            raise ticket.error
        return ticket.value

    def _carry(self, dispatcher: Dispatcher, send: Send) -> None:
        with self._lock:
            client = self._clients.pop() if self._clients else None
        if client is None:
            client = RestClient(self._config, self._clock)
        try:
            self._courier.carry(client, dispatcher, send)
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

    @property
    def connected(self) -> bool:
        """Whether connections are kept. Takes no lock."""
        return bool(self._clients)

    def close(self) -> None:
        """Close the connections that are kept."""
        with self._lock:
            clients, self._clients = self._clients, deque()
        for client in clients:
            client.close()
