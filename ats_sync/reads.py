"""The one way of every read: from memory while that is fresh, else by REST, else a loud error.

What a read requires of a series is a :class:`Query`; :mod:`ats_sync.queries` has one for each kind of data. The value
that a stale-data error carries has the shape that the caller would have been given.
"""

from __future__ import annotations

import logging
import marshal
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, NoReturn, TypeVar

from .clock import Clock, Reading
from .config import Config
from .engine.budget import Usage
from .engine.jobs import Fetch
from .errors import (
    DataError,
    DataUnavailableError,
    InvalidSymbol,
    NotInMemory,
    RateLimited,
    RequestError,
    RequestRejected,
    StaleDataError,
)
from .feeds import FEEDS, Cause, Feed, Key, Scope
from .runtime.counters import Counters
from .runtime.requests import Requests
from .store.link import stream_doubt, within
from .store.market import MarketStore
from .store.series import Series, SeriesState
from .store.values import AnswerCache, Dated
from .venue.endpoints import UNKNOWN_SYMBOL, Bucket, Request
from .venue.payload import DecodeError

log = logging.getLogger(__name__)

T = TypeVar("T")
U = TypeVar("U")

TIME_IN_DOUBT = "the exchange's time is in doubt"
UNWATCHED = "nobody has looked out for silent streams lately: the process was stopped, or the machine slept"
WATCHED_WITHIN = 1.5
"""How long ago (seconds) silent streams must have been looked for."""
LISTINGS_RECENT = 3.0
"""Listings that were requested no longer ago (seconds) are not requested again because of one unknown symbol."""
ANSWERS_KEPT = 3600.0


class _Mode(threading.local):
    memory_only = False


_mode = _Mode()


@contextmanager
def memory_only() -> Iterator[None]:
    """Return a context inside which no read on this thread waits.

    What is not fresh in memory raises :class:`~ats_sync.errors.NotInMemory` and sends nothing. For the
    thread of an event loop, which can then repeat the read on another; leave it before an ``await``.
    """
    before = _mode.memory_only
    _mode.memory_only = True
    try:
        yield
    finally:
        _mode.memory_only = before


def reads_memory_only() -> bool:
    """Return whether reads on this thread must not wait."""
    return _mode.memory_only


class Query(ABC, Generic[T]):
    """What one read requires of one series. ``T`` is what is read, in the form of the exchange or in numbers."""

    __slots__ = ("key", "limit", "max_age")

    def __init__(self, key: Key, limit: int, max_age: float | None) -> None:
        self.key = key
        self.limit = limit
        """Rows, 0 where there are none to be counted."""
        self.max_age = max_age
        """The caller's own bound (seconds), None for the kind's."""

    @abstractmethod
    def look(self, series: Any, reads: Reads, time: Reading) -> tuple[SeriesState, Callable[[], T | None]]:
        """Return the series' state at ``time``, and what takes the value out of memory as it is at the same moment.

        That returns None where it is not there, and raises :class:`~ats_sync.venue.payload.DecodeError` where it turns
        out to be unusable.
        """

    @abstractmethod
    def fetch(self, series: Any, reads: Reads) -> T:
        """Return the value by REST. Raises :class:`~ats_sync.errors.RequestError`."""

    def state(self, series: Any, reads: Reads) -> SeriesState:
        """Return the state of what is read."""
        state: SeriesState = series.state(reads.clock.exchange_ms())
        return state

    def known(self, series: Any) -> T | None:
        """Return the newest value there is, however old; None where there is none."""
        return None

    def shown(self) -> Key:
        """Return what errors call it."""
        return self.key


