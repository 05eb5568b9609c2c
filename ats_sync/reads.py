"""The one place that routes a read: from memory while that is fresh, else by REST, else a loud error.

Every method returns ``(value, known)`` in the exact form of the exchange; :mod:`ats_sync.manager` and
:mod:`ats_sync.rest_shaped` shape it for their callers.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

from .clock import Clock
from .config import Config
from .engine.budget import Usage
from .engine.freshness import stream_doubt, tightened, within
from .engine.jobs import Fetch
from .engine.upkeep import tail_limit
from .errors import (
    AtsSyncError,
    DataError,
    DataUnavailableError,
    InvalidArgument,
    InvalidSymbol,
    NoSpotPair,
    NotInMemory,
    NotRunning,
    RateLimited,
    RequestError,
    RequestRejected,
    StaleDataError,
)
from .feeds import FEEDS, Cause, Key, Kind
from .runtime.counters import Counters
from .runtime.requests import Requests
from .store.book import STREAMED_LEVELS
from .store.klines import KlineSeries
from .store.market import MarketStore
from .venue import decode, endpoints
from .venue.decode import Book, DecodeError, Liquidation, Mark, Row, Trade
from .venue.endpoints import Bucket, Request
from .venue.intervals import next_open

T = TypeVar("T")
UNKNOWN_SYMBOL = -1121


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


def check_limit(limit: object, most: int | None = None) -> int:
    """A number of rows: a whole number from 1 on, at most what the exchange gives."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidArgument(f"limit must be a whole number from 1 on, not {limit!r}")
    if most is not None and limit > most:
        raise InvalidArgument(f"limit must be at most {most}, it is {limit}")
    return limit


def check_max_age(max_age: object) -> float | None:
    """A number of seconds from 0 on, or None."""
    if max_age is None:
        return None
    if isinstance(max_age, bool) or not isinstance(max_age, (int, float)) or not max_age >= 0:
        raise InvalidArgument(f"max_age must be a number of seconds from 0 on, or None, not {max_age!r}")
    return float(max_age)


