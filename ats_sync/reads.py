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
from .engine.freshness import TIME_IN_DOUBT, stream_doubt, tightened, within
from .engine.jobs import Fetch
from .engine.plans import klines_request, tail_limit
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
from .store.cut import Cut
from .store.depth import DepthBook
from .store.klines import KlineSeries
from .store.link import Link
from .store.market import MarketStore
from .store.open_interest import OpenInterestColumns, OpenInterestSeries
from .store.remembered import Column
from .store.tape import TradeColumns
from .store.trades import TradeRing
from .store.values import AnswerCache
from .venue import decode, endpoints
from .venue.decode import Book, DecodeError, Liquidation, Mark, Row, Trade
from .venue.endpoints import Bucket, Request
from .venue.intervals import next_open

T = TypeVar("T")
ANSWERS_KEPT = 3600.0
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
        patience: float | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._store = store
        self._requests = requests
        self._counters = counters
        self._streams = streams
        self._wanted = wanted
        """Told of a watched symbol's series that is read but not followed yet."""
        self._patience = config.read_timeout if patience is None else patience
        self._answers: AnswerCache[Any] = AnswerCache(ANSWERS_KEPT, now=clock.now)

    # --- klines ------------------------------------------------------------------------------------

    def klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        *,
        max_age: float | None,
        exact: bool,
        kind: Kind = Kind.KLINES,
    ) -> list[Row]:
        """The newest ``limit`` rows, the caller's own; with ``exact`` the strings of REST, else floats.

        ``kind``: of the perpetual, or of the spot pair of the same name.
        """
        return self._klines(symbol, interval, limit, max_age, exact, kind, Cut.rows)

    def kline_columns(
        self, symbol: str, interval: str, limit: int, *, max_age: float | None
    ) -> list[Column] | list[Row]:
        """As :meth:`klines` in floats; twelve columns where they are answered from memory."""
        return self._klines(symbol, interval, limit, max_age, False, Kind.KLINES, Cut.columns)

    def _klines(
        self,
        symbol: str,
        interval: str,
        limit: int,
        max_age: float | None,
        exact: bool,
        kind: Kind,
        take: Callable[[Cut[Any]], T],
    ) -> T | list[Row]:
        self._check_delisted(symbol)
        key = Key(kind, symbol, interval)
        series = self._store.candles(key)
        if series is None:
            if symbol in self._store.symbols:
                self._wanted(key)
            return self._klines_by_rest(key, limit, exact)
        silence = tightened(FEEDS[Kind.KLINES].silence or 0.0, max_age)
        exchange = self._clock.exchange()
        now = int(exchange * 1000)
        standing, cut = series.look(limit, now, exact=exact)
        doubt = self._stream_doubt(standing.link, standing.suspected, exchange, silence) or standing.doubt
        enough = standing.rows >= limit or standing.complete
        if not doubt and enough and max_age != 0:
            try:
                rows = take(cut)
            except DecodeError as error:
                self._store.count_dropped(f"a candle that could not be decoded: {error}")
            else:
                self._counters.hit()
                return rows
        return self._klines_refreshed(series, limit, exact, enough=enough)

    def _klines_refreshed(self, series: KlineSeries, limit: int, exact: bool, *, enough: bool) -> list[Row]:
        """The rows after asking REST for those since the last final one (for all, where memory lacks depth)."""
        tail = tail_limit(series.following(), series.interval, self._clock.exchange_ms())
        if not enough or tail is None or tail >= limit:
            return self._klines_by_rest(series.key, limit, exact, series)
        try:
            texts: list[bytes] = self._fetch(series.key, klines_request(series.key, tail), tail)
            now = self._clock.exchange_ms()
            standing = series.standing(now)
            if texts and (standing.rows >= limit or standing.complete):
                # No row is made up by a clock that is in doubt.
                rows = series.rows(limit, now if self._clock.proven() else None, exact=exact)
                newest = decode.text_open_time(texts[-1])
                if rows and rows[-1][0] >= newest and _without_hole(rows, series.interval):
                    return rows
        except RequestError as error:
            self._give_up_klines(series, limit, exact, error)
        except DecodeError as error:
            self._store.count_dropped(f"a candle that could not be decoded: {error}")
        return self._klines_by_rest(series.key, limit, exact, series)

    def _klines_by_rest(self, key: Key, limit: int, exact: bool, series: KlineSeries | None = None) -> list[Row]:
        try:
            texts: list[bytes] = self._fetch(key, klines_request(key, limit), limit)
        except RequestError as error:
            if series is not None:
                self._give_up_klines(series, limit, exact, error)
            self._fail(error, key)
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
        if limit > STREAMED_LEVELS:
            return self._deep_book(symbol, limit, max_age)
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
            doubt = self._stream_doubt(standing.link, standing.suspected, exchange, silence)
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
            return self._cast(Book, self._fetch(key, endpoints.depth(symbol, STREAMED_LEVELS), STREAMED_LEVELS))
        except RequestError as error:
            if series is None:
                self._fail(error, key)
            age, data = self._clock.exchange() - series.standing().event / 1000.0, None
            try:
                data = series.read()
            except DecodeError:
                pass
            self._fail(error, key, age=age, bound=feed.bound or 0.0, data=data)

    def _deep_book(self, symbol: str, limit: int, max_age: float | None) -> Book:
        key = Key(Kind.DEPTH, symbol)
        if self._streams and symbol in self._store.symbols:
            self._wanted(key)
        series = self._store.depths.get(symbol)
        depth = next((each for each in endpoints.DEPTH_LIMITS if each >= limit), endpoints.DEPTH_LIMITS[-1])
        if series is not None:
            series.asked(limit, self._clock.now())
            book = self._deep_book_in_memory(series, limit, max_age) if max_age != 0 else None
            if book is not None:
                self._counters.hit()
                return book
            standing = series.standing()
            delivers = standing.link is not None and standing.link.up and not standing.suspected
            if delivers and (standing.doubt or not series.covers(limit)):
                # It is what the book itself is waiting for.
                depth = series.snapshot_limit()
        else:
            key = Key(Kind.BOOK, symbol)
        try:
            return self._cast(Book, self._fetch(key, endpoints.depth(symbol, depth), depth))
        except RequestError as error:
            if series is None:
                self._fail(error, key)
            age = self._clock.exchange() - series.standing().event / 1000.0
            self._fail(error, key, age=age, bound=FEEDS[Kind.DEPTH].bound or 0.0, data=series.known(limit))

    def _deep_book_in_memory(self, series: DepthBook, limit: int, max_age: float | None) -> Book | None:
        feed = FEEDS[Kind.DEPTH]
        exchange = self._clock.exchange()
        standing = series.standing()
        young = not standing.suspected and within(exchange - standing.event / 1000.0, feed.bound, max_age)
        silence = tightened(feed.silence or 0.0, max_age)
        if not young and self._stream_doubt(standing.link, standing.suspected, exchange, silence):
            return None
        try:
            return series.read(limit)
        except DecodeError as error:
            self._store.count_dropped(f"a book that could not be decoded: {error}")
            return None

    # --- marks and funding -------------------------------------------------------------------------

    def mark(self, symbol: str, *, max_age: float | None) -> Mark:
        """Mark price and funding of a symbol."""
        self._check_delisted(symbol)
        feed = FEEDS[Kind.MARK]
        board = self._store.marks
        exchange = self._clock.exchange()
        mark = board.get(symbol)
        bound = (feed.bound if self._streams else feed.bound_polled) or 0.0
        trusted = mark is not None and max_age != 0 and self._clock.proven()
        if trusted and mark is not None and within(exchange - mark.time / 1000.0, bound, max_age):
            self._counters.hit()
            return mark
        self._check_listed(symbol)
        try:
            # One answer for all symbols serves everybody who waits for any of them.
            marks: list[Mark] = self._fetch(Key(Kind.MARK), endpoints.premium_index(), 1)
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
        return self._trades(symbol, limit, max_age, TradeRing.read)

    def trade_columns(self, symbol: str, limit: int, *, max_age: float | None) -> TradeColumns | list[Trade]:
        """As :meth:`trades`, in numbers where they are answered from memory."""
        return self._trades(symbol, limit, max_age, TradeRing.columns)

    def _trades(
        self, symbol: str, limit: int, max_age: float | None, read: Callable[[TradeRing, int], T]
    ) -> T | list[Trade]:
        self._check_delisted(symbol)
        feed = FEEDS[Kind.TRADES]
        key = Key(Kind.TRADES, symbol)
        ring = self._store.trades.get(symbol)
        if ring is not None:
            exchange = self._clock.exchange()
            standing = ring.standing()
            silence = tightened(feed.silence or 0.0, max_age)
            doubt = self._stream_doubt(standing.link, standing.suspected, exchange, silence)
            if not self._streams and ring.answered:
                polled = exchange - ring.answered / 1000.0
                doubt = "" if within(polled, feed.bound_polled, max_age) else doubt
            if not doubt and max_age != 0 and (standing.rows >= limit or standing.complete):
                try:
                    found = read(ring, limit)
                except DecodeError as error:
                    self._store.count_dropped(f"a trade that could not be decoded: {error}")
                else:
                    self._counters.hit()
                    return found
        # They weigh the same; as many as the ring wants, so that its own request is this one.
        wanted = limit if ring is None else max(limit, ring.capacity)
        asked = min(wanted, endpoints.AGG_TRADES_MOST)
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
        return answer[-limit:]

    def liquidations(self, symbol: str | None, limit: int) -> list[Liquidation]:
        """Forced orders seen since the start, oldest first."""
        return self._store.liquidations.read(symbol, limit)

    # --- open interest, spot -----------------------------------------------------------------------

    def open_interest(self, symbol: str, period: str, limit: int, *, max_age: float | None) -> list[dict[str, Any]]:
        """The newest ``limit`` rows, the caller's own, as the exchange wrote them, oldest first."""
        return self._open_interest(symbol, period, limit, max_age, OpenInterestSeries.read)

    def open_interest_columns(
        self, symbol: str, period: str, limit: int, *, max_age: float | None
    ) -> OpenInterestColumns | list[dict[str, Any]]:
        """As :meth:`open_interest`, in numbers where they are answered from memory."""
        return self._open_interest(symbol, period, limit, max_age, OpenInterestSeries.columns)

    def _open_interest(
        self,
        symbol: str,
        period: str,
        limit: int,
        max_age: float | None,
        read: Callable[[OpenInterestSeries, int], T],
    ) -> T | list[dict[str, Any]]:
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
                return read(series, limit)
        elif symbol in self._store.symbols:
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
        if max_age is None and (close := self._spot_close(symbol)):
            return close
        prices = self.spot_prices(max_age=max_age)
        price = prices.get(symbol)
        if price is None:
            self._check_listed(symbol)
            raise NoSpotPair(f"{symbol} has no spot market of the same name; there is no spot price to read")
        return price

    def _spot_close(self, symbol: str) -> str:
        """The close of a living spot candle, fresher than the poll; "" where none is followed."""
        exchange = self._clock.exchange()
        now = int(exchange * 1000)
        for (each, _), series in self._store.spot_klines.items():
            if each != symbol:
                continue
            standing = series.standing(now)
            silence = FEEDS[Kind.SPOT_KLINES].silence or 0.0
            if standing.doubt or self._stream_doubt(standing.link, standing.suspected, exchange, silence):
                continue
            try:
                close: str = series.rows(1, now, exact=True)[-1][4]
            except DecodeError:
                continue
            self._counters.hit()
            return close
        return ""

    def check_spot_pair(self, symbol: str) -> None:
        """:class:`~ats_sync.errors.NoSpotPair` where the list of all spot prices is known and lacks the symbol."""
        held = self._store.spot.get()
        if held is not None and symbol not in held.value:
            raise NoSpotPair(f"{symbol} has no spot market of the same name")

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

    def remembered(self, key: Key, request: Request, lifetime: float) -> Any:
        """As :meth:`ask`; an answer is given again for ``lifetime`` seconds. Shared: not to be changed."""
        held = self._answers.get((key, request))
        now = self._clock.exchange_ms()
        if held is not None and now - held.as_of <= lifetime * 1000:
            self._counters.hit()
            return held.value
        value = self.ask(key, request)
        self._answers.put((key, request), value, now)
        return value

    def exchange(self) -> float:
        """The exchange's time now, epoch seconds."""
        return self._clock.exchange()

    def ask(self, key: Key, request: Request, timeout: float | None = None) -> Any:
        """One budgeted request of no series' history; what was decoded by the key's kind."""
        try:
            return self._fetch(key, request, 0, timeout)
        except RequestError as error:
            self._fail(error, key)

    def usage(self, bucket: Bucket) -> Usage:
        """What a bucket has used in its window."""
        return self._requests.usage(bucket)

    def _stream_doubt(self, link: Link | None, suspected: str, exchange: float, silence: float) -> str:
        """As :func:`~ats_sync.engine.freshness.stream_doubt`; and while the time is in doubt, so is everything."""
        if not self._clock.proven():
            return TIME_IN_DOUBT
        return stream_doubt(link, suspected, exchange, silence)

    # --- routing ---------------------------------------------------------------------------------------

    def _fetch(self, key: Key, request: Request, limit: int, timeout: float | None = None) -> Any:
        self._check_delisted(key.symbol)
        if _mode.memory_only:
            raise NotInMemory(f"{key} is not fresh in memory, and this read was not to wait for REST")
        self._counters.miss()
        patience = self._patience if timeout is None else timeout
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
