"""Reads of order books: up to 20 levels from the partial book, more from the full one."""

from __future__ import annotations

import threading
from typing import Any

from ..engine.freshness import tightened, within
from ..errors import RequestError
from ..feeds import FEEDS, Key, Kind
from ..store.book import STREAMED_LEVELS
from ..store.depth import DepthBook
from ..venue import endpoints
from ..venue.books import Book
from ..venue.endpoints import Bucket
from ..venue.payload import DecodeError
from .routing import Routing

SUBSCRIBED_WITHIN = 1.5
"""The first read of a full book waits so long (seconds) for its stream: an answer from before that could not be
kept up, and would be asked for twice."""
AMPLE = 0.8
"""As long as no more than this part of the allowed weight is used, a read asks for what the book itself will need;
beyond it, only for its own levels: others are waiting."""


class BookReads:
    """Order books of any depth the exchange gives."""

    def __init__(self, route: Routing) -> None:
        self._route = route
        self._clock = route.clock
        self._store = route.store
        self._counters = route.counters

    def read(self, symbol: str, limit: int, *, max_age: float | None) -> Book:
        """At least ``limit`` levels a side where there are so many. Shared: not to be changed."""
        self._route.check_delisted(symbol)
        if limit > STREAMED_LEVELS:
            return self._read_deep(symbol, limit, max_age)
        feed = FEEDS[Kind.BOOK]
        key = Key(Kind.BOOK, symbol)
        series = self._store.books.get(symbol)
        if series is not None:
            exchange = self._clock.exchange()
            standing, newest = series.look()
            age = exchange - standing.event / 1000.0
            young = standing.event > 0 and within(age, feed.bound, max_age) and not standing.suspected
            # Young by its own time is fresh even where the connection has just gone down.
            silence = tightened(feed.silence or 0.0, max_age)
            doubt = self._route.stream_doubt(standing.link, standing.suspected, exchange, silence)
            if max_age != 0 and ((young and self._clock.proven()) or not doubt):
                try:
                    book = series.decoded(newest)
                except DecodeError as error:
                    self._store.count_dropped(f"a book that could not be decoded: {error}")
                else:
                    if book is not None:
                        self._counters.hit()
                        return book
        try:
            return _book(self._route.fetch(key, endpoints.depth(symbol, STREAMED_LEVELS), STREAMED_LEVELS))
        except RequestError as error:
            if series is None:
                self._route.fail(error, key)
            age, data = self._clock.exchange() - series.standing().event / 1000.0, None
            try:
                data = series.read()
            except DecodeError:
                pass
            self._route.fail(error, key, age=age, bound=feed.bound or 0.0, data=data)

    def _read_deep(self, symbol: str, limit: int, max_age: float | None) -> Book:
        key = Key(Kind.DEPTH, symbol)
        if self._route.streams and symbol in self._store.symbols:
            self._route.wanted(key)
        series = self._store.depths.get(symbol)
        depth = next((each for each in endpoints.DEPTH_LIMITS if each >= limit), endpoints.DEPTH_LIMITS[-1])
        if series is not None:
            series.asked(limit, self._clock.now())
            book = self._deep_in_memory(series, limit, max_age) if max_age != 0 else None
            if book is not None:
                self._counters.hit()
                return book
            ample = series.begun or self._is_ample()
            if ample and max_age != 0 and series.first_read is not None:
                self._await_subscription(series, series.first_read + SUBSCRIBED_WITHIN)
            standing = series.standing()
            up = standing.link.up if standing.link is not None else series.subscribed
            delivers = up and not standing.suspected
            if delivers and ample and (standing.doubt or not series.covers(limit)):
                # It is what the book itself is waiting for.
                depth = series.snapshot_limit()
        else:
            key = Key(Kind.BOOK, symbol)
        try:
            return _book(self._route.fetch(key, endpoints.depth(symbol, depth), depth))
        except RequestError as error:
            if series is None:
                self._route.fail(error, key)
            age = self._clock.exchange() - series.standing().event / 1000.0
            self._route.fail(error, key, age=age, bound=FEEDS[Kind.DEPTH].bound or 0.0, data=series.known(limit))

    def _await_subscription(self, series: DepthBook, until: float) -> None:
        if not series.subscribed:
            subscribed = threading.Event()
            series.when_subscribed(subscribed.set)
            self._route.wait(subscribed, until)

    def _is_ample(self) -> bool:
        usage = self._route.requests.usage(Bucket.FUTURES)
        return usage.cost <= AMPLE * usage.allowed

    def _deep_in_memory(self, series: DepthBook, limit: int, max_age: float | None) -> Book | None:
        feed = FEEDS[Kind.DEPTH]
        exchange = self._clock.exchange()
        standing = series.standing()
        young = not standing.suspected and within(exchange - standing.event / 1000.0, feed.bound, max_age)
        silence = tightened(feed.silence or 0.0, max_age)
        if not young and self._route.stream_doubt(standing.link, standing.suspected, exchange, silence):
            return None
        try:
            return series.read(limit)
        except DecodeError as error:
            self._store.count_dropped(f"a book that could not be decoded: {error}")
            return None


def _book(value: Any) -> Book:
    assert isinstance(value, Book)
    return value
