"""Reads of a small store, on a clock that stands still, with requests that are answered as the test requires."""

from __future__ import annotations

from typing import Any, TypeVar

from ats_sync.clock import Clock
from ats_sync.config import Config
from ats_sync.engine.budget import Usage
from ats_sync.engine.jobs import Fetch
from ats_sync.feeds import Key
from ats_sync.reads import Query, Reads
from ats_sync.runtime.counters import Counters
from ats_sync.store.link import Link
from ats_sync.store.market import MarketStore
from ats_sync.venue.endpoints import Bucket

from .requesting import request_for
from .venue.samples import MIDNIGHT, compact

SYMBOL = "BTCUSDT"
T = TypeVar("T")


class Body(bytes):
    """What the exchange answers; it is merged as the threads that send requests merge it."""


class StandingTime:
    def __init__(self) -> None:
        self.at = MIDNIGHT / 1000

    def wall(self) -> float:
        return self.at

    def steady(self) -> float:
        return self.at


class Desk:
    """``answers`` are given in turn: what was decoded, an exception to raise, or a function to call for one of them."""

    def __init__(self, *keys: Key, streams: bool = True) -> None:
        self.time = StandingTime()
        self.clock = Clock(self.time)
        self.counters = Counters()
        self.store = MarketStore(Config(), self.clock.now)
        self.store.follow(keys)
        self.link = Link(1, "market", self.time.at)
        self.link.advance(self.time.at, self.time.at)
        self.answers: list[Any] = []
        self.asked: list[Fetch] = []
        self.wanted: list[Key] = []
        self.used = 0
        """Request weight."""
        self.reads = Reads(
            Config(), self.clock, self.store, self, self.counters, streams=streams, touch=self.wanted.append
        )

    def ask(self, fetch: Fetch, timeout: float) -> Any:
        self.asked.append(fetch)
        answer = self.answers.pop(0)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Body):
            return self.store.merge(fetch.key, fetch.request, answer, self.clock.earliest_ms(), self.link)
        return answer

    def read(self, query: Query[T]) -> T:
        """Return the answer to a query, unshaped."""
        return self.reads.read(query, lambda value: value)

    def usage(self, bucket: Bucket) -> Usage:
        return Usage(0, self.used, 1_000, 1_250)

    def merge(self, key: Key, answer: object, *, limit: int = 0) -> None:
        """Merge what the engine's own requests would have brought."""
        self.store.merge(key, request_for(key, limit), compact(answer), self.clock.exchange_ms(), self.link)

    def deliver(self, *frames: bytes) -> None:
        self.store.ingest(frames, self.link)

    def later(self, seconds: float) -> None:
        """Let time pass while the connection stays alive."""
        self.time.at += seconds
        self.link.advance(self.time.at, self.time.at)
