"""What every read goes through: may memory be trusted, one REST request where it may not, the error where both fail."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from ..clock import Clock
from ..config import Config
from ..engine.freshness import TIME_IN_DOUBT, UNWATCHED, WATCHED_WITHIN, stream_doubt
from ..engine.jobs import Fetch
from ..errors import (
    AtsSyncError,
    DataError,
    DataUnavailableError,
    InvalidSymbol,
    NotInMemory,
    NotRunning,
    RateLimited,
    RequestError,
    RequestRejected,
    StaleDataError,
)
from ..feeds import Cause, Key, Kind
from ..runtime.counters import Counters
from ..runtime.requests import Requests
from ..store.link import Link
from ..store.market import MarketStore
from ..venue.endpoints import UNKNOWN_SYMBOL, Request, exchange_info

log = logging.getLogger(__name__)

LISTINGS_RECENT = 3.0
"""Listings that were asked for no longer ago (seconds) are not asked for again because of one unknown symbol."""
SPOT_KINDS = frozenset({Kind.SPOT, Kind.SPOT_KLINES})
"""A spot pair may go on trading when the perpetual of its name no longer does."""


class _Mode(threading.local):
    memory_only = False


_mode = _Mode()


@contextmanager
def memory_only() -> Iterator[None]:
    """Inside it, a read on this thread never waits.

    What is not fresh in memory raises :class:`~ats_sync.errors.NotInMemory` and sends nothing. For the
    thread of an event loop, which can then repeat the read on another; not to be held over an ``await``.
    """
    before = _mode.memory_only
    _mode.memory_only = True
    try:
        yield
    finally:
        _mode.memory_only = before


class Routing:
    """The way of the reads of one market store. Any thread may call any method."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        requests: Requests,
        counters: Counters,
        *,
        streams: bool,
        wanted: Callable[[Key], None],
        patience: float | None,
    ) -> None:
        self.clock = clock
        self.store = store
        self.requests = requests
        self.counters = counters
        self.streams = streams
        self.wanted = wanted
        """Told of a watched symbol's series that is read but not followed yet."""
        self._patience = config.read_timeout if patience is None else patience

    def stream_doubt(self, link: Link | None, suspected: str, exchange: float, silence: float) -> str:
        """As :func:`~ats_sync.engine.freshness.stream_doubt`; everything is in doubt while the time is, and while
        nobody looks out for streams that died in silence."""
        if not self.clock.proven():
            return TIME_IN_DOUBT
        if exchange - self.store.watched_until > WATCHED_WITHIN:
            return UNWATCHED
        return stream_doubt(link, suspected, exchange, silence)

    def fetch(self, key: Key, request: Request, limit: int, timeout: float | None = None) -> Any:
        """What was decoded from REST's answer. Raises :class:`~ats_sync.errors.RequestError`."""
        if key.kind not in SPOT_KINDS:
            self.check_delisted(key.symbol)
        if _mode.memory_only:
            raise NotInMemory(f"{key} is not fresh in memory, and this read was not to wait for REST")
        self.counters.miss()
        patience = self._patience if timeout is None else timeout
        return self.requests.ask(Fetch(key, request, Cause.READ, limit), patience)

    def wait(self, event: threading.Event, until: float) -> None:
        """Wait for an event until that moment (steady), unless this read is not to wait."""
        patience = until - self.clock.now()
        if patience > 0 and not _mode.memory_only:
            self.clock.wait(event, min(patience, self._patience))

    def check_delisted(self, symbol: str) -> None:
        """:class:`~ats_sync.errors.InvalidSymbol` for one that was followed and has left the exchange."""
        reason = self.store.delisted.get(symbol)
        if reason is not None:
            raise InvalidSymbol(f"{symbol}: {reason}")

    def check_listed(self, symbol: str) -> None:
        """And for one that the exchange is known not to have."""
        self.check_delisted(symbol)
        if not self._is_unlisted(symbol):
            return
        self.refresh_listings()  # It may have been listed since.
        if self._is_unlisted(symbol):
            raise InvalidSymbol(f"the exchange lists no perpetual {symbol}; check the spelling")

    def _is_unlisted(self, symbol: str) -> bool:
        info = self.store.listings.get("info")
        return info is not None and symbol not in info.value.listed and self.store.is_gone(symbol)

    def refresh_listings(self) -> None:
        """Ask which contracts there are, unless that was done a moment ago; where it fails, what is known stands."""
        info = self.store.listings.get("info")
        if info is not None and self.clock.exchange() - info.as_of / 1000.0 < LISTINGS_RECENT:
            return
        try:
            self.fetch(Key(Kind.LISTINGS), exchange_info(), 0)
        except RequestError as error:
            log.info("the listings could not be asked for again: %s", error)

    def fail(
        self, error: AtsSyncError, key: Key, *, age: float = 0.0, bound: float = 0.0, data: object = None
    ) -> NoReturn:
        """REST could not help either: the error that says so, with what is known."""
        if isinstance(error, RequestRejected):
            if error.code == UNKNOWN_SYMBOL:
                raise InvalidSymbol(f"the exchange knows no symbol {key.symbol}: {error}") from error
            raise error
        if isinstance(error, NotRunning):
            raise error
        failure: DataError
        if data is not None:
            failure = StaleDataError(
                f"{key} is {age:.1f} s old (its bound is {bound:g} s) and REST could not refresh it: {error}",
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
