"""Reads of marks and funding, open interest, spot prices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from ..engine.freshness import within
from ..errors import InvalidSymbol, NoSpotPair, RequestError
from ..feeds import FEEDS, Key, Kind
from ..store.link import AHEAD
from ..store.open_interest import OpenInterestColumns, OpenInterestSeries
from ..venue import endpoints
from ..venue.payload import DecodeError
from ..venue.values import Mark
from .routing import Routing

T = TypeVar("T")


class ValueReads:
    """What is one value a symbol, or one row a period."""

    def __init__(self, route: Routing) -> None:
        self._route = route
        self._clock = route.clock
        self._store = route.store
        self._counters = route.counters

    def mark(self, symbol: str, *, max_age: float | None) -> Mark:
        """Mark price and funding of a symbol."""
        self._route.check_delisted(symbol)
        feed = FEEDS[Kind.MARK]
        board = self._store.marks
        exchange = self._clock.exchange()
        mark = board.get(symbol)
        bound = (feed.bound if self._route.streams else feed.bound_polled) or 0.0
        trusted = mark is not None and max_age != 0 and self._clock.proven()
        if trusted and mark is not None and within(exchange - mark.time / 1000.0, bound, max_age):
            self._counters.hit()
            return mark
        if mark is not None and self._clock.proven() and mark.time > (until := int((exchange + AHEAD) * 1000)):
            board.forget_ahead(until)
        self._route.check_listed(symbol)
        try:
            # One answer for all symbols serves everybody who waits for any of them.
            marks: list[Mark] = self._route.fetch(Key(Kind.MARK), endpoints.premium_index(), 1)
        except RequestError as error:
            age = exchange - mark.time / 1000.0 if mark is not None else 0.0
            self._route.fail(error, Key(Kind.MARK, symbol), age=age, bound=bound, data=mark)
        for found in marks:
            if found.symbol == symbol:
                return found
        raise InvalidSymbol(f"the exchange has no mark price of {symbol}; is it a USDⓈ-M perpetual that trades?")

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
        self._route.check_delisted(symbol)
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
            self._route.wanted(key)
        try:
            rows: list[dict[str, Any]] = self._route.fetch(
                key, endpoints.open_interest_hist(symbol, period, limit), limit
            )
        except RequestError as error:
            if series is None or not series.asked():
                self._route.fail(error, key)
            self._route.fail(
                error, key, age=exchange - series.asked() / 1000.0, bound=bound, data=series.read(limit) or None
            )
        if not rows:
            # For a symbol it does not know, this endpoint answers with an empty list.
            self._route.check_listed(symbol)
        return [dict(row) for row in rows[-limit:]]

    def spot_price(self, symbol: str, *, max_age: float | None) -> str:
        """The spot price of the pair of the same name, as the exchange wrote it."""
        self._route.check_delisted(symbol)
        return self.pair_price(symbol, max_age=max_age)

    def pair_price(self, symbol: str, *, max_age: float | None) -> str:
        """The same, also where the perpetual has left the exchange."""
        if max_age is None and (close := self._spot_close(symbol)):
            return close
        price = self.spot_prices(max_age=max_age).get(symbol)
        if price is None:
            if symbol not in self._store.delisted:
                self._route.check_listed(symbol)
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
            if standing.doubt or self._route.stream_doubt(standing.link, standing.suspected, exchange, silence):
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
            prices: dict[str, str] = self._route.fetch(Key(Kind.SPOT), endpoints.spot_price(), 0)
        except RequestError as error:
            self._route.fail(error, Key(Kind.SPOT), age=age, bound=bound, data=held.value if held is not None else None)
        return prices