class Reads:
    """The reads of one market store. Any thread may call any method; arguments are checked already."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        requests: Requests,
        counters: Counters,
        *,
        streams: bool,
        touch: Callable[[Key], None] = lambda key: None,
        patience: float | None = None,
    ) -> None:
        self.clock = clock
        self.store = store
        self.requests = requests
        self.counters = counters
        self.streams = streams
        self._touch = touch  # called with a watched symbol's series that is read but not followed for good
        self._patience = config.read_timeout if patience is None else patience
        self._bounds = {
            kind: (feed.max_age(streams=streams), feed.ages_by_event(streams=streams)) for kind, feed in FEEDS.items()
        }
        # Parsed JSON in the one form that is turned into fresh objects fastest; it never leaves the process.
        self._answers: AnswerCache[bytes] = AnswerCache(ANSWERS_KEPT, now=clock.now)

    def read(self, query: Query[T], shape: Callable[[T], U]) -> U:
        """Return the answer to a query, shaped for the caller. (A query may be used again: nothing in it changes.)"""
        key, store = query.key, self.store
        feed = FEEDS[key.kind]
        if store.delisted and not feed.spot:
            self.check_delisted(key.symbol)
        series = store.series.get(key)
        if (series is None or feed.scope is Scope.ON_DEMAND) and key.symbol in store.symbols:
            self._touch(key)
            series = store.series.get(key)
        if series is not None and query.max_age != 0:
            time = self.clock.reading()
            state, take = query.look(series, self, time)
            if (state.rows >= query.limit or state.complete) and self.is_fresh(feed, state, time, query.max_age):
                try:
                    value = take()
                except DecodeError as error:
                    store.count_dropped(f"{key.kind.value} that could not be decoded: {error}")
                else:
                    if value is not None:
                        self.counters.hit(key.kind)
                        return shape(value)
        return self._fetched(query, series, shape)

    def read_by_rest(self, query: Query[T], shape: Callable[[T], U]) -> U:
        """Return the answer to a query as :meth:`read` does, but use nothing in memory."""
        key, store = query.key, self.store
        if store.delisted and not FEEDS[key.kind].spot:
            self.check_delisted(key.symbol)
        return self._fetched(query, store.series.get(key), shape)

    def _fetched(self, query: Query[T], series: Series | None, shape: Callable[[T], U]) -> U:
        try:
            value = query.fetch(series, self)
        except RequestError as error:
            self._give_up(query, series, shape, error)
        return shape(value)

    # --- freshness -----------------------------------------------------------------------------------

    def is_fresh(self, feed: Feed, state: SeriesState, time: Reading, max_age: float | None) -> bool:
        """Return whether what is in memory may be served as fresh."""
        if state.doubt:
            return False
        bound, by_event = self._bounds[feed.kind]
        if bound is not None and not state.suspected:
            # What is young by its own time is fresh even where the connection has just gone down.
            since = state.event if by_event else state.answered
            believed = since > 0 and (not by_event or time.proven)
            if believed and within(time.exchange - since / 1000.0, bound, max_age):
                return True
        if not feed.own_stream:
            return False
        silence = feed.stream_timeout
        return not self.stream_doubt(state, time, silence if max_age is None else min(silence, max_age))

    def stream_doubt(self, state: SeriesState, time: Reading, silence: float) -> str:
        """Return why a streamed series cannot be trusted, as :func:`~ats_sync.store.link.stream_doubt` does. Everything
        is in doubt while the time is, and while nothing looks for streams that died in silence."""
        if not time.proven:
            return TIME_IN_DOUBT
        if time.exchange - self.store.watched_until > WATCHED_WITHIN:
            return UNWATCHED
        return stream_doubt(state.link, state.suspected, time.exchange, silence)

    # --- by REST -------------------------------------------------------------------------------------

    def fetch(self, key: Key, request: Request[T], timeout: float | None = None) -> T:
        """Return what REST answers, decoded. Raises :class:`~ats_sync.errors.RequestError`."""
        feed = FEEDS.get(key.kind)
        if feed is None or not feed.spot:
            self.check_delisted(key.symbol)
        if _mode.memory_only:
            raise NotInMemory(f"{key} is not fresh in memory, and this read was not to wait for REST")
        self.counters.miss(key.kind)
        patience = self._patience if timeout is None else timeout
        answer: T = self.requests.ask(Fetch(key, request, Cause.READ), patience)
        return answer

    def wait(self, event: threading.Event, until: float) -> None:
        """Wait for an event until that moment (steady), unless this read is not to wait."""
        patience = until - self.clock.now()
        if patience > 0 and not _mode.memory_only:
            self.clock.wait(event, min(patience, self._patience))

    def ask(self, key: Key, request: Request[T], timeout: float | None = None) -> T:
        """Return the answer to one budgeted request that belongs to no series' history."""
        try:
            return self.fetch(key, request, timeout)
        except RequestError as error:
            _fail(error, key)

    def remembered(self, key: Key, request: Request[Any], lifetime: float) -> Any:
        """Return parsed JSON as :meth:`ask` does, the caller's own; an answer is reused for ``lifetime`` seconds."""
        now = self.clock.exchange_ms()
        if (kept := self._reusable(key, request, lifetime, now)) is not None:
            return marshal.loads(kept.value)
        text = marshal.dumps(self.ask(key, request))
        self._answers.put((key, request), text, now)
        return marshal.loads(text)  # all who waited for the answer were given the same objects

    def dated(self, key: Key, request: Request[bytes], lifetime: float) -> tuple[Dated[bytes], bool]:
        """Return an answer and when it was requested, and whether it was kept; otherwise as :meth:`remembered`."""
        now = self.clock.exchange_ms()
        if (kept := self._reusable(key, request, lifetime, now)) is not None:
            return kept, True
        body = self.ask(key, request)
        self._answers.put((key, request), body, now)
        return Dated(body, now), False

    def _reusable(self, key: Key, request: Request[Any], lifetime: float, now: int) -> Dated[bytes] | None:
        """Return the kept answer where it is at most ``lifetime`` seconds old at ``now`` (exchange ms), else None."""
        kept = self._answers.get((key, request))
        if kept is None or now - kept.as_of > lifetime * 1000:
            return None
        self.counters.hit(key.kind)
        return kept

    def usage(self, bucket: Bucket) -> Usage:
        """Return what a bucket has used in its window."""
        return self.requests.usage(bucket)

    # --- symbols -------------------------------------------------------------------------------------

    def check_delisted(self, symbol: str) -> None:
        """Raise :class:`~ats_sync.errors.InvalidSymbol` for one that was followed and has left the exchange."""
        reason = self.store.delisted.get(symbol)
        if reason is not None:
            raise InvalidSymbol(f"{symbol}: {reason}")

    def check_listed(self, symbol: str) -> None:
        """Raise the error of :meth:`check_delisted`, also for a symbol that the exchange is known not to have."""
        self.check_delisted(symbol)
        if not self._is_unlisted(symbol):
            return
        self.refresh_listings()  # It may have been listed since.
        if self._is_unlisted(symbol):
            raise InvalidSymbol(f"the exchange lists no perpetual {symbol}; check the spelling")

    def _is_unlisted(self, symbol: str) -> bool:
        info = self.store.listings.get()
        return info is not None and symbol not in info.value.listed and self.store.is_gone(symbol)

    def refresh_listings(self) -> None:
        """Request the listings, unless that was done a moment ago; where it fails, what is known stands."""
        listings = self.store.listings
        info = listings.get()
        if info is not None and self.clock.exchange() - info.as_of / 1000.0 < LISTINGS_RECENT:
            return
        request = listings.request(0, Cause.READ, None)
        try:
            self.fetch(listings.key, request)
        except RequestError as error:
            log.info("the listings could not be requested again: %s", error)

    # --- neither ------------------------------------------------------------------------------------

    def _give_up(self, query: Query[T], series: Any, shape: Callable[[T], Any], error: RequestError) -> NoReturn:
        """Raise the error of a read that neither memory nor REST could answer, with the last value and its age."""
        key = query.shown()
        data = query.known(series) if series is not None else None
        if not isinstance(error, RequestRejected):
            self.counters.read_failed(key.kind, stale=data is not None)
        if data is None:
            _fail(error, key)
        state, feed = query.state(series, self), series.feed
        bound, by_event = self._bounds[feed.kind]
        known_at = state.event if by_event else state.answered or state.event
        age = max(0.0, self.clock.exchange() - known_at / 1000.0)
        bound = bound or feed.stream_timeout
        why = self.disbelief(feed, state) if age <= bound else ""
        _fail(error, key, age=age, bound=bound, why=why, data=shape(data))

    def disbelief(self, feed: Feed, state: SeriesState) -> str:
        """Return why what is in memory is not believed though it is young, "" where nothing says so."""
        if state.doubt or state.suspected or not feed.own_stream:
            return state.doubt or state.suspected
        return self.stream_doubt(state, self.clock.reading(), feed.stream_timeout)


def as_read(value: T) -> T:
    """Return the value as it was read: the shape of those who want no other."""
    return value


def _fail(
    error: RequestError, key: Key, *, age: float = 0.0, bound: float = 0.0, why: str = "", data: object = None
) -> NoReturn:
    """Raise what a caller is to see of a failed request; ``why`` the data is not believed though it is young."""
    if isinstance(error, RequestRejected):
        if error.code == UNKNOWN_SYMBOL:
            raise InvalidSymbol(f"the exchange knows no symbol {key.symbol}: {error}") from error
        raise error
    failure: DataError
    if data is not None:
        but = f", but {why}" if why else ""
        failure = StaleDataError(
            f"{key} is {age:.1f} s old (its bound is {bound:g} s{but}) and REST could not refresh it: {error}",
            age=age,
            bound=bound,
            data=data,
        )
    else:
        failure = DataUnavailableError(f"{key} could not be fetched: {error}")
    if isinstance(error, RateLimited):
        failure.retry_at = error.retry_at
    failure.retryable = error.retryable
    raise failure from error