class Reads:
    """Reads of one market store. Any thread may call any method; arguments are checked already."""

    def __init__(
        self,
        config: Config,
        clock: Clock,
        store: MarketStore,
        requests: Requests,
        counters: Counters,
        *,
        streams: bool,
        wanted: Callable[[Key], None] = lambda key: None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._requests = requests
        self._counters = counters
        self._streams = streams
        self._wanted = wanted
        """Told of a watched symbol's series that is read but not followed yet."""

    # --- klines ------------------------------------------------------------------------------------

    def klines(self, symbol: str, interval: str, limit: int, *, max_age: float | None, exact: bool) -> list[Row]:
        """The newest ``limit`` rows, the caller's own; with ``exact`` the strings of REST, else floats."""
        self._check_delisted(symbol)
        series = self._store.klines.get((symbol, interval))
        if series is None:
            if symbol in self._store.books:
                self._wanted(Key(Kind.KLINES, symbol, interval))
            return self._klines_by_rest(symbol, interval, limit, exact)
        silence = tightened(FEEDS[Kind.KLINES].silence or 0.0, max_age)
        exchange = self._clock.exchange()
        now = int(exchange * 1000)
        standing = series.standing(now)
        doubt = stream_doubt(standing.link, standing.suspected, exchange, silence) or standing.doubt
        enough = standing.rows >= limit or standing.complete
        if not doubt and enough and max_age != 0:
            try:
                rows = series.rows(limit, now, exact=exact)
            except DecodeError as error:
                self._store.count_dropped(f"a candle that could not be decoded: {error}")
            else:
                self._counters.hit()
                return rows
        return self._klines_refreshed(series, limit, exact, enough=enough)

    def _klines_refreshed(self, series: KlineSeries, limit: int, exact: bool, *, enough: bool) -> list[Row]:
        """The rows after asking REST for those since the last final one (for all, where memory lacks depth)."""
        symbol, interval = series.key.symbol, series.key.interval
        tail = tail_limit(series.following(), interval, self._clock.exchange_ms())
        if not enough or tail is None or tail >= limit:
            return self._klines_by_rest(symbol, interval, limit, exact, series)
        request = endpoints.klines(symbol, interval, tail)
        try:
            texts: list[bytes] = self._fetch(series.key, request, tail)
            now = self._clock.exchange_ms()
            standing = series.standing(now)
            if texts and (standing.rows >= limit or standing.complete):
                rows = series.rows(limit, now, exact=exact)
                newest = decode.text_open_time(texts[-1])
                if rows and rows[-1][0] >= newest and _without_hole(rows, interval):
                    return rows
        except RequestError as error:
            self._give_up_klines(series, limit, exact, error)
        except DecodeError as error:
            self._store.count_dropped(f"a candle that could not be decoded: {error}")
        return self._klines_by_rest(symbol, interval, limit, exact, series)

    def _klines_by_rest(
        self, symbol: str, interval: str, limit: int, exact: bool, series: KlineSeries | None = None
    ) -> list[Row]:
        request = endpoints.klines(symbol, interval, limit)
        try:
            texts: list[bytes] = self._fetch(Key(Kind.KLINES, symbol, interval), request, limit)
        except RequestError as error:
            if series is not None:
                self._give_up_klines(series, limit, exact, error)
            self._fail(error, Key(Kind.KLINES, symbol, interval))
        rows = texts[-limit:]
        return decode.string_rows(rows) if exact else decode.float_rows(rows)

    def _give_up_klines(self, series: KlineSeries, limit: int, exact: bool, error: RequestError) -> NoReturn:
        exchange = self._clock.exchange()
        standing = series.standing(int(exchange * 1000))
        data: list[Row] | None = None
        if standing.rows:
            try:
                data = series.rows(limit, None, exact=exact)
            except DecodeError:
                data = None
        age = exchange - standing.event / 1000.0
        self._fail(error, series.key, age=age, bound=FEEDS[Kind.KLINES].silence or 0.0, data=data)

    # --- books -------------------------------------------------------------------------------------

    def book(self, symbol: str, limit: int, *, max_age: float | None) -> Book:
        """At least ``limit`` levels a side where there are so many. Shared: not to be changed."""
        self._check_delisted(symbol)
        feed = FEEDS[Kind.BOOK]
        key = Key(Kind.BOOK, symbol)
        series = self._store.books.get(symbol)
        if series is not None and limit <= STREAMED_LEVELS:
            exchange = self._clock.exchange()
            standing = series.standing()
            age = exchange - standing.event / 1000.0
            young = standing.event > 0 and within(age, feed.bound, max_age) and not standing.suspected
            # Young by its own time is fresh even where the connection has just gone down.
            doubt = stream_doubt(standing.link, standing.suspected, exchange, tightened(feed.silence or 0.0, max_age))
            if max_age != 0 and (young or not doubt):
                try:
                    book = series.read()
                except DecodeError as error:
                    self._store.count_dropped(f"a book that could not be decoded: {error}")
                else:
                    if book is not None:
                        self._counters.hit()
                        return book
        wanted = max(limit, STREAMED_LEVELS)
        depth = next((each for each in endpoints.DEPTH_LIMITS if each >= wanted), endpoints.DEPTH_LIMITS[-1])
        try:
            return self._cast(Book, self._fetch(key, endpoints.depth(symbol, depth), depth))
        except RequestError as error:
            if series is None:
                self._fail(error, key)
            age, data = self._clock.exchange() - series.standing().event / 1000.0, None
            try:
                data = series.read()
            except DecodeError:
                pass
            self._fail(error, key, age=age, bound=feed.bound or 0.0, data=data)

    # --- marks and funding -------------------------------------------------------------------------

    def mark(self, symbol: str, *, max_age: float | None) -> Mark:
        """Mark price and funding of a symbol."""
        self._check_delisted(symbol)
        feed = FEEDS[Kind.MARK]
        board = self._store.marks
        exchange = self._clock.exchange()
        mark = board.get(symbol)
        bound = (feed.bound if self._streams else feed.bound_polled) or 0.0
        if mark is not None and max_age != 0 and within(exchange - mark.time / 1000.0, bound, max_age):
            self._counters.hit()
            return mark
        self._check_listed(symbol)
        watched = symbol in self._store.books
        key = Key(Kind.MARK) if watched else Key(Kind.MARK, symbol)
        try:
            marks: list[Mark] = self._fetch(key, endpoints.premium_index(key.symbol or None), 1)
        except RequestError as error:
            age = exchange - mark.time / 1000.0 if mark is not None else 0.0
            self._fail(error, Key(Kind.MARK, symbol), age=age, bound=bound, data=mark)
        for found in marks:
            if found.symbol == symbol:
                return found
        raise InvalidSymbol(f"the exchange has no mark price of {symbol}; is it a USDⓈ-M perpetual that trades?")

    # --- trades --------------------------------------------------------------------------------------

    def trades(self, symbol: str, limit: int, *, max_age: float | None) -> list[Trade]:
        """The newest ``limit`` aggregated trades, oldest first, ids without a hole."""
        self._check_delisted(symbol)
        feed = FEEDS[Kind.TRADES]
        key = Key(Kind.TRADES, symbol)
        ring = self._store.trades.get(symbol)
        if ring is not None:
            exchange = self._clock.exchange()
            standing = ring.standing()
            silence = tightened(feed.silence or 0.0, max_age)
            doubt = stream_doubt(standing.link, standing.suspected, exchange, silence)
            if not self._streams and standing.event:
                polled = exchange - standing.event / 1000.0
                doubt = "" if within(polled, feed.bound_polled, max_age) else doubt
            if not doubt and max_age != 0 and (standing.rows >= limit or standing.complete):
                try:
                    found = ring.read(limit)
                except DecodeError as error:
                    self._store.count_dropped(f"a trade that could not be decoded: {error}")
                else:
                    self._counters.hit()
                    return found
        asked = min(limit, endpoints.AGG_TRADES_MOST)
        try:
            answer: list[Trade] = self._fetch(key, endpoints.agg_trades(symbol, asked), asked)
        except RequestError as error:
            if ring is None:
                self._fail(error, key)
            age = self._clock.exchange() - ring.standing().event / 1000.0
            try:
                data = ring.read(limit)
            except DecodeError:
                data = []
            self._fail(error, key, age=age, bound=feed.silence or 0.0, data=data or None)
        return answer

    def liquidations(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """Forced orders seen since the start, oldest first."""
        return self._store.liquidations.read(symbol, limit)

    # --- open interest, spot -----------------------------------------------------------------------

    def open_interest(self, symbol: str, period: str, limit: int, *, max_age: float | None) -> list[dict[str, Any]]:
        """The newest ``limit`` rows, the caller's own, as the exchange wrote them, oldest first."""
        self._check_delisted(symbol)
        bound = FEEDS[Kind.OPEN_INTEREST].bound_polled or 0.0
        key = Key(Kind.OPEN_INTEREST, symbol, period)
        series = self._store.open_interest.get((symbol, period))
        exchange = self._clock.exchange()
        if series is not None:
            enough = len(series) >= limit or series.complete
            age = exchange - series.asked() / 1000.0
            if series.asked() and max_age != 0 and within(age, bound, max_age) and enough:
                self._counters.hit()
                return series.read(limit)
        elif symbol in self._store.books:
            self._wanted(key)
        try:
            rows: list[dict[str, Any]] = self._fetch(key, endpoints.open_interest_hist(symbol, period, limit), limit)
        except RequestError as error:
            if series is None or not series.asked():
                self._fail(error, key)
            self._fail(error, key, age=exchange - series.asked() / 1000.0, bound=bound, data=series.read(limit) or None)
        if not rows:
            # For a symbol it does not know, this endpoint answers with an empty list.
            self._check_listed(symbol)
        return [dict(row) for row in rows[-limit:]]

    def spot_price(self, symbol: str, *, max_age: float | None) -> str:
        """The spot price of the pair of the same name, as the exchange wrote it."""
        self._check_delisted(symbol)
        prices = self.spot_prices(max_age=max_age)
        price = prices.get(symbol)
        if price is None:
            self._check_listed(symbol)
            raise NoSpotPair(f"{symbol} has no spot market of the same name; there is no spot price to read")
        return price

    def spot_prices(self, *, max_age: float | None) -> Mapping[str, str]:
        """All spot prices. Shared: not to be changed."""
        bound = FEEDS[Kind.SPOT].bound_polled or 0.0
        held = self._store.spot.get()
        exchange = self._clock.exchange()
        age = exchange - held.as_of / 1000.0 if held is not None else 0.0
        if held is not None and max_age != 0 and within(age, bound, max_age):
            self._counters.hit()
            return held.value
        try:
            prices: dict[str, str] = self._fetch(Key(Kind.SPOT), endpoints.spot_price(), 0)
        except RequestError as error:
            self._fail(error, Key(Kind.SPOT), age=age, bound=bound, data=held.value if held is not None else None)
        return prices

    def follows(self, symbol: str, interval: str) -> bool:
        """Whether the candles of a symbol and interval are kept."""
        return (symbol, interval) in self._store.klines

    # --- anything else -------------------------------------------------------------------------------

    def ask(self, key: Key, request: Request, timeout: float | None = None) -> Any:
        """One budgeted request of no series' history; what was decoded by the key's kind."""
        try:
            return self._fetch(key, request, 0, timeout)
        except RequestError as error:
            self._fail(error, key)

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        return self._requests.usage(bucket)

    # --- routing ---------------------------------------------------------------------------------------

    def _fetch(self, key: Key, request: Request, limit: int, timeout: float | None = None) -> Any:
        self._check_delisted(key.symbol)
        if _mode.memory_only:
            raise NotInMemory(f"{key} is not fresh in memory, and this read was not to wait for REST")
        self._counters.miss()
        patience = self._config.read_timeout if timeout is None else timeout
        return self._requests.ask(Fetch(key, request, Cause.READ, limit), patience)

    def _check_delisted(self, symbol: str) -> None:
        reason = self._store.delisted.get(symbol)
        if reason is not None:
            raise InvalidSymbol(f"{symbol}: {reason}")

    def _check_listed(self, symbol: str) -> None:
        self._check_delisted(symbol)
        info = self._store.listings.get("info")
        if info is not None and symbol not in info.value.listed:
            raise InvalidSymbol(f"the exchange lists no perpetual {symbol}; check the spelling")

    def _fail(
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

    @staticmethod
    def _cast(kind: type[T], value: Any) -> T:
        assert isinstance(value, kind)
        return value


def _without_hole(rows: list[Row], interval: str) -> bool:
    return all(next_open(interval, rows[i][0]) == rows[i + 1][0] for i in range(len(rows) - 1))
